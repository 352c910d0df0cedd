# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""State on disk that survives a power cut: written aside, flushed, renamed; guarded by a checksum and a lock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import time
import typing as t

from .._model.errors import EnsembleError
from .._model.identity import canonical, digest_of

STATE_DIR = "/var/lib/ensemble"
RUN_DIR = "/run/ensemble"


class CorruptStateError(EnsembleError):
    """A state file does not carry the checksum of its content."""

    code = "corrupt_state"


class BusyError(EnsembleError):
    """A lock was not free before the deadline."""

    code = "busy"


def write_json(path: str, value: t.Any, mode: int = 0o600, durable: bool = True) -> None:
    """Write a value with its checksum, durably: tmp + fsync + rename + fsync of the directory.

    Args:
        durable: false where a power cut ends what the file tells of anyway; it is replaced atomically all the same.
    """
    text = canonical(value)
    checksum = hashlib.sha256(text.encode()).hexdigest()
    write_file(path, f'{{"sha256":"{checksum}","value":{text}}}\n'.encode(), mode, durable)


def write_file(path: str, body: bytes, mode: int = 0o600, durable: bool = True) -> None:
    """Replace a file's content atomically and durably."""
    aside = f"{path}.tmp{os.getpid()}"
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(body)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        os.rename(aside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        raise
    if durable:
        sync_dir(os.path.dirname(path))


def sync_dir(path: str) -> None:
    """Make renames and removals in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_json(path: str) -> t.Any:
    """The value of a file written by `write_json`; None when there is no such file.

    Raises:
        CorruptStateError: truncated, garbled or zeroed.
    """
    try:
        with open(path, "rb") as stream:
            body = stream.read()
    except FileNotFoundError:
        return None
    try:
        wrapped = json.loads(body)
        value, checksum = wrapped["value"], wrapped["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptStateError(
            f"{path} is corrupt: {error}. Remove it only after reading docs/host-program.md."
        ) from error
    if digest_of(value) != checksum:
        raise CorruptStateError(
            f"{path} is corrupt: its checksum differs. Remove it only after reading docs/host-program.md."
        )
    return value


@contextlib.contextmanager
def locked(path: str, timeout: float) -> t.Iterator[None]:
    """Hold an exclusive lock file; it is freed when the process ends, however it ends.

    Raises:
        BusyError: not free within `timeout` seconds.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(fd, path, timeout)
        yield
    finally:
        os.close(fd)


def _acquire(fd: int, path: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    pause = 0.005
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        if time.monotonic() >= deadline:
            raise BusyError(f"{path} was not free within {timeout:g} s: another run is at work here")
        time.sleep(pause)
        pause = min(0.1, pause * 2)


def resource_dir(root: str, resource: str) -> str:
    """Where a hypervisor keeps what it knows of a resource."""
    return os.path.join(root, resource)
