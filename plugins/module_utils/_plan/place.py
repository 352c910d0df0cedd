# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Placement: pure and deterministic. The same inputs give the same hypervisors."""

from __future__ import annotations

import heapq
import typing as t

from .._model.declaration import Hypervisor, Member, Resource
from .._model.errors import PlanError
from .._model.observed import Observation


class Room:
    """What is left of each hypervisor while members are being placed, and who is where."""

    def __init__(self, resource: Resource, observation: Observation, leaving: t.Collection[str] = ()) -> None:
        """`leaving` are members that give up the place that they have."""
        self.resource = resource
        self.seen = {hv.name: hv for hv in observation.hypervisors}
        self.memory: dict[str, float] = {}
        self.vcpus: dict[str, float] = {}
        self.carries: dict[str, int] = {}
        self._spread = {role.name: role.spread for role in resource.roles}
        self._alike: dict[tuple[str, str | None], int] = {}
        self._hostile = _hostile(resource)
        #: hypervisor -> role -> a member there that plays it
        self._plays: dict[str, dict[str, str]] = {hv.name: {} for hv in resource.pool}
        self.pool = {hv.name: hv for hv in resource.pool if hv.name in self.seen}
        self.silent = [hv.name for hv in resource.pool if hv.name not in self.seen]
        self._queues: dict[t.Hashable, _Queue] = {}
        #: every hypervisor that took a member, in order: what a queue must look at again
        self.taken: list[str] = []
        declared = {member.name: member for member in resource.members}
        for hv in self.pool.values():
            seen = self.seen[hv.name]
            memory = hv.capacity.memory_mb or seen.memory_mb
            vcpus = hv.capacity.vcpus or seen.vcpus
            self.memory[hv.name] = memory * resource.overcommit.memory - seen.reserved_memory_mb
            self.vcpus[hv.name] = vcpus * resource.overcommit.vcpus - seen.reserved_vcpus
            self.carries[hv.name] = 0
        for name, where in settled(observation).items():
            if name in declared and where in self.memory and name not in leaving:
                self._take(declared[name], where)
        for name, (where_, domain) in observation.owned().items():
            if (name not in declared or name in leaving) and where_.name in self.memory:
                size = (domain.record or {}).get("spec", {})
                self.memory[where_.name] -= size.get("memory_mb", 0)
                self.vcpus[where_.name] -= size.get("vcpus", 0)

    def _take(self, member: Member, hypervisor: str) -> None:
        self.memory[hypervisor] -= member.spec.memory_mb
        self.vcpus[hypervisor] -= member.spec.vcpus
        self.carries[hypervisor] += 1
        self.taken.append(hypervisor)
        if self._hostile:
            for role in member.roles:
                self._plays[hypervisor].setdefault(role, member.name)
        for key in self._keys(member, self.pool[hypervisor]):
            self._alike[key] = self._alike.get(key, 0) + 1

    def place(self, member: Member) -> tuple[str, str]:
        """The hypervisor for a member that has none yet, and why.

        Raises:
            PlanError: no hypervisor can take it; says what each one lacks.
        """
        spec = member.spec
        kind = (
            member.roles,
            member.hypervisor,
            spec.driver,
            spec.image,
            spec.image_checksum,
            spec.template,
            spec.memory_mb,
            spec.vcpus,
        )
        if kind not in self._queues:
            self._queues[kind] = _Queue(self, member)
        queue = self._queues[kind]
        chosen = queue.best()
        if chosen is None:
            lacks = {hv.name: self.lack(member, hv) for hv in self.pool.values()}
            lacks.update(dict.fromkeys(self.silent, "it does not answer"))
            raise PlanError(
                f"no hypervisor can take member {member.name} ({member.spec.memory_mb} MiB, {member.spec.vcpus} vCPU, "
                f"driver {member.spec.driver}, image {member.spec.image}): "
                + "; ".join(f"{name}: {lack}" for name, lack in lacks.items())
                + ". Add a hypervisor, free room, import the image with playbooks/pool.yml, or declare a smaller size.",
                code="no_room",
                member=member.name,
                lacks=lacks,
                short="; ".join(f"{name}: {lack}" for name, lack in list(lacks.items())[:5]),
            )
        fitting = len(queue.fitting)
        self._take(member, chosen.name)
        return chosen.name, self._reason(member, chosen, fitting)

    def lack(self, member: Member, hv: Hypervisor) -> str:
        """Why a hypervisor cannot take a member; empty when it can."""
        if member.hypervisor is not None and member.hypervisor != hv.name:
            return f"the member is pinned to {member.hypervisor}"
        if hv.maintenance:
            return "it is in maintenance"
        lack = self.seen[hv.name].lack(member.spec, self.resource.images) or self._enemy(member, hv)
        if lack:
            return lack
        if self.memory[hv.name] < member.spec.memory_mb:
            return f"{max(0, int(self.memory[hv.name]))} MiB free"
        if self.vcpus[hv.name] < member.spec.vcpus:
            return f"{max(0, int(self.vcpus[hv.name]))} vCPU free"
        return ""

    def _enemy(self, member: Member, hv: Hypervisor) -> str:
        """Who is there already that this member keeps apart from."""
        if not self._hostile:
            return ""
        hostile = {other for name in member.roles for other in self._hostile.get(name, ())}
        there = sorted(name for role, name in self._plays[hv.name].items() if role in hostile)
        return f"{there[0]} is there, from which role {member.roles[0]} keeps apart" if there else ""

    def _peers(self, member: Member, hv: Hypervisor) -> int:
        """How many members of the same roles share this hypervisor, or its value of the `spread` label."""
        return max((self._alike.get(key, 0) for key in self._keys(member, hv)), default=0)

    def _keys(self, member: Member, hv: Hypervisor) -> list[tuple[str, str | None]]:
        """(role, place) for each role of the member that wants to be spread."""
        found = []
        for name in member.roles:
            spread = self._spread[name]
            if spread is not None:
                found.append((name, hv.name if spread == "hypervisor" else hv.labels.get(spread)))
        return found

    def rank(self, member: Member, hv: Hypervisor) -> tuple[float, ...]:
        """Lower is better: spread first, then a cached image, then the emptier by members, then by free memory."""
        absent = not self.seen[hv.name].has_image(member.spec)
        return (self._peers(member, hv), absent, self.carries[hv.name], -self.memory[hv.name])

    def _reason(self, member: Member, hv: Hypervisor, fitting: int) -> str:
        if member.hypervisor is not None:
            return f"pinned to {hv.name}"
        spread = [self._spread[name] for name in member.roles if self._spread[name]]
        by = f"spread over {spread[0]}" if spread else "fewest members"
        image = "image cached" if self.seen[hv.name].has_image(member.spec) else "its image is fetched"
        return f"{hv.name}: {by}, {image}, {int(self.memory[hv.name])} MiB left, best of {fitting}"


