# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The plan that makes a resource run: pure, declared x observed -> actions."""

from __future__ import annotations

import typing as t

from .._model.declaration import Member, Resource
from .._model.errors import PlanError
from .._model.observed import Artefact, Domain, Observation, ObservedHypervisor, Record
from .actions import Action, Plan
from .checks import (
    refuse_blind,
    refuse_doubles,
    refuse_foreign,
    refuse_moved_addresses,
    refuse_other_driver,
    refuse_smaller_pool,
)
from .place import Room, member_waves, settled


def plan_started(resource: Resource, observation: Observation) -> Plan:
    """All members exist as declared and run.

    Raises:
        PlanError: foreign machines are in the way, addresses would move, or there is no room; nothing is planned then.
    """
    refuse_foreign(resource.name, [member.name for member in resource.members], observation)
    refuse_doubles(observation)
    refuse_blind(observation)
    refuse_smaller_pool(resource, observation.record)
    owned = observation.owned()
    artefacts = observation.artefacts()
    refuse_moved_addresses(resource, owned)
    refuse_other_driver(resource, owned, artefacts)
    room = Room(resource, observation)
    where = settled(observation)
    level = member_waves(resource)
    seen = {hv.name: hv for hv in observation.hypervisors}
    actions: list[Action] = []
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    placement: dict[str, str] = {}
    for member in resource.members:
        lives = where.get(member.name)
        hypervisor, why = (lives, f"{lives}: it lives there") if lives is not None else room.place(member)
        placement[member.name] = hypervisor
        domain = owned[member.name][1] if member.name in owned else None
        artefact = artefacts.get(member.name, {}).get(hypervisor)
        _refuse_unknown_image(seen[hypervisor], member, artefact)
        steps = _steps(member, domain, artefact, why)
        for verb, reason in steps:
            actions.append(
                Action(
                    verb,
                    member.name,
                    hypervisor,
                    level[member.name],
                    reason,
                    _args(resource, member, verb),
                    member.roles,
                )
            )
        name = resource.domain(member.name)
        before[name] = _state(domain, artefact)
        after[name] = f"running on {hypervisor} at {member.spec.address} ({_size(member)})" if steps else before[name]
    surplus = sorted(set(where) - {member.name for member in resource.members})
    record = next_record(
        observation.record, resource, "started", {**{name: where[name] for name in surplus}, **placement}
    )
    actions.sort(key=lambda action: action.wave)
    return Plan(
        resource.name, tuple(actions), record, False, before, after, tuple(surplus), tuple(_notes(resource, surplus))
    )


def _steps(member: Member, domain: Domain | None, artefact: Artefact | None, why: str) -> list[tuple[str, str]]:
    """The verbs that bring one member to what is declared, each with its reason."""
    steps = []
    if artefact is None:
        steps.append(("prepare", f"no disk yet; placed on {why}"))
    elif not artefact.prepared:
        steps.append(("prepare", "its disk is half made"))
    if domain is None:
        steps.append(("define", "no domain yet"))
    elif _digest(domain) != member.spec.digest:
        when = "takes effect with its next start" if domain.running else "takes effect now"
        steps.append(("define", f"its specification differs; {when}"))
    if domain is None or not domain.running:
        steps.append(("start", f"it is {domain.state}" if domain is not None else "it is new"))
    return steps


def _args(resource: Resource, member: Member, verb: str) -> dict[str, t.Any]:
    if verb == "prepare":
        return {"spec": member.spec.as_dict()}
    if verb == "define":
        stateful = any(resource.role(name).stateful for name in member.roles)
        return {"spec": member.spec.as_dict(), "roles": list(member.roles), "stateful": stateful}
    return {"driver": member.spec.driver}


def _refuse_unknown_image(seen: ObservedHypervisor, member: Member, artefact: Artefact | None) -> None:
    """A member already placed needs its image only while its disk is still to be made."""
    if artefact is not None and artefact.prepared:
        return
    lack = seen.lack(member.spec.driver, member.spec.image, member.spec.template)
    if lack:
        raise PlanError(
            f"member {member.name} belongs on hypervisor {seen.name}, but {lack} "
            f"(images there: {', '.join(sorted(seen.images)) or 'none'}). Run playbooks/pool.yml.",
            code="no_image",
        )


def _digest(domain: Domain) -> str:
    return str((domain.record or {}).get("digest", ""))


def _size(member: Member) -> str:
    return f"{member.spec.driver}, {member.spec.image}, {member.spec.vcpus} vCPU, {member.spec.memory_mb} MiB"


def _state(domain: Domain | None, artefact: Artefact | None) -> str:
    if domain is not None:
        return domain.state
    return "absent" if artefact is None else "a disk without a domain"


def _notes(resource: Resource, surplus: t.Sequence[str]) -> list[str]:
    if not surplus:
        return []
    return [f"{', '.join(surplus)}: not declared any more in {resource.name}; left alone"]


def next_record(stored: Record, resource: Resource, desired: str, placement: t.Mapping[str, str]) -> Record | None:
    """The record that this declaration and desired state ask for, or None when the stored one says so already.

    Another digest becomes generation + 1; so does waking what was stopped or removed.
    """
    stateful = tuple(sorted({member for role in resource.roles if role.stateful for member in role.members}))
    same = (stored.digest, stored.desired) == (resource.digest, desired)
    if same and dict(stored.placement) == dict(placement) and stored.stateful == stateful:
        return None
    return Record(
        version=stored.version + 1,
        generation=stored.generation if same else stored.generation + 1,
        digest=resource.digest,
        desired=desired,
        stack=resource.stack,
        declaration=resource.content,
        placement=dict(placement),
        stateful=stateful,
    )
