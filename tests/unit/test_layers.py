# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Imports only point downwards, and what must be pure does no I/O."""

from __future__ import annotations

import ast
import pathlib
import typing as t

import pytest

#: package -> what it may import of the others
ALLOWED: dict[str, set[str]] = {
    "_model": set(),
    "_election": {"_model"},
    "_plan": {"_model"},
    "_status": {"_model"},
    "_host": {"_model", "_election"},
    "_pool": {"_model", "_election", "_host"},
    "_batch": {"_model"},
    "_probe": {"_model", "_host", "_pool", "_batch"},
    "_engine": {"_model", "_election", "_plan", "_host", "_pool", "_batch", "_probe"},
    "_module": {"_model", "_election", "_plan", "_status", "_host", "_pool", "_batch", "_probe", "_engine"},
    "_agent": {"_model", "_election", "_plan", "_status", "_host", "_pool", "_batch", "_probe", "_engine"},
}
#: of the election, a hypervisor has the voter's decision only
VOTER_ONLY = "_election.voter"
#: takes Ansible's own HTTP client, so that certificates are looked up as administrators of Ansible know it
HTTP_CLIENT = "gateway.py"
IMPURE = {"os", "socket", "time", "random", "secrets", "subprocess", "datetime", "io", "pathlib", "shutil", "tempfile"}
PURE = ("_plan", "_election", "_batch", "_status")
#: knows moments, which it is told, but not the present one
CALENDAR = ("_status", "text.py", "datetime")


def sources(module_utils: pathlib.Path) -> list[pathlib.Path]:
    return sorted(module_utils.rglob("*.py"))


def imported(path: pathlib.Path, module_utils: pathlib.Path) -> t.Iterator[str]:
    """Dotted names of what a file imports; those of the collection relative to module_utils."""
    here = path.relative_to(module_utils).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1]
            if node.module:
                yield ".".join((*base, node.module))
            else:
                yield from (".".join((*base, alias.name)) for alias in node.names)


def test_every_package_has_its_place_in_the_order(module_utils: pathlib.Path) -> None:
    packages = {path.name for path in module_utils.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert packages <= set(ALLOWED)
    assert len(sources(module_utils)) > 30


def test_imports_point_downwards(module_utils: pathlib.Path) -> None:
    for path in sources(module_utils):
        parts = path.relative_to(module_utils).parts
        for name in imported(path, module_utils):
            other = name.split(".")[0]
            assert "ansible_collections" not in name, f"{path}: imports in module_utils are relative"
            if len(parts) > 1 and other in ALLOWED and other != parts[0]:
                assert other in ALLOWED.get(parts[0], set(ALLOWED)), f"{path} imports {name}"
                assert parts[0] != "_host" or other != "_election" or name == VOTER_ONLY, f"{path} imports {name}"


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_know_no_world(module_utils: pathlib.Path, package: str) -> None:
    for path in sorted((module_utils / package).rglob("*.py")):
        tops = {name.split(".")[0] for name in imported(path, module_utils)}
        if (package, path.name) == CALENDAR[:2]:
            tops.remove(CALENDAR[2])
            assert not {"now", "utcnow", "today"} & {node.attr for node in _attributes(path)}
        assert not tops & IMPURE, f"{path} imports {tops & IMPURE}"
        if package == "_plan":
            assert "threading" not in tops
        called = {node.func.id for node in ast.walk(ast.parse(path.read_text())) if _plain_call(node)}  # type: ignore[attr-defined]
        assert not called & {"open", "print", "input", "exec", "eval", "__import__"}


def _attributes(path: pathlib.Path) -> list[ast.Attribute]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]


def _plain_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def test_the_model_reads_files_in_one_place_only(module_utils: pathlib.Path) -> None:
    for path in sorted((module_utils / "_model").rglob("*.py")):
        tops = {name.split(".")[0] for name in imported(path, module_utils)}
        allowed = {"os"} if path.name in ("load.py", "sections.py") else set()
        assert not tops & IMPURE - allowed, f"{path} imports {tops & IMPURE}"


def test_ansible_is_met_in_one_package_only(module_utils: pathlib.Path) -> None:
    for path in sources(module_utils):
        if any(name.split(".")[0] == "ansible" for name in imported(path, module_utils)):
            assert path.relative_to(module_utils).parts[0] == "_module" or path.name == HTTP_CLIENT, path
