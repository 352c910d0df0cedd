# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The quorum lease with voters that know nothing or know another list; views, wishes, and a lease by its token."""

from __future__ import annotations

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.voter import Grant
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import LeaseError
from voters import Answer, Clock, Fields, MemoryVoter, Unheard, lease_of, lost, refused, remembering, sessions

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


# -- the first lease of all


def test_the_first_lease_of_all_needs_every_voter(clock: Clock) -> None:
    voters = [MemoryVoter(clock) for _step in range(3)]
    voters[2].mode = "down"
    error = refused(lease_of(voters, clock, "a"))
    assert error.code in ("amnesiac", "no_quorum")
    assert [voter.writes for voter in voters] == [0, 0, 0]
    voters[2].mode = "up"
    lease = lease_of(voters, clock, "a")
    assert lease.view().token == (1, 0)
    lease.acquire()
    assert (lease.token, lease.founding) == ((1, 1), True)
    assert sessions(voters) == ["a/boot/run"] * 3


def test_a_first_start_that_one_voter_does_not_grant_is_no_lease_and_is_done_again(clock: Clock) -> None:
    class Full(MemoryVoter):
        def lease_request(self, fields: Fields) -> Answer:
            if self.latency:
                raise Unheard("No space left on device")
            return super().lease_request(fields)

    voters = [MemoryVoter(clock), MemoryVoter(clock), Full(clock)]
    voters[2].latency = 1.0
    error = refused(lease_of(voters, clock, "a"))
    assert (error.code, "No space left" in error.msg) == ("no_quorum", True)
    assert sessions(voters) == ["", "", "-"]
    voters[2].latency = 0.0
    other = lease_of(voters, clock, "b")
    assert other.view().token == (1, 1)
    other.acquire()
    assert (other.token, other.founding) == ((1, 2), True)
    assert sessions(voters) == ["b/boot/run"] * 3


def test_a_majority_that_lost_its_memory_is_said_to_be_lost(three: list[MemoryVoter], clock: Clock) -> None:
    lease_of(three, clock, "a").acquire()
    three[0].grant = three[1].grant = None
    clock.now += TTL
    for ask in (lambda: lease_of(three, clock, "b").acquire(), lambda: lease_of(three, clock, "b").view()):
        with pytest.raises(LeaseError) as caught:
            ask()
        assert caught.value.code == "amnesiac"
        assert "recover.yml" in caught.value.msg
    assert three[0].grant is three[1].grant is None


def test_a_voter_that_lost_its_memory_abstains_until_it_is_told(three: list[MemoryVoter], clock: Clock) -> None:
    first, second = lease_of(three, clock, "a"), lease_of(three, clock, "b")
    first.acquire()
    three[0].grant = None
    first.renew()
    assert (first.quorum.acks, first.quorum.silent) == (2, {"v0": "it has lost its memory"})
    clock.now += 1
    three[0].join(*first.token, TTL)
    clock.now += TTL - 1
    three[1].mode = "down"
    assert "abstain" in refused(second).msg, "the leader's lease is over, and this voter cannot know it"
    clock.now += 1
    second.acquire()
    assert second.token == (1, 3), "term 2 was asked for in vain"


# -- the list of voters


def test_a_run_that_knows_an_older_list_of_voters_reads_it_again(three: list[MemoryVoter], clock: Clock) -> None:
    three[2].grant = Grant(config_epoch=2)
    for ask in (lease_of(three, clock, "a").acquire, lease_of(three, clock, "a").view):
        with pytest.raises(LeaseError) as caught:
            ask()
        assert (caught.value.code, caught.value.details["epoch"]) == ("new_epoch", 2)
    assert [voter.writes for voter in three] == [0, 0, 0]
    lease = lease_of(three, clock, "a", epoch=2)
    lease.acquire()
    assert lease.token == (2, 1)


# -- views and wishes


def test_a_view_tells_who_holds_it_and_writes_nothing(voters: list[MemoryVoter], clock: Clock) -> None:
    reader = lease_of(voters, clock, "r")
    assert (reader.view().holder, reader.view().token) == ("", (1, 0))
    lease_of(voters, clock, "a").acquire()
    clock.now += 5
    written = [voter.writes for voter in voters]
    view = reader.view()
    assert (view.session, view.holder, view.token) == ("a/boot/run", "a@desk", (1, 1))
    assert view.expires_in == pytest.approx(TTL - 5)
    clock.now += TTL
    assert (reader.view().holder, reader.view().token, reader.view().expires_in) == ("", (1, 1), 0.0)
    assert [voter.writes for voter in voters] == written
    assert reader._voters.asked == ["lease_read"] * 6  # type: ignore[attr-defined]


