# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Random courses, courses made by hand and mutants of the quorum lease; exit code 1 when the proof fails."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from prove import verdict
from prove.course import execute, plan_of, told

#: random courses in which a mutant has to be found, when no schedule made by hand finds it
MUTANT_SEEDS = 2000


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """All of the proof, or the course of one seed."""
    parser = argparse.ArgumentParser(description="Prove the quorum lease by simulation.")
    parser.add_argument("--seeds", type=int, default=10_000, help="random courses (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="at once (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="only the course of this seed, as a violation named it")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        outcome = execute(plan_of(chosen.seed))
        say(told(outcome) if outcome.violation else f"seed {chosen.seed}: no violation, {dict(outcome.counts)}")
        return int(outcome.violation is not None)
    held = [
        verdict.schedules_hold(say),
        verdict.seeds_hold(chosen.seeds, chosen.processes, say),
        verdict.mutants_are_caught(MUTANT_SEEDS, say),
    ]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
