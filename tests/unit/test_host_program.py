# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The host program as the one file that is installed: what is in it, and that it runs on its own."""

from __future__ import annotations

import ast
import io
import json
import os
import pathlib
import subprocess
import sys
import typing as t
import zipfile

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import PROTOCOL, VERSION
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.archive import PACKAGES, build

#: what may be missing on a machine, and is imported only inside `try: ... except ImportError`
GUARDED = {"libvirt", "yaml"}


@pytest.fixture
def body(module_utils: pathlib.Path) -> bytes:
    return build(str(module_utils))


@pytest.fixture
def program(body: bytes, tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "ensemble-host"
    path.write_bytes(body)
    path.chmod(0o755)
    return path


def run(program: pathlib.Path, *argv: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the file as a hypervisor would: with a bare interpreter that knows no collection."""
    command = [sys.executable, "-I", "-S", str(program), *argv]
    return subprocess.run(command, input=given, capture_output=True, check=False, cwd="/")


def test_the_same_sources_give_the_same_bytes(
    body: bytes, module_utils: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "elsewhere"
    for package in reversed(PACKAGES):
        for path in sorted((module_utils / package).rglob("*.py"), reverse=True):
            target = copy / path.relative_to(module_utils)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            os.utime(target, (1, 1))
            target.chmod(0o700)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert build(str(copy)) == body


def test_it_is_an_executable_archive_of_the_named_packages_only(body: bytes) -> None:
    assert body.startswith(b"#!/usr/bin/python3\n")
    names = zipfile.ZipFile(io.BytesIO(body)).namelist()
    assert names == sorted(names)
    assert {name.split("/")[1] for name in names if name.count("/") > 1} == set(PACKAGES)
    assert all(name.endswith(".py") and ".." not in name for name in names)
    for package in PACKAGES:
        assert f"ensemble/{package}/__init__.py" in names


def test_another_folder_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(EnsembleError) as caught:
        build(str(tmp_path))
    assert caught.value.code == "no_sources"


def guarded(tree: ast.AST) -> set[ast.AST]:
    """The statements inside `try` blocks that catch ImportError."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and any(ast.unparse(h.type or h) == "ImportError" for h in node.handlers):
            found |= {inner for statement in node.body for inner in ast.walk(statement)}
    return found


def imports(source: str) -> t.Iterator[tuple[str, int, bool]]:
    """(top module or relative name, level, guarded) of every import."""
    tree = ast.parse(source)
    inside = guarded(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], 0, node in inside
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0], node.level, node in inside


def test_it_imports_the_standard_library_and_itself_only(body: bytes) -> None:
    archive = zipfile.ZipFile(io.BytesIO(body))
    for name in archive.namelist():
        for module, level, safe in imports(archive.read(name).decode()):
            if level == 0 and module != "ensemble":
                assert module in sys.stdlib_module_names or (module in GUARDED and safe), f"{name} imports {module}"
            if level and level == name.count("/"):
                assert module in PACKAGES, f"{name} imports {module}"
            assert level <= name.count("/"), f"{name} reaches above itself"


def test_its_version(program: pathlib.Path) -> None:
    done = run(program, "--version")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"version": VERSION, "protocol": PROTOCOL}


@pytest.mark.parametrize(
    "argv", [["--help"], ["serve"], ["--version", "x"], ["--read-only", "--boot"], ["--boot", "1"], [""]]
)
def test_a_wrong_call(program: pathlib.Path, argv: list[str]) -> None:
    done = run(program, *argv)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"usage: ensemble-host")


def test_it_answers_through_every_insult(program: pathlib.Path) -> None:
    hello = json.dumps({"protocol": PROTOCOL, "id": 7, "verbs": [{"verb": "hello"}]}).encode() + b"\n"
    insults = [b"garbage\n", b"[]\n", b"[" * 100_000 + b"\n", b'{"protocol": 99, "verbs": [{}]}\n', b"\xff\x00\n"]
    done = run(program, given=b"".join(insult + hello for insult in insults) + b"{trunc")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 2 * len(insults) + 1
    for insult, greeting in zip(answers[0::2], answers[1::2]):
        assert "error" in insult
        assert greeting["results"][0]["value"]["version"] == VERSION
    assert done.stderr == b""


def test_a_boot_key_reads_records_only(program: pathlib.Path) -> None:
    hello = {"protocol": PROTOCOL, "id": 1, "verbs": [{"verb": "hello"}]}
    more = {**hello, "resource": "demo", "verbs": [{"verb": "record_read"}, {"verb": "secrets_read"}]}
    lines = b"".join(json.dumps(request).encode() + b"\n" for request in (hello, more, hello))
    first, refused, last = (json.loads(line) for line in run(program, "--read-only", given=lines).stdout.splitlines())
    assert first == {**last, "results": first["results"]}
    assert first["results"][0]["value"]["version"] == VERSION
    assert refused["error"]["code"] == "no_right"


def test_without_libvirt_it_says_what_to_do(program: pathlib.Path) -> None:
    """`-S` hides every installed package from it, python3-libvirt too."""
    request = {"protocol": PROTOCOL, "id": 1, "resource": "demo", "verbs": [{"verb": "observe"}]}
    done = run(program, given=json.dumps(request).encode() + b"\n")
    [result] = json.loads(done.stdout)["results"]
    assert result["error"]["code"] == "libvirt"
    assert "python3-libvirt" in result["error"]["msg"]


@pytest.mark.parametrize(("verb", "loaded"), [("hello", False), ("observe", True)])
def test_only_what_concerns_machines_loads_their_drivers(program: pathlib.Path, verb: str, loaded: bool) -> None:
    request = {"protocol": PROTOCOL, "resource": "demo", "verbs": [{"verb": verb}]}
    command = [sys.executable, "-I", "-S", "-X", "importtime", str(program)]
    done = subprocess.run(
        command, input=json.dumps(request).encode() + b"\n", capture_output=True, check=True, cwd="/", timeout=60
    )
    for module in ("_host.drivers.libvirt_common", "_host.drivers.lxc"):
        assert (module in done.stderr.decode()) is loaded
