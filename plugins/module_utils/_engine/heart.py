# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The leader's heartbeat: a hypervisor that hears none for `member_ttl` ends the members that may be made elsewhere.

Each beat tells the hypervisor what its own clock said at the last one, and how much later this one was sent. So it
counts from when a beat was sent, however late it arrives, and the leader knows from when a silent hypervisor must have
counted: its last beat. After a beat without an answer none is sent until the hypervisor answers a question again.
"""

from __future__ import annotations

import contextlib
import threading
import typing as t
from dataclasses import dataclass

from .._election.store import Lease
from .._model.declaration import Hypervisor
from .._pool.pool import Connect, in_parallel
from .._pool.session import Session

#: beats within a member_ttl, and the longest time between two, in seconds
_BEATS, _LONGEST = 12, 10.0
#: longest time for one beat, in seconds
_TIMEOUT = 5.0
#: what a hypervisor's clock may be slower than ours, and what its guard may take: a share of the member_ttl
_SLACK = 1.05


@dataclass
class _Pulse:
    """One hypervisor's.

    Attributes:
        since: from when on nothing was sent to it, if it is silent; our clock.
        sent: when the last beat was sent, our clock.
        clock: what the hypervisor's own clock said then.
        silent: the last beat had no answer.
    """

    since: float
    session: Session | None = None
    sent: float | None = None
    clock: float | None = None
    silent: bool = False


class Heart:
    """Beats for one resource. Until it is told what to arm, it leaves what is armed as it is.

    Attributes:
        news: there is something to be told at once.

    Args:
        generation: of the declaration that is carried out.
    """

    def __init__(
        self, resource: str, hypervisors: t.Sequence[Hypervisor], connect: Connect, lease: Lease, generation: int
    ) -> None:
        self._resource = resource
        self._hosts = {hv.name: hv for hv in hypervisors}
        self._connect = connect
        self._lease = lease
        self._clock = lease.clock
        self._guard = threading.Lock()
        # a beat that the lease does not cover must not be sent
        self._timeout = min(_TIMEOUT, lease.ttl / 5)
        self.news = threading.Event()
        self._ttl: float | None = None
        self._members: tuple[str, ...] = ()
        self._generation = generation
        self._pulses = {name: _Pulse(self._clock()) for name in self._hosts}

    def arm(self, ttl: float, members: t.Sequence[str], generation: int) -> None:
        """What the next beats tell.

        Args:
            ttl: member_ttl in seconds; 0 disarms.
            members: those that end with it.
        """
        wanted = (ttl, tuple(members), generation)
        with self._guard:
            if wanted != (self._ttl, self._members, self._generation):
                self._ttl, self._members, self._generation = wanted
                self.news.set()

    def lost(self) -> frozenset[str]:
        """Hypervisors on which no member that ends by itself lives any more, since all of its time has passed."""
        with self._guard:
            if not self._ttl:
                return frozenset()
            limit = self._clock() - _SLACK * self._ttl - _TIMEOUT
            return frozenset(name for name, pulse in self._pulses.items() if pulse.silent and pulse.since < limit)

    def step(self) -> float:
        """Beat once everywhere; returns the seconds until the next beat."""
        names = list(self._hosts)
        in_parallel(self._beat, names)
        with self._guard:
            return min(_LONGEST, (self._ttl or _BEATS * _LONGEST) / _BEATS)

    def _beat(self, name: str) -> None:
        pulse = self._pulses[name]
        try:
            session = pulse.session = pulse.session or self._connect(self._hosts[name])
            if pulse.silent:  # a question first: it tells that beats arrive, and makes nothing live longer
                session.call("hello", self._timeout)
            self._send(pulse, session)
        except Exception:  # whatever it is, a heart that stands still would end members everywhere
            if pulse.session is not None:
                pulse.session.close()
            pulse.session, pulse.sent, pulse.clock = None, None, None
            with self._guard:
                pulse.silent = True

    def _send(self, pulse: _Pulse, session: Session) -> None:
        """Twice after a silence: the first beat only learns what the hypervisor's clock says."""
        while True:
            with self._guard:
                fields: dict[str, t.Any] = {}
                if self._ttl is not None:
                    fields = {"member_ttl": self._ttl, "relocatable": list(self._members)}
                common = {"resource": self._resource, "generation": self._generation, "token": list(self._lease.token)}
            self._lease.require(self._timeout)
            now = self._clock()
            if pulse.sent is not None:
                fields.update(clock=pulse.clock, elapsed=round(now - pulse.sent, 3))
            with self._guard:
                pulse.since = now
            learnt = pulse.sent is not None
            answer = session.call("keepalive", self._timeout, fields, **common)
            pulse.sent, pulse.clock = now, float(answer["clock"])
            if learnt:
                with self._guard:
                    pulse.silent = False
                return

    def close(self) -> None:
        """End the sessions."""
        for pulse in self._pulses.values():
            if pulse.session is not None:
                pulse.session.close()


@contextlib.contextmanager
def beating(heart: Heart) -> t.Iterator[None]:
    """Beat beside the work until the block ends."""
    over = threading.Event()

    def beat() -> None:
        while not over.is_set():
            heart.news.clear()
            heart.news.wait(heart.step())

    thread = threading.Thread(target=beat, daemon=True, name="heart")
    thread.start()
    try:
        yield
    finally:
        over.set()
        heart.news.set()
        thread.join(_TIMEOUT)
        heart.close()
