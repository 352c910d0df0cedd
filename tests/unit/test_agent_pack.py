# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What role convergence brings to a member: the same input gives the same bytes, and nothing that is not needed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/convergence"
PACK = ROLE / "files/convergence_pack.py"


def pack(*words: str | Path) -> dict[str, t.Any]:
    done = subprocess.run([sys.executable, PACK, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return t.cast("dict[str, t.Any]", json.loads(done.stdout))


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """A collection with one agent and much that a checkout holds besides."""
    for name in ("plugins/module_utils/_agent/main.py", "galaxy.yml", "roles/r/tasks/main.yml", "roles/r/files/run"):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "source/roles/r/files/run").chmod(0o755)
    for name in ("tests/unit/test_x.py", ".venv/bin/python", "plugins/module_utils/_agent/__pycache__/main.pyc"):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "source"


def test_a_collection_holds_what_is_needed_and_nothing_else(collection: Path, tmp_path: Path) -> None:
    told = pack("collection", collection, tmp_path / "cache")
    with tarfile.open(told["path"]) as archive:
        entries = archive.getmembers()
    assert [entry.name for entry in entries] == [
        "galaxy.yml",
        "plugins/module_utils/_agent/main.py",
        "roles/r/files/run",
        "roles/r/tasks/main.yml",
    ]
    assert [entry.mode for entry in entries] == [0o644, 0o644, 0o755, 0o644]
    assert {(entry.uid, entry.gid, entry.mtime) for entry in entries} == {(0, 0, 0)}


def test_the_same_collection_has_the_same_digest(collection: Path, tmp_path: Path) -> None:
    first = pack("collection", collection, tmp_path / "one")
    (collection / "galaxy.yml").touch()
    again = pack("collection", collection, tmp_path / "one")
    assert (first["changed"], again["changed"]) == (True, False)
    assert again["digest"] == first["digest"]
    (collection / "galaxy.yml").write_text("other")
    other = pack("collection", collection, tmp_path / "one")
    assert other["digest"] != first["digest"]
    assert [path.name for path in (tmp_path / "one").iterdir()] == [Path(other["path"]).name]


def test_something_else_is_no_collection(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PACK, "collection", tmp_path, tmp_path / "cache"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "is not this collection" in done.stderr


def test_packages_without_a_version_are_refused(tmp_path: Path) -> None:
    words = ["runtime", tmp_path / "x.tar.gz", "3.13", "x86_64", "paramiko", "pyyaml==6.0.3"]
    done = subprocess.run([sys.executable, PACK, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "without an exact version (==): paramiko" in done.stderr


def test_an_archive_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_text("as it is")
    assert pack("runtime", tmp_path / "x.tar.gz", "3.13", "x86_64", "paramiko==5.1.0")["changed"] is False
    assert (tmp_path / "x.tar.gz").read_text() == "as it is"


def test_what_pip_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("convergence_pack", PACK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: noise\nERROR: No matching distribution found\n")
    monkeypatch.setattr(module.subprocess, "run", lambda *_words, **_options: failed)
    with pytest.raises(module.PackError, match=r"Python 3\.13 on x86_64.*No matching distribution found"):
        module.pack_runtime(str(tmp_path / "x.tar.gz"), "3.13", "x86_64", ["paramiko==5.1.0"])
    assert list(tmp_path.iterdir()) == []


def test_the_documented_defaults_are_those_that_hold() -> None:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    options = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in options.items()} == defaults
