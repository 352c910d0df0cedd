# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What differs between a member as it was made and as it is declared, and what each difference costs."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._model.declaration import Member
from .._model.observed import Artefact, Domain

#: what a difference costs: nothing, a restart, a new disk, a new disk on another hypervisor
LIVE, RESTART, REBUILD, MOVE = "live", "restart", "rebuild", "move"

#: fields of a specification that the definition alone holds; all others are on the disk, too
_DEFINED = ("vcpus", "memory_mb", "bridge", "template")
#: fields that a driver changes while the member runs
_LIVE = {"lxc": ("vcpus", "memory_mb"), "sim": ("vcpus", "memory_mb")}


@dataclass(frozen=True)
class Change:
    """One difference: what it is called in the declaration, both values, and what it costs."""

    field: str
    was: t.Any
    now: t.Any
    needs: str

    def __str__(self) -> str:
        return f"{self.field} {_shown(self.was)} -> {_shown(self.now)}"


@dataclass(frozen=True)
class Pending:
    """A difference that a run left alone, and what would allow it."""

    member: str
    change: Change
    allow: str

    def public(self) -> dict[str, t.Any]:
        """As modules return it."""
        change = self.change
        return {
            "member": self.member,
            "field": change.field,
            "from": change.was,
            "to": change.now,
            "needs": change.needs,
            "allow": self.allow,
        }


def changes_of(member: Member, domain: Domain | None, artefact: Artefact | None) -> list[Change]:
    """All that differs, in the order of the specification's fields."""
    if domain is None:
        return _of_disk(member, artefact)
    record = domain.record or {}
    facts = facts_of(member)
    # a record of a former version has no such key, which means nothing of the kind
    told = {name: record.get(name, type(value)()) for name, value in facts.items()}
    if told == facts and record.get("digest") == member.spec.digest and not _of_disk(member, artefact):
        return []
    lived, declared = record.get("spec", {}), member.spec.as_dict()
    found = [
        Change(name, lived.get(name), value, _needs(member, name, artefact))
        for name, value in declared.items()
        if lived.get(name) != value
    ]
    found += [change for change in _of_disk(member, artefact) if change.field not in {known.field for known in found}]
    found += [Change(name, told[name], value, LIVE) for name, value in facts.items() if told[name] != value]
    return found


def facts_of(member: Member) -> dict[str, t.Any]:
    """What the ownership record holds besides the specification."""
    return {
        "roles": list(member.roles),
        "stateful": member.stateful,
        "autostart": member.autostart,
        "labels": dict(member.labels),
    }


def _of_disk(member: Member, artefact: Artefact | None) -> list[Change]:
    """A finished disk that stands on another image than the declared one."""
    if artefact is None or not artefact.prepared:
        return []
    if artefact.image is not None and artefact.image != member.spec.image:
        return [Change("image", artefact.image, member.spec.image, REBUILD)]
    if not _has_content(member, artefact):
        return [Change("image_checksum", artefact.image_digest, member.spec.image_checksum, REBUILD)]
    return []


def _has_content(member: Member, artefact: Artefact | None) -> bool:
    """Whether the disk stands on the content that the declaration asks for, as far as it asks for any."""
    wanted = member.spec.image_checksum
    return wanted is None or (artefact is not None and artefact.image_digest in (None, wanted))


def _needs(member: Member, name: str, artefact: Artefact | None) -> str:
    driver = member.spec.driver
    if name == "image_checksum":
        return LIVE if _has_content(member, artefact) else REBUILD
    if name in _LIVE.get(driver, ()):
        return LIVE
    return RESTART if name in _DEFINED else REBUILD


def _shown(value: t.Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}={entry}" for key, entry in sorted(value.items())) or "none"
    return "none" if value is None else str(value)
