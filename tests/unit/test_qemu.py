# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Virtual machines: their definition, their seed, their disks, their images, and the processors that they run on."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import stat
import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers import accelerator, folder, qcow
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.base import Ownership, Seed
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.nocloud import nocloud_files
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.qemu import domain_xml
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import write_json
from ansible_collections.ensemble.stacks.plugins.module_utils._host.images import ImageError, Images
from ansible_collections.ensemble.stacks.plugins.module_utils._host.records import Records
from ansible_collections.ensemble.stacks.plugins.module_utils._host.settings import Settings
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.identity import member_mac, member_uuid
from declared import parsed

DIGEST = "a" * 64
SEED = Seed("PRIVATE\n", "ssh-ed25519 AAAA", ("ssh-ed25519 BBBB", "ssh-ed25519 CCCC"))


def machines(**changes: t.Any) -> Resource:
    """The base declaration as virtual machines."""
    return parsed(defaults={"driver": "qemu"}, **changes)


def qcow2(path: pathlib.Path, backing: int = 0, features: int = 0) -> str:
    """A file with the header of a qcow2 disk; its sha256."""
    header = b"QFI\xfb" + (3).to_bytes(4, "big") + backing.to_bytes(8, "big") + bytes(56) + features.to_bytes(8, "big")
    path.write_bytes(header.ljust(4096, b"\0") + b"data")
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- definition


def definition(state: pathlib.Path, found: str = "tcg", partition: str = "/ensemble", name: str = "demo") -> ET.Element:
    base = state / "images" / DIGEST
    base.mkdir(parents=True)
    (base / "disk.qcow2").touch()
    spec = machines().members[0].spec
    ownership = Ownership(name, "head-0", ("head",), 3, (1, 5), spec, DIGEST, True)
    disk = qcow.QcowDisk(str(state), name, "head-0")
    return ET.fromstring(domain_xml(ownership, disk, Settings(partition), found))


def test_the_definition_of_a_machine(tmp_path: pathlib.Path) -> None:
    domain = definition(tmp_path)
    home = f"{tmp_path}/demo/members/head-0"
    assert (domain.get("type"), domain.findtext("name")) == ("qemu", "demo-head-0")
    assert domain.findtext("uuid") == member_uuid("demo", "head-0")
    assert (domain.findtext("memory"), domain.findtext("vcpu")) == ("512", "1")
    assert domain.findtext("resource/partition") == "/ensemble"
    root, seed = domain.findall("devices/disk")
    assert [found.attrib for found in root.iter("source")] == [
        {"file": f"{home}/disk.qcow2"},
        {"file": f"{tmp_path}/images/{DIGEST}/disk.qcow2"},
    ]
    assert root.find("backingStore/format").attrib == {"type": "qcow2"}  # type: ignore[union-attr]
    assert seed.find("source").attrib == {"file": f"{home}/seed.iso"}  # type: ignore[union-attr]
    assert seed.find("readonly") is not None
    assert domain.find("devices/interface/mac").get("address") == member_mac("demo", "head-0")  # type: ignore[union-attr]
    assert domain.find("devices/interface/model").get("type") == "virtio"  # type: ignore[union-attr]
    assert domain.find("devices/serial/log").get("file") == f"{home}/console.log"  # type: ignore[union-attr]
    assert domain.find("devices/rng") is not None
    assert domain.find("devices/graphics") is None
    assert "autostart" not in [element.tag for element in domain.iter()]


@pytest.mark.parametrize(("found", "kind", "cpu"), [("kvm", "kvm", "host-passthrough"), ("tcg", "qemu", "custom")])
def test_the_accelerator_is_in_definition_and_record(tmp_path: pathlib.Path, found: str, kind: str, cpu: str) -> None:
    domain = definition(tmp_path, found)
    assert (domain.get("type"), domain.find("cpu").get("mode")) == (kind, cpu)  # type: ignore[union-attr]
    record = json.loads(domain.find("metadata")[0].text or "")  # type: ignore[index]
    assert (record["accelerator"], record["spec"]["driver"], record["member"]) == (found, "qemu", "head-0")


