# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Runs that are killed, controllers that meet, machines that reboot: the next run finishes what is left."""

from __future__ import annotations

import signal
import typing as t
from pathlib import Path

from harness.controller import Controller
from harness.lab import Lab

from .conftest import engine


def wait_for(process: t.Any, sign: t.Callable[[], bool]) -> None:
    """Until the sign is seen or the process is over; the process has a deadline of its own."""
    while process.poll() is None and not sign():
        pass


def test_a_killed_run_is_finished_by_the_next(
    lab: Lab, controller: Controller, removed: t.Callable[[Path], Path]
) -> None:
    inventory = removed(controller.write(lab.declaration("killed", election={"ttl": 3})))
    process = controller.start("start", inventory)
    wait_for(process, lambda: any(name.startswith("killed-") for name in lab.defined()))
    controller.kill(process)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was over before it could be killed"
    run = controller.play("start", inventory)
    assert run.code == 0, run.output
    assert {name for name in lab.defined() if name.startswith("killed-")} == {
        "killed-head-0",
        "killed-compute-0",
        "killed-compute-1",
    }
    assert controller.play("start", inventory).resource["actions"] == []


def test_two_controllers_at_once_make_one_machine_per_member(
    lab: Lab, controller: Controller, tmp_path: Path, removed: t.Callable[[Path], Path]
) -> None:
    other = Controller(tmp_path)
    declaration = lab.declaration("both")
    first = controller.start("start", removed(controller.write(declaration)))
    second = other.start("start", other.write(declaration))
    outputs = [process.communicate(timeout=300)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    running = [name for names in lab.running().values() for name in names if name.startswith("both-")]
    assert sorted(running) == ["both-compute-0", "both-compute-1", "both-head-0"]
    keys = [
        (home / ".cache/ensemble/both" / name).read_bytes()
        for home in (controller.home, other.home)
        for name in ("id_ed25519", "known_hosts")
    ]
    assert keys[:2] == keys[2:]


def test_members_return_after_their_hypervisor_rebooted(
    lab: Lab, controller: Controller, removed: t.Callable[[Path], Path]
) -> None:
    """Nothing starts by itself; the next run mounts and starts what the reboot took, and nothing else."""
    inventory = removed(controller.write(lab.declaration("reboot")))
    started = controller.play("start", inventory)
    assert started.code == 0, started.output
    victim = next(m for m in started.resource["members"] if m["member"] == "compute-0")
    controller.ssh("reboot", victim["name"], "touch /root/kept && sync")
    hypervisor = next(hv for hv in lab.hypervisors if hv.name == victim["hypervisor"])
    engine("restart", hypervisor.container)
    back = "until virsh -c lxc:///system list >/dev/null 2>&1; do sleep 0.2; done"
    hypervisor.run("timeout", "60", "sh", "-c", back)
    assert victim["name"] not in hypervisor.domains()
    run = controller.play("start", inventory)
    assert run.code == 0, run.output
    lost = {m["member"] for m in started.resource["members"] if m["hypervisor"] == hypervisor.name}
    assert {(a["action"], a["member"]) for a in run.resource["actions"]} == {("start", member) for member in lost}
    assert controller.ssh("reboot", victim["name"], "ls /root").split() == ["kept"]


def test_a_member_removed_by_hand_is_made_again(
    lab: Lab, controller: Controller, removed: t.Callable[[Path], Path]
) -> None:
    inventory = removed(controller.write(lab.declaration("byhand", roles={"head": {"count": 1}})))
    first = controller.play("start", inventory)
    hypervisor = next(hv for hv in lab.hypervisors if hv.name == first.resource["members"][0]["hypervisor"])
    controller.ssh("byhand", "byhand-head-0", "touch /root/kept && sync")
    hypervisor.run("virsh", "-c", "lxc:///system", "destroy", "byhand-head-0")
    hypervisor.run("virsh", "-c", "lxc:///system", "undefine", "byhand-head-0")
    run = controller.play("start", inventory)
    assert [action["action"] for action in run.resource["actions"]] == ["define", "start"]
    assert controller.ssh("byhand", "byhand-head-0", "ls /root").split() == ["kept"]


def test_growing_a_role_touches_the_new_members_only(
    lab: Lab, controller: Controller, removed: t.Callable[[Path], Path]
) -> None:
    declaration = lab.declaration("grower")
    inventory = removed(controller.write(declaration))
    first = controller.play("start", inventory)
    assert first.code == 0, first.output
    declaration["roles"]["compute"]["count"] = 3
    run = controller.play("start", controller.write(declaration))
    assert run.code == 0, run.output
    assert {action["member"] for action in run.resource["actions"]} == {"compute-2"}
    assert run.resource["generation"] == first.resource["generation"] + 1
