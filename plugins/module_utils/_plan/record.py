# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The resource's record as a plan leaves it: where every member may be, whatever ends the run."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._model.declaration import Resource
from .._model.observed import Observation, Record


class Places(t.NamedTuple):
    """Where members are.

    Attributes:
        until: member -> hypervisor before the first action, of those that leave it.
        then: member -> hypervisor after the last one.
        removed: members that were taken out by name and had been declared one by one.
    """

    until: t.Mapping[str, str]
    then: t.Mapping[str, str]
    removed: tuple[str, ...] = ()


def may_be_at(record: Record, member: str) -> set[str]:
    """The hypervisors on which a member may be as far as the record can tell."""
    return record.places(member)


def records(seen: Observation, resource: Resource, places: Places) -> tuple[Record | None, Record | None]:
    """The record to be written before the first action, and the one after the last; None where nothing changes.

    A member that leaves its hypervisor may be on either until all is over. What was placed on a hypervisor that does
    not answer stays placed there, declared or not; unless it is given up there: then it may be on the other one only,
    so that what comes back with the former hypervisor is known for a copy.
    """
    unseen = _unseen(seen, places.then)
    placement = {**unseen.placement, **places.then, **places.until}
    moving = {name: where for name, where in places.then.items() if places.until.get(name, where) != where}
    first = _next(seen.record, resource, placement, {**unseen.moving, **moving}, places.removed)
    if not places.until:
        return first, None
    last = {**unseen.placement, **places.then}
    return first, _next(first or seen.record, resource, last, unseen.moving, places.removed)


def _unseen(seen: Observation, then: t.Mapping[str, str]) -> Record:
    """The part of the record that is about hypervisors which do not answer."""
    known = set(seen.owned()) | set(seen.artefacts())
    known.update(name for name, where in then.items() if where not in seen.silent)
    if seen.record.desired == "absent":
        return Record()
    silent = {name for name in seen.record.placement if may_be_at(seen.record, name) & set(seen.silent)} - known
    return Record(
        placement={name: where for name, where in seen.record.placement.items() if name in silent},
        moving={name: where for name, where in seen.record.moving.items() if name in silent},
    )


def _next(
    stored: Record,
    resource: Resource,
    placement: t.Mapping[str, str],
    moving: t.Mapping[str, str],
    removed: tuple[str, ...],
) -> Record | None:
    """The record that this declaration asks for, or None when the stored one says so already.

    Another digest becomes generation + 1; so does waking what was stopped or removed.
    """
    declared = {member.name for member in resource.members}
    stateful = tuple(sorted(member.name for member in resource.members if member.stateful))
    gone = tuple(sorted({*stored.removed, *removed} - declared))
    same = (stored.digest, stored.desired) == (resource.digest, "started")
    wanted = replace(
        stored, placement=dict(placement), moving=dict(moving), stateful=stateful, removed=gone, stack=resource.stack
    )
    if same and wanted == stored:
        return None
    return replace(
        wanted,
        version=stored.version + 1,
        generation=stored.generation if same else stored.generation + 1,
        digest=resource.digest,
        desired="started",
        declaration=resource.content,
    )
