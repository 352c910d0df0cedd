# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Simulated members, asked without any network: one that has booted answers, and all of its services are well."""

from __future__ import annotations

import typing as t

from .._model.declaration import Member, Resource
from .._model.errors import HypervisorError
from .._model.health import REACH, Sign
from .._pool.sim import SimDoors
from .base import Answer, Prober, unreachable


class SimProber(Prober):
    """Members of a simulated pool."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._doors = SimDoors(resource.pool)

    def look(self, members: t.Sequence[Member], deadline: float) -> dict[str, Answer]:
        return {member.name: self._look(member) for member in members}

    def _look(self, member: Member) -> Answer:
        name, probes = self._resource.domain(member.name), self._resource.probes(member)
        if not self._doors.is_open(name):
            return unreachable(name, probes, "it has not booted yet")
        signs = tuple(Sign(probe.kind, probe.name, True, "active") for probe in probes)
        return Answer(Sign(REACH, name, True, "answers"), None, signs)

    def restart_unit(self, member: Member, unit: str, token: tuple[int, int], timeout: float) -> Sign:
        raise HypervisorError(f"{member.name} is simulated: it has no unit {unit}", code="simulated")

    def resume_node(self, member: Member, engine: str, node: str, token: tuple[int, int], timeout: float) -> None:
        raise HypervisorError(f"{member.name} is simulated: it has no scheduler", code="simulated")

    def close(self) -> None:
        pass
