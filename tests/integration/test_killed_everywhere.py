# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A run killed at every boundary of its conversation with real hypervisors; the next one finishes what it left."""

from __future__ import annotations

import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import Outcome, Request, converge
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.load import load_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.ssh import connect
from harness.controller import Controller
from harness.lab import Lab

PROGRAM = Path(__file__).with_name("killed_run.py")
#: far more than any run of two members has
MOST_BOUNDARIES = 80
KILLED_TIMEOUT = 120
TRIP_TIMEOUT = 10.0


@pytest.fixture
def path(lab: Lab, controller: Controller, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(controller.home))
    declaration = lab.declaration(
        "everywhere", roles={"node": {"count": 2, "spread": "hypervisor"}}, election={"ttl": 3}
    )
    declaration["pool"] = declaration["pool"][:2]
    return controller.write(declaration)


def run(resource: Resource, state: str) -> Outcome:
    """A run to its end."""
    request = Request(resource.name, resource.pool, state, resource, wait=False, election=resource.election)
    return converge(request, lambda hypervisor: connect(hypervisor, resource.known_hosts))


def give_back_the_lease(resource: Resource) -> None:
    """That of the killed run, as its end would: other tests wait for it, here it would be waited for everywhere."""
    for voter in resource.voters:
        session = connect(voter, resource.known_hosts)
        try:
            lease = session.call("lease_read", TRIP_TIMEOUT, resource=resource.name)
            if lease["session"]:
                mine = {"session": lease["session"], "term": lease["term"]}
                session.call("lease_release", TRIP_TIMEOUT, mine, resource=resource.name)
        finally:
            session.close()


def killed_at(boundary: int, path: Path, state: str, environment: t.Mapping[str, str]) -> bool:
    """Whether the run was killed; false when it was over before that boundary."""
    command = [sys.executable, str(PROGRAM), str(path), state, str(boundary)]
    code = subprocess.run(command, env=dict(environment), timeout=KILLED_TIMEOUT, check=False).returncode
    assert code in (0, -signal.SIGKILL), f"the run failed by itself at boundary {boundary}: exit {code}"
    return code != 0


@pytest.mark.parametrize("state", ["started", "absent"])
def test_killed_at_every_boundary(lab: Lab, controller: Controller, path: Path, state: str) -> None:
    resource = load_declaration(str(path))
    other = "absent" if state == "started" else "started"
    boundary = 0
    while True:
        run(resource, other)
        if not killed_at(boundary, path, state, controller.environment):
            break
        give_back_the_lease(resource)
        run(resource, state)
        domains = sorted(name for name in lab.defined() if name.startswith("everywhere-"))
        if state == "started":
            assert domains == ["everywhere-node-0", "everywhere-node-1"], f"boundary {boundary}"
        else:
            assert lab.leftovers("everywhere") == [], f"boundary {boundary}"
        assert run(resource, state).plan.actions == (), f"boundary {boundary}"
        boundary += 1
        assert boundary < MOST_BOUNDARIES
    assert boundary > 10, "too few requests were seen for a run that makes or removes two members"
    run(resource, "absent")
    assert lab.leftovers("everywhere") == []
