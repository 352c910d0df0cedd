# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Who campaigns when, and which timings and numbers of voters can hold."""

from __future__ import annotations

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.policy import (
    Timings,
    campaign_delay,
    rank_of,
    voter_warnings,
)
from hypothesis import given
from hypothesis import strategies as st

DEFAULT = Timings.of(15.0)


def test_timings_follow_from_the_ttl() -> None:
    assert (DEFAULT.op_timeout, DEFAULT.renew, DEFAULT.jitter) == (3.0, 5.0, 0.5)
    assert Timings.of(15.0, 1.0).op_timeout == 1.0
    assert Timings.of(15.0, 0.0).op_timeout == 0.0


@pytest.mark.parametrize(
    ("ttl", "op_timeout", "paths"),
    [
        (15.0, None, []),
        (6.0, None, []),
        (3.0, None, []),
        (2.9, None, ["ttl"]),
        (15.0, 4.75, []),
        (15.0, 4.76, ["op_timeout"]),
        (2.0, 2.0, ["ttl", "op_timeout"]),
    ],
)
def test_timings_that_cannot_hold_are_faults(ttl: float, op_timeout: float | None, paths: list[str]) -> None:
    faults = Timings.of(ttl, op_timeout).faults()
    assert [fault.path for fault in faults] == paths
    for fault in faults:
        assert str(fault).startswith(f"{fault.path}: found ")


@given(st.floats(3.0, 600.0), st.floats(0.0, 600.0))
def test_timings_without_a_fault_leave_room_for_a_renewal_and_its_repetition(ttl: float, op_timeout: float) -> None:
    timings = Timings(ttl, op_timeout)
    fits = ttl / 3 + 2 * op_timeout + timings.jitter <= ttl
    assert (timings.faults() == []) == fits


@given(st.integers(0, 4), st.floats(0, 1), st.floats(0, 1))
def test_the_preferred_candidate_is_first_whatever_chance_does(rank: int, chance: float, other: float) -> None:
    assert campaign_delay(rank, True, DEFAULT, chance) <= campaign_delay(rank + 1, True, DEFAULT, other) + 1e-9


@given(st.integers(0, 4), st.integers(0, 4), st.floats(0, 1))
def test_one_whose_last_run_failed_lets_the_others_go_first(rank: int, other: int, chance: float) -> None:
    assert campaign_delay(rank, False, DEFAULT, chance) > campaign_delay(other, True, DEFAULT, chance) or rank < other
    assert campaign_delay(0, False, DEFAULT, 0.0) == pytest.approx(DEFAULT.ttl / 3)


def test_the_fifth_candidate_campaigns_within_a_few_seconds() -> None:
    assert campaign_delay(4, True, DEFAULT, 1.0) == pytest.approx(2.5)


def test_ranks_follow_the_declared_order_not_the_alphabet() -> None:
    candidates = ["m10", "m2", "m1"]
    assert [rank_of(node, candidates) for node in (*candidates, "stranger")] == [0, 1, 2, 3]
    assert rank_of("anybody", []) == 0


@pytest.mark.parametrize(
    ("count", "preempt", "faults", "warned"),
    [
        (1, True, [], ""),
        (3, True, [], ""),
        (5, False, [], ""),
        (2, False, [], "2 voters tolerate the loss of none"),
        (2, True, ["preempt"], "2 voters tolerate the loss of none"),
        (4, True, [], "4 voters tolerate the loss of 1,"),
    ],
)
def test_numbers_of_voters(count: int, preempt: bool, faults: list[str], warned: str) -> None:
    found, warnings = voter_warnings(count, preempt)
    assert [fault.path for fault in found] == faults
    assert len(warnings) == bool(warned)
    assert warned in "".join(warnings)
