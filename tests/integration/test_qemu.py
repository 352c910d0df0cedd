# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Virtual machines: the demo on them and a restart for more memory, machines and containers from templates in one
resource, UEFI firmware. Emulated machines take a minute to boot, so that this runs in `make test-full` only."""

from __future__ import annotations

import json
import os
import typing as t
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from harness.controller import Controller
from harness.lab import Hypervisor, Lab

URI = "qemu:///system"
pytestmark = pytest.mark.skipif(
    not os.environ.get("ENSEMBLE_TEST_FULL"), reason="more than one boot of an emulated machine; run: make test-full"
)


@pytest.fixture(scope="module")
def vm_lab(lab: Lab) -> Lab:
    if not any(path.endswith(".qcow2") for path in lab.images):
        pytest.skip(
            "no image of a virtual machine in this lab; make it with: make lab-up IMAGES=vm, or lab up --images vm"
        )
    return lab


def test_the_demo_runs_on_machines(vm_lab: Lab, controller: Controller, removed: t.Callable[[Path], Path]) -> None:
    """The same declaration with another driver: a head and one compute machine, and a job on them."""
    demo = vm_lab.demo()
    demo["name"] = "vmdemo"
    demo["defaults"]["driver"] = "qemu"
    demo["roles"]["compute"]["count"] = 1
    path = removed(controller.write(demo, torque_users=[{"name": "demo", "uid": 2000}], torque_ready_timeout=180))
    run = controller.play("torque", path)
    assert run.code == 0, run.output
    assert {member["driver"] for member in run.resource["members"]} == {"qemu"}
    running = set().union(*(hv.domains(driver="qemu") for hv in vm_lab.hypervisors))
    assert running >= {"vmdemo-head-0", "vmdemo-compute-0"}
    smoke = controller.play("smoke", path)
    assert smoke.code == 0, smoke.output
    assert "ran on vmdemo-compute-0 as demo" in smoke.output
    again = controller.play("torque", path)
    assert set(again.recap("changed").values()) == {0}, again.output
    # more memory takes a restart, and the person's word for it
    demo["roles"]["compute"]["memory_mb"] = 640
    path = controller.write(demo, torque_users=[{"name": "demo", "uid": 2000}], torque_ready_timeout=180)
    left = controller.play("start", path)
    assert (left.code, left.resource["actions"]) == (0, []), left.output
    assert left.resource["pending"][0]["needs"] == "restart"
    restarted = controller.play("torque", path, "-e", "ensemble_allow_restart=true")
    assert restarted.code == 0, restarted.output
    assert [a["action"] for a in restarted.resource["actions"]] == ["stop", "define", "start"]
    total = controller.ssh("vmdemo", "vmdemo-compute-0", "grep MemTotal /proc/meminfo").split()[1]
    assert int(total) > 540 * 1024


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
