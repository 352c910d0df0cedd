# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Which timings of a lease and which numbers of voters can hold."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import Fault

#: a lease is renewed every ttl / RENEWALS
RENEWALS = 3
#: seconds; a shorter lease than that would be lost by an ordinary pause of a busy machine
MIN_TTL = 3.0


@dataclass(frozen=True)
class Timings:
    """Seconds: of a lease, of one question to the voters, and by how much campaigns are spread."""

    ttl: float
    op_timeout: float

    @classmethod
    def of(cls, ttl: float, op_timeout: float | None = None) -> Timings:
        return cls(ttl, ttl / 5 if op_timeout is None else op_timeout)

    @property
    def renew(self) -> float:
        return self.ttl / RENEWALS

    @property
    def jitter(self) -> float:
        return self.ttl / 30

    def faults(self) -> list[Fault]:
        """Why these timings cannot hold: a renewal and its repetition must fit into the lease."""
        faults = []
        if self.ttl < MIN_TTL:
            faults.append(Fault("ttl", f"{self.ttl:g}", f"at least {MIN_TTL:g} s"))
        needed = self.renew + 2 * self.op_timeout + self.jitter
        if needed > self.ttl:
            faults.append(
                Fault(
                    "op_timeout",
                    f"{self.op_timeout:g}",
                    f"less: a third of the ttl, two questions and the jitter take {needed:.1f} s, and the lease lasts "
                    f"{self.ttl:g} s",
                )
            )
        return faults


def voter_warnings(count: int, preempt: bool) -> tuple[list[Fault], list[str]]:
    """Faults and warnings of a number of voters."""
    faults, warnings = [], []
    if count == 2 and preempt:
        faults.append(Fault("preempt", "true with two voters", "one, three or five voters, or no preemption"))
    if count % 2 == 0:
        spare = (count - 1) // 2
        warnings.append(
            f"{count} voters tolerate the loss of {spare or 'none'}, no more than {count - 1} would, and each of them "
            "is one more that can fail. Name an odd number: election.witnesses adds one that carries no members."
        )
    return faults, warnings
