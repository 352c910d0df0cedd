# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Schedules of faults drawn from a seed."""

from __future__ import annotations

import random
import typing as t

from .simulation import LASTS, Step
from .world import ANY, TIMINGS


def random_steps(chance: random.Random, voters: int, nodes: int) -> tuple[Step, ...]:
    """Troubles drawn from a seed: 6 to 16 of them, each of which means the same when others are left out."""
    steps = [_trouble(chance, voters, nodes) for _count in range(chance.randint(6, 16))]
    return tuple(sorted(steps, key=lambda step: step.at))


def _trouble(chance: random.Random, voters: int, nodes: int) -> Step:
    at = round(chance.uniform(1.0, LASTS * 0.9), 3)
    kind = chance.choices(
        ("cut", "rule", "pause", "kill", "restart", "twin", "reboot", "crash", "lose", "outage"),
        (5, 4, 4, 1, 3, 2, 4, 2, 3, 1),
    )[0]
    index, seconds = chance.randrange(100), round(chance.uniform(0.5, 2.5 * TIMINGS.ttl), 3)
    if kind == "cut":
        machines = [f"v{one}" for one in range(voters)] + [f"n{one}" for one in range(nodes)] + ["t0", "t1"]
        chance.shuffle(machines)
        size = chance.randint(1, len(machines) - 1)
        return Step(at, kind, (tuple(machines[:size]), tuple(machines[size:]), seconds, chance.random() < 0.6))
    if kind == "rule":
        what = chance.choice(
            ({"lost": 0.3}, {"lost": 0.7}, {"late": 1.5}, {"late": 8.0}, {"late": 16.0}, {"again": 10.0})
        )
        place = chance.choice(((ANY, ANY), (ANY, f"v{index % voters}"), (f"n{index % nodes}", ANY)))
        verb = chance.choice(("", "", "lease_request", "re:", "operate", "lease_release"))
        return Step(at, kind, (*place, verb, seconds, what))
    extra: dict[str, tuple[t.Any, ...]] = {
        "pause": (index, seconds),
        "reboot": (index, round(chance.uniform(0.1, 5.0), 3), chance.random() < 0.6),
        "outage": (index, seconds / 3),
    }
    return Step(at, kind, extra.get(kind, (index,)))
