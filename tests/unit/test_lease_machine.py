# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Two sessions never hold a valid lease at once, whatever time, silence, lost answers and reboots do."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import LeaseError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from voters import Answer, Clock, Fields, MemoryVoter, lease_of, remembering

TTL = 10.0
SESSIONS = st.sampled_from("abc")


class Electing(RuleBasedStateMachine):
    """Three sessions and some voters."""

    @initialize(count=st.sampled_from([1, 3]), founded=st.booleans())
    def begin(self, count: int, founded: bool) -> None:
        self.clock = Clock()
        self.voters = remembering(self.clock, count)
        for voter in self.voters if not founded else ():
            voter.grant = None
        self.leases = {name: lease_of(self.voters, self.clock, name, TTL) for name in "abc"}
        self.winners: dict[tuple[int, int], str] = {}

    @staticmethod
    def refused(work: t.Callable[[], None]) -> str:
        """The code with which it was refused; empty when it was not."""
        try:
            work()
        except LeaseError as error:
            return error.code
        return ""

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 9.4, 9.5, 10.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(index=st.integers(0, 2), mode=st.sampled_from(["up", "up", "down", "deaf"]))
    def voter_changes(self, index: int, mode: str) -> None:
        self.voters[index % len(self.voters)].mode = mode

    @rule(latency=st.sampled_from([0.0, 1.0, 3.0, 9.0]))
    def voters_are_slow(self, latency: float) -> None:
        for voter in self.voters:
            voter.latency = latency

    @rule(index=st.integers(0, 2))
    def voter_reboots(self, index: int) -> None:
        self.voters[index % len(self.voters)].reboot()

    @rule(index=st.integers(0, 2))
    def voter_forgets(self, index: int) -> None:
        """One of three at a time; the only one of one is not promised to be safe."""
        if len(self.voters) > 1 and all(voter.grant is not None for voter in self.voters):
            self.voters[index].grant = None

    @rule(name=SESSIONS)
    def leader_tells_those_that_know_nothing(self, name: str) -> None:
        """After a majority of the others has renewed its lease."""
        lease = self.leases[name]
        if lease.remaining() > 0 and self.refused(lease.renew) == "" and lease.remaining() > 0:
            for voter in self.voters:
                if voter.grant is None and voter.mode != "down":
                    voter.join(*lease.token, TTL)

    @rule(name=SESSIONS)
    def acquire(self, name: str) -> None:
        code = self.refused(self.leases[name].acquire)
        if code:
            assert code in ("lease_held", "no_quorum", "amnesiac")
            assert self.leases[name].remaining() == 0.0
            return
        assert self.winners.setdefault(self.leases[name].token, name) == name

    @rule(name=SESSIONS)
    def renew(self, name: str) -> None:
        assert self.refused(self.leases[name].renew) in ("", "lease_lost")

    @rule(name=SESSIONS)
    def release(self, name: str) -> None:
        self.leases[name].release()
        assert self.leases[name].remaining() == 0.0

    @invariant()
    def one_valid_lease(self) -> None:
        if hasattr(self, "leases"):
            assert [name for name, lease in self.leases.items() if lease.remaining() > 0][1:] == []


Electing.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestElecting = Electing.TestCase


Step = t.Callable[[list[MemoryVoter], Clock], None]


def reboot_all(voters: list[MemoryVoter], clock: Clock) -> None:
    for voter in voters:
        voter.reboot()
    clock.now += 1


def silence_the_first(voters: list[MemoryVoter], clock: Clock) -> None:
    voters[0].mode = "down"
    clock.now += 1


def lose_answers(voters: list[MemoryVoter], clock: Clock) -> None:
    voters[0].mode = "deaf"
    clock.now += 1


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("step", [reboot_all, silence_the_first, lose_answers])
def test_schedules_made_by_hand(step: Step, count: int) -> None:
    clock = Clock()
    voters = [MemoryVoter(clock) for _step in range(count)]
    first, second = lease_of(voters, clock, "a", TTL), lease_of(voters, clock, "b", TTL)
    first.acquire()
    assert first.token == (1, 1)
    step(voters, clock)
    with pytest.raises(LeaseError):
        second.acquire()
    assert second.remaining() == 0.0
    assert first.remaining() > 0


@pytest.mark.parametrize("founded", [False, True])
def test_two_that_read_at_once_do_not_both_win(founded: bool) -> None:
    """Both have read that the lease is free before either asks for it."""
    clock = Clock()

    class Interposed(MemoryVoter):
        """The first to be asked lets the other session win before it answers."""

        def lease_request(self, fields: Fields) -> Answer:
            if fields["session"] == first.identity.session and second.remaining() == 0.0:
                second.acquire()
            return super().lease_request(fields)

    voters = [Interposed(clock), *remembering(clock, 2)]
    for voter in voters:
        voter.grant = voters[1].grant if founded else None
    first, second = lease_of(voters, clock, "a", TTL), lease_of(voters, clock, "b", TTL)
    with pytest.raises(LeaseError) as caught:
        first.acquire()
    assert caught.value.details["holder"] == "b@desk"
    assert second.remaining() > 0
    assert first.remaining() == 0.0
