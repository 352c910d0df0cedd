# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The plan's vocabulary."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._model.observed import Record
from .drift import Pending

#: an image is brought into a hypervisor's cache, for the first member there that needs it
FETCH = "fetch"


@dataclass(frozen=True)
class Action:
    """One step on one member at one hypervisor.

    Attributes:
        verb: a verb of the host program on one member (`protocol.MEMBER_VERBS`), or `FETCH`.
        wave: actions of a lower wave are over before those of a higher one begin.
        reason: why, in words; shown to the person.
        args: typed fields for the host program, no secrets.
        roles: the member's roles.
        stale: it is about a copy of the member that counts no more, not about the member.
    """

    verb: str
    member: str
    hypervisor: str
    wave: int
    reason: str
    args: t.Mapping[str, t.Any] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    stale: bool = False

    def public(self) -> dict[str, t.Any]:
        """The action as modules return it."""
        return {
            "action": self.verb,
            "member": self.member,
            "hypervisor": self.hypervisor,
            "wave": self.wave,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Plan:
    """What will be done, in order, and what the record will say before it is done.

    Attributes:
        record: the record to be written first, None when it stands already. A member that leaves a hypervisor is
            placed there until it is gone.
        settled: the record to be written after the last action, None when the first one stands.
        forget: remove what the voters keep besides the tombstone (secrets, declaration) after the last action.
        before, after: members' states for the diff.
        surplus: members that exist and are not declared any more; left alone.
        waiting: members that would be interrupted, and are not yet.
        pending: differences that are left alone, since what they cost was not allowed.
        missing: declared members that cannot be had now -> why; their roles may do without them.
        lines: role -> what the declaration's file must say after members were removed by name.
    """

    resource: str
    actions: tuple[Action, ...] = ()
    record: Record | None = None
    forget: bool = False
    before: t.Mapping[str, str] = field(default_factory=dict)
    after: t.Mapping[str, str] = field(default_factory=dict)
    surplus: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    settled: Record | None = None
    pending: tuple[Pending, ...] = ()
    missing: t.Mapping[str, str] = field(default_factory=dict)
    lines: t.Mapping[str, str] = field(default_factory=dict)
    waiting: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether machines change; bookkeeping on the voters never counts."""
        return bool(self.actions)

    def waves(self) -> list[list[Action]]:
        """The actions grouped by wave, ascending."""
        grouped: dict[int, list[Action]] = {}
        for action in self.actions:
            grouped.setdefault(action.wave, []).append(action)
        return [grouped[wave] for wave in sorted(grouped)]

    def diff(self) -> dict[str, str]:
        """`before` and `after` as text: only the members that change."""
        changed = [
            name for name in sorted(set(self.before) | set(self.after)) if self.before.get(name) != self.after.get(name)
        ]
        return {
            side: "".join(f"{name}: {states.get(name, 'absent')}\n" for name in changed)
            for side, states in (("before", self.before), ("after", self.after))
        }