class _Queue:
    """The hypervisors that can take members of one kind, best first, equal ones in the order of the pool.

    While members are being placed a hypervisor only becomes fuller, so its rank never becomes better and what it
    lacks it keeps lacking. A rank that still stands when its turn comes is therefore the best of all.
    """

    def __init__(self, room: Room, member: Member) -> None:
        self._room = room
        self._member = member
        self._looked = len(room.taken)
        pool = list(room.pool.values())
        self.fitting = {hv.name for hv in pool if not room.lack(member, hv)}
        self._heap = [(room.rank(member, hv), index, hv) for index, hv in enumerate(pool) if hv.name in self.fitting]
        heapq.heapify(self._heap)

    def best(self) -> Hypervisor | None:
        """The best hypervisor now, None when no one has room."""
        room, member = self._room, self._member
        for name in set(room.taken[self._looked :]) & self.fitting:
            if room.lack(member, room.pool[name]):
                self.fitting.remove(name)
        self._looked = len(room.taken)
        while self._heap:
            rank, index, hv = self._heap[0]
            now = room.rank(member, hv)
            if hv.name not in self.fitting:
                heapq.heappop(self._heap)
            elif now != rank:
                heapq.heapreplace(self._heap, (now, index, hv))
            else:
                return hv
        return None


def _hostile(resource: Resource) -> dict[str, frozenset[str]]:
    """Role -> roles that it shares no hypervisor with, said by either side."""
    pairs = [(role.name, other) for role in resource.roles for other in role.anti_affinity]
    both = {*pairs, *((other, name) for name, other in pairs)}
    return {name: frozenset(other for first, other in both if first == name) for name, _other in both}


def settled(observation: Observation) -> dict[str, str]:
    """Member -> hypervisor for all that exists, even half made."""
    where = {member: min(places) for member, places in observation.artefacts().items()}
    where.update({member: hv.name for member, (hv, _domain) in observation.owned().items()})
    return where


def waves(resource: Resource) -> dict[str, int]:
    """Role -> wave: a role comes after all roles named in its `after`."""
    level: dict[str, int] = {}
    left = list(resource.roles)
    while left:
        for role in list(left):
            if all(name in level for name in role.after):
                level[role.name] = 1 + max((level[name] for name in role.after), default=-1)
                left.remove(role)
    return level


def member_waves(resource: Resource) -> t.Mapping[str, int]:
    """Member -> wave: the earliest wave of its roles, since a member that also heads others must be there first."""
    level = waves(resource)
    return {member.name: min(level[name] for name in member.roles) for member in resource.members}
