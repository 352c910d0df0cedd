# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The life of a virtual machine in twelve steps: create, modify, delete, each as check, run, check again, run again."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from harness.controller import Controller, Run
from harness.lab import Lab

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
