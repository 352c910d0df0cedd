# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What a person should know besides the actions: in few lines, however many members they are about."""

from __future__ import annotations

import typing as t

from .._model.declaration import Resource
from .drift import MOVE, Pending

_SHOWN = 5
_COST = {"restart": "needs a restart", "rebuild": "needs a new disk", "move": "needs a new disk elsewhere"}


def notes_of(
    resource: Resource,
    surplus: t.Sequence[str],
    pending: t.Sequence[Pending],
    missing: t.Mapping[str, str],
    silent: t.Mapping[str, str],
    lines: t.Mapping[str, str],
) -> list[str]:
    """One line for each kind of thing that was left alone, or that a person has to do."""
    found = []
    if surplus:
        found.append(
            f"{_names(surplus)}: not declared any more in {resource.name}; left alone. `remove` takes them away"
        )
    for (words, allow), members in _grouped(pending).items():
        how = f"`replace: [{members[0]}]`" if allow == "replace" else f"`{allow}: true`"
        data = ", and its data is lost" if allow == "replace" else ""
        found.append(f"{_names(members)}: {words}; left alone. {how} does it{data}")
    if missing:
        found.append(f"{resource.name} is degraded: {_degraded(resource, missing)}")
    for name in sorted(set(silent) - {hv for hv in silent if any(f"{hv} does" in why for why in missing.values())}):
        found.append(f"{name} does not answer and carries no member of {resource.name}: passed over")
    for role, line in lines.items():
        found.append(f"write into the declaration: roles.{role}: {line}")
    return found


def _grouped(pending: t.Sequence[Pending]) -> dict[tuple[str, str], list[str]]:
    """(what and what it costs, what allows it) -> members."""
    found: dict[tuple[str, str], list[str]] = {}
    for wait in pending:
        change = wait.change
        words = f"{change.now}" if change.needs == MOVE else f"{change}"
        found.setdefault((f"{words} {_COST[change.needs]}", wait.allow), []).append(wait.member)
    return found


def _degraded(resource: Resource, missing: t.Mapping[str, str]) -> str:
    parts = []
    for role in resource.roles:
        gone = [name for name in role.members if name in missing]
        if gone:
            whys = "; ".join(dict.fromkeys(missing[name] for name in gone))
            parts.append(
                f"role {role.name} has {len(role.members) - len(gone)} of {len(role.members)} members ({whys})"
            )
    return ", ".join(parts)


def _names(names: t.Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
