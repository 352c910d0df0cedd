# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A simulated pool in a temporary folder, run through the transport that a module would use."""

from __future__ import annotations

import json
import pathlib
import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import Outcome, Request, converge
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Hypervisor
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._pool import sim
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session
from declared import Raw, raw


class Simulated:
    """A resource on simulated hypervisors; three of them with a head and two compute members unless changed."""

    def __init__(self, base: pathlib.Path, hypervisors: int = 3, **changes: t.Any) -> None:
        self.base = base
        self.folder = base / "pool"
        pool = [{"name": f"hv{n}", "sim": str(self.folder / f"hv{n}")} for n in range(1, hypervisors + 1)]
        self.raw: Raw = raw(pool=pool, **{"election": {"ttl": 3}, **changes})
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
        options = {"lease_timeout": 0.0, "election": self.resource.election, **more}
        request = Request(self.resource.name, self.resource.pool, state, declared, **options)
        return converge(request, self.connect)

    @staticmethod
    def connect(hypervisor: Hypervisor) -> Session:
        """A session that passes the time of a slow hypervisor at once."""
        return sim.connect(hypervisor, ["node"], lambda _seconds: None)

    def witness(self, name: str) -> Raw:
        """How a simulated host is declared that only votes."""
        return {"name": name, "sim": str(self.folder / name)}

    def kept(self) -> dict[str, bytes]:
        """All that the hypervisors have on disk, without what counts the faults and logs the tokens."""
        found = (path for path in sorted(self.folder.rglob("*.json")) if path.is_file())
        return {str(path): path.read_bytes() for path in found if path.name not in ("struck.json", "faults.json")}

    def obeyed(self) -> dict[str, list[tuple[int, int]]]:
        """Hypervisor -> the tokens that it accepted, in their order."""
        found: dict[str, list[tuple[int, int]]] = {}
        for path in sorted(self.folder.rglob("tokens.log")):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            tokens = [(line["token"][0], line["token"][1]) for line in lines if line["verdict"] == "accepted"]
            found[path.relative_to(self.folder).parts[0]] = tokens
        return found

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
