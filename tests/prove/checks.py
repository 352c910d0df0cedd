# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What must hold in every simulated course: I1, I2, I3 and I6 of docs/election.md, judged by the true time."""

from __future__ import annotations

import typing as t
from collections import Counter

from .world import DRIFT, TIMINGS

if t.TYPE_CHECKING:
    from .process import Process

Token = t.Tuple[int, int]


class Violation(Exception):
    """A promise was broken.

    Attributes:
        promise: I1, I2, I3 or I6.
    """

    def __init__(self, promise: str, at: float, words: str) -> None:
        super().__init__(f"{promise} at {at:.3f} s: {words}")
        self.promise = promise


class Checks:
    """Watches one course; `counts` are of terms, operations and stale_refused."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.processes: list[Process] = []
        self._winners: dict[Token, Process] = {}
        self._accepted: dict[str, Token] = {}

    def won(self, process: Process) -> None:
        """I1: a term of an epoch has one winner."""
        token = process.lease.token
        winner = self._winners.setdefault(token, process)
        if winner is not process:
            raise Violation("I1", process.world.now, f"term {token} was won by {winner} and by {process}")
        self.counts["terms"] += 1
        self.extended(process)

    def extended(self, process: Process) -> None:
        """I2: while one believes in its lease nobody else does. A belief begins only when a lease is extended."""
        if process.lease.remaining() <= 0:
            return
        for other in self.processes:
            if other is not process and other.alive and other.lease.remaining() > 0:
                raise Violation(
                    "I2",
                    process.world.now,
                    f"{process} holds {process.lease.token} while {other} believes in {other.lease.token} "
                    f"for {other.lease.remaining():.3f} s more",
                )

    def operated(self, process: Process) -> None:
        """I2 and I6, at the moment a session sends an operation: a majority vouched for it within its lease."""
        self.counts["operations"] += 1
        self.extended(process)
        vouched = sorted((process.vouched.get(name, float("-inf")) for name in process.voters), reverse=True)
        since = vouched[len(process.voters) // 2]
        if process.world.now - since > TIMINGS.ttl * (1 + DRIFT):
            raise Violation("I6", process.world.now, f"{process} works; a majority granted last at {since:.3f} s")

    def accepted(self, target: str, token: Token, at: float) -> None:
        """I3: what a target accepts never goes back, over its reboots too."""
        before = self._accepted.get(target, (0, 0))
        if token < before:
            raise Violation("I3", at, f"{target} accepted {token} after {before}")
        self._accepted[target] = token
        self.counts["accepted"] += 1