def test_the_holder_hears_of_a_wish_with_its_renewal(three: list[MemoryVoter], clock: Clock) -> None:
    holder, candidate, person = (lease_of(three, clock, name) for name in "acp")
    holder.acquire()
    assert holder.wanted is None
    candidate.wish(60, person=False)
    clock.now += 2
    holder.renew()
    assert holder.wanted is not None
    assert (holder.wanted.holder, holder.wanted.person, holder.wanted.for_s) == ("c@desk", False, 2.0)
    person.wish(60, person=True)
    holder.renew()
    assert (holder.wanted.session, holder.wanted.person) == ("p/boot/run", True)
    assert candidate.view().wanted == holder.wanted
    person.wish(0, person=True)
    holder.renew()
    assert holder.wanted is None


def test_a_persons_wish_on_one_voter_comes_before_that_of_a_candidate(three: list[MemoryVoter], clock: Clock) -> None:
    three[0].mode = three[1].mode = "down"
    lease_of(three, clock, "p").wish(60, person=True)
    three[0].mode, three[1].mode, three[2].mode = "up", "up", "down"
    lease_of(three, clock, "c").wish(60, person=False)
    three[2].mode = "up"
    wanted = lease_of(three, clock, "r").view().wanted
    assert wanted is not None
    assert (wanted.holder, wanted.person) == ("p@desk", True)


# -- a lease by its token


def test_a_lease_is_adopted_by_its_token(voters: list[MemoryVoter], clock: Clock) -> None:
    parent, child = lease_of(voters, clock, "a"), lease_of(voters, clock, "child", ttl=60.0)
    parent.acquire()
    clock.now += 5
    child.adopt(parent.token)
    assert (child.identity.session, child.token, child.ttl) == ("a/boot/run", (1, 1), TTL)
    assert child.remaining() == pytest.approx(0.95 * (TTL - 5))
    assert child.remaining() <= parent.remaining() + 1.0
    clock.now += 1
    child.renew()
    assert child.remaining() == pytest.approx(0.95 * TTL)
    assert set(sessions(voters)) == {"a/boot/run"}


def test_what_is_adopted_ends_when_a_majority_has_ended(three: list[MemoryVoter], clock: Clock) -> None:
    """One voter granted later than the others: what it alone says is no lease."""
    parent = lease_of(three, clock, "a")
    parent.acquire()
    clock.now += 5
    three[1].mode = three[2].mode = "down"
    lost(parent)
    three[1].mode = three[2].mode = "up"
    child = lease_of(three, clock, "child")
    child.adopt((1, 1))
    assert child.remaining() == pytest.approx(0.95 * (TTL - 5))


@pytest.mark.parametrize("token", [(1, 0), (1, 2), (2, 1), (0, 1)])
def test_a_token_of_no_lease_is_not_adopted(three: list[MemoryVoter], clock: Clock, token: tuple[int, int]) -> None:
    lease_of(three, clock, "a").acquire()
    child = lease_of(three, clock, "child")
    with pytest.raises(LeaseError) as caught:
        child.adopt(token)
    assert (caught.value.code, caught.value.details["token"]) == ("lease_lost", list(token))
    assert child.remaining() == 0.0


@pytest.mark.parametrize("ends", ["time", "release"])
def test_an_ended_lease_is_not_adopted(three: list[MemoryVoter], clock: Clock, ends: str) -> None:
    parent = lease_of(three, clock, "a")
    parent.acquire()
    token = parent.token
    if ends == "time":
        clock.now += TTL
    else:
        parent.release()
    with pytest.raises(LeaseError) as caught:
        lease_of(three, clock, "child").adopt(token)
    assert caught.value.code == "lease_lost"


def test_what_a_minority_still_grants_is_not_adopted(three: list[MemoryVoter], clock: Clock) -> None:
    parent = lease_of(three, clock, "a")
    parent.acquire()
    three[2].mode = "down"
    parent.release()
    three[2].mode = "up"
    with pytest.raises(LeaseError) as caught:
        lease_of(three, clock, "child").adopt((1, 1))
    assert caught.value.code == "lease_lost"


def test_nothing_is_adopted_without_a_majority(three: list[MemoryVoter], clock: Clock) -> None:
    lease_of(three, clock, "a").acquire()
    three[0].mode = three[1].mode = "down"
    with pytest.raises(LeaseError) as caught:
        lease_of(three, clock, "child").adopt((1, 1))
    assert caught.value.code == "no_quorum"


def test_close_ends_the_connections(three: list[MemoryVoter], clock: Clock) -> None:
    lease = lease_of(three, clock, "a")
    lease.close()
    assert lease._voters.closed  # type: ignore[attr-defined]
