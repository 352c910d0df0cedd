# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A report of scenarios that a machine reads: a JSON line for each, and one last line with their number."""

from __future__ import annotations

import datetime
import json
import os
import sys
import typing as t
from pathlib import Path

import pytest

#: names the file, in which the scenarios of one pytest run are; nothing is written without it
VARIABLE = "ENSEMBLE_CHAOS_REPORT"
_WORDS = 500


class Scenarios:
    """A plugin of pytest: every test of these folders is a scenario; one that was skipped is listed and not counted."""

    def __init__(self, path: Path, folders: t.Collection[str]) -> None:
        self.path = path
        self.folders = tuple(f"{folder.rstrip('/')}/" for folder in folders)
        self.entries: dict[str, dict[str, t.Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Setup, call and teardown count together: the worst outcome is the scenario's."""
        if not report.nodeid.startswith(self.folders):
            return
        entry = self.entries.setdefault(
            report.nodeid, {"scenario": report.nodeid, "outcome": "passed", "seconds": 0.0, "why": "", "facts": {}}
        )
        entry["seconds"] = round(entry["seconds"] + report.duration, 2)
        entry["facts"].update(dict(report.user_properties))
        if report.failed or (report.skipped and entry["outcome"] == "passed"):
            entry["outcome"] = report.outcome
            entry["why"] = f"{report.when}: {_reason(report)}"[:_WORDS]
        if report.when == "teardown":
            entry["ended"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
            # at once, so that a run that is ended leaves what it has found
            with self.path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(entry, sort_keys=True, default=str) + "\n")

    def summary(self) -> str:
        """The last line."""
        outcomes = [entry["outcome"] for entry in self.entries.values() if entry["outcome"] != "skipped"]
        failed = outcomes.count("failed")
        return f"{len(outcomes)} scenarios, {len(outcomes) - failed} passed, {failed} failed"

    def pytest_unconfigure(self) -> None:
        """After pytest's own last words."""
        sys.stdout.write(self.summary() + "\n")
        sys.stdout.flush()


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):  # file, line and reason of a skip
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr or "")


def register(config: pytest.Config, folders: t.Collection[str]) -> None:
    """Report the scenarios in these folders where the caller's environment asks for it."""
    path = os.environ.get(VARIABLE)
    if path and not config.pluginmanager.has_plugin("scenarios"):
        config.pluginmanager.register(Scenarios(Path(path), folders), "scenarios")