def test_the_definition_escapes_what_it_is_given(tmp_path: pathlib.Path) -> None:
    domain = definition(tmp_path / "a\"'<source>&amp;", partition="</partition>", name="x<y>&]]>")
    assert domain.findtext("name") == "x<y>&]]>-head-0"
    assert len(domain.findall("devices/disk")) == 2
    assert domain.findtext("resource/partition") == "</partition>"


# -- seed


def test_the_files_of_a_seed(tmp_path: pathlib.Path) -> None:
    spec = machines(network={"dns": ["10.0.0.7"]}).members[0].spec
    files = nocloud_files("demo", "head-0", spec, SEED)
    assert set(files) == {"meta-data", "user-data", "network-config"}
    assert json.loads(files["meta-data"]) == {
        "instance-id": member_uuid("demo", "head-0"),
        "local-hostname": "demo-head-0",
    }
    header, body = files["user-data"].split("\n", 1)
    user = json.loads(body)
    assert header == "#cloud-config"
    assert (user["hostname"], user["ssh_authorized_keys"]) == ("demo-head-0", list(SEED.authorized_keys))
    assert user["ssh_keys"] == {"ed25519_private": "PRIVATE\n", "ed25519_public": "ssh-ed25519 AAAA\n"}
    assert (user["ssh_pwauth"], user["users"], user["disable_root"]) == (False, [], False)
    [hosts] = user["write_files"]
    assert "10.0.0.50 demo-head-0\n" in hosts["content"]
    assert "127.0.1.1" not in hosts["content"]
    network = json.loads(files["network-config"])
    [card] = network["ethernets"].values()
    assert (network["version"], card["match"]) == (2, {"macaddress": member_mac("demo", "head-0")})
    assert (card["addresses"], card["dhcp4"]) == (["10.0.0.50/24"], False)
    assert card["routes"] == [{"to": "0.0.0.0/0", "via": "10.0.0.254"}]
    assert card["nameservers"] == {"addresses": ["10.0.0.7"]}


def test_the_private_key_is_in_no_repr() -> None:
    assert "PRIVATE" not in repr(SEED)


# -- disk


class FakeDisk(qcow.QcowDisk):
    """Made of nothing but a file; may fail in the middle."""

    fails = False

    def _make(self, digest: str, spec: t.Any, seed: Seed) -> None:
        qcow.write_private(self.path, b"disk")
        if self.fails:
            raise EnsembleError("in the middle")


def cached(state: pathlib.Path, name: str = "node") -> None:
    (state / "images" / "names").mkdir(parents=True)
    write_json(str(state / "images" / "names" / f"{name}.json"), {"qcow2": {"sha256": DIGEST, "source": {}}})


def test_a_disk_names_its_driver_from_the_first_moment_to_the_last(tmp_path: pathlib.Path) -> None:
    cached(tmp_path)
    spec = machines().members[0].spec
    disk = FakeDisk(str(tmp_path), "demo", "head-0")
    disk.fails = True
    with pytest.raises(EnsembleError, match="in the middle"):
        disk.prepare(spec, SEED)
    half = {"member": "head-0", "driver": "qemu", "prepared": False, "image": None, "image_digest": None}
    assert folder.artefacts_of(str(tmp_path), "demo", "qemu") == [half]
    assert folder.artefacts_of(str(tmp_path), "demo", "lxc") == []
    disk.fails = False
    disk.prepare(spec, SEED)
    assert folder.artefacts_of(str(tmp_path), "demo", "qemu") == [
        {**half, "prepared": True, "image": "node", "image_digest": DIGEST}
    ]
    assert disk.marker() == {"driver": "qemu", "image": "node", "image_digest": DIGEST}
    assert stat.S_IMODE(os.stat(disk.path).st_mode) == 0o600
    disk.remove()
    assert os.listdir(tmp_path / "demo" / "members") == []


