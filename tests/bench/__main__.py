# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Figures, one JSON line each: name, value (median), unit, goal, n, min, max. Never a test."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import figures, figures_clone, figures_election, figures_heal, figures_peer, figures_scale
from bench.setting import Setting

ALL = {
    **figures.ALL,
    **figures_scale.ALL,
    **figures_peer.ALL,
    **figures_clone.ALL,
    **figures_election.ALL,
    **figures_heal.ALL,
}


def line(name: str, unit: str, goal: float | None, values: t.Sequence[float]) -> str:
    """One figure as JSON; a figure without a goal explains another one."""
    figure = {
        "name": name,
        "value": round(statistics.median(values), 4),
        "unit": unit,
        "goal": goal,
        "n": len(values),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
    }
    return json.dumps(figure)


def main() -> int:
    """Run the chosen benchmarks; exit code 2 for an unknown name."""
    parser = argparse.ArgumentParser(description="Measure the collection on the lab and on simulated pools.")
    parser.add_argument("--only", default="", help="comma-separated names: " + ", ".join(ALL))
    names = [name for name in parser.parse_args().only.split(",") if name] or list(ALL)
    unknown = set(names) - set(ALL)
    if unknown:
        sys.stderr.write(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}\n")
        return 2
    with tempfile.TemporaryDirectory() as home, Setting(Path(home)) as setting:
        for name in names:
            for figure, unit, goal, values in ALL[name](setting):
                sys.stdout.write(line(figure, unit, goal, values) + "\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
