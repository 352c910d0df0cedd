# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A resource over hypervisors in memory, started, whose members a test may break."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine import oversee as module
from ansible_collections.ensemble.stacks.plugins.module_utils._engine import repair as repairs
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.keeper import held, this_run
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.leases import voting
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.oversee import Overseen, Question, oversee
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import Request, converge
from ansible_collections.ensemble.stacks.plugins.module_utils._host.records import Records
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import HypervisorError
from declared import BASE, parsed
from members import Members
from world import World

POOL = [*BASE["pool"], {"name": "hv3", "address": "10.0.0.3", "capacity": {"memory_mb": 4096, "vcpus": 4}}]
UNITS = {"head": ["ctl"], "compute": ["node"]}


class Scene:
    """A resource that was started, with members that a test may break.

    Attributes:
        now: wall time.
    """

    def __init__(self, folder: pathlib.Path, patch: pytest.MonkeyPatch, **changes: t.Any) -> None:
        monitor = {"services": UNITS, "starting": 1, **changes}
        self.resource: Resource = parsed(
            pool=POOL, election={"ttl": 3}, monitor=monitor, roles={"compute": {"relocate": True}}
        )
        self.world = World(folder, self.resource.pool)
        self.members = Members(self.world, self.resource)
        self.now = 1_000_000.0
        self.silent: set[str] = set()
        patch.setattr(module, "open_prober", lambda _resource, _secrets: self.members)
        patch.setattr(repairs.time, "sleep", lambda _seconds: None)
        patch.setattr(repairs.time, "time", lambda: self.now)
        self.converge("started")

    def converge(self, state: str) -> None:
        resource = self.resource if state == "started" else None
        options: dict[str, t.Any] = {"wait": False, "lease_timeout": 0.0, "election": self.resource.election}
        converge(Request("demo", self.resource.pool, state, resource, **options), self.world.connect)

    def connect(self, hypervisor: t.Any) -> t.Any:
        if hypervisor.name in self.silent:
            raise HypervisorError(f"{hypervisor.name} is silent")
        return self.world.connect(hypervisor)

    def look(self, **more: t.Any) -> Overseen:
        return oversee(Question(self.resource, **more), self.connect)

    def repair(self, **more: t.Any) -> Overseen:
        """As the leader that a playbook or an agent is."""
        with voting("demo", self.resource.pool, self.resource.election, self.connect) as votes:
            lease = votes.lease(this_run())
            with held(lease, 0.0):
                return self.look(repair=True, token=lease.token, **more)

    def stop(self, member: str) -> None:
        """Somebody ends its domain."""
        for driver in self.world.drivers.values():
            if any(entry["name"] == f"demo-{member}" for entry in driver.domains()):
                driver.stop("demo", member, 0)
                driver.calls.clear()

    def place(self, member: str) -> str:
        return next(
            name
            for name, driver in self.world.drivers.items()
            if any(entry["name"] == f"demo-{member}" for entry in driver.domains())
        )

    def record(self) -> dict[str, t.Any]:
        """As the last of them knows it."""
        records = [Records(host.state, "demo").read() for host in self.world.hosts.values()]
        return max(records, key=lambda record: int(record.get("version", 0)))

    def broken(self, transport: t.Any, hypervisor: str) -> t.Callable[[bytes, float], bytes]:
        """An exchange that fails for as long as a hypervisor is silent."""
        whole = transport.exchange

        def exchange(line: bytes, timeout: float) -> bytes:
            if transport.name == hypervisor and hypervisor in self.silent:
                raise HypervisorError(f"{hypervisor} is silent")
            return t.cast(bytes, whole(line, timeout))

        return exchange
