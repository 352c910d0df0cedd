# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Virtual machines: the life of one in twelve steps (create, modify, delete, each as check, run, check again, run
again), a resource of machines and containers from an administrator's templates, and UEFI firmware."""

from __future__ import annotations

import json
import typing as t
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from harness.controller import Controller, Run
from harness.lab import Hypervisor, Lab

NAME = "machine"
DOMAIN = f"{NAME}-head-0"
HOME = f"/var/lib/ensemble/{NAME}/members/head-0"
URI = "qemu:///system"


@pytest.fixture(scope="module")
def vm_lab(lab: Lab) -> Lab:
    if not any(path.endswith(".qcow2") for path in lab.images):
        pytest.skip(
            "no image of a virtual machine in this lab; make it with: make lab-up IMAGES=vm, or lab up --images vm"
        )
    return lab


@pytest.fixture(scope="module")
def declare(vm_lab: Lab, controller: Controller) -> t.Iterator[t.Callable[[int], Path]]:
    """Writes the declaration of one machine with so much memory, and removes it at the end."""

    def write(memory_mb: int) -> Path:
        defaults = {"driver": "qemu", "image": "batch-node", "vcpus": 1, "memory_mb": memory_mb}
        return controller.write(vm_lab.declaration(NAME, defaults=defaults, roles={"head": {"count": 1}}))

    yield write
    assert controller.play("remove", write(512)).code == 0
    assert vm_lab.leftovers(NAME) == []


def four_steps(controller: Controller, playbook: str, inventory: Path) -> tuple[Run, Run, list[str]]:
    """Check, run, check, run: the first two agree, the others change nothing. Returns them and the verbs."""
    check, run, second_check, second = (
        controller.play(playbook, inventory, "--diff", *options) for options in (["--check"], [], ["--check"], [])
    )
    for each in (check, run, second_check, second):
        assert each.code == 0, each.output
    assert check.resource["actions"] == run.resource["actions"]
    assert check.diff == run.diff
    assert (run.resource["changed"], second.resource["changed"]) == (True, False)
    assert second_check.resource["actions"] == second.resource["actions"] == []
    return check, run, [action["action"] for action in run.resource["actions"]]


def test_twelve_steps(vm_lab: Lab, controller: Controller, declare: t.Callable[[int], Path]) -> None:
    hypervisor = vm_lab.hypervisors[0]
    _check, run, verbs = four_steps(controller, "start", declare(512))
    assert verbs == ["prepare", "define", "start"]
    [member] = run.resource["members"]
    assert (member["driver"], member["hypervisor"], member["state"]) == ("qemu", hypervisor.name, "running")
    look_inside(controller)
    look_beside(vm_lab, controller)
    _check, run, verbs = four_steps(controller, "start", declare(640))
    assert verbs == ["define"]
    assert "takes effect with its next start" in run.resource["actions"][0]["reason"]
    assert DOMAIN in hypervisor.domains(driver="qemu")
    _check, _run, verbs = four_steps(controller, "remove", declare(640))
    assert verbs == ["stop", "undefine", "remove"]
    assert vm_lab.leftovers(NAME) == []


def look_inside(controller: Controller) -> None:
    """The seed's facts hold in the machine."""
    assert controller.ssh(NAME, DOMAIN, "hostname").strip() == DOMAIN
    hosts = controller.ssh(NAME, DOMAIN, "cat", "/etc/hosts")
    assert DOMAIN in hosts
    assert "127.0.1.1" not in hosts
    assert "nameserver" in controller.ssh(NAME, DOMAIN, "cat", "/etc/resolv.conf")


def look_beside(lab: Lab, controller: Controller) -> None:
    """On the hypervisor: a thin disk on the cached image, a private seed, a console, no autostart."""
    hypervisor = lab.hypervisors[0]
    info = hypervisor.run("qemu-img", "info", "--force-share", f"{HOME}/disk.qcow2")
    assert "backing file: /var/lib/ensemble/images/" in info
    assert "backing file format: qcow2" in info
    modes = hypervisor.run("stat", "--format", "%a %n", f"{HOME}/seed.iso", f"{HOME}/disk.qcow2").split()[::2]
    assert modes == ["600", "600"]
    assert int(hypervisor.run("stat", "--format", "%s", f"{HOME}/console.log")) > 0
    assert hypervisor.run("virsh", "-c", URI, "dominfo", DOMAIN).split("Autostart:")[1].split()[0] == "disable"
    partition = f"/ensemble-{lab.name}-{hypervisor.name}"
    assert f"<partition>{partition}</partition>" in hypervisor.run("virsh", "-c", URI, "dumpxml", DOMAIN)


# -- templates

TEMPLATES = Path(__file__).parent / "templates"


@pytest.fixture(scope="module")
def templates(vm_lab: Lab, controller: Controller) -> dict[str, Path]:
    """Name -> source of the templates on every hypervisor of the lab; a second run of the role changes nothing."""
    sources = {path.name.split(".")[0]: path for path in sorted(TEMPLATES.iterdir())}
    named = [{"name": name, "src": str(path)} for name, path in sources.items()]
    inventory = controller.write(
        vm_lab.declaration("pool-setup"), **vm_lab.pool_variables(), hypervisor_templates=named
    )
    for expected in (None, {0}):
        run = controller.play("pool", inventory)
        assert run.code == 0, run.output
        assert expected in (None, set(run.recap("changed").values())), run.output
    return sources


