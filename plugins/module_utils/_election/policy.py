# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Who campaigns when: the bully's preference for the lowest id, without its dangers."""

from __future__ import annotations

import typing as t

from .._model.timings import MIN_TTL, RENEWALS, Timings, voter_warnings

__all__ = ["MIN_TTL", "RENEWALS", "Timings", "campaign_delay", "rank_of", "voter_warnings"]

#: share of the ttl by which a candidate waits longer than the one before it
_STEP_SHARE = 1 / 30
#: a candidate whose last run failed lets all others go first, this share of the ttl longer
_FAILED_SHARE = 1 / 3


def campaign_delay(rank: int, eligible: bool, timings: Timings, chance: float) -> float:
    """Seconds that a candidate waits once it has seen the lease free.

    Args:
        rank: place among the candidates, 0 is preferred.
        eligible: it is healthy, and its last run went well.
        chance: random, from 0 to 1.
    """
    late = 0.0 if eligible else timings.ttl * _FAILED_SHARE
    return rank * timings.ttl * _STEP_SHARE + late + chance * timings.jitter


def rank_of(node: str, candidates: t.Sequence[str]) -> int:
    """A node's place among the candidates in their declared order; those that are none come last."""
    return candidates.index(node) if node in candidates else len(candidates)
