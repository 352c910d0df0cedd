# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Hypervisors in memory: real host programs over temporary folders, with a driver that only remembers."""

from __future__ import annotations

import json
import os
import pathlib
import threading
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host import verbs, votes
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.base import Driver, Ownership, Seed
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import write_json
from ansible_collections.ensemble.stacks.plugins.module_utils._host.serve import handle
from ansible_collections.ensemble.stacks.plugins.module_utils._host.verbs import Host
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Hypervisor, MemberSpec
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError, RefusedError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.identity import domain_name, member_uuid
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session, Transport

IMAGE = "a" * 64


class Killed(BaseException):
    """The run, or the machine below it, ended here."""


class MemoryDriver(Driver):
    """Members that exist only as entries of two dictionaries.

    Attributes:
        failing: (verb, member) pairs that raise.
        tick: called between any two changes; a test may raise there.
    """

    name = "lxc"

    def __init__(self) -> None:
        self.disks: dict[tuple[str, str], dict[str, t.Any]] = {}
        self.defined: dict[str, dict[str, t.Any]] = {}
        self.failing: set[tuple[str, str]] = set()
        self.tick: t.Callable[[], None] = lambda: None
        self.calls: list[tuple[str, str]] = []
        self.seeds: dict[str, Seed] = {}
        self._guard = threading.Lock()

    def domains(self) -> list[dict[str, t.Any]]:
        return [{**domain, "name": name} for name, domain in sorted(self.defined.items())]

    def artefacts(self, resource: str) -> list[dict[str, t.Any]]:
        return [
            {"member": member, "driver": self.name, **disk}
            for (owner, member), disk in sorted(self.disks.items())
            if owner == resource
        ]

    def add_foreign(self, name: str, record: dict[str, t.Any] | None = None) -> None:
        self.defined[name] = self._entry(f"foreign-{name}", "running", record)

    def prepare(self, resource: str, member: str, spec: MemberSpec, seed: Seed) -> None:
        self._note("prepare", member)
        if not self.disks.get((resource, member), {}).get("prepared"):
            self.disks[resource, member] = {"prepared": False, "image": None}
            self.tick()
            self.seeds[member] = seed
            self.disks[resource, member] = {"prepared": True, "image": spec.image}
            self.tick()

    def define(self, ownership: Ownership) -> None:
        self._note("define", ownership.member)
        name = domain_name(ownership.resource, ownership.member)
        old = self._ours(ownership.resource, ownership.member)
        uuid = member_uuid(ownership.resource, ownership.member)
        state = old["state"] if old is not None else "shutoff"
        self.defined[name] = self._entry(uuid, state, ownership.as_dict(), ownership.spec)
        self.tick()

    def start(self, resource: str, member: str) -> None:
        self._change("start", resource, member, "running")

    def stop(self, resource: str, member: str, timeout: float) -> bool:
        self._change("stop", resource, member, "shutoff")
        return False

    def undefine(self, resource: str, member: str) -> None:
        self._note("undefine", member)
        if self._ours(resource, member) is not None:
            del self.defined[domain_name(resource, member)]
        self.tick()

    def remove(self, resource: str, member: str) -> None:
        self._note("remove", member)
        if self._ours(resource, member) is not None:
            raise EnsembleError("it still has its domain", code="still_defined")
        if (resource, member) in self.disks:
            self.disks[resource, member]["prepared"] = False
            self.tick()
            del self.disks[resource, member]
        self.tick()

    def image_digest(self, resource: str, member: str) -> str:
        if not self.disks.get((resource, member), {}).get("prepared"):
            raise EnsembleError("no finished disk", code="not_prepared")
        return IMAGE

    def _change(self, verb: str, resource: str, member: str, state: str) -> None:
        self._note(verb, member)
        domain = self._ours(resource, member)
        if domain is None:
            raise EnsembleError(f"member {member} has no domain here", code="no_domain")
        domain["state"] = state
        self.tick()

    def _ours(self, resource: str, member: str) -> dict[str, t.Any] | None:
        domain = self.defined.get(domain_name(resource, member))
        if domain is not None and (domain["record"] or {}).get("resource") != resource:
            raise RefusedError("it is not ours", code="foreign")
        return domain

    def _note(self, verb: str, member: str) -> None:
        with self._guard:
            self.calls.append((verb, member))
        if (verb, member) in self.failing:
            raise EnsembleError(f"no {verb} today", code="broken")

    @staticmethod
    def _entry(
        uuid: str, state: str, record: dict[str, t.Any] | None, spec: MemberSpec | None = None
    ) -> dict[str, t.Any]:
        memory, vcpus = (spec.memory_mb, spec.vcpus) if spec is not None else (128, 1)
        return {"uuid": uuid, "state": state, "record": record, "macs": [], "memory_mb": memory, "vcpus": vcpus}


