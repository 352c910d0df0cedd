# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What goes wrong on real hypervisors: silence, full disks, dead and paused members, leftovers, clocks that jump."""

from __future__ import annotations

import contextlib
import json
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.identity import member_mac
from harness.controller import Controller, Run
from harness.lab import STATE, Hypervisor, Lab

from .conftest import engine
from .test_interruptions import wait_for

ONE = {"head": {"count": 1}}
Removed = t.Callable[[Path], Path]


def actions(run: Run) -> list[str]:
    assert run.code == 0, run.output
    return [action["action"] for action in run.resource["actions"]]


def virsh(hypervisor: Hypervisor, *argv: str) -> str:
    return hypervisor.run("virsh", "-q", "-c", "lxc:///system", *argv)


@contextlib.contextmanager
def frozen(hypervisor: Hypervisor) -> t.Iterator[None]:
    engine("pause", hypervisor.container)
    try:
        yield
    finally:
        engine("unpause", hypervisor.container)


def test_a_hypervisor_that_falls_silent_in_the_middle_fails_the_run_in_bounded_time(
    lab: Lab, controller: Controller, removed: Removed
) -> None:
    """The others' work is kept; as long as it is silent nothing is made twice; then the next run finishes."""
    declaration = lab.declaration("midway", roles={"node": {"count": 3, "spread": "hypervisor"}})
    inventory = removed(controller.write(declaration))
    process = controller.start("start", inventory)
    record = f"{STATE}/midway/record.json"
    # the wish is on record, and no member is made yet
    wait_for(process, lambda: bool(lab.hypervisors[0].run("sh", "-c", f"test -e {record} && echo y || true")))
    with frozen(lab.hypervisors[2]):
        begun = time.monotonic()
        output = process.communicate(timeout=200)[0]
        assert process.returncode != 0
        assert "hv3" in output
        assert time.monotonic() - begun < 150
        again = controller.play("start", inventory)
        assert again.code != 0
        assert "not taken for gone" in again.failure["msg"] or "hv3" in again.failure["msg"]
        elsewhere = set().union(*(hv.domains("--all") for hv in lab.hypervisors[:2]))
        assert len({name for name in elsewhere if name.startswith("midway-")}) <= 2
    assert controller.play("start", inventory).code == 0
    names = [name for hv in lab.hypervisors for name in hv.domains() if name.startswith("midway-")]
    assert sorted(names) == ["midway-node-0", "midway-node-1", "midway-node-2"]
    assert actions(controller.play("start", inventory)) == []


def test_a_silent_hypervisor_that_carries_nothing_is_passed_over(
    lab: Lab, controller: Controller, removed: Removed
) -> None:
    # at the first start of a resource all voters must answer
    inventory = removed(controller.write(lab.declaration("silent", election={"voters": ["hv1"]})))
    with frozen(lab.hypervisors[2]):
        begun = time.monotonic()
        run = controller.play("start", inventory)
        elapsed = time.monotonic() - begun
        assert run.code == 0, run.output
        assert "hv3 does not answer and carries no member of silent" in run.output
        assert {member["hypervisor"] for member in run.resource["members"]} == {"hv1", "hv2"}
        assert elapsed < 90  # 10 s for the connection, the rest is Ansible, and members that boot
        refused = controller.play("stop", inventory)  # who stops must know that nothing is left running
        assert refused.code != 0
        assert "hv3" in refused.failure["msg"]
    assert actions(controller.play("start", inventory)) == []


def test_a_full_disk_is_said_and_overcome(lab: Lab, controller: Controller) -> None:
    hypervisor = lab.hypervisors[0]
    folder = f"{STATE}/full"
    declaration = lab.declaration("full", roles=ONE)
    declaration["pool"] = declaration["pool"][:1]
    inventory = controller.write(declaration)
    hypervisor.run("mkdir", "-p", folder)
    hypervisor.run("mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", folder)
    try:
        hypervisor.run("sh", "-c", f"head -c 2000000 /dev/zero > {folder}/ballast || true")
        run = controller.play("start", inventory)
        assert run.code != 0
        assert "hv1" in run.failure["msg"]
        assert "No space left on device" in run.failure["msg"]
        assert "full-head-0" not in hypervisor.domains("--all")
        hypervisor.run("rm", f"{folder}/ballast")
        hypervisor.run("mount", "-o", "remount,size=64m", folder)
        assert actions(controller.play("start", inventory)) == ["prepare", "define", "start"]
        assert actions(controller.play("start", inventory)) == []
        assert controller.play("remove", inventory).code == 0
        assert lab.leftovers("full") == []
    finally:
        controller.play("remove", inventory)
        hypervisor.run("umount", folder)


