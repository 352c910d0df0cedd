# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Fencing: the highest (token, generation) that this hypervisor has seen for a resource; lower is refused.

The comparison and the write happen under the resource's lock and before anything is touched. The lock is held
until the batch is done, so that no batch of a former leader overlaps one of its successor.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t

from .._model.errors import RefusedError
from .files import CorruptStateError, locked, read_json, resource_dir, write_json

Token = t.Tuple[int, int]

#: where a member keeps the tokens that it has seen, apart from what the same machine may keep as a hypervisor
MEMBER_DIR = "/var/lib/ensemble-member"

#: bytes after which the log of tokens is put aside; one such file is kept
LOG_SIZE = 2**20


@contextlib.contextmanager
def alone(root: str, resource: str, timeout: float) -> t.Iterator[None]:
    """Hold the resource on this hypervisor without a token: no batch overlaps, and none is refused for it later.

    Raises:
        BusyError: another batch did not end in time.
    """
    with locked(os.path.join(resource_dir(root, resource), "fence.lock"), timeout):
        yield


@contextlib.contextmanager
def fenced(
    root: str, resource: str, token: Token, generation: int, timeout: float, repair: bool = False
) -> t.Iterator[None]:
    """Hold the resource on this hypervisor for one batch.

    Args:
        token: (config epoch, term), compared in that order.
        generation: of the declaration that the batch carries out.
        timeout: seconds to wait for a batch that is at work.
        repair: a leader gives this host back its memory: what it remembers and cannot read is forgotten.

    Raises:
        RefusedError: `stale_token` or `stale_generation`; nothing was changed.
        BusyError: another batch did not end in time.
        CorruptStateError: what was seen last cannot be read.
    """
    with alone(root, resource, timeout):
        folder = resource_dir(root, resource)
        refusal = _compare(resource, token, generation, _highest(folder, repair))
        if refusal is not None:
            _log(folder, token, generation, refusal.code)
            raise refusal
        seen = {"token": list(token), "generation": generation}
        if seen != _highest(folder, repair):
            write_json(_path(folder), seen)
        _log(folder, token, generation, "accepted")  # what could not be kept was not let in
        yield


def refuse_stale(root: str, resource: str, token: Token) -> None:
    """Compare a token with the highest seen, and keep nothing.

    Raises:
        RefusedError: `stale_token`.
        CorruptStateError: what was seen last cannot be read.
    """
    highest = _highest(resource_dir(root, resource), False)
    refusal = _compare(resource, token, highest["generation"], highest)
    if refusal is not None:
        raise refusal


def check_readable(root: str, resource: str) -> None:
    """Compare nothing.

    Raises:
        CorruptStateError: what was seen last cannot be read.
    """
    _highest(resource_dir(root, resource), False)


def _path(folder: str) -> str:
    return os.path.join(folder, "fence.json")


def _highest(folder: str, repair: bool) -> dict[str, t.Any]:
    nothing = {"token": [0, 0], "generation": 0}
    try:
        return t.cast("dict[str, t.Any]", read_json(_path(folder)) or nothing)
    except CorruptStateError:
        if not repair:
            raise
        return nothing


def _compare(resource: str, token: Token, generation: int, highest: t.Mapping[str, t.Any]) -> RefusedError | None:
    """Why a batch is refused; None when it is not."""
    seen: Token = (highest["token"][0], highest["token"][1])
    if token < seen:
        return RefusedError(
            f"token {list(token)} for {resource} is lower than {list(seen)}, which this host has seen: "
            "another controller leads now. Nothing was changed; run again.",
            code="stale_token",
            token=list(token),
            highest=list(seen),
        )
    if generation < highest["generation"]:
        return RefusedError(
            f"generation {generation} of {resource} is older than {highest['generation']}, which this host "
            "has carried out. Nothing was changed; run again with the newer declaration.",
            code="stale_generation",
            generation=generation,
            highest=highest["generation"],
        )
    return None


def _log(folder: str, token: Token, generation: int, verdict: str) -> None:
    """One line for each batch, with CLOCK_BOOTTIME, so that it can be told afterwards whom this host obeyed."""
    path = os.path.join(folder, "tokens.log")
    at = round(time.clock_gettime(time.CLOCK_BOOTTIME), 3)
    line = json.dumps({"at": at, "token": list(token), "generation": generation, "verdict": verdict})
    with contextlib.suppress(OSError):  # a full disk: what must be kept fails by itself
        if os.path.exists(path) and os.path.getsize(path) > LOG_SIZE:
            os.replace(path, path + ".1")
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            body = (line + "\n").encode()
            written = os.write(fd, body)
            if written < len(body):  # half a line would spoil the next one
                os.ftruncate(fd, os.fstat(fd).st_size - written)
        finally:
            os.close(fd)