class MemoryTransport(Transport):
    """A host program in this process. `before` and `after` are called around each exchange."""

    def __init__(self, host: Host, before: t.Callable[[str], None], after: t.Callable[[str], None]) -> None:
        self._host = host
        self._before = before
        self._after = after
        self.closed = False

    def exchange(self, line: bytes, timeout: float) -> bytes:
        self._before(self._host.name)
        answer = json.dumps(handle(self._host, line)).encode()
        self._after(self._host.name)
        return answer

    def close(self) -> None:
        self.closed = True


def host_at(folder: pathlib.Path, name: str, driver: Driver | None = None) -> Host:
    """A host program whose state lies below a folder; one image is in its cache."""
    state = folder / name
    names = state / "images" / "names"
    names.mkdir(parents=True)
    write_json(str(names / "node.json"), {"tar": {"sha256": IMAGE, "source": {}}})
    return Host({"lxc": driver or MemoryDriver()}, str(state), name)


def keep_boot_ids_aside(patch: pytest.MonkeyPatch) -> None:
    """Let every host program's voter keep its boot id beside its state instead of in /run."""

    def voter(root: str, resource: str) -> votes.Voter:
        return votes.Voter(root, resource, os.path.join(root, ".run"))

    patch.setattr(verbs, "Voter", voter)


class World:
    """A pool of host programs."""

    def __init__(self, folder: pathlib.Path, hypervisors: t.Sequence[Hypervisor]) -> None:
        self.drivers = {hv.name: MemoryDriver() for hv in hypervisors}
        self.hosts = {hv.name: host_at(folder, hv.name, self.drivers[hv.name]) for hv in hypervisors}
        self.exchanges = 0
        self.before: t.Callable[[str], None] = lambda _name: None
        self.after: t.Callable[[str], None] = lambda _name: None
        self.transports: list[MemoryTransport] = []
        self._guard = threading.Lock()

    def connect(self, hypervisor: Hypervisor) -> Session:
        transport = MemoryTransport(self.hosts[hypervisor.name], self._before, self._after)
        self.transports.append(transport)
        return Session(hypervisor.name, transport)

    def _before(self, name: str) -> None:
        with self._guard:
            self.exchanges += 1
        self.before(name)

    def _after(self, name: str) -> None:
        self.after(name)

    def states(self) -> dict[str, str]:
        """Domain -> its state, over the whole pool; a domain that is defined twice is an error."""
        names = [name for driver in self.drivers.values() for name in driver.defined]
        assert len(names) == len(set(names))
        return {name: entry["state"] for driver in self.drivers.values() for name, entry in driver.defined.items()}

    def disks(self) -> dict[str, bool]:
        """Member -> whether its disk is whole."""
        return {
            member: disk["prepared"] for driver in self.drivers.values() for (_r, member), disk in driver.disks.items()
        }

    def calls(self) -> list[tuple[str, str]]:
        return [call for driver in self.drivers.values() for call in driver.calls]