def definition(lab: Lab, driver: str, name: str) -> ET.Element:
    """The definition of a domain, wherever it is; its title says where it was rendered."""
    [hypervisor] = [hv for hv in lab.hypervisors if name in hv.domains("--all", driver=driver)]
    domain = ET.fromstring(hypervisor.run("virsh", "-c", f"{driver}:///system", "dumpxml", "--inactive", name))
    assert (domain.findtext("title") or "").endswith(f" of {hypervisor.name}")
    return domain


def digest_in_record(domain: ET.Element) -> str:
    [record] = [json.loads(element.text or "") for element in domain.iter() if element.tag.endswith("}record")]
    return str(record["template_digest"])


@pytest.mark.usefixtures("templates")
def test_machines_and_containers_from_templates_in_one_resource(
    vm_lab: Lab, controller: Controller, removed: t.Callable[[Path], Path]
) -> None:
    roles = {
        "head": {"count": 1, "driver": "qemu", "image": "batch-node", "memory_mb": 512, "template": "machine"},
        "compute": {"count": 2, "after": ["head"], "spread": "hypervisor", "template": "container"},
    }
    path = removed(controller.write(vm_lab.declaration("mixed", roles=roles)))
    run = controller.play("start", path)
    assert run.code == 0, run.output
    members = {entry["member"]: (entry["driver"], entry["state"]) for entry in run.resource["members"]}
    assert members == {"head-0": ("qemu", "running"), "compute-0": ("lxc", "running"), "compute-1": ("lxc", "running")}
    for name in ("mixed-head-0", "mixed-compute-0", "mixed-compute-1"):
        assert controller.ssh("mixed", name, "hostname").strip() == name
    for entry in run.resource["members"]:
        controller.ssh("mixed", "mixed-head-0", "ping", "-c", "1", "-w", "20", entry["address"])
    assert "popcnt" in controller.ssh("mixed", "mixed-head-0", "grep", "-m1", "flags", "/proc/cpuinfo").split()
    head, compute = (definition(vm_lab, *each) for each in (("qemu", "mixed-head-0"), ("lxc", "mixed-compute-0")))
    assert "q35" in head.find("os/type").get("machine", "")  # type: ignore[union-attr]
    assert head.find("devices/interface/model").get("type") == "virtio-non-transitional"  # type: ignore[union-attr]
    assert (compute.findtext("cputune/shares"), compute.findtext("cputune/quota")) == ("512", "100000")
    info = controller.task("ensemble.stacks.distributed_resource_info", declaration=str(path))
    for hypervisor in info["hypervisors"]:
        assert {"container", "firmware", "machine"} <= set(hypervisor["templates"])
    for domain, name in ((head, "machine"), (compute, "container")):
        files = {hv.run("sha256sum", f"/etc/ensemble/templates/{name}.xml").split()[0] for hv in vm_lab.hypervisors}
        assert digest_in_record(domain) in files
    again = controller.play("start", path)
    assert (again.code, again.resource["changed"]) == (0, False), again.output


@pytest.mark.usefixtures("templates")
def test_firmware_and_what_libvirt_keeps_beside_it_go_with_the_machine(
    vm_lab: Lab, controller: Controller, removed: t.Callable[[Path], Path]
) -> None:
    """UEFI variables, a saved state, snapshots: all lie outside the member's folder."""
    hypervisor = vm_lab.hypervisors[0]
    if not all(
        "60-edk2-x86_64.json" in hv.run("ls", "/usr/share/qemu", "/usr/share/qemu/firmware", check=False)
        for hv in vm_lab.hypervisors
    ):
        pytest.skip("no UEFI firmware on the lab's hypervisors; install it in each with: apt-get install ovmf")
    name = "firm-head-0"
    defaults = {"driver": "qemu", "image": "batch-node", "memory_mb": 256, "template": "firmware"}
    path = removed(controller.write(vm_lab.declaration("firm", defaults=defaults, roles={"head": {"count": 1}})))
    started = controller.task(
        "ensemble.stacks.distributed_resource", declaration=str(path), state="started", wait=False
    )
    assert [action["action"] for action in started["actions"]] == ["prepare", "define", "start"]
    assert name in hypervisor.domains(driver="qemu")
    for words in (
        ["snapshot-create-as", name, "first", "--disk-only", "--diskspec", "vdb,snapshot=no"],
        ["managedsave", name],
    ):
        hypervisor.run("virsh", "-c", URI, *words)
    beside = kept_beside(hypervisor, name)
    assert any("/nvram/" in found for found in beside), beside
    assert any("/save/" in found for found in beside), beside
    assert any("/snapshot/" in found for found in beside), beside
    assert controller.play("remove", path).code == 0
    assert kept_beside(hypervisor, name) == []
    assert vm_lab.leftovers("firm") == []


def kept_beside(hypervisor: Hypervisor, name: str) -> list[str]:
    """What libvirt keeps of a domain in its own folder, but for its log."""
    return hypervisor.run("find", "/var/lib/libvirt/qemu", "/etc/libvirt/qemu", "-path", f"*{name}*").split()