def test_paused_crashed_and_half_removed_members_run_again(lab: Lab, controller: Controller, removed: Removed) -> None:
    declaration = lab.declaration("lives", roles=ONE)
    declaration["pool"] = declaration["pool"][:1]
    hypervisor, inventory = lab.hypervisors[0], removed(controller.write(declaration))
    assert actions(controller.play("start", inventory)) == ["prepare", "define", "start"]
    controller.ssh("lives", "lives-head-0", "touch /root/kept && sync")

    virsh(hypervisor, "suspend", "lives-head-0")
    run = controller.play("start", inventory)
    assert (actions(run), run.resource["actions"][0]["reason"]) == (["start"], "it is paused")

    ident = virsh(hypervisor, "domid", "lives-head-0").strip()
    init = hypervisor.run("cat", "/run/libvirt/lxc/lives-head-0.pid").strip()
    hypervisor.run("kill", "-KILL", init)  # libvirt's own process for the container: it dies with it
    hypervisor.run(
        "timeout",
        "20",
        "sh",
        "-c",
        f"while virsh -q -c lxc:///system domid lives-head-0 | grep -qx {ident}; do :; done",
    )
    assert actions(controller.play("start", inventory)) == ["start"]

    virsh(hypervisor, "destroy", "lives-head-0")
    virsh(hypervisor, "undefine", "lives-head-0")
    assert actions(controller.play("start", inventory)) == ["define", "start"]
    assert controller.ssh("lives", "lives-head-0", "ls /root").split() == ["kept"]


def test_a_leftover_overlay_is_made_anew(lab: Lab, controller: Controller, removed: Removed) -> None:
    """Half a disk of a run that died while it was mounted and seeded, on a hypervisor that is not the first choice."""
    hypervisor, inventory = lab.hypervisors[1], removed(controller.write(lab.declaration("leftover", roles=ONE)))
    home = f"{STATE}/leftover/members/head-0"
    hypervisor.run("mkdir", "-p", *(f"{home}/{name}" for name in ("upper", "work", "root")))
    layers = f"lowerdir=/usr/share,upperdir={home}/upper,workdir={home}/work"
    hypervisor.run("mount", "-t", "overlay", "overlay", "-o", layers, f"{home}/root")
    hypervisor.run("touch", f"{home}/root/half")
    run = controller.play("start", inventory)
    assert actions(run) == ["prepare", "define", "start"]
    assert run.resource["actions"][0]["reason"] == "its disk is half made"
    assert run.resource["members"][0]["hypervisor"] == hypervisor.name
    assert "half" not in controller.ssh("leftover", "leftover-head-0", "ls /")


def test_a_foreign_machine_with_a_members_address_card_is_refused(lab: Lab, controller: Controller) -> None:
    hypervisor, mac = lab.hypervisors[2], member_mac("twin", "head-0")
    xml = (
        "<domain type='lxc'><name>somebody</name><memory unit='MiB'>64</memory>"
        "<os><type>exe</type><init>/sbin/init</init></os><devices><interface type='bridge'>"
        f"<source bridge='br0'/><mac address='{mac}'/></interface></devices></domain>"
    )
    hypervisor.run("sh", "-c", "cat > /run/twin.xml", stdin=xml.encode())
    virsh(hypervisor, "define", "/run/twin.xml")
    try:
        run = controller.play("start", controller.write(lab.declaration("twin", roles=ONE)))
        assert run.code != 0
        assert run.failure["code"] == "name_taken"
        assert "somebody on hv3 (same MAC address)" in run.failure["msg"]
        assert lab.leftovers("twin") == []
    finally:
        virsh(hypervisor, "undefine", "somebody")


def test_no_clock_that_jumps_moves_a_lease(lab: Lab, controller: Controller, removed: Removed) -> None:
    """The voter's wall clock runs ahead for one run and is back for the next: both get the lease, nothing changes."""
    hypervisor = lab.hypervisors[0]
    library = hypervisor.run("sh", "-c", "ls /usr/lib/*/faketime/libfaketime.so.1 || true").strip()
    if not library:
        pytest.skip("the lab's hypervisors carry no libfaketime; bring the lab up anew")
    inventory = removed(controller.write(lab.declaration("clock", roles=ONE)))
    assert controller.play("start", inventory).code == 0
    real, aside = "/usr/local/bin/ensemble-host", "/usr/local/bin/ensemble-host.real"
    for jump in ("+3h", "-3h"):
        script = f'#!/bin/sh\nLD_PRELOAD={library} FAKETIME={jump} FAKETIME_DONT_FAKE_MONOTONIC=1 exec {aside} "$@"\n'
        hypervisor.run("mv", real, aside)
        try:
            hypervisor.run("sh", "-c", f"cat > {real} && chmod 0755 {real}", stdin=script.encode())
            run = controller.play("start", inventory)
            assert actions(run) == []
        finally:
            hypervisor.run("mv", aside, real)
    lease = json.loads(hypervisor.run("cat", f"{STATE}/clock/lease.json"))["value"]
    assert lease["session"] in (None, "")
