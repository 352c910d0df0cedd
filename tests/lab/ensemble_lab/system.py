# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Commands, waiting, progress and locking: the small things that all other modules stand on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

LOCK = Path("/run/ensemble-lab.lock")
_POLL_SECONDS = 0.1
_QUIET_SECONDS = 2.0


class LabError(Exception):
    """Something that the caller has to know or to repair; its text is the whole message."""


def say(message: str) -> None:
    """Print one line of progress at once."""
    print(message, flush=True)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Name what is being done once it takes more than two seconds, and tell at the end how long it took."""
    started = time.monotonic()
    timer = threading.Timer(_QUIET_SECONDS, say, [f"  {what} ..."])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        elapsed = time.monotonic() - started
        if elapsed >= _QUIET_SECONDS:
            say(f"  {what}: {elapsed:.1f} s")


def run(
    command: Sequence[str | Path],
    *,
    timeout: float = 60,
    check: bool = True,
    text_in: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command and capture its output.

    ``timeout`` is in seconds; with ``check`` a status other than 0 is an error.
    Raises LabError when the command is missing, too slow, or (checked) failed.
    """
    shown = shlex.join(str(part) for part in command)
    try:
        done = subprocess.run(
            [str(part) for part in command],
            input="" if text_in is None else text_in,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=None if environment is None else {**os.environ, **environment},
        )
    except FileNotFoundError as error:
        raise LabError(f"command not found: {command[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"no end after {timeout:.0f} s: {shown}") from error
    if check and done.returncode != 0:
        raise LabError(f"status {done.returncode}: {shown}\n{last_lines(done.stderr or done.stdout)}")
    return done


def last_lines(text: str, count: int = 8) -> str:
    """Return the last lines of an output, indented: where programs tell why they failed."""
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-count:])


def wait_until(predicate: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll until the predicate holds. Raises LabError naming ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not predicate():
        if time.monotonic() >= deadline:
            raise LabError(f"not within {seconds:.0f} s: {what}")
        time.sleep(_POLL_SECONDS)


def write_atomically(path: Path, content: str, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old or the new content, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    os.chmod(temporary, mode)
    temporary.replace(path)


@contextlib.contextmanager
def exclusive(seconds: float = 900) -> Iterator[None]:
    """Hold the machine-wide lock of the lab: one command at a time changes anything."""
    with open(LOCK, "w", encoding="ascii") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("  waiting for another lab command to finish ...")
            wait_until(lambda: _try_lock(handle.fileno()), seconds, f"{LOCK} held by another lab command")
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
