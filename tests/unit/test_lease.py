# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The lease on a majority of voters, with a clock of the test's own."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.lease import drive
from ansible_collections.ensemble.stacks.plugins.module_utils._election.quorum import Ask
from ansible_collections.ensemble.stacks.plugins.module_utils._election.voter import Grant
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import LeaseError
from voters import (
    Answer,
    Clock,
    Fields,
    MemoryVoter,
    MemoryVoters,
    Unheard,
    lease_of,
    lost,
    refused,
    remembering,
    sessions,
)

TTL = 15.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[1, 3, 5])
def voters(request: pytest.FixtureRequest, clock: Clock) -> list[MemoryVoter]:
    return remembering(clock, request.param)


@pytest.fixture
def three(clock: Clock) -> list[MemoryVoter]:
    return remembering(clock, 3)


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
    other = lease_of(voters, clock, "b")
    error = refused(other)
    assert other._voters.asked == ["lease_read"], "nobody is asked for what is held"  # type: ignore[attr-defined]
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
    assert set(sessions(voters)) == {"b/boot/run"}


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
    voter = remembering(clock, 1)[0]
    voter.mode = "down"
    assert refused(lease_of([voter], clock, "a")).code == "no_quorum"


def test_half_is_no_majority(clock: Clock) -> None:
    voters = remembering(clock, 4)
    voters[0].mode = voters[1].mode = "down"
    assert refused(lease_of(voters, clock, "a")).code == "no_quorum"


def test_a_lost_campaign_gives_back_what_it_won(three: list[MemoryVoter], clock: Clock) -> None:
    """It has read that the lease is free; two others grant it to somebody else before they are asked for it."""
    lease = lease_of(three, clock, "a")
    other = {**three[0].lease_read({}), "reason": "held", "holder": "c@desk", "session": "c", "expires_in": TTL}
    for voter in three[:2]:
        voter.lease_request = lambda _fields: other  # type: ignore[method-assign]
    assert refused(lease).details["holder"] == "c@desk"
    assert sessions(three) == ["", "", ""]
    assert lease.remaining() == 0.0


@pytest.mark.parametrize("mode", ["down", "deaf"])
def test_voters_that_fall_silent_after_the_first_question_are_no_majority(
    three: list[MemoryVoter], clock: Clock, mode: str
) -> None:
    class Fading(MemoryVoter):
        """Answers what it is asked first only."""

        def lease_read(self, fields: Fields) -> Answer:
            self.grant = Grant()
            answer = super().lease_read(fields)
            self.lease_request = self.fail  # type: ignore[method-assign]
            return answer

        def fail(self, fields: Fields) -> Answer:
            if mode == "deaf":
                super().lease_request(fields)
            raise Unheard("it is silent")

    voters = [three[0], Fading(clock), Fading(clock)]
    assert refused(lease_of(voters, clock, "a")).code == "no_quorum"
    assert sessions(voters) == ["", "", ""], "what was won is given back"


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
    assert "b@desk" in lost(lease).msg
    assert lease.remaining() == 0.0


def test_a_renewal_without_a_majority_keeps_what_is_left(three: list[MemoryVoter], clock: Clock) -> None:
    lease = lease_of(three, clock, "a")
    lease.acquire()
    clock.now += 5
    three[0].mode = three[1].mode = "down"
    assert "1 of 3 voters" in lost(lease).msg
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
    error = refused(lease)
    assert (error.code, "too late" in error.msg) == ("no_quorum", True)
    assert sessions(three) == ["", "", ""]


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
    voter = remembering(clock, 1)[0]
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
        def lease_request(self, _fields: Fields) -> Answer:
            raise Unheard("hv1: No space left on device")

    full = Full(clock)
    full.grant = Grant()
    error = refused(lease_of([full], clock, "a"))
    assert error.code == "no_quorum"
    assert "hv1: No space left on device" in error.msg
    assert error.details["quorum"] == {"needed": 1, "acks": 0, "silent": {"v0": "hv1: No space left on device"}}


# -- what is given back stays given back


def test_nothing_is_renewed_after_it_was_given_back(three: list[MemoryVoter], clock: Clock) -> None:
    """Though two voters did not hear of it and would renew."""
    lease = lease_of(three, clock, "a")
    lease.acquire()
    three[0].mode = three[1].mode = "down"
    lease.release()
    three[0].mode = three[1].mode = "up"
    lost(lease)
    with pytest.raises(LeaseError):
        lease.require(1.0)
    assert lease.remaining() == 0.0


def test_a_renewal_under_way_does_not_revive_what_is_given_back(three: list[MemoryVoter], clock: Clock) -> None:
    lease = lease_of(three, clock, "a")
    lease.acquire()

    def meanwhile(question: Ask) -> t.Any:
        answers = MemoryVoters(three).ask(question)
        lease.release()
        return answers

    with pytest.raises(LeaseError) as caught:
        drive(lease.renewing(), meanwhile)
    assert caught.value.code == "lease_lost"
    assert lease.remaining() == 0.0


def test_a_leader_that_campaigns_anew_and_fails_has_no_lease(three: list[MemoryVoter], clock: Clock) -> None:
    lease = lease_of(three, clock, "a")
    lease.acquire()
    three[0].lease_request = three[1].lease_request = _unheard  # type: ignore[method-assign]
    assert refused(lease).code == "no_quorum"
    assert lease.remaining() == 0.0, "the voters that it had won have been told that it gave up"


def _unheard(_fields: Fields) -> Answer:
    raise Unheard("it is silent")


def test_no_term_is_asked_for_twice(three: list[MemoryVoter], clock: Clock) -> None:
    """Else what comes late of a campaign that failed would be taken for a part of the next one."""
    asked: list[int] = []

    def noting(fields: Fields) -> Answer:
        asked.append(fields["term"])
        raise Unheard("its question was lost")

    for voter in three:
        voter.lease_request = noting  # type: ignore[method-assign]
    lease = lease_of(three, clock, "a")
    for _campaign in range(2):
        refused(lease)
    assert asked == [1, 1, 1, 2, 2, 2]
