# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members whose hypervisor is gone: which ones are made anew elsewhere, and which copies are left behind of them."""

from __future__ import annotations

import typing as t

from .._model.declaration import Member, Resource
from .._model.errors import PlanError
from .._model.identity import domain_name
from .._model.observed import Artefact, Domain, Observation
from .actions import Action
from .place import settled
from .wishes import Wishes


def given_up(resource: Resource, seen: Observation, wishes: Wishes) -> dict[str, str]:
    """Members that are known to be dead on hypervisors that do not answer -> why they are made anew.

    A hypervisor gives up the members on it that may be relocated; who names a member itself gives it up in any case,
    unless it has data.

    Raises:
        PlanError: `not_lost`, naming each name that cannot be given up, and why.
    """
    if not wishes.lost:
        return {}
    _refuse(resource, seen, wishes.lost)
    there, found = settled(seen), {}
    for member in resource.members:
        silent = sorted(seen.record.places(member.name) & set(seen.silent))
        if not silent or member.name in there:
            continue
        away = " and ".join(silent)
        if member.name in wishes.lost:
            found[member.name] = f"{away} does not answer, and the member is given up there"
        elif resource.relocatable(member) and set(silent) <= set(wishes.lost):
            found[member.name] = f"{away} does not answer and is given up"
    return found


def _refuse(resource: Resource, seen: Observation, names: t.Sequence[str]) -> None:
    pool = {hv.name for hv in resource.pool}
    members = {member.name: member for member in resource.members}
    there = settled(seen)
    faults = []
    for name in names:
        if name in pool:
            fault = "" if name in seen.silent else "this hypervisor answers"
        elif name in members:
            fault = _why_not(members[name], there.get(name))
        else:
            fault = "neither a member nor a hypervisor"
        if fault:
            faults.append(f"{name}: {fault}")
    if faults:
        raise PlanError(
            f"what cannot be given up for lost: {'; '.join(faults)}. Nothing was changed. Name hypervisors of "
            f"{resource.name} that do not answer, or members on such that have no data.",
            code="not_lost",
            names=faults,
        )


def _why_not(member: Member, lives: str | None) -> str:
    if member.access is not None:
        return "somebody else provides its machine"
    if member.stateful:
        return "it is stateful, and its data is where it was"
    return f"it is on {lives}, which answers" if lives is not None else ""


class Copies(t.NamedTuple):
    """The actions that take stale copies away, and how the diff tells of them."""

    actions: tuple[Action, ...]
    before: dict[str, str]
    after: dict[str, str]


def copies_taken_away(seen: Observation, wave: int) -> Copies:
    """What is left of members that were made anew elsewhere goes, by force and before all else."""
    domains = {(member, hv.name): domain for member, hv, domain in seen.ours}
    disks = {(disk.member, hv.name): disk for hv in seen.hypervisors for disk in hv.artefacts}
    found = Copies((), {}, {})
    for member, hypervisor in sorted(seen.stale):
        domain, disk = domains.get((member, hypervisor)), disks.get((member, hypervisor))
        where = ", ".join(sorted(seen.record.places(member)))
        reason = f"a copy that was left behind: {member} is placed on {where} now"
        name = f"{domain_name(seen.resource, member)} on {hypervisor}"
        found.before[name] = domain.state if domain is not None else "a disk without a domain"
        found.after[name] = "absent"
        record = (domain.record if domain is not None else None) or {}
        roles = tuple(record.get("roles", ()))
        steps = [
            Action(verb, member, hypervisor, wave, reason, args, roles, True) for verb, args in _steps(domain, disk)
        ]
        found = found._replace(actions=(*found.actions, *steps))
    return found


def _steps(domain: Domain | None, disk: Artefact | None) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    lived = (domain.record or {}).get("spec", {}).get("driver") if domain is not None else None
    if domain is not None:
        if not domain.stopped:
            yield "stop", {"driver": lived, "timeout": 0}
        yield "undefine", {"driver": lived}
    yield "remove", {"driver": disk.driver if disk is not None else lived}
