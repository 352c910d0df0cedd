# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A machine that somebody else provides: here a member of one resource, which another one declares as existing."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from harness.controller import Controller
from harness.lab import Lab

PROVIDER, DESK = "provider", "provider-head-0"
UNIT = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture(scope="module")
def desk(lab: Lab, controller: Controller) -> t.Iterator[dict[str, t.Any]]:
    """The machine as a declaration names it."""
    own = f"{lab.address(241)}-{lab.address(245)}"  # beside what other resources of the lab use
    inventory = controller.write(lab.declaration(PROVIDER, roles={"head": {"count": 1, "range": own}}))
    run = controller.play("start", inventory)
    assert run.code == 0, run.output
    cache = controller.home / ".cache/ensemble" / PROVIDER
    key = (cache / "known_hosts").read_text().split(" ", 1)[1].strip()
    address = run.resource["members"][0]["address"]
    access = {"user": "root", "private_key": str(cache / "id_ed25519")}
    yield {"driver": "existing", "address": address, "host_key": key, "ssh": access}
    assert controller.play("remove", inventory).code == 0
    assert lab.leftovers(PROVIDER) == []


@pytest.fixture(scope="module")
def inventory(lab: Lab, controller: Controller, desk: dict[str, t.Any]) -> Path:
    roles = {"compute": {"count": 1}, "front": {"members": ["desk"], "after": ["compute"]}}
    services = {"front": ["sleeper"]}
    return controller.write(
        lab.declaration("mixed", members={"desk": desk}, roles=roles, monitor={"services": services})
    )


def state(controller: Controller) -> str:
    return controller.ssh(PROVIDER, DESK, "systemctl is-active sleeper || true").strip()


def test_its_services_are_started_and_stopped_and_it_outlives_the_resource(
    lab: Lab, controller: Controller, inventory: Path
) -> None:
    def play(playbook: str, *options: str) -> list[tuple[str, str]]:
        run = controller.play(playbook, inventory, *options)
        assert run.code == 0, run.output
        return [(action["action"], action["member"]) for action in run.resource["actions"]]

    first = play("start")
    assert {member for _verb, member in first} == {"compute-0"}  # nothing of the roles is installed on the machine yet
    controller.ssh(PROVIDER, DESK, f"printf '{UNIT}' > /etc/systemd/system/sleeper.service && systemctl daemon-reload")
    assert play("start", "--check") == [("start", "desk")]
    assert state(controller) == "inactive"
    assert play("start") == [("start", "desk")]
    assert state(controller) == "active"
    assert play("start") == []
    # what ansible itself is told of it works, too: the inventory's own way to log in
    status = controller.play("status", inventory)
    assert status.code == 0, status.output
    assert "sleeper ok" in status.output
    refused = controller.play("hand-over", inventory)
    assert refused.code != 0
    assert "mixed-desk: found driver existing" in refused.output
    assert play("stop") == [("stop", "desk"), ("stop", "compute-0")]
    assert state(controller) == "inactive"
    assert play("stop") == []
    assert play("start") == [("start", "compute-0"), ("start", "desk")]
    assert [action for action in play("remove") if action[1] == "desk"] == [("stop", "desk")]
    assert state(controller) == "inactive"
    assert lab.leftovers("mixed") == []
    assert DESK in set().union(*lab.running().values())
