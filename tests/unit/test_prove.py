# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The proof of the quorum lease in short: `make prove` is the long form."""

from __future__ import annotations

import pytest
from prove import mutants, verdict
from prove.course import execute, plan_of, search, shortest, told

SEEDS = 500


def test_random_courses_break_no_promise() -> None:
    counts, found = search(range(SEEDS))
    assert found is None, told(found)
    assert counts["terms"] > 5 * SEEDS
    assert counts["operations"] > 30 * SEEDS
    assert counts["stale_refused"] > SEEDS / 10


def test_courses_made_by_hand_come_out_as_they_say() -> None:
    said: list[str] = []
    assert verdict.schedules_hold(said.append), "\n".join(said)


@pytest.mark.parametrize("mutant", mutants.ALL, ids=lambda mutant: mutant.name)
def test_a_wrong_protocol_is_caught(mutant: mutants.Mutant) -> None:
    assert verdict.caught_by(mutant, 20)[0].startswith("schedule ")


def test_a_mutant_is_gone_afterwards() -> None:
    for mutant in mutants.ALL:
        with mutant.alive():
            pass
    assert search(range(20))[1] is None


def test_a_seed_is_the_same_course_each_time() -> None:
    first, second = execute(plan_of(7)), execute(plan_of(7))
    assert first.counts == second.counts
    assert first.plan == second.plan != plan_of(8)


def test_a_violation_names_its_seed_and_the_shortest_schedule() -> None:
    with mutants.ALL[1].alive():
        found = search(range(50))[1]
        assert found is not None
        assert found.violation is not None
        less = shortest(found.plan, found.violation.promise)
        words = told(found)
    assert 0 < len(less.steps) < len(found.plan.steps)
    assert words.startswith(f"seed {found.plan.seed}: ")
    assert words.count("\n") == len(less.steps) + 1
    assert "-> I" in words


def test_nothing_is_proved_by_a_proof_that_finds_nothing() -> None:
    said: list[str] = []
    with mutants.ALL[2].alive():
        assert not verdict.schedules_hold(said.append)
        assert not verdict.seeds_hold(4, 1, said.append)
    assert any("schedule '" in words for words in said)
    assert any(words.endswith("violations") and ": 0 " not in words for words in said)
    assert verdict.mutants_are_caught(0, said.append)
    assert said[-1] == "mutants caught: 8 of 8"
