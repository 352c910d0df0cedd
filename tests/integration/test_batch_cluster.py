# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The demo's declaration, rolled out once and shared by these tests in their order: the main job."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from harness import faults
from harness.controller import Controller, Run
from harness.lab import Lab

MEMBERS = {"demo-head-0", *(f"demo-compute-{index}" for index in range(4))}


def declared(lab: Lab) -> dict[str, t.Any]:
    """The demo's; a member that was started ten seconds ago is expected to do its work."""
    raw = lab.demo()
    return {**raw, "monitor": {**raw["monitor"], "starting": 10}}


@pytest.fixture(scope="module")
def inventory(lab: Lab, controller: Controller) -> t.Iterator[Path]:
    path = controller.write(declared(lab), torque_users=[{"name": "demo", "uid": 2000}])
    yield path
    assert controller.play("remove", path).code == 0


@pytest.fixture(scope="module")
def dry(controller: Controller, inventory: Path) -> Run:
    """Check mode before anything exists."""
    return controller.play("torque", inventory, "--check", "--diff")


@pytest.fixture(scope="module")
def rolled_out(lab: Lab, controller: Controller, inventory: Path, dry: Run) -> Run:
    assert lab.leftovers("demo") == []  # check mode made nothing
    return controller.play("torque", inventory, "--diff")


def shown(run: Run) -> tuple[t.Any, t.Any]:
    return run.resource["actions"], run.diff


def test_check_mode_shows_the_very_actions_of_the_run(dry: Run, rolled_out: Run) -> None:
    assert dry.code == 0, dry.output
    assert "would be configured: demo-head-0" in dry.output
    assert len(dry.resource["actions"]) == 3 * len(MEMBERS)
    assert shown(dry) == shown(rolled_out)


def test_five_members_run_on_all_three_hypervisors(lab: Lab, rolled_out: Run) -> None:
    assert rolled_out.code == 0, rolled_out.output
    running = lab.running()
    assert set().union(*running.values()) >= MEMBERS
    assert all(names & MEMBERS for names in running.values())


def test_libvirt_starts_no_member_by_itself(lab: Lab, rolled_out: Run) -> None:
    for hypervisor in lab.hypervisors:
        for name in hypervisor.domains() & MEMBERS:
            info = hypervisor.run("virsh", "-c", "lxc:///system", "dominfo", name)
            assert info.split("Autostart:")[1].split()[0] == "disable"


def test_second_run_changes_nothing(controller: Controller, inventory: Path, rolled_out: Run) -> None:
    again = controller.play("torque", inventory)
    assert again.code == 0, again.output
    assert again.resource["actions"] == []
    assert set(again.recap("changed").values()) == {0}, again.output
    assert set(again.recap("changed")) == {*MEMBERS, "localhost"}


def test_job_array_runs_on_every_node_through_qsub(controller: Controller, inventory: Path, rolled_out: Run) -> None:
    smoke = controller.play("smoke", inventory)
    assert smoke.code == 0, smoke.output
    for index in range(4):
        assert f"ran on demo-compute-{index} as demo" in smoke.output
    assert set(smoke.recap("changed").values()) == {0}


def test_status_names_members_and_services(controller: Controller, inventory: Path, rolled_out: Run) -> None:
    status = controller.play("status", inventory)
    assert status.code == 0, status.output
    for member in MEMBERS - {"demo-head-0"}:
        line = next(line for line in status.output.splitlines() if f'"{member} ' in line)
        assert "slurmd ok" in line
        assert "running" in line
    assert "slurmctld ok" in status.output


MONITOR = "ensemble.stacks.distributed_resource_monitor"


def verdicts(found: dict[str, t.Any]) -> dict[str, str]:
    return {member["name"]: member["verdict"] for member in found["members"]}


def test_every_member_is_healthy_by_many_signs(controller: Controller, inventory: Path, rolled_out: Run) -> None:
    found = controller.task(MONITOR, declaration=str(inventory))
    assert (found["verdict"], found["cause"]) == ("healthy", ""), found
    assert verdicts(found) == dict.fromkeys(MEMBERS, "healthy")
    for member in found["members"]:
        signs = [sign["sign"] for sign in member["signs"]]
        assert signs.count("unit") == 2, member
        assert "reach" in signs
        assert "scheduler" in signs, "asked of the head, told of the nodes"
    assert not found["changed"]


