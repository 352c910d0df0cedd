# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The plans that stop or remove a resource: its name and the pool suffice, the ownership records tell the rest."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from .._model.drivers import EXISTING
from .._model.errors import PlanError
from .._model.identity import domain_name
from .._model.observed import BARE, Domain, Observation, Record
from .actions import Action, Plan
from .checks import driver_of, refuse_blind, refuse_doubles
from .lost import copies_taken_away
from .place import settled


def plan_stopped(observation: Observation) -> Plan:
    """No member runs; disks and definitions stay. Members that the declaration no longer names are included."""
    owned = observation.owned()
    refuse_doubles(observation)
    refuse_blind(observation)
    level = _stop_waves(observation, owned)
    actions, before, after = [], {}, {}
    for member, hv, domain in observation.ours:  # a copy that was left behind is stopped where it runs, too
        if (member, hv.name) in observation.stale and not domain.stopped:
            name = f"{domain_name(observation.resource, member)} on {hv.name}"
            before[name], after[name] = domain.state, "shutoff"
            stop = _stop(member, hv.name, 0, f"it is {domain.state}, and a copy that was left behind", domain)
            actions.append(replace(stop, args={**stop.args, "timeout": 0}, stale=True))
    for member, (hv, domain) in sorted(owned.items()):
        name = domain_name(observation.resource, member)
        before[name] = after[name] = domain.state
        if not domain.stopped:
            actions.append(_stop(member, hv.name, level[member], f"it is {domain.state}", domain))
            after[name] = "shutoff"
    actions.sort(key=lambda action: action.wave)
    return Plan(observation.resource, tuple(actions), _desired(observation.record, "stopped"), False, before, after)


def plan_absent(observation: Observation, delete_data: t.Collection[str]) -> Plan:
    """Nothing is left: no domain, disk, mount or key; only a tombstone on the voters, against older controllers.

    Raises:
        PlanError: `has_data`, while a stateful role has disks and `delete_data` does not name it.
    """
    refuse_doubles(observation)
    refuse_blind(observation)
    where = settled(observation)
    refuse_data_loss(observation, where, delete_data)
    copies = copies_taken_away(observation, 0)
    gone = taken_away(observation, sorted(where), 1 if copies.actions else 0, "the resource is to be absent")
    actions = (*copies.actions, *gone.actions)
    record = _desired(observation.record, "absent")
    forget = bool(record or actions or observation.record.declaration)
    told = ({**gone.before, **copies.before}, {**gone.after, **copies.after})
    return Plan(observation.resource, actions, record, forget, *told)


@dataclass
class Gone:
    """The actions that leave nothing of some members."""

    actions: list[Action] = field(default_factory=list)
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)


def taken_away(observation: Observation, members: t.Sequence[str], first_wave: int, reason: str) -> Gone:
    """Stop members, those that others come after last, and then remove all of them."""
    where, owned, artefacts = settled(observation), observation.owned(), observation.artefacts()
    level = _stop_waves(observation, {name: owned[name] for name in members if name in owned})
    last = first_wave + 1 + max(level.values(), default=0)
    gone, removals = Gone(), []
    for member in members:
        name, hypervisor = domain_name(observation.resource, member), where[member]
        domain = owned[member][1] if member in owned else None
        gone.before[name] = domain.state if domain is not None else "a disk without a domain"
        gone.after[name] = "absent"
        roles = _roles(domain.record) if domain is not None else ()
        if domain is not None and not domain.stopped:
            gone.actions.append(
                _stop(member, hypervisor, first_wave + level[member], f"it is {domain.state}, and {reason}", domain)
            )
        if domain is not None and driver_of(domain) == EXISTING:  # it is not ours to be removed
            gone.after[name] = "shutoff" if domain.state != BARE else BARE
            continue
        if domain is not None:
            removals.append(Action("undefine", member, hypervisor, last, reason, _driver(domain), roles))
        disks = artefacts.get(member, {})
        for place in sorted({hypervisor, *disks}):
            args = {"driver": disks[place].driver} if place in disks else _driver(domain)
            removals.append(Action("remove", member, place, last, "its disk, mount and keys go with it", args, roles))
    gone.actions.sort(key=lambda action: action.wave)
    gone.actions += removals
    return gone


def refuse_data_loss(observation: Observation, members: t.Collection[str], delete_data: t.Collection[str]) -> None:
    """Refuse to remove disks of stateful roles that the person did not name.

    Raises:
        PlanError: `has_data`.
    """
    owned = observation.owned()
    stateful = set(observation.record.stateful)
    stateful |= {member for member, (_hv, domain) in owned.items() if (domain.record or {}).get("stateful")}
    kept: dict[str, list[str]] = {}
    for member in sorted(stateful & set(members)):
        roles = _roles(owned[member][1].record) if member in owned else ()
        roles = roles or _declared_roles(observation.record, member)
        if not set(roles) & set(delete_data):
            kept.setdefault(", ".join(roles) or member, []).append(member)
    if kept:
        raise PlanError(
            f"{observation.resource} has data: "
            + "; ".join(f"role {roles}: {', '.join(members)}" for roles, members in kept.items())
            + ". Nothing was changed. To remove the data too, name the roles: "
            + f"delete_data: [{', '.join(kept)}]",
            code="has_data",
            members=sorted(member for members in kept.values() for member in members),
        )


def _stop(member: str, hypervisor: str, wave: int, reason: str, domain: Domain) -> Action:
    return Action("stop", member, hypervisor, wave, reason, _driver(domain), _roles(domain.record))


def _driver(domain: Domain | None) -> dict[str, t.Any]:
    """The driver for a verb, from the ownership record."""
    return {"driver": driver_of(domain)} if domain is not None else {}


def _roles(record: t.Mapping[str, t.Any] | None) -> tuple[str, ...]:
    return tuple((record or {}).get("roles", ()))


def _role_maps(record: Record) -> list[tuple[str, t.Mapping[str, t.Any]]]:
    return list(record.declaration.get("roles", ()))


def _declared_roles(record: Record, member: str) -> tuple[str, ...]:
    """The roles of a member whose domain is gone, from the stored declaration."""
    return tuple(
        name
        for name, role in _role_maps(record)
        if member in role.get("members", ()) or member.rsplit("-", 1)[0] == name.replace("_", "-")
    )


def _stop_waves(observation: Observation, owned: t.Mapping[str, t.Any]) -> dict[str, int]:
    """Member -> wave, the reverse of the start: what others come after is stopped after them.

    The order comes from the stored declaration; members without one stop at once.
    """
    after = {name: list(role.get("after", ())) for name, role in _role_maps(observation.record)}
    depth: dict[str, int] = {}

    def level(role: str, seen: tuple[str, ...] = ()) -> int:
        if role not in depth:
            depth[role] = 1 + max(
                (level(name, (*seen, role)) for name in after.get(role, ()) if name not in seen), default=-1
            )
        return depth[role]

    start = {
        member: min((level(role) for role in _roles(domain.record)), default=0)
        for member, (_hv, domain) in owned.items()
    }
    top = max(start.values(), default=0)
    return {member: top - wave for member, wave in start.items()}


def _desired(stored: Record, desired: str) -> Record | None:
    """The stored record with another desired state; None when it says so already, or nothing was ever stored."""
    if stored.version == 0 or stored.desired == desired:
        return None
    return replace(stored, version=stored.version + 1, generation=stored.generation + 1, desired=desired)
