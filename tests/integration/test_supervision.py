# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A batch cluster whose services are brought back by systemd, rolled out once and shared by these tests."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

import pytest
from harness import faults
from harness.controller import Controller, Run
from harness.lab import Lab
from harness.load import JobLoad
from harness.members import Member
from harness.services import main_pid, state_of, wait_back
from harness.waiting import wait_until

NAME, USER = "kept", "alice"
HEAD, NODES = f"{NAME}-head-0", (f"{NAME}-compute-0", f"{NAME}-compute-1")
#: until a test gives up waiting; how long it takes is for the benchmarks
BACK_SECONDS = 30.0
SERVICES = [(HEAD, "munge"), (HEAD, "slurmctld"), (NODES[0], "munge"), (NODES[0], "slurmd"), (NODES[0], "ssh")]
_DROPIN = "/etc/systemd/system/{}.service.d/50-ensemble.conf"


@pytest.fixture(scope="module")
def inventory(lab: Lab, controller: Controller) -> t.Iterator[Path]:
    defaults = {"driver": "lxc", "image": "batch-node", "vcpus": 1, "memory_mb": 384}
    declaration = lab.declaration(NAME, stack="torque", defaults=defaults)
    path = controller.write(declaration, torque_users=[{"name": USER, "uid": 2000}])
    yield path
    assert controller.play("remove", path).code == 0


@pytest.fixture(scope="module")
def rolled_out(controller: Controller, inventory: Path) -> Run:
    run = controller.play("torque", inventory)
    assert run.code == 0, run.output
    return run


@pytest.fixture
def cluster(lab: Lab, rolled_out: Run) -> dict[str, Member]:
    return {domain: faults.find_member(lab, domain) for domain in (HEAD, *NODES)}


def nodes_in_service(head: Member) -> bool:
    states = head.run("sinfo", "--noheader", "--Node", "--format=%T", check=False).split()
    return len(states) == len(NODES) and set(states) <= {"idle", "mixed", "allocated", "completing"}


@pytest.mark.parametrize(("domain", "unit"), SERVICES)
def test_a_killed_service_is_back(cluster: dict[str, Member], domain: str, unit: str) -> None:
    wait_back(cluster[domain], unit, faults.kill_service(cluster[domain], unit), BACK_SECONDS)
    wait_until(lambda: nodes_in_service(cluster[HEAD]), BACK_SECONDS, "all nodes in service")


def test_a_service_that_was_told_to_end_is_back_and_one_that_was_stopped_is_not(cluster: dict[str, Member]) -> None:
    node = cluster[NODES[1]]
    former = main_pid(node, "slurmd")
    node.run("systemctl", "kill", "slurmd")
    wait_back(node, "slurmd", former, BACK_SECONDS)
    node.run("systemctl", "stop", "slurmd")
    # one that waits to be started again is activating, in the state auto-restart
    shown = node.run("systemctl", "show", "--property=ActiveState,SubState", "--value", "slurmd").split()
    assert shown == ["inactive", "dead"]
    node.run("systemctl", "start", "slurmd")


def test_the_others_outlive_the_end_of_munge(cluster: dict[str, Member]) -> None:
    head = cluster[HEAD]
    former = main_pid(head, "slurmctld")
    head.run("systemctl", "restart", "munge")
    assert (state_of(head, "slurmctld"), main_pid(head, "slurmctld")) == ("active", former)


def test_a_job_outlives_the_end_of_its_node_daemon(lab: Lab, cluster: dict[str, Member]) -> None:
    head, node = cluster[HEAD], cluster[NODES[0]]
    running = ("squeue", "--noheader", "--states=RUNNING", f"--nodelist={NODES[0]}", "--format=%A")
    with JobLoad(lab, HEAD, NODES, USER, rate=2, shortest=4, longest=4) as load:
        wait_until(lambda: bool(head.run(*running).split()), 20, "a job on the node")
        job = head.run(*running).split()[0]
        wait_back(node, "slurmd", faults.kill_service(node, "slurmd"), BACK_SECONDS)
    report = load.finish(120)
    assert report.lost == {}, report
    assert set(report.completed) == set(report.accepted)
    shown = head.run("scontrol", "show", "job", job)
    assert "JobState=COMPLETED" in shown
    assert "Restarts=0" in shown


def test_no_accepted_job_is_lost_while_services_are_killed(lab: Lab, cluster: dict[str, Member]) -> None:
    with JobLoad(lab, HEAD, NODES, USER, rate=1, shortest=1, longest=2) as load:
        for domain, unit in SERVICES:
            if unit != "slurmctld":
                former = faults.kill_service(cluster[domain], unit)
                wait_back(cluster[domain], unit, former, BACK_SECONDS)
    report = load.finish(120)
    assert report.lost == {}, report
    assert len(report.accepted) >= 5, report


def test_a_killed_scheduler_forgets_no_job_that_it_has_had_for_a_while(
    lab: Lab, cluster: dict[str, Member], controller: Controller, inventory: Path
) -> None:
    """And nodes that refuse what it starts once more are back in service with the next run."""
    head = cluster[HEAD]
    with JobLoad(lab, HEAD, NODES, USER, rate=2, shortest=1, longest=2) as load:
        wait_until(lambda: len(load.accepted) >= 15, 40, "accepted jobs")
        former = faults.kill_service(head, "slurmctld")
        crash = time.monotonic()
        wait_back(head, "slurmctld", former, BACK_SECONDS)
    load.reconcile(crash)
    run = controller.play("torque", inventory)
    assert run.code == 0, run.output
    report = load.finish(240)  # what is requeued waits for two minutes (cred_expire in slurm.conf(5))
    assert report.lost_besides(crash) == {}, report
    assert len(report.completed) >= 5, report
    assert set(report.completed) | set(report.lost) == set(report.accepted)