def test_what_ends_is_seen_and_repaired(
    lab: Lab, controller: Controller, inventory: Path, rolled_out: Run, tmp_path: Path
) -> None:
    member = faults.find_member(lab, "demo-compute-2")
    member.hypervisor.run("virsh", "-c", "lxc:///system", "destroy", member.domain)
    faults.find_member(lab, "demo-compute-1").run("systemctl", "stop", "slurmd")
    found = controller.task(MONITOR, declaration=str(inventory), page=str(tmp_path / "page.html"))
    assert found["verdict"] == "degraded"
    told = verdicts(found)
    assert (told["demo-compute-1"], told["demo-compute-2"]) == ("failed", "failed")
    assert "shutoff (destroyed)" in next(one["cause"] for one in found["members"] if one["name"] == "demo-compute-2")
    assert "demo-compute-2" in (tmp_path / "page.html").read_text()
    dry = controller.play("repair", inventory, "--check")
    repaired = controller.play("repair", inventory)
    assert repaired.code == 0, repaired.output
    expected = [("restart_unit", "compute-1"), ("start", "compute-2")]
    for run in (dry, repaired):
        (result,) = run.results("exhausted")
        assert [(action["action"], action["member"]) for action in result["actions"]] == expected
    assert verdicts(result) == dict.fromkeys(MEMBERS, "healthy")
    again = controller.play("repair", inventory)
    assert set(again.recap("changed").values()) == {0}, again.output


def test_an_empty_controller_can_do_all_that_the_first_could(lab: Lab, tmp_path: Path, rolled_out: Run) -> None:
    """It has the declaration and a key that the pool accepts; the members' keys come from the record."""
    colleague = Controller(tmp_path)
    path = colleague.write(declared(lab), torque_users=[{"name": "demo", "uid": 2000}])
    run = colleague.play("torque", path)
    assert run.code == 0, run.output
    assert run.resource["actions"] == []
    assert set(run.recap("changed").values()) == {0}
    assert colleague.ssh("demo", "demo-head-0", "hostname").strip() == "demo-head-0"
    modes = {entry.name: entry.stat().st_mode & 0o777 for entry in (tmp_path / ".cache/ensemble/demo").iterdir()}
    assert modes == {"id_ed25519": 0o600, "known_hosts": 0o600, "ssh_config": 0o600, "secrets": 0o700}


def test_disks_survive_stop_and_start(lab: Lab, controller: Controller, inventory: Path, rolled_out: Run) -> None:
    controller.ssh("demo", "demo-compute-1", "touch /root/kept && sync")
    dry = controller.play("stop", inventory, "--check", "--diff")
    assert set().union(*lab.running().values()) >= MEMBERS
    stopped = controller.play("stop", inventory, "--diff")
    assert stopped.code == 0, stopped.output
    assert shown(dry) == shown(stopped)
    assert {action["action"] for action in stopped.resource["actions"]} == {"stop"}
    assert stopped.resource["actions"][-1]["member"] == "head-0"  # what others come after stops last
    assert not set().union(*lab.running().values()) & MEMBERS
    assert controller.play("stop", inventory).resource["actions"] == []
    dry = controller.play("start", inventory, "--check", "--diff")
    started = controller.play("start", inventory, "--diff")
    assert started.code == 0, started.output
    assert shown(dry) == shown(started)
    assert {action["action"] for action in started.resource["actions"]} == {"start"}
    assert controller.ssh("demo", "demo-compute-1", "ls /root").split() == ["kept"]


def test_services_come_back_with_their_members(controller: Controller, inventory: Path, rolled_out: Run) -> None:
    """After a start the batch system needs no configuration: the roll-out finds every node in service."""
    run = controller.play("torque", inventory)
    assert run.code == 0, run.output
    assert set(run.recap("changed").values()) == {0}, run.output


def test_absent_leaves_nothing_behind(lab: Lab, controller: Controller, inventory: Path, rolled_out: Run) -> None:
    dry = controller.play("remove", inventory, "--check", "--diff")
    assert len(lab.leftovers("demo")) > len(MEMBERS)
    gone = controller.play("remove", inventory, "--diff")
    assert gone.code == 0, gone.output
    assert shown(dry) == shown(gone)
    assert lab.leftovers("demo") == []
    assert not (controller.home / ".cache/ensemble/demo").exists()
    assert controller.play("remove", inventory).resource["actions"] == []
