# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members that leave a resource: named for removal, they are no longer part of the declaration that is carried out."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._model.declaration import Resource, Role
from .._model.errors import PlanError
from .._model.observed import Observation, Record
from .place import settled
from .wishes import Wishes


class Scaled(t.NamedTuple):
    """The resource without what was removed, the members to be taken away, and the lines for the file."""

    resource: Resource
    leaving: tuple[str, ...]
    lines: dict[str, str]


def scaled(resource: Resource, observation: Observation, wishes: Wishes) -> Scaled:
    """Take the members named for removal out of the resource.

    Raises:
        PlanError: `unknown_member`, `named_member`, `last_member`, or `removed_members`: the declaration counts members
            again that were removed by name.
    """
    there = set(settled(observation))
    declared = {member.name for member in resource.members}
    _refuse_unknown(resource, observation, wishes, there | declared)
    gone = set(wishes.remove) & declared
    _refuse_named(resource, gone)
    roles = tuple(_without(role, gone) for role in resource.roles)
    emptied = [role.name for role in roles if not role.members]
    if emptied:
        raise PlanError(
            f"role {', '.join(emptied)} would have no member left. Nothing was changed. Leave one, or take the role "
            "out of the declaration and remove its members then.",
            code="last_member",
        )
    changed = [role for role, old in zip(roles, resource.roles) if role is not old]
    result = resource
    if changed:
        content = {**resource.content, "roles": _content(resource.content["roles"], changed)}
        members = tuple(member for member in resource.members if member.name not in gone)
        result = replace(resource, roles=roles, members=members, content=content)
    _refuse_removed(result, observation.record)
    leaving = tuple(name for name in dict.fromkeys(wishes.remove) if name in there)
    return Scaled(result, leaving, {role.name: _line(role) for role in changed})


def _refuse_unknown(resource: Resource, observation: Observation, wishes: Wishes, known: set[str]) -> None:
    declared = {member.name for member in resource.members}
    gone = observation.record.removed
    # one that a counted role could have, or that was removed before: there is nothing to do for it
    unknown = [n for n in wishes.remove if n not in known and n not in gone and not is_counted(resource, n)]
    unknown += [name for name in wishes.replace if name not in declared]
    provided = {member.name for member in resource.members if member.access is not None}
    unknown += [name for name in wishes.replace if name in provided]
    unknown += [name for name in wishes.replace if name in wishes.remove]
    if unknown:
        raise PlanError(
            f"{', '.join(unknown)}: no such member of {resource.name} to be removed or replaced. Nothing was changed. "
            f"Its members are {_shortened(sorted(known - set(wishes.remove) or known))}.",
            code="unknown_member",
            members=unknown,
        )


def _refuse_named(resource: Resource, gone: set[str]) -> None:
    named = sorted({name for role in resource.roles if not role.counted for name in role.members} & gone)
    if named:
        raise PlanError(
            f"{', '.join(named)}: the declaration names these members one by one. Nothing was changed. Take them out "
            "of `members` and out of the roles that name them; then run again with the same names.",
            code="named_member",
            members=named,
        )


def _refuse_removed(resource: Resource, record: Record) -> None:
    """A file that was not brought up to date would silently bring back what a person removed."""
    removed = _removed_names(record)
    back = {
        role.name: [name for name in role.members if name in removed]
        for role in resource.roles
        if role.counted and role.removed is None
    }
    if any(back.values()):
        lines = {name: _recorded_line(record, name) for name, members in back.items() if members}
        raise PlanError(
            f"the declaration counts members that were removed from {resource.name}: "
            + ", ".join(name for members in back.values() for name in members)
            + ". Nothing was changed. Write into the file: "
            + "; ".join(f"roles.{name}: {line}" for name, line in lines.items())
            + "; or `removed: []` to have them back.",
            code="removed_members",
            members=[name for members in back.values() for name in members],
            lines=lines,
        )


def _without(role: Role, gone: set[str]) -> Role:
    if not gone & set(role.members):
        return role
    removed = {int(name.rsplit("-", 1)[1]) for name in role.members if name in gone} | set(role.removed or ())
    members = tuple(name for name in role.members if name not in gone)
    return replace(role, members=members, removed=tuple(sorted(removed)))


def _content(roles: t.Sequence[t.Any], changed: t.Sequence[Role]) -> list[t.Any]:
    """The roles of a declaration's content with the new counts and removed indices."""
    new = {role.name: {"count": len(role.members), "removed": list(role.removed or ())} for role in changed}
    return [[name, {**section, **new.get(name, {})}] for name, section in roles]


def _line(role: Role) -> str:
    return f"{{count: {len(role.members)}, removed: [{', '.join(map(str, role.removed or ()))}]}}"


def _recorded_line(record: Record, role: str) -> str:
    section = dict(record.declaration.get("roles", ()))[role]
    return f"{{count: {section['count']}, removed: [{', '.join(map(str, section['removed']))}]}}"


def _removed_names(record: Record) -> set[str]:
    """Members that the stored declaration leaves out by their index."""
    return {
        f"{name.replace('_', '-')}-{index}"
        for name, section in record.declaration.get("roles", ())
        for index in section.get("removed") or ()
    }


def is_counted(resource: Resource, name: str) -> bool:
    """Whether a counted role could have a member of that name."""
    stem, _dash, index = name.rpartition("-")
    return index.isdigit() and any(role.counted and role.name.replace("_", "-") == stem for role in resource.roles)


def _shortened(names: t.Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
