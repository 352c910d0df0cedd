# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Holding a lease while work is done: won within some patience, renewed in the background, given back at the end."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import socket
import threading
import time
import typing as t
import uuid

from .._election.policy import RENEWALS
from .._election.store import Identity, Lease, Token
from .._model.errors import LeaseError

#: seconds between two attempts, first and longest
_PAUSES = (0.1, 1.0)
_TIES = 3
#: seconds for which a wish counts unless it is repeated
_WISH_S = 20.0


def boottime() -> float:
    """Seconds since boot, counting suspension; no wall clock can move it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def this_run(node: str | None = None) -> Identity:
    """A session id for this run of this controller, and the words by which a person knows it."""
    host = socket.gethostname() or "controller"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an execution environment may run as an unnamed uid
        user = str(os.getuid())
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        boot = stream.read().strip()
    return Identity(f"{node or host}/{boot}/{uuid.uuid4()}", f"{user}@{host} (pid {os.getpid()})")


@contextlib.contextmanager
def held(
    lease: Lease, patience: float, person: bool = False, part: t.Callable[[], None] | None = None
) -> t.Iterator[None]:
    """Win a lease and renew it every ttl/3 in the background until the block ends.

    Args:
        patience: seconds to wait for another run to end; a killed one's lease ends within its ttl.
        person: ask the holder to yield meanwhile.
        part: called before the first renewal, so that it need not wait for the work.

    Raises:
        LeaseError: it was not free in time, or no majority answers.
    """
    win(lease, patience, person)
    over = threading.Event()
    thread = threading.Thread(target=_renew, args=(lease, over, part), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(lease.ttl)
        lease.release()


@contextlib.contextmanager
def adopted(lease: Lease, token: Token) -> t.Iterator[None]:
    """Work under a lease that the caller's own leader holds and renews.

    Raises:
        LeaseError: `lease_lost`, it is not valid any more.
    """
    lease.adopt(token)
    yield


def win(lease: Lease, patience: float, person: bool = False, ended: t.Callable[[float], bool] | None = None) -> None:
    """Acquire a lease within some seconds, asking its holder to yield if a person is in need of it.

    Args:
        ended: waits some seconds, and says whether nobody is interested any more.

    Raises:
        LeaseError: as `Lease.acquire`.
    """
    deadline = time.monotonic() + patience
    pause, wished, ties = _PAUSES[0], False, 0
    while True:
        try:
            return lease.acquire()
        except LeaseError as error:
            left = deadline - time.monotonic()
            # votes that were split leave nobody at work: even who does not wait tries again, at another moment
            if error.details.get("contested") and ties < _TIES:
                ties += 1
                (ended or _sleep)(random.uniform(*_PAUSES))  # noqa: S311 - no secret
                continue
            # it is held, or voters abstain for a while that they name
            waits = error.code == "lease_held" or error.details.get("expires_in")
            if not waits or left <= 0 or (ended is not None and ended(0.0)):
                if wished:
                    lease.wish(0, person)
                raise
        if person:
            lease.wish(_WISH_S, person)
            wished = True
        (ended or _sleep)(min(pause, max(0.0, left)))
        pause = min(_PAUSES[1], 1.5 * pause)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _renew(lease: Lease, over: threading.Event, part: t.Callable[[], None] | None) -> None:
    while not over.wait(lease.ttl / RENEWALS):
        if part is not None:
            part()
        # whoever works checks `require` before each request and meets the loss there
        with contextlib.suppress(LeaseError):
            lease.renew()
