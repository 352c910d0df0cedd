# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members that nobody leads any more end by themselves, just those that may be made anew, and so that it is known."""

from __future__ import annotations

import json
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import PROTOCOL
from harness.controller import Controller
from harness.faults import kill, powered_off, reboot, stopped
from harness.lab import STATE, Hypervisor, Lab
from harness.waiting import wait_until

NAME = "guarded"
ROLES = {
    "head": {"count": 1},
    "compute": {"count": 3, "after": ["head"], "spread": "hypervisor", "relocate": True, "autostart": True},
}
#: seconds; a declaration cannot ask for less than 30, what lies on the hypervisor can
SHORT = 6.0
#: seconds beyond its time after which a member must have ended: a look, a process, libvirt, on a machine that is busy
SLACK = 10.0
_ARM = f"""
import sys
sys.path.insert(0, "/usr/local/bin/ensemble-host")
from ensemble._host.armed import Armed, Arming
from ensemble._host.votes import boottime
arming = Arming("{STATE}", "/run/ensemble", "{NAME}")
arming.hear(boottime())
arming.arm(Armed(float(sys.argv[1]), tuple(sys.argv[2:])))
"""


@dataclass(frozen=True)
class Guarded:
    """A resource that runs; a member of role compute lives on a hypervisor beside one that may not be made anew."""

    inventory: Path
    member: str
    hypervisor: Hypervisor

    @property
    def domain(self) -> str:
        return f"{NAME}-{self.member}"

    @property
    def runs(self) -> bool:
        return self.domain in self.hypervisor.domains()

    def ask(self, **verb: t.Any) -> dict[str, t.Any]:
        """One verb of the leader that this hypervisor obeys."""
        seen = json.loads(self.hypervisor.run("cat", f"{STATE}/{NAME}/fence.json"))["value"]
        request = {"protocol": PROTOCOL, "id": 1, "resource": NAME, "verbs": [verb], **seen}
        answer = json.loads(self.hypervisor.run("ensemble-host", stdin=json.dumps(request).encode() + b"\n"))
        return t.cast("dict[str, t.Any]", answer["results"][0]["value"])

    def arm(self, ttl: float, *members: str) -> None:
        """A leader is heard this moment, and shall be heard again within so many seconds."""
        self.hypervisor.run("python3", "-c", _ARM, str(ttl), *members)

    def disarm(self) -> None:
        self.ask(verb="keepalive", member_ttl=0)

    def wait_until_destroyed(self, seconds: float) -> None:
        wait_until(lambda: not self.runs, seconds, f"end of {self.domain}")

    def said(self) -> str:
        return self.hypervisor.run("journalctl", "-u", "ensemble-guard", "-o", "cat", "--no-pager")

    def guard_pid(self) -> int:
        return int(self.hypervisor.run("systemctl", "show", "-P", "MainPID", "ensemble-guard"))

    def virsh(self, *argv: str) -> str:
        return self.hypervisor.run("virsh", "-q", "-c", "lxc:///system", *argv)


@pytest.fixture(scope="module")
def resource(lab: Lab, controller: Controller) -> t.Iterator[Guarded]:
    inventory = controller.write(lab.declaration(NAME, roles=ROLES, election={"ttl": 6}))
    run = controller.play("start", inventory)
    assert run.code == 0, run.output
    [head] = [m["hypervisor"] for m in run.resource["members"] if m["member"] == "head-0"]
    victims = [m for m in run.resource["members"] if m["member"] != "head-0" and m["hypervisor"] == head]
    victim = victims[0]
    [hypervisor] = [hv for hv in lab.hypervisors if hv.name == head]
    yield Guarded(inventory, victim["member"], hypervisor)
    assert controller.play("remove", inventory).code == 0
    assert lab.leftovers(NAME) == []
    left = hypervisor.run("ls", f"{STATE}/{NAME}", "/run/ensemble").split()
    assert {"guard.json", "destroyed.json", f"guard-{NAME}.json"} & set(left) == set()


