# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Simulated time and a network that drops, delays, reorders and repeats messages; the same seed, the same course."""

from __future__ import annotations

import heapq
import random
import typing as t
from dataclasses import dataclass

from ansible_collections.ensemble.stacks.plugins.module_utils._election.policy import Timings

#: a clock gains or loses at most this share of the true time
DRIFT = 0.025
TIMINGS = Timings.of(15.0)
ANY = "*"
#: prefix of the verb of an answer
BACK = "re:"


class World:
    """Events in the order of true time, which no machine can read."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.chance = random.Random(seed)  # noqa: S311 (a repeatable course, not a secret)
        self._events: list[tuple[float, int, t.Callable[..., None], tuple[t.Any, ...]]] = []
        self._count = 0

    def after(self, seconds: float, work: t.Callable[..., None], *args: t.Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, work, args))

    def run(self, until: float) -> None:
        events = self._events
        while events and events[0][0] <= until:
            self.now, _order, work, args = heapq.heappop(events)
            work(*args)


class Clock:
    """A machine's CLOCK_BOOTTIME: begins anywhere, runs too fast or too slow."""

    def __init__(self, world: World, begin: float, rate: float) -> None:
        self._world = world
        self._begin = begin - rate * world.now
        self.rate = rate

    def __call__(self) -> float:
        return self._begin + self.rate * self._world.now


@dataclass
class Rule:
    """What happens to messages from `src` to `dst` until a true time.

    Attributes:
        lost: the share of them that does not arrive.
        late: seconds by which they come later than usual.
        again: seconds after which a request arrives once more; 0 for not at all.
    """

    src: str
    dst: str
    verb: str
    until: float
    lost: float = 0.0
    late: float = 0.0
    again: float = 0.0

    def concerns(self, src: str, dst: str, verb: str) -> bool:
        return self.src in (ANY, src) and self.dst in (ANY, dst) and verb.startswith(self.verb)


class Network:
    """Carries messages; a `calm` one carries each in the same time, for schedules made by hand."""

    USUAL = (0.002, 0.12)
    #: one message in so many is very late, is lost, or arrives twice
    ODD = 0.02

    def __init__(self, world: World, calm: bool) -> None:
        self.world = world
        self.calm = calm
        self.rules: list[Rule] = []

    def send(self, src: str, dst: str, verb: str, deliver: t.Callable[..., None], *args: t.Any) -> None:
        chance, delay = self.world.chance, 0.01
        if not self.calm:
            delay = chance.uniform(*self.USUAL)
            odd = chance.random()
            if odd < self.ODD:
                if odd < self.ODD / 3:
                    return
                if odd < self.ODD * 2 / 3:
                    delay += chance.uniform(0, 2 * TIMINGS.ttl)
                elif not verb.startswith(BACK):
                    self.world.after(delay + chance.uniform(0, 2 * TIMINGS.ttl), deliver, *args)
        if self.rules:
            self.rules = [rule for rule in self.rules if rule.until > self.world.now]
        for rule in self.rules:
            if not rule.concerns(src, dst, verb):
                continue
            if rule.lost and (rule.lost >= 1 or chance.random() < rule.lost):
                return
            delay += rule.late
            if rule.again and not verb.startswith(BACK):
                self.world.after(delay + rule.again, deliver, *args)
        self.world.after(delay, deliver, *args)
