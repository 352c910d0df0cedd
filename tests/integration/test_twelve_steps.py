# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The life of a container and of a machine in twelve steps: create, modify, delete, each as check, run, check, run."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from harness.controller import Controller, Run
from harness.lab import Lab

NAME = "steps"
DOMAIN = f"{NAME}-head-0"
HOME = f"/var/lib/ensemble/{NAME}/members/head-0"
MEMORY = 512


class Life:
    """One member of a driver; what is declared of it changes in the middle."""

    def __init__(self, lab: Lab, controller: Controller, driver: str) -> None:
        self.lab, self.controller, self.driver = lab, controller, driver
        self.uri = f"{driver}:///system"
        self.hypervisor = lab.hypervisors[0]

    def declare(self, **more: t.Any) -> Path:
        defaults = {"driver": self.driver, "image": "batch-node", "vcpus": 1, "memory_mb": MEMORY, **more}
        return self.controller.write(self.lab.declaration(NAME, defaults=defaults, roles={"head": {"count": 1}}))

    def four_steps(self, playbook: str, inventory: Path) -> tuple[Run, list[str]]:
        """Check, run, check, run: the first two agree, the others change nothing. Returns the run and its verbs."""
        check, run, second_check, second = (
            self.controller.play(playbook, inventory, "--diff", *options)
            for options in (["--check"], [], ["--check"], [])
        )
        for each in (check, run, second_check, second):
            assert each.code == 0, each.output
        assert check.resource["actions"] == run.resource["actions"]
        assert check.diff == run.diff
        assert (run.resource["changed"], second.resource["changed"]) == (True, False)
        assert second_check.resource["actions"] == second.resource["actions"] == []
        return run, [action["action"] for action in run.resource["actions"]]

    def ssh(self, *argv: str) -> str:
        return self.controller.ssh(NAME, DOMAIN, *argv)

    def virsh(self, *argv: str) -> str:
        return self.hypervisor.run("virsh", "-c", self.uri, *argv)


@pytest.fixture(params=["lxc", "qemu"])
def life(lab: Lab, controller: Controller, request: pytest.FixtureRequest) -> t.Iterator[Life]:
    if request.param == "qemu" and not any(path.endswith(".qcow2") for path in lab.images):
        pytest.skip("no image of a virtual machine in this lab; make it with: make lab-up IMAGES=vm")
    life = Life(lab, controller, request.param)
    yield life
    assert controller.play("remove", life.declare()).code == 0
    assert lab.leftovers(NAME) == []


def test_twelve_steps(life: Life) -> None:
    run, verbs = life.four_steps("start", life.declare())
    assert verbs == ["prepare", "define", "start"]
    [member] = run.resource["members"]
    assert (member["driver"], member["hypervisor"], member["state"]) == (life.driver, "hv1", "running")
    look_inside(life)
    look_beside(life)
    life.ssh("touch", "/run/same-boot")
    # of a machine that runs, only what is on record may change; of a container its size as well
    changes: dict[str, t.Any] = {"labels": {"owner": "ops"}}
    if life.driver == "lxc":
        changes["memory_mb"] = 640
    run, verbs = life.four_steps("start", life.declare(**changes))
    assert verbs == ["define"]
    assert "labels none -> owner=ops (live)" in run.resource["actions"][0]["reason"]
    assert "owner" in life.virsh("dumpxml", "--inactive", DOMAIN)
    assert life.ssh("ls", "/run/same-boot").split() == ["/run/same-boot"]
    if life.driver == "lxc":
        assert life.ssh("grep", "MemTotal", "/proc/meminfo").split()[1] == str(640 * 1024)
    _run, verbs = life.four_steps("remove", life.declare(**changes))
    assert verbs == ["stop", "undefine", "remove"]
    assert life.lab.leftovers(NAME) == []


def look_inside(life: Life) -> None:
    """The seed's facts hold in the member."""
    assert life.ssh("hostname").strip() == DOMAIN
    hosts = life.ssh("cat", "/etc/hosts")
    assert DOMAIN in hosts
    assert "127.0.1.1" not in hosts
    assert "nameserver" in life.ssh("cat", "/etc/resolv.conf")


def look_beside(life: Life) -> None:
    """On the hypervisor: a thin disk on the cached image, a private seed, a console, no autostart."""
    hypervisor = life.hypervisor
    assert life.virsh("dominfo", DOMAIN).split("Autostart:")[1].split()[0] == "disable"
    partition = f"/ensemble-{life.lab.name}-{hypervisor.name}"
    assert f"<partition>{partition}</partition>" in life.virsh("dumpxml", DOMAIN)
    if life.driver == "lxc":
        assert "lowerdir=/var/lib/ensemble/images/" in hypervisor.run("grep", f"{HOME}/root ", "/proc/mounts")
        return
    info = hypervisor.run("qemu-img", "info", "--force-share", f"{HOME}/disk.qcow2")
    assert "backing file: /var/lib/ensemble/images/" in info
    assert "backing file format: qcow2" in info
    modes = hypervisor.run("stat", "--format", "%a %n", f"{HOME}/seed.iso", f"{HOME}/disk.qcow2").split()[::2]
    assert modes == ["600", "600"]
    assert int(hypervisor.run("stat", "--format", "%s", f"{HOME}/console.log")) > 0
