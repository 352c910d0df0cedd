# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The file of a declaration: well-formed or not, it is never a traceback."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import DeclarationError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.load import (
    MAX_BYTES,
    is_declaration,
    load_declaration,
)

VALID = """\
plugin: ensemble.stacks.distributed_resource
name: demo
pool:
  - {name: hv1, address: 10.0.0.1}
defaults: {image: node}
network: {bridge: br0, cidr: 10.0.0.0/24, range: 10.0.0.50-10.0.0.99}
roles:
  head: {count: 1}
"""


def faults(path: pathlib.Path, text: str | bytes) -> list[str]:
    """The paths of the faults of a file that holds a text."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DeclarationError) as caught:
        load_declaration(str(path))
    assert caught.value.msg.startswith(f"{path}: ")
    return [fault.path for fault in caught.value.faults]


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "resource.yml"


def test_a_valid_file(file: pathlib.Path) -> None:
    file.write_text(VALID)
    assert load_declaration(str(file)).name == "demo"


@pytest.mark.parametrize(
    "text",
    [
        VALID + "x: [",
        VALID + "x: *nobody\n",
        VALID + "x: !vault secret\n",
        VALID + "x: !!python/object/apply:os.system [id]\n",
        VALID + "{a: b}: c\n",
        VALID + "x: 2024-99-99\n",
        VALID + "---\n" + VALID,
        VALID + "x: " + "[" * 5000 + "]" * 5000,
        VALID + "x: &a [*a]\n",
        VALID + "x: \x07\n",
        VALID + "\0",
        VALID + "x: !!bool maybe\n",
        VALID + "x: !!timestamp noon\n",
        VALID + "x: !!int ''\n",
        VALID + "x: " + "1:" + "0:" * 200 + "1.5\n",
        b"\xff\xfe" + VALID.encode(),
        VALID.encode() + b"\xe9",
    ],
    ids=lambda text: repr(text[-30:]),
)
def test_a_file_that_is_no_yaml_of_ours(file: pathlib.Path, text: str | bytes) -> None:
    assert faults(file, text) == ["file"]


def test_a_file_that_is_not_there(tmp_path: pathlib.Path) -> None:
    for path in (tmp_path / "none.yml", tmp_path):
        with pytest.raises(DeclarationError) as caught:
            load_declaration(str(path))
        assert [fault.path for fault in caught.value.faults] == ["file"]


def test_a_huge_file_is_refused_unread(file: pathlib.Path) -> None:
    assert faults(file, VALID + "#" * MAX_BYTES) == ["file"]


def test_an_empty_file_lacks_everything(file: pathlib.Path) -> None:
    assert {"plugin", "name", "pool", "network", "roles"} <= set(faults(file, ""))


def test_a_list_as_file(file: pathlib.Path) -> None:
    assert "declaration" in faults(file, "- 1\n- 2\n")


def test_keys_written_twice_are_faults_beside_all_others(file: pathlib.Path) -> None:
    text = VALID + "name: other\nroles:\n  head: {count: 0, count: 2, image: x, image: y}\nextra: 1\n"
    assert faults(file, text) == ["name", "roles", "roles.head.count", "roles.head.image", "extra"]


def test_a_key_written_twice_in_a_list(file: pathlib.Path) -> None:
    text = VALID.replace("{name: hv1, ", "{name: hv1, name: hv2, ")
    assert faults(file, text) == ["pool[0].name"]


def test_a_number_in_hexadecimal_without_end(file: pathlib.Path) -> None:
    assert faults(file, VALID.replace("count: 1", "count: 0x" + "f" * 5000)) == ["roles.head.count"]


def test_aliases_of_aliases_are_unknown_keys_like_any_other(file: pathlib.Path) -> None:
    levels = "".join(f"x{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(14))
    found = faults(file, VALID + "x0: &a0 [1]\n" + levels)
    assert found == [f"x{n}" for n in range(15)]


def test_paths_in_the_file_are_relative_to_it(file: pathlib.Path, home: pathlib.Path) -> None:
    file.write_text(VALID + "known_hosts: keys/known\nssh: {private_key: ~/.ssh/key}\n")
    resource = load_declaration(str(file))
    assert resource.known_hosts == str(file.parent / "keys" / "known")
    assert resource.pool[0].access.private_key == str(home / ".ssh" / "key")


@pytest.mark.parametrize(
    ("name", "text", "ours"),
    [
        ("resource.yml", VALID, True),
        ("resource.yaml", VALID, True),
        ("r.yml", "name: a\nplugin:   ensemble.stacks.distributed_resource  # ours\n", True),
        ("r.yml", 'plugin: "ensemble.stacks.distributed_resource"\n', True),
        ("r.yml", "plugin: 'ensemble.stacks.distributed_resource'\n", True),
        ("resource.txt", VALID, False),
        ("r.yml", "plugin: amazon.aws.aws_ec2\n", False),
        ("r.yml", "# plugin: ensemble.stacks.distributed_resource\n", False),
        ("r.yml", "all:\n  hosts: {}\n", False),
        ("r.yml", "", False),
        ("r.yml", "\xe9".encode("latin-1"), False),
    ],
)
def test_which_files_are_declarations(tmp_path: pathlib.Path, name: str, text: str | bytes, ours: bool) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert is_declaration(str(path)) is ours


def test_a_folder_or_a_list_of_hosts_is_no_declaration(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.yml").mkdir()
    assert not is_declaration(str(tmp_path / "x.yml"))
    assert not is_declaration("a,b,")
    assert not is_declaration("")


def test_aliases_that_stand_for_more_than_a_machine_can_hold(tmp_path: pathlib.Path) -> None:
    """Sixty lines whose aliases double each time."""
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    path = tmp_path / "resource.yml"
    path.write_text("\n".join(lines))
    with pytest.raises(DeclarationError) as caught:
        load_declaration(str(path))
    assert "values" in str(caught.value.faults[0])


def test_an_alias_that_contains_itself(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "resource.yml"
    path.write_text("a: &a [*a]\n")
    with pytest.raises(DeclarationError):
        load_declaration(str(path))