def test_a_node_that_slurm_took_out_of_service_by_mistake_is_back_with_the_next_run(
    cluster: dict[str, Member], controller: Controller, inventory: Path
) -> None:
    head = cluster[HEAD]
    head.run("scontrol", "update", f"nodename={NODES[0]}", "state=drain", "reason=Duplicate jobid")
    run = controller.play("torque", inventory)
    assert run.code == 0, run.output
    assert nodes_in_service(head)
    head.run("scontrol", "update", f"nodename={NODES[0]}", "state=drain", "reason=fan")
    run = controller.play("torque", inventory)
    head.run("scontrol", "update", f"nodename={NODES[0]}", "state=resume")
    assert run.code != 0
    assert "fan" in run.output


def test_a_job_that_is_cancelled_is_reported_as_lost(lab: Lab, cluster: dict[str, Member]) -> None:
    with JobLoad(lab, HEAD, NODES, USER, rate=1, shortest=20, longest=20) as load:
        wait_until(lambda: bool(load.accepted), 20, "an accepted job")
    cluster[HEAD].run("scancel", f"--user={USER}")
    report = load.finish(60)
    assert report.lost == dict.fromkeys(report.accepted, "CANCELLED")
    assert report.lost_besides(time.monotonic()) == report.lost
    assert (report.completed, load.state(next(iter(report.accepted)))) == ((), "CANCELLED")


def test_a_service_that_crashes_now_and_then_is_never_given_up(cluster: dict[str, Member]) -> None:
    """As long as it is less often than the limit of starts."""
    node = cluster[NODES[1]]
    with faults.crashing(node, "slurmd", every=10) as times:
        wait_until(lambda: times() >= 4, 60, "four crashes")
        wait_until(lambda: state_of(node, "slurmd") == "active", BACK_SECONDS, "slurmd after its fourth crash")
    assert node.run("systemctl", "is-system-running", check=False).strip() == "running"


def test_a_service_that_dies_at_once_is_given_up_and_the_next_run_brings_it_back(
    cluster: dict[str, Member], controller: Controller, inventory: Path
) -> None:
    node = cluster[NODES[1]]
    with faults.dying(node, "slurmd"):
        wait_until(lambda: state_of(node, "slurmd") == "failed", 60, "slurmd given up")
        result = node.run("systemctl", "show", "--property=Result", "--value", "slurmd").strip()
        assert result in ("start-limit-hit", "exit-code")
        node.run("rm", "/run/systemd/system/slurmd.service.d/99-lab-fault.conf")
        run = controller.play("torque", inventory)
        assert run.code == 0, run.output
        assert state_of(node, "slurmd") == "active"


def test_a_dropin_that_was_changed_is_set_right_and_no_service_is_restarted(
    cluster: dict[str, Member], controller: Controller, inventory: Path
) -> None:
    node = cluster[NODES[0]]
    before = {unit: main_pid(node, unit) for unit in ("munge", "slurmd", "ssh")}
    node.run("tee", _DROPIN.format("slurmd"), stdin=b"[Service]\nRestart=no\n")
    node.run("rm", "-r", f"{Path(_DROPIN.format('munge')).parent}")
    node.run("systemctl", "daemon-reload")
    dry = controller.play("torque", inventory, "--check", "--diff")
    assert dry.code == 0, dry.output
    assert "-Restart=no" in dry.output
    assert f"would get {_DROPIN.format('munge')}" in dry.output
    assert dry.recap("changed")[NODES[0]] > 0
    assert {dry.recap("changed")[one] for one in (HEAD, NODES[1])} == {0}
    assert "Restart=no" in node.run("cat", _DROPIN.format("slurmd"))
    run = controller.play("torque", inventory)
    assert run.code == 0, run.output
    assert {run.recap("changed")[one] for one in (HEAD, NODES[1])} == {0}
    assert {unit: main_pid(node, unit) for unit in before} == before
    shown = node.run("systemctl", "show", "--property=Restart", "--value", "munge", "slurmd", "ssh").split()
    assert shown == ["always"] * 3
    assert set(controller.play("torque", inventory).recap("changed").values()) == {0}


def test_what_systemd_has_not_read_is_read(cluster: dict[str, Member], controller: Controller, inventory: Path) -> None:
    """As a run leaves it that was ended after it wrote a file."""
    node = cluster[NODES[0]]
    right = node.run("cat", _DROPIN.format("slurmd"))
    node.run("tee", _DROPIN.format("slurmd"), stdin=b"[Service]\nRestart=no\n")
    node.run("systemctl", "daemon-reload")
    node.run("tee", _DROPIN.format("slurmd"), stdin=right.encode())
    run = controller.play("torque", inventory)
    assert run.code == 0, run.output
    assert run.recap("changed") == {"localhost": 0, HEAD: 0, NODES[0]: 1, NODES[1]: 0}
    assert node.run("systemctl", "show", "--property=Restart", "--value", "slurmd").strip() == "always"
