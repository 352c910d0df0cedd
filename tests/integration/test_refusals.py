# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Bad input on a real pool: one clear message, a non-zero exit and no change."""

from __future__ import annotations

import base64
import json
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import PROTOCOL
from harness.controller import Controller
from harness.lab import Lab

OTHER_KEY = (
    "ssh-ed25519 " + base64.b64encode(b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + bytes(range(32))).decode()
)


def test_every_fault_of_a_declaration_fails_the_run_at_once(lab: Lab, controller: Controller) -> None:
    faulty = lab.declaration("faulty", roles={"head": {"count": 0, "colour": "red"}, "compute": {"count": "three"}})
    del faulty["pool"]
    run = controller.play("start", controller.write(faulty))
    assert run.code != 0
    for path in ("roles.head.count", "roles.head.colour", "roles.compute.count", "pool"):
        assert f"- {path}: found" in run.failure["msg"], run.output
    assert lab.leftovers("faulty") == []


def test_a_run_without_a_declaration_says_what_to_pass(controller: Controller, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.ini"
    hosts.write_text("[web]\n")
    run = controller.play("start", hosts)
    assert run.code != 0
    assert run.failure["code"] == "no_declaration"
    assert "-i path/to/resource.yml" in run.failure["msg"]


def test_a_hypervisor_with_an_unknown_host_key_is_refused(lab: Lab, controller: Controller, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.write_text("")
    run = controller.play("start", controller.write(lab.declaration("untrusted", known_hosts=str(empty))))
    assert run.code != 0
    assert run.failure["code"] == "host_key_unknown"
    assert all(hv.name in run.failure["msg"] for hv in lab.hypervisors)
    assert lab.leftovers("untrusted") == []


def test_a_hypervisor_with_a_changed_host_key_is_refused(lab: Lab, controller: Controller) -> None:
    declaration = lab.declaration("changed-key")
    declaration["pool"][1]["host_key"] = OTHER_KEY
    run = controller.play("start", controller.write(declaration))
    assert run.code != 0
    assert run.failure["code"] == "host_key_changed"
    assert lab.leftovers("changed-key") == []


def test_an_image_that_is_not_there_is_named(lab: Lab, controller: Controller) -> None:
    run = controller.play("start", controller.write(lab.declaration("no-image", defaults={"image": "nosuch"})))
    assert run.code != 0
    assert "image nosuch is not there" in run.failure["msg"]
    assert lab.leftovers("no-image") == []


def test_no_room_is_said_before_anything_starts(lab: Lab, controller: Controller) -> None:
    declaration = lab.declaration("roomy", defaults={"image": "plain", "memory_mb": 8000})
    run = controller.play("start", controller.write(declaration))
    assert run.failure["code"] == "no_room"
    assert lab.leftovers("roomy") == []


def test_a_foreign_domain_of_our_name_is_left_alone(
    lab: Lab, controller: Controller, foreign_domain: t.Callable[[str], None]
) -> None:
    foreign_domain("taken-head-0")
    before = lab.hypervisors[0].run("virsh", "-c", "lxc:///system", "dumpxml", "taken-head-0")
    inventory = controller.write(lab.declaration("taken"))
    for playbook in ("start", "stop", "remove"):
        run = controller.play(playbook, inventory)
        if playbook == "start":
            assert run.code != 0
            assert run.failure["code"] == "name_taken"
            assert "taken-head-0 on hv1" in run.failure["msg"]
        else:
            assert run.resource["actions"] == []
    assert lab.hypervisors[0].run("virsh", "-c", "lxc:///system", "dumpxml", "taken-head-0") == before
    assert lab.defined() & {"taken-compute-0", "taken-compute-1"} == set()


def test_data_is_removed_only_by_name(lab: Lab, controller: Controller, removed: t.Callable[[Path], Path]) -> None:
    declaration = lab.declaration("keeper", roles={"head": {"count": 1, "stateful": True}})
    inventory = removed(controller.write(declaration))
    assert controller.play("start", inventory).code == 0
    run = controller.play("remove", inventory)
    assert run.code != 0
    assert run.failure["code"] == "has_data"
    assert "delete_data: [head]" in run.failure["msg"]
    assert "keeper-head-0" in set().union(*lab.running().values())


def request(**fields: t.Any) -> bytes:
    """A line for the host program."""
    return json.dumps({"protocol": PROTOCOL, **fields}).encode() + b"\n"


def host_program(lab: Lab, stdin: bytes) -> list[dict[str, t.Any]]:
    """Answers of the installed host program, spoken to as a controller does."""
    hypervisor = lab.hypervisors[0]
    command = ["ssh", "-i", str(lab.folder / "id_ed25519"), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    command += ["-o", f"UserKnownHostsFile={lab.folder / 'known_hosts'}", f"root@{hypervisor.address}", "ensemble-host"]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "nonsense",
    [b"\xff\xfe\x00garbage\n", b"[]\n", request(verbs=[{"verb": "rm -rf"}]), b"x" * 9_000_000 + b"\n"],
    ids=["garbage", "no object", "unknown verb", "huge"],
)
def test_the_host_program_outlives_nonsense(lab: Lab, nonsense: bytes) -> None:
    hello = request(id=7, verbs=[{"verb": "hello"}])
    answers = host_program(lab, nonsense + hello + hello[:-9])
    assert len(answers) == 3
    assert "error" in answers[0] or not answers[0]["results"][0]["ok"]
    assert answers[1]["results"][0]["value"]["hostname"] == lab.hypervisors[0].name
    assert "truncated" in answers[2]["error"]["msg"]
