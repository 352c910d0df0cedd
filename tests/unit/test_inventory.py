# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The inventory plugin as Ansible itself runs it, and the preflight that finds its file."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
import yaml
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import DeclarationError, EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._module.preflight import find_declaration
from declared import NAMED, raw


class Dump(t.NamedTuple):
    """What Ansible read; `said` is its standard error without line breaks."""

    common: dict[str, t.Any]
    hosts: dict[str, dict[str, t.Any]]
    groups: dict[str, list[str]]
    ours: list[str]
    said: str


def dump(*sources: pathlib.Path) -> Dump:
    """Run Ansible's own inventory code, without a configuration and in a home folder that is empty."""
    config = pathlib.Path.home() / "ansible.cfg"
    config.write_text("[defaults]\n")
    settings = {"ANSIBLE_CONFIG": str(config), "ANSIBLE_NOCOLOR": "1", "COLUMNS": "10000", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [sys.executable, str(pathlib.Path(__file__).with_name("inventory_dump.py")), *map(str, sources)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    return Dump(**json.loads(done.stdout), said=" ".join(done.stderr.split()))


def written(folder: pathlib.Path, data: t.Any, name: str = "resource.yml") -> pathlib.Path:
    path = folder / name
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def test_the_demo_as_inventory(root: pathlib.Path, home: pathlib.Path) -> None:
    found = dump(root / "inventories" / "demo" / "resource.yml")
    members = ["demo-head-0", *(f"demo-compute-{n}" for n in range(4))]
    assert sorted(found.hosts) == sorted([*members, "hv1", "hv2", "hv3"])
    assert found.groups["pool"] == ["hv1", "hv2", "hv3"]
    assert found.groups["head"] == found.groups["demo_head"] == ["demo-head-0"]
    assert found.groups["compute"] == found.groups["demo_compute"] == members[1:]
    assert sorted(found.groups["demo"]) == sorted(members)
    assert found.groups["ungrouped"] == []
    member, hypervisor = found.hosts["demo-compute-1"], found.hosts["hv1"]
    assert member["ansible_host"] == member["ensemble_address"] == "172.30.0.151"
    assert (member["ensemble_member"], member["ensemble_roles"]) == ("compute-1", ["compute"])
    assert member["ansible_ssh_private_key_file"] == str(home / ".cache" / "ensemble" / "demo" / "id_ed25519")
    assert hypervisor["ansible_host"] == "172.30.0.2"
    assert hypervisor["ansible_ssh_private_key_file"] == str(root / ".lab" / "ensemble" / "id_ed25519")
    assert found.common["ensemble_resource"] == "demo"
    assert found.common["ensemble_declaration"] == str(root / "inventories" / "demo" / "resource.yml")
    for host in found.hosts.values():
        assert "StrictHostKeyChecking=yes" in host["ansible_ssh_common_args"]
        assert not any("pass" in key for key in host)


def test_named_members_are_in_the_groups_of_all_their_roles(tmp_path: pathlib.Path) -> None:
    found = dump(written(tmp_path, NAMED))
    assert found.groups["platform_appengine"] == ["platform-m1", "platform-m2"]
    assert found.groups["master"] == ["platform-m1"]
    assert found.hosts["platform-m1"]["ensemble_roles"] == ["master", "appengine"]
    assert found.hosts["platform-m1"]["ensemble_memory_mb"] == 1024


def test_a_faulty_file_tells_all_its_faults(tmp_path: pathlib.Path) -> None:
    found = dump(written(tmp_path, raw(name="X", roles={"compute": {"count": 0}}, colour="red")))
    assert found.hosts == {}
    assert "3 faults in the declaration" in found.said
    for words in ("name: found X", "roles.compute.count: found 0", "colour: found an unknown key"):
        assert words in found.said


def test_other_files_are_left_to_others(tmp_path: pathlib.Path) -> None:
    plain = tmp_path / "hosts.yml"
    plain.write_text("all: {hosts: {web1: {}}}\n")
    other = tmp_path / "other.yml"
    other.write_text("plugin: ansible.builtin.constructed\nname: demo\n")
    declaration = written(tmp_path, raw())
    assert dump(plain, other, tmp_path / "none.yml", declaration).ours == [str(declaration)]
    found = dump(plain, declaration)
    assert set(found.hosts) == {"web1", "hv1", "hv2", "demo-head-0", "demo-compute-0", "demo-compute-1"}
    assert "distributed_resource" not in found.said


# -- the preflight


def test_it_finds_the_one_declaration(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, raw())
    (tmp_path / "hosts.yml").write_text("all: {}\n")
    for sources in ([str(path)], ["/etc/hosts", str(path), "a,b,"], [str(tmp_path)]):
        found, resource = find_declaration(sources, None)
        assert (found, resource.name) == (str(path), "demo")


def test_a_file_named_beside_its_folder_is_one_declaration(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, raw())
    assert find_declaration([str(tmp_path), str(path)], None)[0] == str(path)


@pytest.mark.parametrize("sources", [[], ["localhost,"], ["/nowhere/resource.yml"], ["/etc/passwd"]])
def test_none(sources: list[str]) -> None:
    with pytest.raises(EnsembleError) as caught:
        find_declaration(sources, None)
    assert caught.value.code == "no_declaration"
    assert "no declaration is" in caught.value.msg


def test_two(tmp_path: pathlib.Path) -> None:
    written(tmp_path, raw())
    written(tmp_path, NAMED, "other.yml")
    with pytest.raises(EnsembleError, match="2 declarations are") as caught:
        find_declaration([str(tmp_path)], None)
    assert caught.value.code == "no_declaration"


def test_the_stack_of_the_playbook(tmp_path: pathlib.Path) -> None:
    path = str(written(tmp_path, raw()))
    assert find_declaration([path], "custom")[1].stack == "custom"
    with pytest.raises(DeclarationError) as caught:
        find_declaration([path], "torque")
    assert [fault.path for fault in caught.value.faults] == ["stack"]


def test_its_faults_are_told(tmp_path: pathlib.Path) -> None:
    path = str(written(tmp_path, raw(name="X", colour="red")))
    with pytest.raises(DeclarationError) as caught:
        find_declaration([path], None)
    assert [fault.path for fault in caught.value.faults] == ["name", "colour"]


def test_a_simulated_pool_has_no_hosts(tmp_path: pathlib.Path) -> None:
    pool = [{"name": "hv1", "sim": "pool/hv1"}, {"name": "hv2", "sim": "pool/hv2"}]
    found = dump(written(tmp_path, raw(pool=pool)))
    assert sorted(found.hosts) == ["demo-compute-0", "demo-compute-1", "demo-head-0"]
    assert found.hosts["demo-head-0"]["ensemble_driver"] == "sim"
    assert found.groups["pool"] == []
    assert not (tmp_path / "pool").exists()


def test_agents_learn_how_etcd_is_reached_and_no_secret(home: pathlib.Path) -> None:
    election = {"backend": "etcd", "endpoints": ["https://192.0.2.9:2379/"], "user": "e", "password_file": "word"}
    (home / "word").write_text("sesame\n")
    found = dump(written(home, {**raw(), "election": election}))
    assert found.common["ensemble_election"]["backend"] == "etcd"
    etcd = {"endpoints": ["https://192.0.2.9:2379"], "user": "e", "password_file": str(home / "word")}
    assert found.common["ensemble_election"]["etcd"] == etcd
    assert "sesame" not in json.dumps(found)


def test_agents_need_no_etcd_where_the_voters_keep_the_lease(home: pathlib.Path) -> None:
    assert dump(written(home, raw())).common["ensemble_election"]["etcd"] == {}