def test_what_was_never_a_members_folder_is_no_artefact_and_is_forgotten(tmp_path: pathlib.Path) -> None:
    (tmp_path / "demo" / "members" / ".new-head-0").mkdir(parents=True)
    assert folder.artefacts_of(str(tmp_path), "demo", "lxc") == []
    Records(str(tmp_path), "demo").forget((1, 1))
    assert not (tmp_path / "demo" / "members").exists()


def test_a_folder_of_the_time_of_one_driver_is_a_containers(tmp_path: pathlib.Path) -> None:
    (tmp_path / "demo" / "members" / "head-0" / "upper").mkdir(parents=True)
    [found] = folder.artefacts_of(str(tmp_path), "demo", "lxc")
    assert (found["driver"], found["prepared"]) == ("lxc", False)


def test_an_image_in_another_format_makes_no_disk(tmp_path: pathlib.Path) -> None:
    (tmp_path / "images" / "names").mkdir(parents=True)
    write_json(str(tmp_path / "images" / "names" / "node.json"), {"sha256": DIGEST, "source": {}})
    with pytest.raises(ImageError, match="here as tar only, not as qcow2"):
        FakeDisk(str(tmp_path), "demo", "head-0").prepare(machines().members[0].spec, SEED)
    assert folder.artefacts_of(str(tmp_path), "demo", "qemu") == []


# -- images


def test_a_disk_is_known_by_its_content(tmp_path: pathlib.Path) -> None:
    images = Images(str(tmp_path / "state"))
    digest = qcow2(tmp_path / "node.img")
    assert images.import_file("node", str(tmp_path / "node.img"), digest) is True
    assert images.import_file("node", str(tmp_path / "node.img"), digest) is False
    assert images.names() == {"node": {"qcow2": digest}}
    path = pathlib.Path(images.disk(digest))
    assert path.read_bytes() == (tmp_path / "node.img").read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    for parent in (path.parent, path.parent.parent):
        assert parent.stat().st_mode & 0o001, "the emulator's user must be able to pass"


def test_one_name_stands_for_a_container_and_a_machine(tmp_path: pathlib.Path) -> None:
    images = Images(str(tmp_path / "state"))
    (tmp_path / "state" / "images" / "names").mkdir(parents=True)
    write_json(str(tmp_path / "state" / "images" / "names" / "node.json"), {"sha256": DIGEST, "source": {}})
    digest = qcow2(tmp_path / "node.qcow2")
    images.import_file("node", str(tmp_path / "node.qcow2"), None)
    assert images.names() == {"node": {"tar": DIGEST, "qcow2": digest}}
    assert (images.digest("node", "tar"), images.digest("node", "qcow2")) == (DIGEST, digest)


@pytest.mark.parametrize("header", [{"backing": 104}, {"features": 4}], ids=str)
def test_a_disk_that_stands_on_other_files_is_refused(tmp_path: pathlib.Path, header: dict[str, int]) -> None:
    images = Images(str(tmp_path / "state"))
    qcow2(tmp_path / "node.qcow2", **header)
    with pytest.raises(ImageError) as caught:
        images.import_file("node", str(tmp_path / "node.qcow2"), None)
    assert caught.value.code == "bad_image"
    assert images.names() == {}


# -- accelerator


def test_without_kvm_there_is_no_trial(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator.os.path, "exists", lambda _path: False)
    assert accelerator.known_accelerator(str(tmp_path)) == "untried"
    assert accelerator.accelerator(None, "", str(tmp_path)) == "tcg"
    assert accelerator.known_accelerator(str(tmp_path)) == "tcg"


def test_what_was_found_holds_until_the_next_boot(tmp_path: pathlib.Path) -> None:
    write_json(str(tmp_path / "accelerator.json"), {"accelerator": "kvm", "reason": None})
    assert accelerator.accelerator(None, "", str(tmp_path)) == "kvm"


def test_the_trial_is_a_machine_of_this_partition() -> None:
    domain = ET.fromstring(accelerator.trial_xml("/run/ensemble/trial.img", "/lab"))
    assert (domain.get("type"), domain.findtext("resource/partition")) == ("kvm", "/lab")
