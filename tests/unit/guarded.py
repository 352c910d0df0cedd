# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A machine whose guard is driven by hand: its time, its drivers, what it tells systemd."""

from __future__ import annotations

import json
import pathlib
import time
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.armed import Arming
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.base import Ownership
from ansible_collections.ensemble.stacks.plugins.module_utils._host.guard import Guard, carry_out
from ansible_collections.ensemble.stacks.plugins.module_utils._host.serve import handle
from ansible_collections.ensemble.stacks.plugins.module_utils._host.verbs import Host
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import MUTATING, PROTOCOL
from declared import parsed
from world import WatchedDriver, driver_of, host_at

DEMO = parsed()
TTL = 60.0


class Child:
    """A process of the guard that ends when a test says so."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.killed = False

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        self.killed, self.code = True, -9

    def wait(self, timeout: float | None = None) -> int:
        assert self.code is not None
        return self.code


class Machine:
    """A hypervisor with a clock that a test moves: two members that may be made anew elsewhere, and a head."""

    def __init__(self, folder: pathlib.Path, patch: pytest.MonkeyPatch) -> None:
        self.host: Host = host_at(folder, "hv1")
        self.driver: WatchedDriver = driver_of(self.host)
        self.now = 1000.0
        patch.setattr(time, "clock_gettime", lambda _clock: self.now)
        self.lines: list[str] = []
        self.children: list[Child] = []
        self.term = 1
        for member in DEMO.members:
            self.make("demo", member.name)
        self.driver.calls.clear()
        self.guard = self.watcher()

    def make(self, resource: str, member: str) -> None:
        spec = DEMO.members[0].spec
        self.driver.prepare(resource, member, spec, t.cast("t.Any", None))
        self.driver.define(Ownership(resource, member, (), 1, (1, 1), spec, "", False))
        self.driver.start(resource, member)

    def watcher(self) -> Guard:
        """A guard that was just started."""
        return Guard(self.host.state, self.host.run_dir, self.lines.append, self._child, lambda: self.now)

    def _child(self, resource: str) -> Child:
        assert resource == "demo"
        self.children.append(Child())
        return self.children[-1]

    def arming(self) -> Arming:
        return Arming(self.host.state, self.host.run_dir, "demo")

    def ask(self, **verb: t.Any) -> dict[str, t.Any]:
        """The answer of one verb, sent by the leader of this term."""
        request = {"protocol": PROTOCOL, "id": 1, "resource": "demo", "verbs": [verb]}
        if verb["verb"] in MUTATING:
            request.update(generation=1, token=[1, self.term])
        answer = handle(self.host, json.dumps(request).encode() + b"\n")
        return t.cast("dict[str, t.Any]", answer["results"][0] if "results" in answer else answer)

    def keepalive(self, *members: str, ttl: t.Any = TTL, **more: t.Any) -> dict[str, t.Any]:
        """Sent now, and here at once, unless more is said."""
        sent = {"clock": self.now, "elapsed": 0.0, **more}
        return self.ask(verb="keepalive", member_ttl=ttl, relocatable=list(members), **sent)

    def destroy(self) -> bool:
        """What the guard's own process does."""
        return carry_out(self.host.drivers, self.host.state, self.host.run_dir, "demo", self.lines.append)

    def up(self) -> set[str]:
        return {entry["name"] for entry in self.driver.domains() if entry["state"] == "running"}

    def shown(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", self.ask(verb="observe")["value"]["guard"])


@pytest.fixture
def machine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


ALL = {"demo-head-0", "demo-compute-0", "demo-compute-1"}
