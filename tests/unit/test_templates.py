# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Templates of domains: what they may say, what is laid over them, and how they are named, looked for and told."""

from __future__ import annotations

import json
import pathlib
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.observe import hypervisor_from
from ansible_collections.ensemble.stacks.plugins.module_utils._host import main
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers import lxc, qcow, qemu
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.base import Ownership
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.templates import (
    MAX_BYTES,
    Template,
    TemplateError,
    Templates,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._host.serve import handle
from ansible_collections.ensemble.stacks.plugins.module_utils._host.settings import Settings
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import MemberSpec
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import PlanError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.identity import member_mac, member_uuid
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import Observation, ObservedHypervisor
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import PROTOCOL
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.start import plan_started
from declared import NAMED, merged, parsed
from world import host_at

DIGEST = "a" * 64
QEMU, LXC = qemu.QemuDriver.rules, lxc.LxcDriver.rules


def template(text: str) -> Template:
    return Template("own", "/etc/ensemble/templates/own.xml", text.encode())


def owner(text: str | None, driver: str = "qemu") -> Ownership:
    spec = parsed(defaults={"driver": driver, "vcpus": 2}).members[0].spec
    named = template(text) if text is not None else None
    return Ownership("demo", "head-0", ("head",), 3, (1, 5), spec, DIGEST, True, template=named)


def machine(state: pathlib.Path, text: str | None, found: str = "tcg") -> ET.Element:
    """A machine's definition from a template."""
    base = state / "images" / DIGEST
    base.mkdir(parents=True, exist_ok=True)
    (base / "disk.qcow2").touch()
    disk = qcow.QcowDisk(str(state), "demo", "head-0")
    return ET.fromstring(qemu.domain_xml(owner(text), disk, Settings("/ensemble"), found))


def container(text: str | None) -> ET.Element:
    return ET.fromstring(lxc.domain_xml(owner(text, "lxc"), "/root-of-it", Settings("/ensemble")))


def record_of(domain: ET.Element) -> dict[str, t.Any]:
    [found] = [element for element in domain.findall("metadata/*") if element.tag.endswith("record")]
    return t.cast("dict[str, t.Any]", json.loads(found.text or ""))


def refused(text: str | bytes, rules: t.Any = QEMU) -> list[str]:
    body = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(TemplateError) as caught:
        Template("own", "/t/own.xml", body).domain(rules)
    assert caught.value.code == "bad_template"
    assert caught.value.msg.startswith("/t/own.xml ")
    return t.cast("list[str]", caught.value.details["faults"])


# -- what a template may not say

OURS = {
    "name": "<name>x</name>",
    "uuid": "<uuid>6f0d3c0a-7f6b-5f0e-9f0f-3a9c2f6f1d10</uuid>",
    "metadata/record": "<metadata><e:record xmlns:e='https://ensemble.stacks/ns/member/1'>{}</e:record></metadata>",
    "memory": "<memory>1</memory>",
    "currentMemory": "<currentMemory>1</currentMemory>",
    "maxMemory": "<maxMemory slots='1'>1</maxMemory>",
    "devices/memory": "<devices><memory model='dimm'/></devices>",
    "cpu/numa": "<cpu><numa><cell id='0' cpus='0' memory='1'/></numa></cpu>",
    "vcpu": "<vcpu>2</vcpu>",
    "vcpus": "<vcpus><vcpu id='0' enabled='yes'/></vcpus>",
    "resource/partition": "<resource><partition>/x</partition></resource>",
    "devices/interface/mac": "<devices><interface type='network'><mac address='0e:0:0:0:0:1'/></interface></devices>",
    "devices/interface/source": "<devices><interface type='bridge'><source bridge='br1'/></interface></devices>",
    "devices/disk/target": "<devices><disk type='file' device='cdrom'><target dev='vda'/></disk></devices>",
    "devices/disk": "<devices><disk type='block'><source dev='/dev/sdx'/><target dev='vdc'/></disk></devices>",
    "os/nvram": "<os><nvram>/var/lib/x.fd</nvram></os>",
    "os/loader": "<os><loader type='pflash' readonly='no'>/x.fd</loader></os>",
}


@pytest.mark.parametrize("path", OURS)
def test_what_is_ours_is_refused_with_its_line(path: str) -> None:
    [fault] = refused(f"<domain>\n\n  {OURS[path]}\n</domain>")
    assert fault.startswith(f"line 3, {path}: found ")


def test_a_container_has_a_root_and_a_quota_of_its_own() -> None:
    text = (
        "<domain type='lxc'><cputune><shares>1</shares><period>1</period><quota>2</quota></cputune>\n<devices>"
        "<filesystem type='mount'><source dir='/x'/><target dir='/'/></filesystem></devices></domain>"
    )
    found = [fault.split(": ")[0] for fault in refused(text, LXC)]
    assert found == ["line 1, cputune/period", "line 1, cputune/quota", "line 2, devices/filesystem/target"]


def test_all_faults_come_together_in_the_order_of_their_lines() -> None:
    text = "<domain type='xen'>\n<vcpu>1</vcpu>\n<name>x</name>\n</domain>"
    assert [fault.split(": ")[0] for fault in refused(text)] == ["line 1, domain", "line 2, vcpu", "line 3, name"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<network/>", "line 1, network: found another element, expected <domain>"),
        ("<domain>\n<os></domain>", "line 2: no well-formed XML: mismatched tag"),
        ("", "line 1: no well-formed XML: no element found"),
        (b"<domain>\xff</domain>", "line 1: no well-formed XML: not well-formed (invalid token)"),
        ("<domain/><domain/>", "line 1: no well-formed XML: junk after document element"),
        ("\n<!DOCTYPE domain SYSTEM 'x'><domain/>", "line 2: found a document type (domain), expected none"),
        ("<!DOCTYPE d [<!ENTITY a SYSTEM 'file:///etc/shadow'>]><domain>&a;</domain>", "line 1: found a document type"),
    ],
    ids=range(7),
)
def test_what_is_no_domain_is_refused(text: str | bytes, says: str) -> None:
    [fault] = refused(text)
    assert fault.startswith(says)


