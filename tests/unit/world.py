# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Simulated hypervisors that tests can watch: real host programs over temporary folders, stopped anywhere."""

from __future__ import annotations

import json
import pathlib
import threading
import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.base import Ownership, Seed
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.sim import SimDriver
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.templates import Templates
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import write_json
from ansible_collections.ensemble.stacks.plugins.module_utils._host.images import Images
from ansible_collections.ensemble.stacks.plugins.module_utils._host.serve import handle
from ansible_collections.ensemble.stacks.plugins.module_utils._host.verbs import Host
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Hypervisor, MemberSpec
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session, Transport

IMAGE = "a" * 64


class Killed(BaseException):
    """The run, or the machine below it, ended here."""


class WatchedDriver(SimDriver):
    """The simulated driver, with what a test wants to see and to break.

    Attributes:
        failing: (verb, member) pairs that raise.
        tick: called between any two changes; a test may raise there.
    """

    name = "lxc"

    def __init__(self, folder: str) -> None:
        super().__init__(folder, Images(folder))
        self.failing: set[tuple[str, str]] = set()
        self.tick: t.Callable[[], None] = lambda: None
        self.calls: list[tuple[str, str]] = []
        self.seeds: dict[str, Seed] = {}

    @property
    def disks(self) -> dict[tuple[str, str], bool]:
        """(resource, member) -> whether its disk is whole."""
        disks = self._load()["disks"]
        return {(owner, name): disk["prepared"] for owner in disks for name, disk in disks[owner].items()}

    def add_foreign(self, name: str, record: dict[str, t.Any] | None = None) -> None:
        self._foreign[name] = {"name": name, "uuid": f"foreign-{name}", "record": record, "memory_mb": 128, "vcpus": 1}

    def prepare(self, resource: str, member: str, spec: MemberSpec, seed: Seed) -> None:
        self._note("prepare", member)
        self.seeds[member] = seed
        super().prepare(resource, member, spec, seed)

    def define(self, ownership: Ownership) -> None:
        self._note("define", ownership.member)
        super().define(ownership)

    def start(self, resource: str, member: str) -> None:
        self._note("start", member)
        super().start(resource, member)

    def stop(self, resource: str, member: str, timeout: float) -> bool:
        self._note("stop", member)
        return super().stop(resource, member, timeout)

    def undefine(self, resource: str, member: str) -> None:
        self._note("undefine", member)
        super().undefine(resource, member)

    def remove(self, resource: str, member: str) -> None:
        self._note("remove", member)
        super().remove(resource, member)

    def _note(self, verb: str, member: str) -> None:
        self.calls.append((verb, member))
        if (verb, member) in self.failing:
            raise EnsembleError(f"no {verb} today", code="broken")

    def _save(self, state: dict[str, t.Any]) -> None:
        super()._save(state)
        self.tick()


class WatchedTransport(Transport):
    """A host program in this process. `before` and `after` are called around each exchange."""

    def __init__(self, host: Host, before: t.Callable[[str], None], after: t.Callable[[str], None]) -> None:
        self._host = host
        self.name = host.name
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


def host_at(folder: pathlib.Path, name: str) -> Host:
    """A host program whose state lies below a folder; one image is in its cache."""
    state = folder / name
    names = state / "images" / "names"
    names.mkdir(parents=True, exist_ok=True)
    write_json(str(names / "node.json"), {"tar": {"sha256": IMAGE, "source": {}}})
    templates = Templates(str(state / ".templates"))
    return Host(
        {"lxc": WatchedDriver(str(state))},
        str(state),
        name,
        str(state / ".run"),
        templates=templates,
        authorized_keys=str(state / ".ssh" / "authorized_keys"),
    )


def driver_of(host: Host) -> WatchedDriver:
    """The driver of a host made by `host_at`."""
    return t.cast("WatchedDriver", host.drivers["lxc"])


class World:
    """A pool of host programs."""

    def __init__(self, folder: pathlib.Path, hypervisors: t.Sequence[Hypervisor]) -> None:
        self.hosts = {hv.name: host_at(folder, hv.name) for hv in hypervisors}
        self.drivers = {name: driver_of(host) for name, host in self.hosts.items()}
        self.exchanges = 0
        self.before: t.Callable[[str], None] = lambda _name: None
        self.after: t.Callable[[str], None] = lambda _name: None
        self.transports: list[WatchedTransport] = []
        self._guard = threading.Lock()

    def connect(self, hypervisor: Hypervisor) -> Session:
        transport = WatchedTransport(self.hosts[hypervisor.name], self._before, self._after)
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
        found = [(entry["name"], entry["state"]) for driver in self.drivers.values() for entry in driver.domains()]
        states = dict(found)
        assert len(found) == len(states)
        return states

    def disks(self) -> dict[str, bool]:
        """Member -> whether its disk is whole."""
        return {member: whole for driver in self.drivers.values() for (_r, member), whole in driver.disks.items()}

    def calls(self) -> list[tuple[str, str]]:
        return [call for driver in self.drivers.values() for call in driver.calls]
