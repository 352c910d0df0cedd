# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One voter's decision, rule by rule."""

from __future__ import annotations

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.voter import (
    Boot,
    Grant,
    decide,
    release,
    remaining,
)
from hypothesis import given
from hypothesis import strategies as st

TTL = 15.0
#: this voter was first asked when its clock read zero
BOOT = Boot("now", 0.0)
#: term 7 was granted to session a at 100 s of this boot
HELD = Grant(config_epoch=2, term=7, session="a", holder="A", ttl=TTL, granted_at=100.0, boot_id="now")
FREE = release(HELD, "a")
REBOOTED = Grant(config_epoch=2, term=7, session="a", holder="A", ttl=TTL, granted_at=100.0, boot_id="before")


@pytest.mark.parametrize(
    ("grant", "term", "session", "now", "reason"),
    [
        (Grant(), 1, "a", 0.0, "granted"),
        (Grant(), 0, "a", 0.0, "old_term"),
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
    ],
)
def test_decisions(grant: Grant, term: int, session: str, now: float, reason: str) -> None:
    answer = decide(grant, term, session, session.upper(), TTL, now, BOOT)
    assert (answer.reason, answer.granted) == (reason, reason in ("granted", "renewed"))
    if not answer.granted:
        assert answer.grant == grant
        assert answer.expires_in == remaining(grant, now, BOOT)
        return
    kept = answer.grant
    assert (kept.term, kept.session, kept.holder) == (term, session, session.upper())
    assert (kept.granted_at, kept.boot_id, kept.config_epoch) == (now, "now", grant.config_epoch)
    assert answer.expires_in == TTL


def test_a_release_keeps_the_term() -> None:
    assert (FREE.term, FREE.session, FREE.holder, FREE.config_epoch) == (7, "", "", 2)
    assert remaining(FREE, 100.0, BOOT) == 0.0


def test_nobody_releases_for_another() -> None:
    assert release(HELD, "b") is HELD


def test_a_grant_survives_its_file() -> None:
    assert Grant.from_dict({**HELD.as_dict(), "of_a_later_version": 1}) == HELD
    assert Grant.from_dict({}) == Grant()


TIMES = st.floats(0, 200)


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from("ab"), TIMES), max_size=20))
def test_a_term_is_granted_to_one_session_only_and_terms_only_grow(requests: list[tuple[int, str, float]]) -> None:
    grant, owners, now = Grant(), {}, 0.0
    for term, session, later in requests:
        now += later
        answer = decide(grant, term, session, session, TTL, now, BOOT)
        assert answer.grant.term >= grant.term
        grant = answer.grant
        if answer.granted:
            assert owners.setdefault(term, session) == session


def test_a_clock_that_runs_on_over_a_reboot_counts_from_the_first_question() -> None:
    """A container's hypervisor keeps its host's clock: zero would lie long ago, and the lease seem over at once."""
    late = Boot("now", 5000.0)
    assert remaining(REBOOTED, 5000.0, late) == TTL
    assert not decide(REBOOTED, 8, "b", "B", TTL, 5014.9, late).granted
    assert decide(REBOOTED, 8, "b", "B", TTL, 5015.0, late).granted
