# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The lease on a majority of voters, with a clock of the test's own."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.lease import Lease
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import HypervisorError, LeaseError
from voters import Clock, MemoryVoter, lease_of

TTL = 15.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[1, 3, 5])
def voters(request: pytest.FixtureRequest, clock: Clock) -> list[MemoryVoter]:
    return [MemoryVoter(clock) for _step in range(request.param)]


@pytest.fixture
def three(clock: Clock) -> list[MemoryVoter]:
    return [MemoryVoter(clock) for _step in range(3)]


def refused(lease: Lease) -> LeaseError:
    with pytest.raises(LeaseError) as caught:
        lease.acquire()
    return caught.value


def test_acquired(voters: list[MemoryVoter], clock: Clock) -> None:
    lease = lease_of(voters, clock, "a")
    assert lease.remaining() == 0.0
    lease.acquire()
    assert lease.token == (1, 1)
    assert lease.remaining() == pytest.approx(0.95 * TTL)
    clock.now += 10
    assert lease.remaining() == pytest.approx(0.95 * TTL - 10)
    clock.now += 10
    assert lease.remaining() == 0.0


def test_held_names_the_holder_and_changes_nothing(voters: list[MemoryVoter], clock: Clock) -> None:
    lease_of(voters, clock, "a").acquire()
    before = [voter.grant for voter in voters]
    clock.now += 5
    error = refused(lease_of(voters, clock, "b"))
    assert (error.code, error.details["holder"]) == ("lease_held", "a@desk")
    assert error.details["expires_in"] == pytest.approx(10)
    assert "a@desk" in error.msg
    assert [voter.grant for voter in voters] == before


def test_an_expired_lease_is_won_with_a_higher_term(voters: list[MemoryVoter], clock: Clock) -> None:
    lease_of(voters, clock, "a").acquire()
    clock.now += TTL
    other = lease_of(voters, clock, "b")
    other.acquire()
    assert other.token == (1, 2)


def test_a_released_lease_is_free_at_once(voters: list[MemoryVoter], clock: Clock) -> None:
    first, second = lease_of(voters, clock, "a"), lease_of(voters, clock, "b")
    first.acquire()
    first.release()
    assert first.remaining() == 0.0
    second.acquire()
    assert second.token == (1, 2)
    first.release()
    assert all(voter.grant.session == "session-b" for voter in voters)


def test_a_minority_may_be_silent(three: list[MemoryVoter], clock: Clock) -> None:
    three[1].mode = "down"
    lease = lease_of(three, clock, "a")
    lease.acquire()
    assert lease.remaining() > 0
    clock.now += 10
    lease.renew()
    assert lease.remaining() == pytest.approx(0.95 * TTL)


@pytest.mark.parametrize("mode", ["down", "deaf"])
def test_without_a_majority_nothing_is_written(three: list[MemoryVoter], clock: Clock, mode: str) -> None:
    three[0].mode = three[2].mode = mode
    error = refused(lease_of(three, clock, "a"))
    assert error.code == "no_quorum"
    assert "1 of 3 voters" in error.msg
    assert [voter.writes for voter in three] == [0, 0, 0]


def test_the_only_voter_is_silent(clock: Clock) -> None:
    voter = MemoryVoter(clock)
    voter.mode = "down"
    assert refused(lease_of([voter], clock, "a")).code == "no_quorum"


def test_half_is_no_majority(clock: Clock) -> None:
    voters = [MemoryVoter(clock) for _step in range(4)]
    voters[0].mode = voters[1].mode = "down"
    assert refused(lease_of(voters, clock, "a")).code == "no_quorum"


def test_a_lost_campaign_gives_back_what_it_won(three: list[MemoryVoter], clock: Clock) -> None:
    lease = lease_of(three, clock, "a")
    refusal = {**three[0].read(), "granted": False, "holder": "c@desk"}
    for voter in three[:2]:
        voter.request = lambda *_args: refusal  # type: ignore[method-assign]
    assert refused(lease).details["holder"] == "c@desk"
    assert three[2].grant.session == ""
    assert lease.remaining() == 0.0