@pytest.mark.parametrize(("kind", "rules"), [("lxc", QEMU), ("kvm", LXC), ("", QEMU)])
def test_a_domain_of_another_type_is_refused(kind: str, rules: t.Any) -> None:
    [fault] = refused(f"<domain type='{kind}'/>", rules)
    assert fault.startswith(f"line 1, domain: found type {kind!r}, expected ")


@pytest.mark.parametrize("harmless", ["<readonly/>", "<shareable/>"])
def test_a_disk_that_nobody_writes_to_or_all_may_is_kept(tmp_path: pathlib.Path, harmless: str) -> None:
    disk = f"<disk type='file'><source file='/srv/data.img'/><target dev='vdc'/>{harmless}</disk>"
    found = machine(tmp_path, f"<domain><devices>{disk}</devices></domain>").findall("devices/disk/target")
    assert [target.get("dev") for target in found] == ["vda", "vdb", "vdc"]


# -- what is laid over it

FULL = """<domain type='kvm' xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>
  <!-- a remark -->
  <metadata><a:app xmlns:a='urn:app'>kept</a:app></metadata>
  <os firmware='efi'><type machine='q35'>hvm</type></os>
  <features><acpi/><smm state='on'/></features>
  <cpu mode='host-model'/>
  <on_crash>preserve</on_crash>
  <resource><fibrechannel appid='x'/></resource>
  <devices>
    <interface type='network'><source network='other'/></interface>
    <interface type='bridge'><model type='e1000e'/><mtu size='9000'/></interface>
    <interface type='bridge'><source bridge='br7'/></interface>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
  </devices>
  <q:commandline><q:arg value='-no-hpet'/></q:commandline>
</domain>"""


def test_what_makes_the_member_is_laid_over_the_template(tmp_path: pathlib.Path) -> None:
    domain = machine(tmp_path, FULL, "kvm")
    assert (domain.findtext("name"), domain.findtext("uuid")) == ("demo-head-0", member_uuid("demo", "head-0"))
    assert (domain.findtext("memory"), domain.find("memory").get("unit")) == ("512", "MiB")  # type: ignore[union-attr]
    assert domain.findtext("vcpu") == "2"
    assert domain.findtext("resource/partition") == "/ensemble"
    disks = [source.get("file", "").rsplit("/", 1)[1] for source in domain.findall("devices/disk/source")]
    assert disks == ["disk.qcow2", "seed.iso"]
    assert record_of(domain)["template_digest"] == template(FULL).digest
    for path in ("name", "uuid", "memory", "vcpu", "resource", "metadata", "devices", "os", "on_crash"):
        assert len(domain.findall(path)) == 1, path


def test_all_else_stays_as_the_template_says(tmp_path: pathlib.Path) -> None:
    domain = machine(tmp_path, FULL, "kvm")
    assert domain.get("type") == "kvm"
    assert domain.findtext("metadata/{urn:app}app") == "kept"
    assert [child.tag for child in domain.find("os") or ()] == ["type"]
    assert [child.tag for child in domain.find("features") or ()] == ["acpi", "smm"]
    assert domain.find("cpu").get("mode") == "host-model"  # type: ignore[union-attr]
    assert (domain.findtext("on_crash"), domain.findtext("on_reboot")) == ("preserve", "restart")
    assert domain.find("resource/fibrechannel") is not None
    assert domain.find("{http://libvirt.org/schemas/domain/qemu/1.0}commandline") is not None
    assert {child.tag for child in domain.find("devices") or ()} == {"disk", "interface", "tpm"}


