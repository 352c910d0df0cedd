# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What was observed and planned, as the plain data that modules return."""

from __future__ import annotations

import typing as t

from .._model.declaration import Member, Resource
from .._model.drivers import EXISTING
from .._model.identity import domain_name
from .._model.observed import BARE, Artefact, Observation
from .._plan.actions import Plan

#: what a plan's verb makes of a member's state
_ENDS = {"start": "running", "stop": "shutoff", "undefine": "absent", "remove": "absent"}


def observed_members(observation: Observation, resource: Resource | None) -> list[dict[str, t.Any]]:
    """One entry per member that exists or is declared, as it is now."""
    owned = observation.owned()
    artefacts = observation.artefacts()
    declared = {member.name: member for member in resource.members} if resource is not None else {}
    facts = []
    others = (set(owned) | set(artefacts)) - set(declared)
    for name in [*declared, *sorted(others, key=_by_index)]:
        record: t.Mapping[str, t.Any] = {}
        where, state = None, "absent"
        if name in owned:
            domain = owned[name][1]
            where, state, record = owned[name][0].name, domain.state, domain.record or {}
            if state == BARE:  # the machine itself runs
                state = "running"
        elif observation.record.placement.get(name) in observation.silent:
            where, state = observation.record.placement[name], "unknown"
        elif name in artefacts:
            where, state = min(artefacts[name]), "undefined"
        roles: t.Sequence[str] = declared[name].roles if name in declared else record.get("roles", ())
        address = declared[name].spec.address if name in declared else record.get("spec", {}).get("address")
        driver, accelerator = _realised(declared.get(name), record, artefacts.get(name, {}))
        facts.append(
            {
                "name": domain_name(observation.resource, name),
                "member": name,
                "roles": list(roles),
                "hypervisor": where,
                "address": address,
                "state": state,
                "driver": driver,
                "accelerator": accelerator,
            }
        )
    return facts


def planned_members(observation: Observation, plan: Plan, resource: Resource | None) -> list[dict[str, t.Any]]:
    """The same after the plan; `was` is the state before."""
    facts = observed_members(observation, resource)
    by_member = {entry["member"]: entry for entry in facts}
    for entry in facts:
        entry["was"] = entry["state"]
    for action in plan.actions:
        if action.member in by_member and not action.stale:
            entry = by_member[action.member]
            entry["state"] = _ENDS.get(action.verb, entry["state"])
            entry["hypervisor"] = action.hypervisor
    return facts


def hypervisor_facts(observation: Observation) -> list[dict[str, t.Any]]:
    """One entry per hypervisor."""
    members: dict[str, int] = {}
    for hv, _domain in observation.owned().values():
        members[hv.name] = members.get(hv.name, 0) + 1
    return [
        {
            "name": hv.name,
            "memory_mb": hv.memory_mb,
            "vcpus": hv.vcpus,
            "images": sorted(hv.images),
            "image_formats": {name: sorted(formats) for name, formats in sorted(hv.images.items())},
            "drivers": dict(hv.drivers),
            "accelerators": dict(hv.accelerators),
            "templates": sorted(hv.templates),
            "members": members.get(hv.name, 0),
        }
        for hv in observation.hypervisors
        if set(hv.drivers) != {EXISTING}
    ]


def hypervisor_states(resource: Resource, observation: Observation) -> list[dict[str, t.Any]]:
    """One entry per declared hypervisor: whether it answers, and what it carries."""
    carried = {entry["name"]: entry for entry in hypervisor_facts(observation)}
    return [
        {
            "name": hv.name,
            "address": hv.address,
            "state": "silent" if hv.name in observation.silent else "answers",
            "why": observation.silent.get(hv.name, ""),
            "maintenance": hv.maintenance,
            "memory_mb": carried.get(hv.name, {}).get("memory_mb"),
            "vcpus": carried.get(hv.name, {}).get("vcpus"),
            "members": carried.get(hv.name, {}).get("members", 0),
        }
        for hv in resource.pool
    ]


def _realised(
    member: Member | None, record: t.Mapping[str, t.Any], disks: t.Mapping[str, Artefact]
) -> tuple[str | None, str | None]:
    """The driver of a member, and how its processors are realised (None before it is defined)."""
    driver = record.get("spec", {}).get("driver")
    if driver is None:
        driver = next((disk.driver for disk in disks.values()), member.spec.driver if member is not None else None)
    return driver, record.get("accelerator")


def _by_index(name: str) -> tuple[str, int, str]:
    """compute-2 before compute-10."""
    stem, _dash, index = name.rpartition("-")
    return (stem, int(index), name) if index.isdigit() else (name, -1, name)
