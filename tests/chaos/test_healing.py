# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A cluster that keeps itself running: whatever ends once is whole again, with every accepted job."""

from __future__ import annotations

import os
import time
import typing as t

import pytest
from harness import domains, faults
from harness.controller import Controller
from harness.healed import HEAD, MEMBER_TTL, NAME, TTL, Healed, handed_over
from harness.lab import Lab
from harness.waiting import wait_until

long = pytest.mark.skipif(
    not os.environ.get("ENSEMBLE_TEST_FULL"), reason="the long form of the healing suite; run it with make chaos"
)


@pytest.fixture(scope="module")
def healed(lab: Lab, controller: Controller, pool: None) -> t.Iterator[Healed]:
    """Rolled out, handed over, and removed at the end."""
    with handed_over(lab, controller) as found:
        yield found
        found.unchanged()


@pytest.mark.parametrize(("domain", "unit"), [(HEAD, "slurmctld"), (f"{NAME}-compute-0", "slurmd")])
def test_a_service_is_killed(healed: Healed, domain: str, unit: str) -> None:
    with healed.under_load() as crashes:
        faults.kill_service(healed.member(domain), unit)
        crashes.append(time.monotonic())


def test_the_scheduler_takes_a_node_out_of_service_by_mistake(healed: Healed) -> None:
    """As it does when it was killed, forgot that it had started a job there, and starts it once more."""
    since, head = now(), healed.member(HEAD)
    with healed.under_load():
        head.run("scontrol", "update", f"nodename={healed.computes[0]}", "state=drain", "reason=Duplicate jobid")
        healed.wait_verdict(healed.computes[0], "degraded", since=since)
    done = {event["action"] for event in healed.events("repair", since=since)}
    assert done == {"resume"}, done


def test_a_compute_member_is_destroyed(healed: Healed) -> None:
    since = now()
    with healed.under_load():
        member = healed.member(healed.computes[2])
        member.hypervisor.run("virsh", "-c", "lxc:///system", "destroy", member.domain)
        healed.wait_verdict(member.domain, "failed", "starting", since=since, seconds=60)
        healed.figures["member back"] = healed.wait_whole()


def test_the_leader_is_destroyed(healed: Healed) -> None:
    with healed.under_load() as crashes:
        before = healed.leader()
        member = healed.member(before)
        member.hypervisor.run("virsh", "-c", "lxc:///system", "destroy", before)
        crashes.append(time.monotonic())
        healed.wait(lambda: healed.shown().get("node") not in (None, before), "another leader", TTL + 30)
        healed.figures["leader's member back"] = healed.wait_whole()


@long
def test_the_head_is_destroyed(healed: Healed) -> None:
    with healed.under_load() as crashes:
        member = healed.member(HEAD)
        member.hypervisor.run("virsh", "-c", "lxc:///system", "destroy", HEAD)
        crashes.append(time.monotonic())
        healed.wait_whole()


@long
def test_a_member_is_suspended(healed: Healed) -> None:
    since = now()
    with healed.under_load(), faults.suspended(healed.member(healed.computes[2])):
        healed.wait_verdict(healed.computes[2], "failed", "starting", "healthy", since=since, seconds=60)
        healed.wait_whole()


@long
def test_a_member_is_undefined(healed: Healed) -> None:
    with healed.under_load(), faults.undefined(healed.member(healed.computes[2])):
        wait_until(lambda: domains.is_defined(healed.member(healed.computes[2])), 60, "its definition again")


@long
def test_a_member_is_cut_off(healed: Healed) -> None:
    since = now()
    with healed.under_load(), faults.unplugged(healed.member(healed.computes[2])):
        # its scheduler is the second sign, and takes its time
        healed.wait_verdict(healed.computes[2], "failed", "starting", since=since, seconds=150)
        healed.wait_whole()


