# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What is proved, in lines for a person; each function tells whether it held."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import typing as t
from collections import Counter

from . import mutants, schedules
from .course import execute, plan_of, search, told

#: seeds per piece of work
CHUNK = 250
Say = t.Callable[[str], t.Any]


def _piece(first: int, last: int) -> tuple[Counter[str], int | None]:
    """Counts, and the first seed that breaks a promise."""
    counts, outcome = search(range(first, last))
    return counts, None if outcome is None else outcome.plan.seed


def seeds_hold(count: int, processes: int, say: Say) -> bool:
    """No random course breaks a promise."""
    firsts = range(0, count, CHUNK)
    counts: Counter[str] = Counter()
    broken = []
    # forked, so that the mutants of this process are those of the others
    fork = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=fork) as pool:
        for piece, seed in pool.map(_piece, firsts, [min(first + CHUNK, count) for first in firsts]):
            counts.update(piece)
            broken += [] if seed is None else [seed]
    shown = " ".join(f"{name}={counts[name]}" for name in ("seeds", "terms", "operations", "stale_refused"))
    say(f"{shown} : {len(broken)} violations")
    if broken:
        say(told(execute(plan_of(broken[0]))))
    return not broken


def schedules_hold(say: Say) -> bool:
    """No course made by hand breaks a promise, and each comes out as it says."""
    wrong = [words for words in map(_schedule_fault, schedules.ALL) if words]
    for words in wrong:
        say(words)
    say(f"schedules={len(schedules.ALL)} : {len(wrong)} wrong")
    return not wrong


def _schedule_fault(schedule: schedules.Schedule) -> str:
    outcome = execute(schedule.plan)
    if outcome.violation is not None:
        return f"schedule '{schedule.name}': {told(outcome)}"
    came = (outcome.counts["terms"], outcome.counts["stale_refused"])
    if came != (schedule.wins, schedule.refused):
        return f"schedule '{schedule.name}': (terms, refused) {came}, expected {(schedule.wins, schedule.refused)}"
    return ""


def mutants_are_caught(seeds: int, say: Say) -> bool:
    """Each wrong protocol breaks a promise in a course made by hand, or in one of so many random ones."""
    caught = 0
    for mutant in mutants.ALL:
        by = caught_by(mutant, seeds)
        caught += bool(by)
        say(f"{'caught' if by else 'MISSED'}: {mutant.name} (rule {mutant.rule}){''.join(f'; {one}' for one in by)}")
    say(f"mutants caught: {caught} of {len(mutants.ALL)}")
    return caught == len(mutants.ALL)


def caught_by(mutant: mutants.Mutant, seeds: int) -> list[str]:
    """The schedule made by hand and the seed that caught it, with the promise that it broke."""
    by = []
    with mutant.alive():
        for schedule in schedules.ALL:
            violation = execute(schedule.plan).violation
            if violation is not None:
                by.append(f"schedule '{schedule.name}' ({violation.promise})")
                break
        outcome = search(range(seeds))[1]
        if outcome is not None and outcome.violation is not None:
            by.append(f"seed {outcome.plan.seed} ({outcome.violation.promise})")
    return by