@pytest.mark.parametrize("mode", ["down", "deaf"])
def test_voters_that_fall_silent_after_the_first_question_are_no_majority(
    three: list[MemoryVoter], clock: Clock, mode: str
) -> None:
    class Fading(MemoryVoter):
        """Answers what it is asked first only."""

        def read(self) -> dict[str, t.Any]:
            answer = super().read()
            self.mode = mode
            return answer

    voters = [three[0], Fading(clock), Fading(clock)]
    assert refused(lease_of(voters, clock, "a")).code == "no_quorum"
    assert voters[0].grant.session == "", "what was won is given back"


def test_renewal_begins_anew_with_the_same_term(voters: list[MemoryVoter], clock: Clock) -> None:
    lease = lease_of(voters, clock, "a")
    lease.acquire()
    clock.now += 10
    lease.renew()
    assert lease.token == (1, 1)
    assert lease.remaining() == pytest.approx(0.95 * TTL)


def test_a_renewal_that_comes_too_late_is_a_loss(voters: list[MemoryVoter], clock: Clock) -> None:
    lease = lease_of(voters, clock, "a")
    lease.acquire()
    clock.now += TTL
    lease_of(voters, clock, "b").acquire()
    with pytest.raises(LeaseError) as caught:
        lease.renew()
    assert caught.value.code == "lease_lost"
    assert lease.remaining() == 0.0


def test_a_renewal_without_a_majority_keeps_what_is_left(three: list[MemoryVoter], clock: Clock) -> None:
    lease = lease_of(three, clock, "a")
    lease.acquire()
    clock.now += 5
    three[0].mode = three[1].mode = "down"
    with pytest.raises(LeaseError, match="lost"):
        lease.renew()
    assert lease.remaining() == pytest.approx(0.95 * TTL - 5)


def test_time_counts_from_before_the_first_request(three: list[MemoryVoter], clock: Clock) -> None:
    for voter in three:
        voter.latency = 2.0
    lease = lease_of(three, clock, "a")
    begun = clock.now
    lease.acquire()
    assert clock.now == begun + 6
    assert lease.remaining() == pytest.approx(0.95 * TTL - 6)


def test_a_majority_that_answers_too_late_is_no_lease(three: list[MemoryVoter], clock: Clock) -> None:
    for voter in three:
        voter.latency = 6.0
    lease = lease_of(three, clock, "a")
    assert refused(lease).code in ("no_quorum", "lease_lost")
    assert all(voter.grant.session == "" for voter in three)


def test_require_asks_nobody_while_there_is_time(voters: list[MemoryVoter], clock: Clock) -> None:
    lease = lease_of(voters, clock, "a")
    lease.acquire()
    for voter in voters:
        voter.mode = "down"
    lease.require(3.0)
    assert lease.remaining() >= 3.0


def test_require_renews_when_time_is_short(voters: list[MemoryVoter], clock: Clock) -> None:
    lease = lease_of(voters, clock, "a")
    lease.acquire()
    clock.now += 12
    lease.require(3.0)
    assert lease.remaining() == pytest.approx(0.95 * TTL)


def test_require_never_returns_with_less_than_was_required(clock: Clock) -> None:
    voter = MemoryVoter(clock)
    lease = lease_of([voter], clock, "a")
    lease.acquire()
    clock.now += 12
    voter.latency = 13.0
    with pytest.raises(LeaseError) as caught:
        lease.require(3.0)
    assert caught.value.code == "lease_lost"


def test_require_without_a_lease_is_a_loss(voters: list[MemoryVoter], clock: Clock) -> None:
    with pytest.raises(LeaseError) as caught:
        lease_of(voters, clock, "a").require(3.0)
    assert caught.value.code == "lease_lost"


def test_a_session_may_win_again_over_its_own_lease(voters: list[MemoryVoter], clock: Clock) -> None:
    lease = lease_of(voters, clock, "a")
    lease.acquire()
    lease.acquire()
    assert lease.token == (1, 2)


def test_why_a_voter_could_not_vote_is_told(clock: Clock) -> None:
    """It answers the question, cannot keep its vote, and answers again when the lease is given back."""

    class Full(MemoryVoter):
        def request(self, *_args: t.Any) -> dict[str, t.Any]:
            raise HypervisorError("hv1: No space left on device")

    error = refused(lease_of([Full(clock)], clock, "a"))
    assert error.code == "no_quorum"
    assert "hv1: No space left on device" in error.msg
