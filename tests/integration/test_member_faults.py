# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Each fault of a member that the suites of healing use does what it says, and is over when it is over."""

from __future__ import annotations

import os
import subprocess
import typing as t

import pytest
from harness import faults
from harness.controller import Controller
from harness.domains import is_defined, state
from harness.faults import Member
from harness.lab import Lab
from harness.probes import here, reached
from harness.services import main_pid, state_of
from harness.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not os.environ.get("ENSEMBLE_TEST_FULL"), reason="the faults of the long suites; run: make test-full"
)
UNIT = "lab-fault.service"


@pytest.fixture(scope="module")
def member(lab: Lab, controller: Controller) -> t.Iterator[Member]:
    """A member with a service that systemd starts again."""
    declaration = lab.declaration("faulty", roles={"node": {"count": 1}})
    declaration["pool"] = declaration["pool"][:1]
    inventory = controller.write(declaration)
    unit = "[Unit]\nStartLimitIntervalSec=30\nStartLimitBurst=3\n"
    unit += "[Service]\nExecStart=/usr/bin/sleep 86400\nRestart=always\nRestartSec=300ms\n"
    try:
        run = controller.play("start", inventory)
        assert run.code == 0, run.output
        found = faults.find_member(lab, "faulty-node-0")
        found.run("tee", f"/etc/systemd/system/{UNIT}", stdin=unit.encode())
        found.run("systemctl", "start", UNIT)
        yield found
    finally:
        assert controller.play("remove", inventory).code == 0


def test_a_killed_service(member: Member) -> None:
    former = main_pid(member, UNIT)
    assert faults.kill_service(member, UNIT) == former
    wait_until(lambda: main_pid(member, UNIT) not in (0, former), 5, "systemd's own repair")
    with pytest.raises(RuntimeError, match="does not run"):
        faults.kill_service(member, "no-such.service")


def test_a_service_that_crashes_again_and_again(member: Member) -> None:
    member.run("systemctl", "reset-failed", UNIT)
    with faults.crashing(member, UNIT, every=12) as times:
        wait_until(lambda: times() >= 2, 40, "two crashes")
        assert times() == 2
    after = main_pid(member, UNIT)
    assert "ensemble-lab-crasher" not in member.run("systemctl", "list-units", "--all")
    assert (state_of(member, UNIT), main_pid(member, UNIT)) == ("active", after)


def test_a_service_that_dies_at_once(member: Member) -> None:
    with faults.dying(member, UNIT):
        wait_until(lambda: state_of(member, UNIT) == "failed", 10, "a service that systemd gave up")
    assert (state_of(member, UNIT), main_pid(member, UNIT) > 0) == ("active", True)
    assert "99-lab-fault" not in member.run("systemctl", "cat", UNIT)


def test_a_program_that_hangs(member: Member) -> None:
    address = ("timeout", "1", "/usr/bin/hostname")
    name = member.run(*address)
    with faults.hanging(member, "/usr/bin/hostname"):
        with pytest.raises(RuntimeError, match="exit 124"):
            member.run(*address)
        enter = [
            "docker",
            "exec",
            member.hypervisor.container,
            "nsenter",
            f"--target={member.init}",
            "--mount",
            "--pid",
        ]
        hung = subprocess.Popen([*enter, "--", "/usr/bin/hostname"])
        with pytest.raises(subprocess.TimeoutExpired):
            hung.wait(timeout=1)
    assert hung.wait(timeout=10) != 0
    assert member.run(*address) == name
    assert "ensemble-lab" not in member.run("ls", "/run")


def test_a_full_disk_of_a_member(member: Member) -> None:
    member.run("sh", "-c", "mkdir -p /var/spool/lab && echo before > /var/spool/lab/kept")
    with faults.full_folder(member, "/var/spool"):
        with pytest.raises(RuntimeError, match="No space left on device"):
            member.run("tee", "/var/spool/lab/more", stdin=b"x" * 8192)
        assert member.run("cat", "/var/spool/lab/kept") == "before\n"
        member.run("sh", "-c", "rm /var/spool/.ballast && echo after > /var/spool/lab/kept")
    assert member.run("cat", "/var/spool/lab/kept") == "after\n"
    assert "lab-full" not in member.run("cat", "/proc/mounts")
    assert ".ballast" not in member.run("ls", "-A", "/var/spool")


def test_a_member_without_network(member: Member) -> None:
    address = member.address
    with faults.unplugged(member):
        assert reached(here, address, member.hypervisor.address) == "ny"
        assert reached(member.hypervisor.run, address) == "n"
    wait_until(lambda: reached(here, address) == "y", 10, "its network again")


def test_a_suspended_member(member: Member) -> None:
    address = member.address
    with faults.suspended(member):
        assert state(member) == "paused"
        assert reached(here, address) == "n"
    assert state(member) == "running"
    assert reached(here, address) == "y"


def test_a_member_that_is_defined_no_more(member: Member) -> None:
    before = member.hypervisor.run("virsh", "-c", "lxc:///system", "dumpxml", "--inactive", member.domain)
    with faults.undefined(member):
        assert (is_defined(member), state(member)) == (False, "running")
    assert is_defined(member)
    assert member.hypervisor.run("virsh", "-c", "lxc:///system", "dumpxml", "--inactive", member.domain) == before


def test_a_destroyed_member(member: Member) -> None:
    address, init = member.address, member.init
    with faults.destroyed(member):
        assert state(member) == "shut off"
        assert reached(here, address) == "n"
        assert is_defined(member)
    wait_until(lambda: reached(here, address) == "y", 20, "its sshd")
    assert member.init != init


def test_a_frozen_hypervisor_with_its_members(member: Member) -> None:
    address = member.address
    with faults.frozen(member.hypervisor, members=True):
        assert reached(here, member.hypervisor.address, address) == "nn"
    assert reached(here, member.hypervisor.address, address) == "yy"
