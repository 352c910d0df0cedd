# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""From a seed to a course, from a violation to its shortest schedule."""

from __future__ import annotations

import random
import typing as t
from collections import Counter
from dataclasses import dataclass, replace

from .checks import Violation
from .simulation import Plan, Simulation
from .troubles import random_steps


@dataclass(frozen=True)
class Outcome:
    plan: Plan
    violation: Violation | None
    counts: t.Mapping[str, int]


def plan_of(seed: int) -> Plan:
    """The course of a seed: how many voters and nodes, and what happens to them."""
    chance = random.Random(f"plan {seed}")  # noqa: S311 (a repeatable course, not a secret)
    voters, nodes = chance.choice((1, 3, 3, 5)), chance.choice((2, 3, 3, 4))
    return Plan(seed, voters, nodes, random_steps(chance, voters, nodes))


def execute(plan: Plan) -> Outcome:
    simulation = Simulation(plan)
    found = simulation.run()
    return Outcome(plan, found, simulation.checks.counts)


def shortest(plan: Plan, promise: str) -> Plan:
    """The plan with as few steps as still break the same promise: each is left out in turn until none can be."""
    smaller = True
    while smaller:
        smaller = False
        for index in range(len(plan.steps)):
            less = replace(plan, steps=plan.steps[:index] + plan.steps[index + 1 :])
            found = execute(less).violation
            if found is not None and found.promise == promise:
                plan, smaller = less, True
                break
    return plan


def told(outcome: Outcome) -> str:
    """A violation for a person: its seed, the shortest schedule and what was broken."""
    assert outcome.violation is not None
    plan = shortest(outcome.plan, outcome.violation.promise)
    found = execute(plan).violation
    steps = "".join(f"\n  {step}" for step in plan.steps) or "\n  (no trouble at all)"
    return f"seed {plan.seed}: {plan.voters} voters, {plan.nodes} nodes{steps}\n  -> {found}"


def search(seeds: t.Iterable[int]) -> tuple[Counter[str], Outcome | None]:
    """All these courses, up to the first that breaks a promise."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        outcome = execute(plan_of(seed))
        counts.update(outcome.counts)
        counts["seeds"] += 1
        if outcome.violation is not None:
            return counts, outcome
    return counts, None
