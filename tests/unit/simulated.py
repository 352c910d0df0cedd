# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A simulated pool in a temporary folder, run through the transport that a module would use."""

from __future__ import annotations

import json
import pathlib
import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import Outcome, Request, converge
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Election
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._pool import sim
from declared import Raw, raw


class Simulated:
    """A resource on simulated hypervisors; three of them with a head and two compute members unless changed."""

    def __init__(self, base: pathlib.Path, hypervisors: int = 3, **changes: t.Any) -> None:
        self.base = base
        self.folder = base / "pool"
        pool = [{"name": f"hv{n}", "sim": str(self.folder / f"hv{n}")} for n in range(1, hypervisors + 1)]
        self.raw: Raw = raw(pool=pool, election={"ttl": 3}, **changes)
        self.resource = parse_declaration(self.raw)

    def settings(self, hypervisor: str, **settings: t.Any) -> None:
        """Write a hypervisor's sim.json."""
        self._write(hypervisor, "sim.json", settings)

    def faults(self, hypervisor: str, *faults: dict[str, t.Any]) -> None:
        """Write a hypervisor's faults.json."""
        self._write(hypervisor, "faults.json", {"faults": list(faults)})

    def mend(self) -> None:
        """Nothing is wrong any more."""
        for path in self.folder.rglob("faults.json"):
            path.unlink()

    def _write(self, hypervisor: str, name: str, value: t.Any) -> None:
        folder = self.folder / hypervisor
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(value))

    def run(self, state: str = "started", **more: t.Any) -> Outcome:
        """One run; it waits for no lease, and for members only as long as the simulation says."""
        declared = self.resource if state == "started" else None
        options = {"lease_timeout": 0.0, "election": Election(ttl=3.0, op_timeout=0.6), **more}
        request = Request(self.resource.name, self.resource.pool, state, declared, **options)
        return converge(request, lambda hv: sim.connect(hv, ["node"], lambda _seconds: None))

    def names(self) -> list[str]:
        """The domains that are declared."""
        return [self.resource.domain(member.name) for member in self.resource.members]

    def states(self) -> dict[str, str]:
        """Domain -> its state over the whole pool; a domain that is there twice is an error."""
        found = [(name, entry["state"]) for value in self._files() for name, entry in value["domains"].items()]
        assert len(found) == len(dict(found)), found
        return dict(found)

    def disks(self) -> dict[str, bool]:
        """Member -> whether its disk is whole; one that is there twice is an error."""
        found = [
            (member, disk["prepared"])
            for value in self._files()
            for member, disk in value["disks"].get(self.resource.name, {}).items()
        ]
        assert len(found) == len(dict(found)), found
        return dict(found)

    def left(self) -> dict[str, t.Any]:
        """All domains and disks that are anywhere."""
        return {**self.states(), **self.disks()}

    def _files(self) -> list[dict[str, t.Any]]:
        return [json.loads(path.read_text())["value"] for path in sorted(self.folder.rglob("domains.json"))]