@pytest.fixture
def guarded(resource: Guarded, controller: Controller) -> t.Iterator[Guarded]:
    """All members run, and nothing is armed before and after."""
    resource.disarm()
    run = controller.play("start", resource.inventory)
    assert run.code == 0, run.output
    assert resource.runs
    yield resource
    resource.disarm()


def test_a_keepalive_keeps_members_and_silence_ends_them(guarded: Guarded, controller: Controller) -> None:
    mark = f"{STATE}/{NAME}/members/{guarded.member}/root/root/kept"
    guarded.hypervisor.run("touch", mark)
    wanted = {"verb": "keepalive", "member_ttl": 30, "relocatable": [guarded.member, "compute-99"]}
    sent, clock = time.monotonic(), guarded.ask(**wanted)["clock"]
    shown = guarded.ask(verb="observe")["guard"]
    assert (shown["armed"], shown["ttl"], shown["destroyed"]) == (True, 30.0, [])
    assert shown["heard_s"] < 5
    until = time.monotonic() + 34
    while time.monotonic() < until:
        now = time.monotonic()
        # it counts from when it was sent, by the hypervisor's own clock
        clock = guarded.ask(**wanted, clock=clock, elapsed=round(now - sent, 3))["clock"]
        sent = now
        assert guarded.runs
        time.sleep(2)  # a leader's own pace
    begun = time.monotonic()
    guarded.wait_until_destroyed(30 + SLACK)
    assert time.monotonic() - begun > 25
    assert f"{NAME}-head-0" in guarded.hypervisor.domains(), "only what is named ends"
    assert f"{NAME}/{guarded.member}: destroyed: no leader was heard for" in guarded.said()
    seen = guarded.ask(verb="observe")
    assert seen["guard"]["destroyed"] == [guarded.member]
    [domain] = [entry for entry in seen["domains"] if entry["name"] == guarded.domain]
    assert (domain["state"], domain["reason"]) == ("shutoff", "destroyed")
    run = controller.play("start", guarded.inventory)
    assert [(a["action"], a["member"]) for a in run.resource["actions"]] == [("start", guarded.member)], run.output
    assert guarded.hypervisor.run("ls", mark).strip() == mark
    assert guarded.ask(verb="observe")["guard"]["destroyed"] == []


def test_a_guard_that_was_killed_goes_on_where_it_was(guarded: Guarded) -> None:
    guarded.arm(SHORT, guarded.member)
    begun = time.monotonic()
    former = guarded.guard_pid()
    kill(guarded.hypervisor, former)
    guarded.wait_until_destroyed(SHORT + SLACK)
    assert time.monotonic() - begun > SHORT - 1
    assert guarded.guard_pid() not in (0, former)


def test_after_a_boot_the_time_counts_anew(guarded: Guarded) -> None:
    guarded.arm(SHORT, guarded.member)
    reboot(guarded.hypervisor)
    wait_until(lambda: guarded.runs, 60, f"{guarded.domain} comes back with its hypervisor")
    wait_until(lambda: not guarded.runs, 60, f"end of {guarded.domain}, of which nobody was heard")
    assert "destroyed: no leader was heard" in guarded.said()


def test_a_libvirt_that_hangs_is_told_and_tried_again(guarded: Guarded) -> None:
    pids = [int(pid) for pid in guarded.hypervisor.run("pidof", "libvirtd").split()]
    guarded.arm(SHORT, guarded.member)
    with stopped(guarded.hypervisor, *pids):
        wait_until(lambda: "libvirt did not answer within" in guarded.said(), SHORT + 30, "the guard's complaint")
    guarded.wait_until_destroyed(20 + SLACK)