def test_the_first_bridge_interface_is_the_members_card(tmp_path: pathlib.Path) -> None:
    other, card, third = machine(tmp_path, FULL).findall("devices/interface")
    assert card.find("mac").get("address") == member_mac("demo", "head-0")  # type: ignore[union-attr]
    assert card.find("source").get("bridge") == "br0"  # type: ignore[union-attr]
    assert card.find("model").get("type") == "e1000e"  # type: ignore[union-attr]
    assert card.find("mtu") is not None
    assert third.find("source").get("bridge") == "br7"  # type: ignore[union-attr]
    macs = [found.find("mac").get("address") for found in (other, card, third)]  # type: ignore[union-attr]
    assert len(set(macs)) == 3
    again = machine(tmp_path, FULL).findall("devices/interface/mac")
    assert [mac.get("address") for mac in again] == macs


def test_where_a_template_is_silent_the_built_in_definition_speaks(tmp_path: pathlib.Path) -> None:
    silent, builtin = machine(tmp_path, "<domain/>"), machine(tmp_path, None)
    for path in ("os", "features", "cpu", "clock", "on_poweroff", "on_reboot", "on_crash"):
        assert ET.tostring(silent.find(path)) == ET.tostring(builtin.find(path)), path  # type: ignore[arg-type]
    assert silent.get("type") == builtin.get("type") == "qemu"
    assert {child.tag for child in silent.find("devices") or ()} == {"disk", "interface"}
    assert "template_digest" not in record_of(builtin)


def test_a_container_from_a_template() -> None:
    domain = container("<domain><cputune><shares>9</shares></cputune><os><initarg>x</initarg></os></domain>")
    assert domain.get("type") == "lxc"
    assert (domain.findtext("cputune/shares"), domain.findtext("cputune/quota")) == ("9", "200000")
    assert len(domain.findall("cputune")) == 1
    assert (domain.findtext("os/type"), domain.findtext("os/init")) == ("exe", "/sbin/init")
    assert domain.findtext("os/initarg") == "x"
    assert [console.get("type") for console in domain.findall("devices/console")] == ["pty"]
    own = container("<domain><devices><console type='pty'><target port='0'/></console></devices></domain>")
    assert len(own.findall("devices/console")) == 1
    [root] = domain.findall("devices/filesystem")
    assert root.find("source").get("dir") == "/root-of-it"  # type: ignore[union-attr]
    assert domain.find("devices/interface/mac").get("address") == member_mac("demo", "head-0")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "tried", "found"),
    [
        ("<domain/>", 1, "tcg"),
        ("<domain type='kvm'/>", 0, "kvm"),
        ("<domain type='qemu'/>", 0, "tcg"),
        (None, 1, "tcg"),
    ],
)
def test_kvm_is_tried_unless_the_template_says(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, text: str | None, tried: int, found: str
) -> None:
    trials: list[str] = []
    machine(tmp_path, None)  # its image is there
    monkeypatch.setattr(qemu, "accelerator", lambda *_rest: trials.append("tried") or "tcg")
    monkeypatch.setattr(qemu.QemuDriver, "connection", None)
    domain = ET.fromstring(qemu.QemuDriver(str(tmp_path), Settings())._xml(owner(text)))
    assert (len(trials), record_of(domain)["accelerator"]) == (tried, found)


# -- the folder


def test_the_templates_of_a_hypervisor(tmp_path: pathlib.Path) -> None:
    store = Templates(str(tmp_path / "templates"))
    assert store.digests() == {}
    (tmp_path / "templates" / "folder.xml").mkdir(parents=True)
    for name in ("own.xml", "other.txt", ".hidden.xml", "A.xml"):
        (tmp_path / "templates" / name).write_text("<domain/>")
    (tmp_path / "templates" / "large.xml").write_bytes(b" " * (MAX_BYTES + 1))
    (tmp_path / "templates" / "gone.xml").symlink_to("nowhere")
    assert store.digests() == {"own": template("<domain/>").digest}
    assert store.read("own").body == b"<domain/>"
    for name in ("folder", "large", "gone", "nothing", "../templates/own"):
        with pytest.raises(TemplateError) as caught:
            store.read(name)
        assert caught.value.code == "no_template", name


@pytest.mark.parametrize(
    ("text", "code"), [("<domain/>", 0), ("<domain type='lxc'/>", 0), ("<domain type='kvm'><name/></domain>", 1)]
)
def test_a_template_is_checked_before_it_is_installed(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], text: str, code: int
) -> None:
    (tmp_path / "own.xml").write_text(text)
    assert main.main(["--check-template", str(tmp_path / "own.xml")]) == code
    complaint = capsys.readouterr().err
    assert ("line 1, name: " in complaint) == (code == 1)
    assert "type" not in complaint, "of the driver that it is not for"
    assert main.main(["--check-template", str(tmp_path / "none.xml")]) == 1


