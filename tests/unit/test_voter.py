# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One voter's decision, rule by rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.voter import (
    Ballot,
    Boot,
    Grant,
    Wish,
    decide,
    decide_wish,
    rejoin,
    release,
    remaining,
    wish_left,
)
from hypothesis import given
from hypothesis import strategies as st

TTL = 15.0
#: this voter was first asked when its clock read zero
BOOT = Boot("now", 0.0)
#: term 7 was granted to session a at 100 s of this boot
HELD = Grant(config_epoch=2, term=7, session="a", holder="A", ttl=TTL, granted_at=100.0, boot_id="now")
FREE = release(HELD, "a", 7)
REBOOTED = replace(HELD, boot_id="before")
#: it had lost its memory, and was told of term 7 at 100 s
JOINED = rejoin(2, 7, TTL, 100.0, BOOT)


def ballot(term: int, session: str, epoch: int = 2, founding: bool = False) -> Ballot:
    return Ballot(epoch, term, session, session.upper(), TTL, founding)


@pytest.mark.parametrize(
    ("grant", "term", "session", "now", "reason"),
    [
        (Grant(2), 1, "a", 0.0, "granted"),
        (Grant(2), 0, "a", 0.0, "old_term"),
        (FREE, 8, "b", 100.0, "granted"),
        (FREE, 7, "a", 100.0, "old_term"),
        (FREE, 6, "a", 100.0, "old_term"),
        (HELD, 7, "a", 114.9, "renewed"),
        (HELD, 7, "a", 115.0, "old_term"),
        (HELD, 8, "a", 101.0, "granted"),
        (HELD, 7, "b", 101.0, "old_term"),
        (HELD, 6, "a", 101.0, "old_term"),
        (HELD, 8, "b", 101.0, "held"),
        (HELD, 99, "b", 114.999, "held"),
        (HELD, 8, "b", 115.0, "granted"),
        (REBOOTED, 8, "b", 0.0, "held"),
        (REBOOTED, 8, "b", 14.999, "held"),
        (REBOOTED, 8, "b", 15.0, "granted"),
        (REBOOTED, 8, "b", 101.0, "granted"),
        (REBOOTED, 7, "a", 5.0, "renewed"),
        (JOINED, 8, "a", 114.9, "abstains"),
        (JOINED, 8, "b", 114.9, "abstains"),
        (JOINED, 7, "a", 115.0, "old_term"),
        (JOINED, 8, "b", 115.0, "granted"),
        (None, 8, "a", 100.0, "amnesiac"),
    ],
)
def test_decisions(grant: Grant | None, term: int, session: str, now: float, reason: str) -> None:
    answer = decide(grant, ballot(term, session), now, BOOT)
    assert (answer.reason, answer.granted) == (reason, reason in ("granted", "renewed"))
    if not answer.granted:
        assert answer.grant == grant
        assert answer.expires_in == remaining(grant, now, BOOT)
        return
    kept = answer.grant
    assert kept is not None
    assert (kept.term, kept.session, kept.holder) == (term, session, session.upper())
    assert (kept.granted_at, kept.boot_id, kept.config_epoch, kept.ttl) == (now, "now", 2, TTL)
    assert answer.expires_in == TTL


def test_only_the_first_lease_of_all_is_granted_without_a_memory() -> None:
    answer = decide(None, ballot(1, "a", founding=True), 5.0, BOOT)
    assert answer.granted
    assert answer.grant == Grant(2, 1, "a", "A", TTL, 5.0, "now", founding=True)


def test_a_memory_is_not_overruled_by_a_founder() -> None:
    """Its question was under way when another founder won."""
    for session, now in (("b", 101.0), ("a", 101.0), ("b", 200.0)):
        assert decide(HELD, ballot(8, session, founding=True), now, BOOT).reason == "founded"


def test_a_first_start_that_was_not_granted_by_all_is_done_again() -> None:
    begun = replace(HELD, founding=True)
    assert decide(begun, ballot(8, "b", founding=True), 101.0, BOOT).reason == "held"
    again = decide(begun, ballot(8, "b", founding=True), 115.0, BOOT).grant
    assert again is not None
    assert (again.term, again.founding) == (8, True)
    assert decide(begun, ballot(7, "b", founding=True), 115.0, BOOT).reason == "old_term"


def test_a_later_lease_does_not_end_the_founding() -> None:
    """Only being told who votes does."""
    after = decide(replace(HELD, founding=True), ballot(8, "b"), 115.0, BOOT).grant
    assert after is not None
    assert after.founding


@pytest.mark.parametrize("grant", [HELD, FREE, JOINED])
@pytest.mark.parametrize("now", [101.0, 200.0])
def test_an_older_list_of_voters_is_refused(grant: Grant, now: float) -> None:
    answer = decide(grant, ballot(8, "a", epoch=1), now, BOOT)
    assert (answer.granted, answer.reason, answer.grant) == (False, "old_epoch", grant)


