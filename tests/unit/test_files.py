# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""State files: whatever happened to them, they are whole or known to be corrupt."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import stat
import subprocess
import sys

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import (
    BusyError,
    CorruptStateError,
    locked,
    read_json,
    resource_dir,
    write_file,
    write_json,
)
from hypothesis import given
from hypothesis import strategies as st

VALUE = {"b": [1, 2, {"c": None}], "a": "text"}


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "state.json"


def test_what_is_written_is_read(path: pathlib.Path) -> None:
    assert read_json(str(path)) is None
    write_json(str(path), VALUE)
    assert read_json(str(path)) == VALUE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_writing_leaves_nothing_beside_the_file(path: pathlib.Path) -> None:
    write_json(str(path), 1)
    write_json(str(path), 2, 0o644)
    assert [entry.name for entry in path.parent.iterdir()] == ["state.json"]
    assert (read_json(str(path)), stat.S_IMODE(path.stat().st_mode)) == (2, 0o644)


def test_a_file_aside_from_a_run_that_was_killed_is_overwritten(path: pathlib.Path) -> None:
    aside = path.with_name(f"state.json.tmp{os.getpid()}")
    aside.write_text("half")
    write_json(str(path), VALUE)
    assert read_json(str(path)) == VALUE
    assert not aside.exists()


def test_a_write_that_fails_leaves_the_old_content(path: pathlib.Path) -> None:
    write_json(str(path), VALUE)
    with pytest.raises(TypeError):
        write_file(str(path), "no bytes")  # type: ignore[arg-type]
    assert read_json(str(path)) == VALUE
    assert len(list(path.parent.iterdir())) == 1


def test_a_link_at_the_file_aside_is_not_followed(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path.with_name(f"state.json.tmp{os.getpid()}").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        write_json(str(path), VALUE)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0" * 80,
        b"{",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"{}",
        b'{"value": 1}',
        b'{"sha256": "x"}',
        b'{"value": 1, "sha256": "x"}',
        b'{"value": 1, "sha256": null}',
        b"\xff\xfe\x00",
    ],
)
def test_corrupt_files(path: pathlib.Path, body: bytes) -> None:
    path.write_bytes(body)
    with pytest.raises(CorruptStateError) as caught:
        read_json(str(path))
    assert caught.value.code == "corrupt_state"
    assert str(path) in caught.value.msg


@given(st.data())
def test_any_damage_is_noticed(data: st.DataObject) -> None:
    path = pathlib.Path.home() / "damaged.json"
    write_json(str(path), VALUE)
    body = path.read_bytes()
    at = data.draw(st.integers(0, len(body) - 1))
    damaged = data.draw(st.sampled_from([body[:at], body[:at] + b"\0" * (len(body) - at), _flipped(body, at)]))
    path.write_bytes(damaged)
    try:
        assert read_json(str(path)) == VALUE
        assert json.loads(damaged) == json.loads(body)
    except CorruptStateError:
        pass


def _flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def test_a_lock_excludes_within_the_process(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "new" / "x.lock")
    with locked(path, 0.0):
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
        with pytest.raises(BusyError) as caught, locked(path, 0.0):
            pass
        assert caught.value.code == "busy"
    with locked(path, 0.0):
        pass


def test_a_lock_is_free_after_an_exception(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "x.lock")
    with contextlib.suppress(KeyboardInterrupt), locked(path, 0.0):
        raise KeyboardInterrupt
    with locked(path, 0.0):
        pass


HOLDER = """
import sys
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import locked
with locked(sys.argv[1], 0.0):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_excludes_other_processes_and_dies_with_its_holder(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "x.lock")
    argv = [sys.executable, "-c", HOLDER, path]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError), locked(path, 0.0):
            pass
        holder.kill()
        holder.wait()
        with locked(path, 0.0):
            pass


def test_where_a_resources_state_lies() -> None:
    assert resource_dir("/state", "demo") == "/state/demo"
