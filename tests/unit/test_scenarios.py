# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The report of scenarios, by a pytest run of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
_CONFTEST = """
import sys
sys.path.insert(0, {tests!r})
from harness.report import register
def pytest_configure(config):
    register(config, ["chaos"])
"""
_CASES = """
import pytest
def test_good(record_property):
    record_property("seed", 7)
def test_bad():
    assert 1 == 2, "not the same"
def test_left_out():
    pytest.skip("no time")
@pytest.fixture
def untidy():
    yield
    raise RuntimeError("something is left")
def test_untidy(untidy):
    pass
"""


def test_every_scenario_has_a_line_and_the_last_line_counts_them(tmp_path: Path) -> None:
    for folder in ("chaos", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / "chaos/conftest.py").write_text(_CONFTEST.format(tests=str(TESTS)))
    (tmp_path / "chaos/test_cases.py").write_text(_CASES)
    (tmp_path / "other/test_more.py").write_text("def test_more():\n    pass\n")
    path = tmp_path / "artefacts/chaos.jsonl"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--rootdir={tmp_path}",
        "chaos",
        "other",
    ]
    environment = {**os.environ, "ENSEMBLE_CHAOS_REPORT": str(path)}
    done = subprocess.run(
        [*command, "chaos", "other"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "3 scenarios, 1 passed, 2 failed", done.stdout + done.stderr
    assert done.returncode == 1
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    outcomes = {line["scenario"].partition("::")[2]: (line["outcome"], line["why"]) for line in lines}
    assert outcomes["test_good"] == ("passed", "")
    assert outcomes["test_bad"][0] == "failed"
    assert "not the same" in outcomes["test_bad"][1]
    assert outcomes["test_left_out"] == ("skipped", "call: Skipped: no time")
    assert outcomes["test_untidy"][0] == "failed"
    assert outcomes["test_untidy"][1].startswith("teardown: ")
    assert set(outcomes) == {"test_good", "test_bad", "test_left_out", "test_untidy"}
    assert lines[0]["facts"] == {"seed": 7}