@pytest.mark.parametrize(("term", "now"), [(7, 101.0), (8, 101.0), (8, 200.0)])
def test_a_newer_list_of_voters_is_remembered(term: int, now: float) -> None:
    answer = decide(HELD, ballot(term, "a", epoch=3), now, BOOT)
    assert answer.grant is not None
    assert (answer.granted, answer.grant.config_epoch) == (True, 3)


def test_a_release_keeps_the_term() -> None:
    assert FREE is not None
    assert (FREE.term, FREE.session, FREE.holder, FREE.config_epoch) == (7, "", "", 2)
    assert remaining(FREE, 100.0, BOOT) == 0.0


def test_nobody_releases_for_another() -> None:
    assert release(HELD, "b", 7) is HELD
    assert release(None, "a", 7) is None


def test_a_release_that_comes_late_frees_no_later_term() -> None:
    assert release(HELD, "a", 6) is HELD
    assert release(HELD, "a", 8) == FREE


def test_one_that_was_given_back_its_memory_is_freed_by_nobody() -> None:
    assert release(JOINED, "a", 7) is JOINED
    assert remaining(JOINED, 110.0, BOOT) == 5.0


def test_a_voter_without_a_memory_is_bound_by_nothing_it_could_tell() -> None:
    assert remaining(None, 100.0, BOOT) == 0.0


def test_a_grant_survives_its_file() -> None:
    assert Grant.from_dict({**HELD.as_dict(), "of_a_later_version": 1}) == HELD
    assert Grant.from_dict({}) == Grant()


TIMES = st.floats(0, 200)


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from("ab"), TIMES, st.booleans()), max_size=20))
def test_a_term_is_granted_to_one_session_only_and_terms_only_grow(
    requests: list[tuple[int, str, float, bool]],
) -> None:
    grant: Grant | None = Grant(2)
    owners: dict[int, str] = {}
    now = 0.0
    for term, session, later, giving_back in requests:
        now += later
        before = grant
        if giving_back:
            grant = release(grant, session, term)
        answer = decide(grant, ballot(term, session), now, BOOT)
        grant = answer.grant
        assert grant is not None
        assert before is not None
        assert grant.term >= before.term
        if answer.granted:
            assert owners.setdefault(term, session) == session


def test_a_clock_that_runs_on_over_a_reboot_counts_from_the_first_question() -> None:
    """A container's hypervisor keeps its host's clock: zero would lie long ago, and the lease seem over at once."""
    late = Boot("now", 5000.0)
    assert remaining(REBOOTED, 5000.0, late) == TTL
    assert not decide(REBOOTED, ballot(8, "b"), 5014.9, late).granted
    assert decide(REBOOTED, ballot(8, "b"), 5015.0, late).granted


# -- wishes

#: session p of a person, and session c of a candidate, both since 10 s
PERSON = Wish("p", "P", True, 10.0, 70.0, "now")
CANDIDATE = Wish("c", "C", False, 10.0, 70.0, "now")


@pytest.mark.parametrize(
    ("kept", "session", "person", "seconds", "now", "counts"),
    [
        (None, "p", True, 60.0, 10.0, PERSON),
        (None, "p", True, 0.0, 10.0, None),
        (CANDIDATE, "p", True, 60.0, 10.0, PERSON),
        (CANDIDATE, "d", False, 60.0, 20.0, CANDIDATE),
        (CANDIDATE, "p", True, 0.0, 20.0, CANDIDATE),
        (PERSON, "c", False, 60.0, 20.0, PERSON),
        (PERSON, "q", True, 60.0, 20.0, PERSON),
        (PERSON, "q", True, 0.0, 20.0, PERSON),
        (PERSON, "p", True, 0.0, 20.0, None),
        (PERSON, "c", False, 60.0, 70.0, Wish("c", "C", False, 70.0, 130.0, "now")),
        (PERSON, "p", True, 60.0, 20.0, replace(PERSON, until=80.0)),
        (PERSON, "p", True, 60.0, 90.0, Wish("p", "P", True, 90.0, 150.0, "now")),
    ],
)
def test_wishes(kept: Wish | None, session: str, person: bool, seconds: float, now: float, counts: Wish | None) -> None:
    assert decide_wish(kept, session, session.upper(), person, seconds, now, BOOT) == counts


def test_a_wish_ends_by_itself_and_with_the_boot() -> None:
    assert wish_left(PERSON, 60.0, BOOT) == 10.0
    assert wish_left(PERSON, 70.0, BOOT) == 0.0
    assert wish_left(PERSON, 60.0, Boot("next")) == 0.0
    assert wish_left(None, 60.0, BOOT) == 0.0
    assert PERSON.as_dict()["session"] == "p"