@long
def test_a_hypervisor_is_frozen_then_gone_and_comes_back_with_its_old_members(healed: Healed) -> None:
    """What may be made elsewhere is; nobody is there twice while it is away, nor when it is back."""
    victim = next(domain for domain in healed.computes if healed.member(domain).hypervisor.name != here(healed, HEAD))
    machine = healed.member(victim).hypervisor
    with healed.under_load():
        since = now()
        with healed.frozen(machine):
            healed.wait_verdict(victim, "unknown", since=since, seconds=60)
        healed.wait_whole()
        assert here(healed, victim) == machine.name, "a hypervisor that is silent for a moment is waited for"
        since = now()
        with faults.isolate(healed.lab, machine.address):
            healed.wait_verdict(victim, "unknown", since=since, seconds=60)
            healed.wait(lambda: victim not in machine.domains(), "its end by the guard", 2 * MEMBER_TTL + 30)
            healed.wait(lambda: here(healed, victim) not in ("", machine.name), "another place for it")
        healed.wait_whole()
    assert here(healed, victim) != machine.name


def now() -> float:
    """CLOCK_BOOTTIME, which all machines of a lab share."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def here(healed: Healed, domain: str) -> str:
    """Name of the hypervisor on which a domain runs, empty where none does."""
    return next((hv.name for hv in healed.lab.hypervisors if domain in hv.domains()), "")


@long
def test_a_service_crashes_again_and_again(healed: Healed) -> None:
    with healed.under_load(), faults.crashing(healed.member(healed.computes[2]), "slurmd", every=10) as times:
        wait_until(lambda: times() >= 3, 90, "three crashes")


@long
def test_a_probe_hangs(healed: Healed) -> None:
    since = now()
    with healed.under_load(), faults.hanging(healed.member(HEAD), "/usr/bin/scontrol"):
        healed.wait_verdict(HEAD, "failed", since=since, seconds=60)


@long
def test_the_disk_of_a_member_is_full(healed: Healed) -> None:
    """Slurm lets go of the node and holds the job that it could not launch there; a person makes room, and says so."""
    since = now()
    victim, head = healed.member(healed.computes[2]), healed.member(HEAD)
    with healed.under_load():
        with faults.full_folder(victim, "/var"):
            healed.wait_verdict(victim.domain, "degraded", since=since, seconds=90)
        head.run("scontrol", "update", f"nodename={victim.domain}", "state=resume")
        waiting = head.run("squeue", "--noheader", "--states=PD", "--format=%i %r").splitlines()
        for job in [line.split()[0] for line in waiting if line.endswith("held")]:
            head.run("scontrol", "release", job)
    repairs = [event for event in healed.events("repair", since=since) if event["action"] != "restart_unit"]
    assert repairs == [], "a full disk is no reason to lose what is on it"


@long
def test_the_leader_is_killed_while_it_repairs(healed: Healed) -> None:
    since = now()
    with healed.under_load():
        leader = healed.leader()
        victim = next(domain for domain in healed.computes if domain != leader)
        member = healed.member(victim)
        member.hypervisor.run("virsh", "-c", "lxc:///system", "destroy", victim)
        agent = healed.member(leader)
        healed.wait_verdict(victim, "failed", "starting", since=since, seconds=60)
        faults.kill(agent.hypervisor, *agent.pids(f"ensemble-agent@{NAME}.service"))
        healed.wait_whole()


@long
def test_two_faults_at_once(healed: Healed) -> None:
    with healed.under_load() as crashes:
        faults.kill_service(healed.member(HEAD), "slurmctld")
        crashes.append(time.monotonic())
        member = healed.member(healed.computes[1])
        member.hypervisor.run("virsh", "-c", "lxc:///system", "destroy", member.domain)
        healed.wait_whole()


def test_what_is_stopped_while_a_member_is_cut_off_stays_stopped(healed: Healed) -> None:
    """An agent that knows nothing of it comes back, leads, and starts nobody.

    It is the head's: a member that may be made elsewhere ends by itself when no leader was heard of for `member_ttl`.
    """
    lonely = healed.member(HEAD)
    with faults.isolate(healed.lab, lonely.address):
        run = healed.play("stop")
        assert run.code == 0, run.output
    lonely.hypervisor.run("virsh", "-c", "lxc:///system", "start", lonely.domain)
    wait_until(lambda: bool(healed.shown()), 90, "its agent, which leads")
    shown = healed.shown()
    assert (shown["node"], shown["desired"]) == (lonely.domain, "stopped")
    time_of_look = shown["at"]
    wait_until(lambda: healed.shown().get("at", time_of_look) != time_of_look, 60, "one more look")
    assert [domain for domain in healed.domains if here(healed, domain)] == [lonely.domain]
    started = healed.play("torque")
    assert started.code == 0, started.output
    healed.wait_whole()
