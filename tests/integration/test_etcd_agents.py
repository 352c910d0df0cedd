# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Agents on members that campaign in a real etcd, with TLS and a password, as the declaration alone says."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
import uuid
from pathlib import Path

import pytest
from harness import faults
from harness.controller import Controller
from harness.etcd import EtcdCluster
from harness.etcd_server import Authority
from harness.faults import Member, find_member
from harness.lab import STATE, Lab
from harness.members import run_everywhere
from harness.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not os.environ.get("ENSEMBLE_TEST_FULL"), reason="a roll-out and an etcd cluster of its own; run: make test-full"
)

NAME = "etcd-agents"
TTL = 6.0
SETTINGS = f"/etc/ensemble/agents/{NAME}"
FILES = ("password_file", "ca_cert", "client_cert", "client_key")


@pytest.fixture
def cluster(lab: Lab, tmp_path: Path) -> t.Iterator[EtcdCluster]:
    with EtcdCluster(lab.hypervisors[:3], Authority(tmp_path)) as cluster:
        cluster.protect("ensemble", uuid.uuid4().hex, "/ensemble/")
        yield cluster


@pytest.fixture
def inventory(lab: Lab, controller: Controller, cluster: EtcdCluster, tmp_path: Path) -> t.Iterator[Path]:
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text(f"{cluster.password}\n")
    settings = cluster.settings()
    election = {
        "backend": "etcd",
        "ttl": TTL,
        "endpoints": list(cluster.urls),
        "user": cluster.user,
        "password_file": str(password),
        **{key: getattr(settings, key) for key in FILES[1:]},
    }
    declaration = lab.declaration(NAME, roles={"node": {"count": 2, "spread": "hypervisor"}}, election=election)
    path = controller.write(declaration, convergence_command=["true"], convergence_interval=1)
    yield path
    removed = controller.play("remove", path)
    assert removed.code == 0, removed.output
    run_everywhere(lab.machines, "rm", "-rf", f"{STATE}/{NAME}")  # the next etcd counts from one again


def status(member: Member) -> dict[str, t.Any]:
    shown = member.run("cat", f"/run/ensemble/agent/{NAME}.json", check=False)
    with contextlib.suppress(ValueError):
        return t.cast("dict[str, t.Any]", json.loads(shown))
    return {}


def leads(member: Member) -> bool:
    """It does and has run its command."""
    now = status(member)
    return now.get("role") == "leader" and now.get("last_run", {}).get("code") == 0


def test_agents_lead_through_etcd(lab: Lab, controller: Controller, cluster: EtcdCluster, inventory: Path) -> None:
    started = controller.play("start", inventory)
    assert started.code == 0, started.output
    first = controller.play("convergence", inventory)
    assert first.code == 0, first.output
    members = [find_member(lab, f"{NAME}-node-{index}") for index in range(2)]
    try:
        wait_until(lambda: any(map(leads, members)), 10 * TTL, "an agent that leads")
    except TimeoutError:
        pytest.fail(f"none leads: {[status(member) for member in members]}")

    for member in members:
        modes = member.run("stat", "-c", "%a %U", *(f"{SETTINGS}.etcd-{name}" for name in FILES))
        assert set(modes.splitlines()) == {"600 root"}
        assert str(cluster.password) not in member.run("cat", f"{SETTINGS}.json")
    assert str(cluster.password) not in started.output + first.output

    again = controller.play("convergence", inventory, "-vvv", "--diff")
    assert again.code == 0, again.output
    assert set(again.recap("changed").values()) == {0}, again.output
    assert str(cluster.password) not in again.output

    wait_until(lambda: any(map(leads, members)), 10 * TTL, "an agent that leads after the person's run")
    leader = next(member for member in members if leads(member))
    token = status(leader)["token"]
    faults.kill(leader.hypervisor, leader.pids(f"ensemble-agent@{NAME}.service")[0])

    def again_led() -> bool:
        return any(leads(member) and status(member)["token"] > token for member in members)

    wait_until(again_led, TTL + 15, "a later leader, which may be the same member's agent, started again")
