# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The agents' keys among the lines of somebody else's file of authorized keys."""

from __future__ import annotations

import pathlib
import stat

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host import files
from ansible_collections.ensemble.stacks.plugins.module_utils._host.agent_keys import KEY_LINE, AgentKeys
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.keys import generate_key_pair
from hypothesis import given
from hypothesis import strategies as st

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHyS4DhoPDqzQEQEAAGGPHx1lFEVPCm5sSmzLuGlmGeE"
OTHER = "ssh-rsa AAAAB3NzaC1yc2E="
LINE = f'restrict,command="/usr/local/bin/ensemble-host --resource demo" {KEY} ensemble-agent:demo'.encode()
#: lines that are not ours, each as somebody might have written it
THEIRS = [
    b"ssh-ed25519 AAAA admin@desk",
    b"# ssh-ed25519 AAAA ensemble-agent:demo was here",
    b"",
    b"   ",
    b"ssh-ed25519 AAAA J\xf6rg",
    b"ssh-ed25519 AAAA \xff\xfe\x80",
    "ssh-ed25519 AAAA Jörg\u2028\x85".encode(),
    b"# one\x0bssh-ed25519 AAAA evil",
    b"# two\x0cssh-ed25519 AAAA evil",
    b"# three\rssh-ed25519 AAAA evil",
    b"# four\x1c\x1d\x1essh-ed25519 AAAA evil",
    b"ssh-ed25519 AAAA windows\r",
    b'command="/bin/false" ssh-rsa BBBB ensemble-agent:demo2',
    b"ssh-rsa BBBB xensemble-agent:demo",
]


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / ".ssh" / "authorized_keys"


@pytest.fixture
def keys(path: pathlib.Path) -> AgentKeys:
    return AgentKeys(str(path), "/usr/local/bin/ensemble-host")


def given_file(path: pathlib.Path, *lines: bytes, end: bytes = b"\n") -> bytes:
    path.parent.mkdir(exist_ok=True)
    body = b"\n".join(lines) + end
    path.write_bytes(body)
    return body


def test_where_there_is_no_file_it_is_made_for_its_owner_only(keys: AgentKeys, path: pathlib.Path) -> None:
    assert keys.write("demo", KEY) is True
    assert path.read_bytes() == LINE + b"\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert keys.key("demo") == KEY


def test_what_is_not_there_is_removed_without_a_trace(keys: AgentKeys, path: pathlib.Path) -> None:
    assert keys.write("demo", None) is False
    assert not path.parent.exists()
    assert keys.key("demo") == ""


@pytest.mark.parametrize("end", [b"\n", b""])
def test_other_lines_are_left_as_they_stand(keys: AgentKeys, path: pathlib.Path, end: bytes) -> None:
    before = given_file(path, *THEIRS, end=end)
    assert keys.write("demo", KEY) is True
    assert path.read_bytes() == b"\n".join([*THEIRS, LINE]) + b"\n"
    assert keys.write("demo", None) is True
    assert path.read_bytes() == before.rstrip(b"\n") + b"\n"


@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=4))
def test_any_lines_are_left_as_they_stand(lines: list[bytes]) -> None:
    path = pathlib.Path.home() / "authorized_keys"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    keys = AgentKeys(str(path), "ensemble-host")
    keys.write("demo", KEY)
    keys.write("demo", None)
    assert path.read_bytes() == b"".join(line + b"\n" for line in lines)


def test_a_second_time_changes_nothing(keys: AgentKeys, path: pathlib.Path) -> None:
    given_file(path, *THEIRS)
    keys.write("demo", KEY)
    before, inode = path.read_bytes(), path.stat().st_ino
    assert keys.write("demo", KEY) is False
    assert (path.read_bytes(), path.stat().st_ino) == (before, inode)


def test_another_key_takes_the_place_of_the_first_and_of_duplicates(keys: AgentKeys, path: pathlib.Path) -> None:
    given_file(path, LINE, THEIRS[0], LINE)
    assert keys.write("demo", OTHER) is True
    assert path.read_bytes().splitlines() == [THEIRS[0], LINE.replace(KEY.encode(), OTHER.encode())]
    assert keys.key("demo") == OTHER


def test_resources_have_keys_of_their_own(keys: AgentKeys) -> None:
    for resource, key in (("demo", KEY), ("demo2", OTHER), ("a-demo", OTHER)):
        keys.write(resource, key)
    keys.write("demo2", None)
    assert [keys.key(resource) for resource in ("demo", "demo2", "a-demo")] == [KEY, "", OTHER]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_the_files_mode_is_kept(keys: AgentKeys, path: pathlib.Path, mode: int) -> None:
    given_file(path, THEIRS[0])
    path.chmod(mode)
    keys.write("demo", KEY)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_full_disk_leaves_the_file_as_it_was(
    keys: AgentKeys, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = given_file(path, *THEIRS)

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        keys.write("demo", KEY)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir() if ".tmp" in entry.name] == []


def test_what_a_key_looks_like() -> None:
    assert KEY_LINE.fullmatch(generate_key_pair().public)
    for bad in ("", KEY + " comment", f'command="x" {KEY}', KEY + "\n", KEY + "\n" + OTHER, "ssh-dss AAAA", "x"):
        assert not KEY_LINE.fullmatch(bad)
