# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Voters in memory and a clock that moves only when told."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election import voter
from ansible_collections.ensemble.stacks.plugins.module_utils._election.lease import QuorumLease
from ansible_collections.ensemble.stacks.plugins.module_utils._election.quorum import Answers, Ask
from ansible_collections.ensemble.stacks.plugins.module_utils._election.store import Identity
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import LeaseError

Answer = t.Dict[str, t.Any]
Fields = t.Mapping[str, t.Any]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Unheard(Exception):
    """A voter's answer that does not come; its text says why."""


class MemoryVoter:
    """A voter as a controller sees it.

    Attributes:
        grant: None while it knows nothing.
        mode: `up`, `down` (does not answer), or `deaf` (does what it is told, and its answer is lost).
        latency: seconds that pass before it answers a request.
        writes: how often it changed what it keeps.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._boots = 0
        self._booted_at = 0.0
        self.grant: voter.Grant | None = None
        self.wish: voter.Wish | None = None
        self.mode = "up"
        self.latency = 0.0
        self.writes = 0

    @property
    def now(self) -> float:
        """Seconds since this voter's boot."""
        return self._clock.now - self._booted_at

    @property
    def boot(self) -> voter.Boot:
        return voter.Boot(f"boot-{self._boots}")

    def reboot(self) -> None:
        """Its clock begins at zero, what is on its disk stays."""
        self._boots += 1
        self._booted_at = self._clock.now

    def handle(self, verb: str, fields: Fields) -> Answer:
        """The answer of the host program.

        Raises:
            Unheard: it is down or deaf.
        """
        if self.mode == "down":
            raise Unheard("it does not answer")
        answer = getattr(self, verb)(fields)
        if self.mode == "deaf":
            raise Unheard("its answer was lost")
        return t.cast("Answer", answer)

    def lease_read(self, _fields: Fields) -> Answer:
        return self._shown(False, "read")

    def lease_request(self, fields: Fields) -> Answer:
        answer = voter.decide(self.grant, voter.Ballot(**fields), self.now, self.boot)
        if answer.granted:
            self._keep(answer.grant)
        self._clock.now += self.latency
        return self._shown(answer.granted, answer.reason)

    def lease_release(self, fields: Fields) -> Answer:
        self._keep(voter.release(self.grant, fields["session"], fields["term"]))
        return self._shown(False, "released")

    def lease_wish(self, fields: Fields) -> Answer:
        mine = (fields["session"], fields["holder"], fields["person"], fields["seconds"])
        self.wish = voter.decide_wish(self.wish, *mine, self.now, self.boot)
        return self._shown(False, "wish")

    def join(self, epoch: int, term: int, ttl: float) -> None:
        """A leader gives it back its memory."""
        self._keep(voter.rejoin(epoch, term, ttl, self.now, self.boot))

    def _keep(self, grant: voter.Grant | None) -> None:
        if grant != self.grant:
            self.writes += 1
        self.grant = grant

    def _shown(self, granted: bool, reason: str) -> Answer:
        kept = self.grant or voter.Grant(config_epoch=0)
        wanted = None
        if self.wish is not None and voter.wish_left(self.wish, self.now, self.boot) > 0:
            wanted = {
                "session": self.wish.session,
                "holder": self.wish.holder,
                "person": self.wish.person,
                "for_s": self.now - self.wish.since,
            }
        return {
            "granted": granted,
            "reason": reason,
            "expires_in": voter.remaining(self.grant, self.now, self.boot),
            "config_epoch": kept.config_epoch,
            "term": kept.term,
            "session": kept.session,
            "holder": kept.holder,
            "ttl": kept.ttl,
            "blank": self.grant is None,
            "founding": kept.founding,
            "wanted": wanted,
        }


class MemoryVoters:
    """All voters, asked one after the other in their order.

    Attributes:
        asked: the verbs of all questions so far.
    """

    def __init__(self, voters: t.Sequence[MemoryVoter]) -> None:
        self.voters = {f"v{index}": one for index, one in enumerate(voters)}
        self.asked: list[str] = []
        self.closed = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.voters)

    def ask(self, question: Ask) -> Answers:
        self.asked.append(question.verb)
        answers: dict[str, Answer | str] = {}
        for name, one in self.voters.items():
            try:
                answers[name] = one.handle(question.verb, question.fields)
            except Unheard as error:
                answers[name] = str(error)
        return answers

    def close(self) -> None:
        self.closed = True


def lease_of(
    voters: t.Sequence[MemoryVoter], clock: Clock, name: str, ttl: float = 15.0, epoch: int = 1
) -> QuorumLease:
    """A lease of the session of that name."""
    return QuorumLease(MemoryVoters(voters), epoch, Identity(f"{name}/boot/run", f"{name}@desk"), ttl, clock)


def remembering(clock: Clock, count: int) -> list[MemoryVoter]:
    """Voters that have known a lease before."""
    voters = [MemoryVoter(clock) for _step in range(count)]
    for one in voters:
        one.grant = voter.Grant()
    return voters


def refused(lease: QuorumLease) -> LeaseError:
    """Why it did not win."""
    with pytest.raises(LeaseError) as caught:
        lease.acquire()
    return caught.value


def lost(lease: QuorumLease) -> LeaseError:
    """Why it was not renewed."""
    with pytest.raises(LeaseError) as caught:
        lease.renew()
    assert caught.value.code == "lease_lost"
    return caught.value


def sessions(voters: t.Sequence[MemoryVoter]) -> list[str]:
    """Who has each voter's grant; a dash for one that knows nothing."""
    return [one.grant.session if one.grant else "-" for one in voters]