def test_what_is_paused_ends_too_and_a_pause_is_undone(guarded: Guarded, controller: Controller) -> None:
    guarded.virsh("suspend", guarded.domain)
    run = controller.play("start", guarded.inventory)
    assert [(a["action"], a["reason"]) for a in run.resource["actions"]] == [("start", "it is paused")], run.output
    assert guarded.virsh("domstate", guarded.domain).strip() == "running"
    guarded.virsh("suspend", guarded.domain)
    guarded.arm(SHORT, guarded.member)
    wait_until(lambda: guarded.virsh("domstate", guarded.domain).strip() == "shut off", SHORT + SLACK, "its end")


def test_a_definition_that_is_gone_comes_back_while_the_member_runs(guarded: Guarded, controller: Controller) -> None:
    before = guarded.virsh("domid", guarded.domain)
    guarded.virsh("undefine", guarded.domain)
    run = controller.play("start", guarded.inventory)
    [action] = run.resource["actions"]
    assert (action["action"], action["reason"]) == ("define", "it runs, and its definition is gone"), run.output
    assert guarded.virsh("domid", guarded.domain) == before
    assert "yes" in guarded.virsh("dominfo", guarded.domain).split("Persistent:")[1].splitlines()[0]
    assert controller.play("start", guarded.inventory).resource["changed"] is False


def test_a_member_answers_its_own_hypervisor(guarded: Guarded, lab: Lab) -> None:
    spec = next(e for e in guarded.ask(verb="observe")["domains"] if e["name"] == guarded.domain)["record"]["spec"]
    answer = guarded.ask(verb="sign", member=guarded.member, address=spec["address"], timeout=5)
    assert (answer["ok"], answer["detail"][:8]) == (True, "SSH-2.0-")
    guarded.virsh("suspend", guarded.domain)
    silent = guarded.ask(verb="sign", member=guarded.member, address=spec["address"], timeout=1)
    guarded.virsh("resume", guarded.domain)
    assert silent["ok"] is False
    assert 0.9 < silent["seconds"] < 2


def test_a_bridge_knows_at_once_where_a_member_is_that_was_elsewhere(guarded: Guarded) -> None:
    """As a member leaves it that lived behind another port and is made anew here, silent until it has booted."""
    _port, _type, bridge, _model, mac = guarded.virsh("domiflist", guarded.domain).split()
    guarded.virsh("destroy", guarded.domain)
    guarded.hypervisor.run("bridge", "fdb", "replace", mac, "dev", "eth0", "master", "dynamic")
    guarded.ask(verb="start", member=guarded.member, driver="lxc")
    known = guarded.hypervisor.run("bridge", "fdb", "show", "br", bridge)
    port = guarded.virsh("domiflist", guarded.domain).split()[0]
    assert [line.split()[2] for line in known.splitlines() if line.startswith(mac)] == [port]


def test_members_of_a_dead_hypervisor_are_made_anew_and_what_comes_back_goes(
    resource: Guarded, guarded: Guarded, controller: Controller, lab: Lab
) -> None:
    where = {name: hv for hv in lab.hypervisors for name in hv.domains() if name.startswith(f"{NAME}-compute")}
    lost = next(hv for hv in lab.hypervisors if hv != guarded.hypervisor)
    [domain] = [name for name, hv in where.items() if hv == lost]
    with powered_off(lost):
        run = controller.play("start", guarded.inventory, "-e", f"ensemble_lost={lost.name}")
        assert run.code == 0, run.output
        assert [a["action"] for a in run.resource["actions"]] == ["prepare", "define", "start"]
        assert f"{lost.name} does not answer and is given up" in run.resource["actions"][0]["reason"]
    wait_until(
        lambda: "not started: it is placed on" in lost.run("journalctl", "-u", "ensemble-boot", "-o", "cat"), 90, "boot"
    )
    assert domain not in lost.domains()
    back = controller.play("start", guarded.inventory)
    assert [(a["action"], a["hypervisor"]) for a in back.resource["actions"]] == [
        ("undefine", lost.name),
        ("remove", lost.name),
    ], back.output
    assert controller.play("start", guarded.inventory).resource["changed"] is False
    assert sum(domain in hv.domains("--all") for hv in lab.hypervisors) == 1
