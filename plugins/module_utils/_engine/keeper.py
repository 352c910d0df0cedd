# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Holding the lease for the length of one run: acquired with patience, renewed beside the work, always released."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import threading
import time
import typing as t
import uuid

from .._election.lease import Identity, Lease
from .._model.errors import HypervisorError, LeaseError
from .._pool.session import Session

_TRIP_TIMEOUT = 10.0
_POLL = 0.25


class SessionVoter:
    """A voter behind a session to its host program.

    It shares the session of the work until the first renewal, which most runs never see: another host program costs as
    much as all that a converged run asks.

    Args:
        beside: opens a session of its own.
    """

    def __init__(self, session: Session, resource: str, beside: t.Callable[[], Session]) -> None:
        self._session = session
        self._resource = resource
        self._beside = beside
        self._own: Session | None = None

    def part(self) -> None:
        """From now on over a session of its own, since renewal must not wait for the work.

        Raises:
            HypervisorError: it cannot be opened.
        """
        if self._own is None:
            self._own = self._beside()
            self._session = self._own

    def close(self) -> None:
        """End the session of its own, if there is one."""
        if self._own is not None:
            self._own.close()

    def read(self) -> t.Mapping[str, t.Any]:
        return self._call("lease_read", {})

    def request(self, term: int, session: str, holder: str, ttl: float) -> t.Mapping[str, t.Any]:
        return self._call("lease_request", {"term": term, "session": session, "holder": holder, "ttl": ttl})

    def release(self, session: str) -> t.Mapping[str, t.Any]:
        try:
            return self._call("lease_release", {"session": session})
        except HypervisorError:
            if self._own is not None:
                raise
            self.part()  # the work's session broke, and others need not wait for the end of the lease
            return self._call("lease_release", {"session": session})

    def _call(self, verb: str, fields: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
        return t.cast("t.Mapping[str, t.Any]", self._session.call(verb, _TRIP_TIMEOUT, fields, resource=self._resource))


def this_run() -> Identity:
    """A session id for this run of this controller, and the words by which a person knows it."""
    node = socket.gethostname() or "controller"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an execution environment may run as an unnamed uid
        user = str(os.getuid())
    return Identity(f"{node}/{uuid.uuid4()}", f"{user}@{node} (pid {os.getpid()})")


@contextlib.contextmanager
def held(voters: t.Sequence[SessionVoter], ttl: float, patience: float) -> t.Iterator[Lease]:
    """The lease, renewed every ttl/3 in the background until the block ends.

    Args:
        voters: closed at the end.
        patience: seconds to wait for another run to end; a killed one's lease ends within its ttl.

    Raises:
        LeaseError: it was not free in time, or no majority answers.
    """
    lease = Lease(voters, this_run(), ttl, lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    try:
        _acquire(lease, patience)
        over = threading.Event()
        thread = threading.Thread(target=_renew, args=(lease, voters, over, ttl / 3), daemon=True)
        thread.start()
        try:
            yield lease
        finally:
            over.set()
            thread.join(_TRIP_TIMEOUT)
            lease.release()
    finally:
        for voter in voters:
            voter.close()


def _acquire(lease: Lease, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            return lease.acquire()
        except LeaseError as error:
            if error.code != "lease_held" or time.monotonic() >= deadline:
                raise
        time.sleep(_POLL)


def _renew(lease: Lease, voters: t.Sequence[SessionVoter], over: threading.Event, interval: float) -> None:
    while not over.wait(interval):
        # whoever works checks `require` before each request and meets the loss there
        with contextlib.suppress(LeaseError, HypervisorError):
            for voter in voters:
                voter.part()
            lease.renew()
