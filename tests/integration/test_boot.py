# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A hypervisor reboots and no controller runs: its members come back if they are wanted, and only then."""

from __future__ import annotations

import json
import shlex
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import PROTOCOL
from harness.controller import Controller
from harness.lab import STATE, Hypervisor, Lab

from .conftest import engine

NAME = "reborn"
ROLES = {
    "head": {"count": 1},
    "compute": {"count": 2, "after": ["head"], "spread": "hypervisor", "autostart": True},
}


@dataclass(frozen=True)
class Reborn:
    """A resource that runs; one of its members lives, with autostart, on a hypervisor that is no voter."""

    inventory: Path
    member: str
    hypervisor: Hypervisor
    voter: Hypervisor

    @property
    def runs(self) -> bool:
        return f"{NAME}-{self.member}" in self.hypervisor.domains()

    def wait_until(self, condition: str, seconds: int = 60) -> None:
        """Until a condition of the shell holds on the hypervisor."""
        self.hypervisor.run(
            "timeout", str(seconds), "sh", "-c", f"until {condition}; do sleep 0.2; done >/dev/null 2>&1"
        )

    def wait_until_said(self, words: str) -> None:
        """Until the boot unit says something in its run after the last boot."""
        run = "_SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID ensemble-boot)"
        self.wait_until(f"journalctl -o cat {run} | grep -qF {shlex.quote(words)}")

    def wait_until_back(self) -> None:
        self.wait_until(f"virsh -c lxc:///system domstate {NAME}-{self.member} | grep -qx running")
        self.wait_until("! systemctl is-active ensemble-boot | grep -qx activating")


@pytest.fixture(scope="module")
def reborn(lab: Lab, controller: Controller) -> t.Iterator[Reborn]:
    inventory = controller.write(lab.declaration(NAME, roles=ROLES))
    run = controller.play("start", inventory)
    assert run.code == 0, run.output
    voter, *others = lab.hypervisors
    victim, *_others = [m for m in run.resource["members"] if m["hypervisor"] != voter.name and m["member"] != "head-0"]
    [hypervisor] = [hv for hv in others if hv.name == victim["hypervisor"]]
    found = Reborn(inventory, victim["member"], hypervisor, voter)
    controller.ssh(NAME, f"{NAME}-{found.member}", "touch /root/kept && sync")
    yield found
    assert controller.play("remove", inventory).code == 0
    assert lab.leftovers(NAME) == []
    left = hypervisor.run("ls", f"{STATE}/{NAME}").split()
    assert {"fence.json", "lease.json"} <= set(left), "what keeps an older controller out stays"
    assert {"members", "voters.json"} & set(left) == set()


def test_a_wanted_member_comes_back_with_its_disk(reborn: Reborn) -> None:
    assert reborn.runs
    engine("restart", reborn.hypervisor.container)
    reborn.wait_until_back()
    root = f"{STATE}/{NAME}/members/{reborn.member}/root/root"
    assert reborn.hypervisor.run("ls", root).split() == ["kept"]
    reborn.wait_until_said(f"{NAME}/{reborn.member}: started")
    assert reborn.hypervisor.run("systemctl", "is-failed", "ensemble-boot", check=False).strip() == "inactive"


def test_nothing_starts_until_a_majority_of_the_voters_answers(reborn: Reborn, lab: Lab) -> None:
    assert reborn.runs
    others = [hv.container for hv in lab.hypervisors if hv != reborn.hypervisor]
    engine("pause", *others)
    try:
        engine("restart", reborn.hypervisor.container)
        reborn.wait_until_said("1 of 3 voters answered, 2 must; nothing was started")
        assert not reborn.runs
    finally:
        engine("unpause", *others)
    reborn.wait_until_back()


def test_a_boot_key_may_read_records_only(reborn: Reborn) -> None:
    request = {"protocol": PROTOCOL, "id": 1, "resource": NAME, "verbs": [{"verb": "secrets_read"}]}
    ssh = ["ssh", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=/etc/ensemble/known_hosts", "-i"]
    ssh += ["/etc/ensemble/boot_key", reborn.voter.address, "cat", "/etc/shadow"]
    answer = json.loads(reborn.hypervisor.run(*ssh, stdin=json.dumps(request).encode() + b"\n"))
    assert answer["error"]["code"] == "no_right"


def test_what_was_stopped_stays_so(reborn: Reborn, controller: Controller) -> None:
    assert reborn.runs
    assert controller.play("stop", reborn.inventory).code == 0
    engine("restart", reborn.hypervisor.container)
    reborn.wait_until_said(f"{NAME}/{reborn.member}: not started: the resource shall be stopped")
    assert not reborn.runs


AUTHORIZED = "/root/.ssh/authorized_keys"
KNOWN = "/etc/ensemble/known_hosts"


def test_keys_of_others_stay_until_they_are_forgotten(lab: Lab, controller: Controller) -> None:
    """Lines of people and of other inventories stay; former keys of this pool's machines go."""
    asked, other = lab.hypervisors[1], lab.hypervisors[0]
    before = {path: asked.run("cat", path) for path in (AUTHORIZED, KNOWN)}
    theirs = {
        AUTHORIZED: ["# a person's", "ssh-ed25519 AAAAfar ensemble-boot:far", "ssh-ed25519 AAAAme gone"],
        KNOWN: ["10.9.9.9 ssh-ed25519 AAAAfar ensemble-boot:far"],
    }
    former = {
        AUTHORIZED: ["ssh-ed25519 AAAAgone ensemble-boot:gone", f"ssh-ed25519 AAAAold ensemble-boot:{other.name}"],
        KNOWN: [f"{other.address} ssh-ed25519 AAAAold ensemble-boot:{other.name}"],
    }
    inventory = controller.write(lab.declaration("pool-setup"), **lab.pool_variables())
    forget = json.dumps({"hypervisor_boot_forget": ["gone", other.name]})
    try:
        for path, text in before.items():
            lines = [*theirs[path], *former[path], *text.splitlines()]
            asked.run("sh", "-c", f"cat > {path}", stdin="\n".join(lines).encode())
        run = controller.play("pool", inventory, "--tags", "preflight,boot", "-e", forget)
        assert run.code == 0, run.output
        for path, text in before.items():
            assert asked.run("cat", path).splitlines() == [*theirs[path], *text.splitlines()]
    finally:
        for path, text in before.items():
            asked.run("sh", "-c", f"cat > {path}", stdin=text.encode())
