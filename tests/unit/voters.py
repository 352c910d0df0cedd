# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Voters in memory and a clock that moves only when told."""

from __future__ import annotations

import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._election.lease import Identity, Lease
from ansible_collections.ensemble.stacks.plugins.module_utils._election.voter import (
    Boot,
    Grant,
    decide,
    release,
    remaining,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import HypervisorError

Answer = t.Dict[str, t.Any]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class MemoryVoter:
    """A voter as a controller sees it.

    Attributes:
        mode: `up`, `down` (does not answer), or `deaf` (does what it is told, and its answer is lost).
        latency: seconds that pass before it answers a request.
        writes: how often it changed what it keeps.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._boot = 0
        self._booted_at = 0.0
        self.grant = Grant()
        self.mode = "up"
        self.latency = 0.0
        self.writes = 0

    @property
    def now(self) -> float:
        """Seconds since this voter's boot."""
        return self._clock.now - self._booted_at

    @property
    def boot_id(self) -> str:
        return f"boot-{self._boot}"

    def reboot(self) -> None:
        """Its clock begins at zero, what is on its disk stays."""
        self._boot += 1
        self._booted_at = self._clock.now

    def read(self) -> Answer:
        return self._answer(False, "read")

    def request(self, term: int, session: str, holder: str, ttl: float) -> Answer:
        self._reach()
        answer = decide(self.grant, term, session, holder, ttl, self.now, Boot(self.boot_id))
        self._keep(answer.grant)
        self._clock.now += self.latency
        return self._answer(answer.granted, answer.reason)

    def release(self, session: str) -> Answer:
        self._reach()
        self._keep(release(self.grant, session))
        return self._answer(False, "released")

    def _keep(self, grant: Grant) -> None:
        if grant != self.grant:
            self.writes += 1
        self.grant = grant

    def _reach(self) -> None:
        if self.mode == "down":
            raise HypervisorError("it does not answer")

    def _answer(self, granted: bool, reason: str) -> Answer:
        if self.mode != "up":
            raise HypervisorError("its answer was lost")
        return {
            "granted": granted,
            "reason": reason,
            "expires_in": remaining(self.grant, self.now, Boot(self.boot_id)),
            "config_epoch": self.grant.config_epoch,
            "term": self.grant.term,
            "session": self.grant.session,
            "holder": self.grant.holder,
        }


def lease_of(voters: t.Sequence[MemoryVoter], clock: Clock, name: str, ttl: float = 15.0) -> Lease:
    """A lease of the session of that name."""
    return Lease(voters, Identity(f"session-{name}", f"{name}@desk"), ttl, clock)
