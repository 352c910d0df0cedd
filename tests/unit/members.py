# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members that exist in memory only, asked as real ones are."""

from __future__ import annotations

import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Member, Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError, HypervisorError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.health import REACH, Sign
from ansible_collections.ensemble.stacks.plugins.module_utils._probe.base import Answer, Prober, unreachable
from world import World


class Members(Prober):
    """One that runs answers, and its units are active unless a test says otherwise.

    Attributes:
        deaf: members that nobody reaches.
        dark: hypervisors whose members nobody reaches.
        broken: (member, unit) that is not active.
        stubborn: those of them that a restart does not mend.
        restarts: (member, unit, token) of every one.
    """

    def __init__(self, world: World, resource: Resource) -> None:
        self._world = world
        self._resource = resource
        self.deaf: set[str] = set()
        self.dark: set[str] = set()
        self.broken: set[tuple[str, str]] = set()
        self.stubborn: set[tuple[str, str]] = set()
        self.restarts: list[tuple[str, str, tuple[int, int]]] = []
        self.closed = False

    def look(self, members: t.Sequence[Member], deadline: float) -> dict[str, Answer]:
        return {member.name: self._look(member) for member in members}

    def _look(self, member: Member) -> Answer:
        name, probes = self._resource.domain(member.name), self._resource.probes(member)
        if member.name in self.deaf or not self._runs(name):
            return unreachable(name, probes, "nothing answers")
        signs = [Sign(probe.kind, probe.name, (member.name, probe.name) not in self.broken, "") for probe in probes]
        return Answer(Sign(REACH, name, True, "answers"), 1000.0, tuple(signs))

    def _runs(self, name: str) -> bool:
        return any(
            (entry["name"], entry["state"]) == (name, "running")
            for hypervisor, driver in self._world.drivers.items()
            if hypervisor not in self.dark
            for entry in driver.domains()
        )

    def restart_unit(self, member: Member, unit: str, token: tuple[int, int], timeout: float) -> Sign:
        if member.name in self.deaf:
            raise HypervisorError(f"{member.name} does not answer")
        if self.restarts and token < self.restarts[-1][2]:
            raise EnsembleError("a later leader was here", code="stale_token")
        self.restarts.append((member.name, unit, token))
        if (member.name, unit) not in self.stubborn:
            self.broken.discard((member.name, unit))
        return Sign("unit", unit, True, "active")

    def resume_node(self, member: Member, engine: str, node: str, token: tuple[int, int], timeout: float) -> None:
        raise AssertionError("nobody has a scheduler here")

    def close(self) -> None:
        self.closed = True