# -- declaration, observation, plan


def test_a_template_is_named_under_defaults_a_role_or_a_member() -> None:
    found = parsed(defaults={"template": "one"}, roles={"compute": {"template": "two"}})
    assert [member.spec.template for member in found.members] == ["one", "two", "two"]
    named = parsed_named({"m2": {"template": "three"}})
    assert named == {"m1": None, "m2": "three"}


def parsed_named(members: dict[str, t.Any]) -> dict[str, str | None]:
    resource = parse_declaration(merged(NAMED, {"members": members}))
    return {member.name: member.spec.template for member in resource.members}


def test_a_template_counts_in_the_digest() -> None:
    spec = parsed().members[0].spec
    assert replace(spec, template="own").digest != spec.digest
    assert MemberSpec(**{**replace(spec, template="own").as_dict(), "dns": spec.dns}).template == "own"


def test_a_hypervisor_without_the_template_is_passed_over() -> None:
    resource = parsed(defaults={"template": "own"}, roles={"compute": None})
    images = {"node": {"tar": DIGEST}}
    without, with_it = (ObservedHypervisor(hv.name, 4096, 4, images) for hv in resource.pool)
    with_it = replace(with_it, templates={"own": DIGEST})
    spec = resource.members[0].spec
    assert without.lack(spec) == "template own is not there"
    assert with_it.lack(spec) == without.lack(replace(spec, template=None)) == ""
    plan = plan_started(resource, Observation("demo", (without, with_it)))
    assert {action.hypervisor for action in plan.actions} == {"hv2"}
    with pytest.raises(PlanError, match="hv2: template own is not there"):
        plan_started(resource, Observation("demo", (without, replace(with_it, templates={}))))


def test_members_that_differ_in_their_template_only_are_placed_apart() -> None:
    resource = parsed(
        members={"m1": {"address": "10.0.0.9", "template": "one"}, "m2": {"address": "10.0.0.8", "template": "two"}},
        roles={"head": {"count": None, "members": ["m1", "m2"]}, "compute": None},
        network={"range": None},
    )
    images = {"node": {"tar": DIGEST}}
    seen = [
        ObservedHypervisor(hv.name, 4096, 4, images, templates={name: DIGEST})
        for hv, name in zip(resource.pool, ("one", "two"))
    ]
    plan = plan_started(resource, Observation("demo", tuple(seen)))
    assert {action.member: action.hypervisor for action in plan.actions} == {"m1": "hv1", "m2": "hv2"}


def test_the_host_program_tells_and_reads_its_templates(tmp_path: pathlib.Path) -> None:
    host = host_at(tmp_path, "hv1")
    host.templates = Templates(str(tmp_path / "templates"))
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "own.xml").write_text("<domain/>")
    seen = ask(host, {"verb": "observe"})["value"]
    assert seen["templates"] == {"own": template("<domain/>").digest}
    assert hypervisor_from("hv1", "demo", seen).templates == seen["templates"]
    del seen["templates"]
    assert hypervisor_from("hv1", "demo", seen).templates == {}


@pytest.mark.parametrize(
    ("name", "code"), [("nothing", "no_template"), ("bad", "bad_template"), ("../own", "invalid_request")]
)
def test_nothing_is_made_for_a_member_whose_template_is_no_good(tmp_path: pathlib.Path, name: str, code: str) -> None:
    host = host_at(tmp_path, "hv1")
    host.templates = Templates(str(tmp_path / "templates"))
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "bad.xml").write_text("<domain><name/></domain>")
    driver = host.drivers["lxc"]
    driver.check_template = lxc.LxcDriver(str(tmp_path), Settings()).check_template  # type: ignore[method-assign]
    spec = {**parsed().members[0].spec.as_dict(), "template": name}
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
    seed = {"host_key": key, "host_key_public": "ssh-ed25519 AAAA", "authorized_keys": ["ssh-ed25519 AAAA"]}
    result = ask(host, {"verb": "prepare", "member": "head-0", "spec": spec, "seed": seed})
    assert (result["ok"], result["error"]["code"]) == (False, code)
    assert driver.artefacts("demo") == []


def ask(host: t.Any, verb: dict[str, t.Any]) -> dict[str, t.Any]:
    request = {"protocol": PROTOCOL, "id": 1, "resource": "demo", "generation": 1, "token": [1, 1], "verbs": [verb]}
    [result] = handle(host, json.dumps(request).encode())["results"]
    return t.cast("dict[str, t.Any]", result)
