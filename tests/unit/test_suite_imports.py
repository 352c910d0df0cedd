# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What the long suites take from the collection is there: some of it is run on members only, an hour into a check."""

from __future__ import annotations

import ast
import importlib
import typing as t
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SUITES = sorted(path for path in TESTS.rglob("*.py") if path.parent.name not in ("unit", "data"))


def imported(path: Path) -> t.Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ansible_collections."):
            yield from ((node.module or "", alias.name) for alias in node.names)


@pytest.mark.parametrize("path", [path for path in SUITES if any(imported(path))], ids=lambda path: path.name)
def test_what_a_suite_imports_is_there(path: Path) -> None:
    for module, name in imported(path):
        found = importlib.import_module(module)
        assert hasattr(found, name) or importlib.import_module(f"{module}.{name}"), f"{module}.{name}"


def used_of_harness(path: Path) -> t.Iterator[tuple[str, str]]:
    """Module of the harness, and what is used of it."""
    tree = ast.parse(path.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "harness"]
    modules = {alias.name for node in imports for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield f"harness.{node.value.id}", node.attr


@pytest.mark.parametrize("path", [path for path in SUITES if any(used_of_harness(path))], ids=lambda path: path.name)
def test_what_a_suite_uses_of_the_harness_is_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TESTS))
    for module, name in used_of_harness(path):
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"
