# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One resource that changes its shape in the order of these tests; what is not meant goes on running."""

from __future__ import annotations

import json
import typing as t

import pytest
from harness.controller import Controller, Run
from harness.lab import Lab

NAME = "shape"


class Shaped:
    """The resource, its declaration as it stands, and marks in its members that tell whether they were touched."""

    def __init__(self, lab: Lab, controller: Controller) -> None:
        self.lab = lab
        self.controller = controller
        self.declaration = lab.declaration(NAME)

    def play(self, *options: str, **variables: t.Any) -> Run:
        extra = ["-e", json.dumps(variables)] if variables else []
        return self.controller.play("start", self.controller.write(self.declaration), "--diff", *extra, *options)

    def check_and_play(self, **variables: t.Any) -> Run:
        """Check mode shows the very actions of the run, and a second run changes nothing."""
        dry = self.play("--check", **variables)
        run = self.play(**variables)
        for each in (dry, run):
            assert each.code == 0, each.output
        assert dry.resource["actions"] == run.resource["actions"]
        return run

    def mark(self, member: str) -> None:
        """A file on the disk and one that no restart outlives."""
        self.ssh(member, "touch /root/disk /run/boot && sync")

    def marks(self, member: str) -> set[str]:
        return set(self.ssh(member, "ls /root/disk /run/boot 2>/dev/null || true").split())

    def ssh(self, member: str, command: str) -> str:
        return self.controller.ssh(NAME, f"{NAME}-{member}", command)

    def where(self) -> dict[str, str]:
        """Member -> hypervisor, of all domains of the resource that run."""
        return {
            name.removeprefix(f"{NAME}-"): hv.name
            for hv in self.lab.hypervisors
            for name in hv.domains()
            if name.startswith(f"{NAME}-")
        }


WHOLE = {"/root/disk", "/run/boot"}


def verbs(run: Run) -> dict[str, list[str]]:
    """Member -> its actions in order."""
    found: dict[str, list[str]] = {}
    for action in run.resource["actions"]:
        found.setdefault(action["member"], []).append(action["action"])
    return found


@pytest.fixture(scope="module")
def shaped(lab: Lab, controller: Controller) -> t.Iterator[Shaped]:
    shape = Shaped(lab, controller)
    run = shape.play()
    assert run.code == 0, run.output
    yield shape
    assert controller.play("remove", controller.write(shape.declaration)).code == 0
    assert lab.leftovers(NAME) == []


def test_memory_of_a_container_grows_while_it_runs(shaped: Shaped) -> None:
    shaped.mark("compute-0")
    shaped.declaration["roles"]["compute"]["memory_mb"] = 320
    run = shaped.check_and_play()
    assert verbs(run) == {"compute-0": ["define"], "compute-1": ["define"]}
    assert "memory_mb 256 -> 320 (live)" in run.output
    assert shaped.marks("compute-0") == WHOLE
    assert shaped.ssh("compute-0", "grep MemTotal /proc/meminfo").split()[1] == str(320 * 1024)
    assert shaped.play().resource["actions"] == []


def test_a_lowered_count_removes_just_the_surplus(shaped: Shaped) -> None:
    shaped.declaration["roles"]["compute"]["count"] = 3
    assert set(verbs(shaped.check_and_play())) == {"compute-2"}
    shaped.mark("compute-1")
    shaped.declaration["roles"]["compute"]["count"] = 2
    run = shaped.play()
    assert run.code == 0, run.output
    assert verbs(run) == {"compute-2": ["stop", "undefine", "remove"]}
    assert set(shaped.where()) == {"head-0", "compute-0", "compute-1"}
    assert shaped.marks("compute-1") == WHOLE
    assert shaped.play().resource["actions"] == []


def test_a_member_removed_by_name_stays_away(shaped: Shaped) -> None:
    run = shaped.play(ensemble_remove=["compute-0"])
    assert run.code == 0, run.output
    assert verbs(run) == {"compute-0": ["stop", "undefine", "remove"]}
    line = "{count: 1, removed: [0]}"
    assert f"roles.compute: {line}" in run.output
    assert set(shaped.where()) == {"head-0", "compute-1"}
    assert shaped.play(ensemble_remove=["compute-0"]).resource["actions"] == []
    refused = shaped.play()
    assert refused.code != 0
    assert refused.failure["code"] == "removed_members"
    assert line in refused.failure["msg"]
    shaped.declaration["roles"]["compute"].update(count=1, removed=[0])
    run = shaped.play()
    assert (run.code, run.resource["actions"]) == (0, [])
    shaped.declaration["roles"]["compute"].update(count=2, removed=[])
    assert set(verbs(shaped.check_and_play())) == {"compute-0"}


def test_a_replaced_member_keeps_its_identity_and_loses_its_disk(shaped: Shaped) -> None:
    shaped.mark("compute-0")
    shaped.mark("compute-1")
    run = shaped.play(ensemble_replace=["compute-0"])
    assert run.code == 0, run.output
    assert verbs(run) == {"compute-0": ["stop", "undefine", "remove", "prepare", "define", "start"]}
    assert shaped.marks("compute-0") == set()  # and its host key is still the known one
    assert shaped.marks("compute-1") == WHOLE


def test_another_image_waits_for_leave(shaped: Shaped) -> None:
    shaped.declaration["roles"]["head"] = {"count": 1, "image": "batch-node", "memory_mb": 512}
    shaped.mark("head-0")
    run = shaped.check_and_play()
    assert verbs(run) == {"head-0": ["define"]}  # memory is live
    assert "head-0: image plain -> batch-node needs a new disk; left alone" in run.output
    assert shaped.marks("head-0") == WHOLE
    assert shaped.play().resource["actions"] == []
    run = shaped.play(ensemble_allow_rebuild=True)
    assert run.code == 0, run.output
    assert verbs(run) == {"head-0": ["stop", "undefine", "remove", "prepare", "define", "start"]}
    assert "slurmctld" in shaped.ssh("head-0", "ls /usr/sbin")
    run = shaped.play()
    assert (run.resource["actions"], run.resource["pending"]) == ([], [])


def test_members_leave_a_hypervisor_in_maintenance(shaped: Shaped) -> None:
    before = shaped.where()
    drained = before["compute-1"]
    stay = {member for member, where in before.items() if where != drained}
    for member in before:
        shaped.mark(member)
    hypervisor = next(hv for hv in shaped.declaration["pool"] if hv["name"] == drained)
    hypervisor["state"] = "maintenance"
    run = shaped.play()
    assert run.code == 0, run.output
    after = shaped.where()
    assert set(after) == set(before)
    assert drained not in after.values()
    assert {member for member in after if shaped.marks(member) == WHOLE} == stay
    assert set(verbs(run)) == set(before) - stay
    assert shaped.play().resource["actions"] == []
    machine = next(hv for hv in shaped.lab.hypervisors if hv.name == drained)
    assert machine.run("find", f"/var/lib/ensemble/{NAME}/members", "-type", "f").split() == []
    del hypervisor["state"]
    assert shaped.play().resource["actions"] == []


def test_failed_growth_leaves_the_rest_as_it_was(shaped: Shaped) -> None:
    before = shaped.where()
    for member in before:
        shaped.mark(member)
    good = shaped.declaration["roles"]["compute"]
    shaped.declaration["roles"]["compute"] = {**good, "count": 40}
    run = shaped.play()
    assert run.code != 0
    assert run.failure["code"] == "no_room"
    shaped.declaration["roles"]["compute"] = good
    assert shaped.where() == before
    assert all(shaped.marks(member) == WHOLE for member in before)
    assert shaped.play().resource["actions"] == []
