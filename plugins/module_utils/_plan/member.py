# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The steps that bring one member to what is declared, and those that wait for leave."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._model.declaration import Member
from .._model.observed import Artefact, Domain
from .drift import LIVE, MOVE, REBUILD, RESTART, Change, Pending, changes_of, facts_of
from .wishes import Wishes


class Life(t.NamedTuple):
    """What there is of a member: where, and in which shape; nothing at all before its first start."""

    hypervisor: str | None
    domain: Domain | None
    artefact: Artefact | None

    @property
    def active(self) -> bool:
        """Whether a machine is there that would have to be stopped first."""
        return self.domain is not None and self.domain.state != "shutoff"


class Step(t.NamedTuple):
    """One verb at one hypervisor."""

    verb: str
    hypervisor: str
    reason: str
    args: t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Steps:
    """The steps of one member.

    Attributes:
        down: they take a member away that runs, a few members at a time, or one that moves, before all else.
        up: they bring it back; after all of `down` where it comes back on another hypervisor.
        pending: what is left alone.
    """

    down: tuple[Step, ...] = ()
    up: tuple[Step, ...] = ()
    pending: tuple[Pending, ...] = ()

    @property
    def interrupts(self) -> bool:
        """Whether the member runs and would be stopped."""
        return any(step.verb == "stop" for step in self.down)


def steps_of(member: Member, life: Life, target: str, why: str, leaves: str, wishes: Wishes) -> Steps:
    """What one member needs.

    Args:
        target: the hypervisor that it shall be on, and `why`.
        leaves: why it leaves the hypervisor that it is on, or was on when that was lost; empty when it stays.
    """
    if life.domain is None and life.artefact is None:
        reason = f"{leaves or 'no disk yet'}; placed on {why}"
        return Steps(up=tuple(_made(member, target, reason, "no domain yet", "it is new")))
    changes = changes_of(member, life.domain, life.artefact)
    if leaves:
        return _moved(member, life, target, f"{leaves}; placed on {why}")
    named = member.name in wishes.replace
    rebuilt = wishes.allow_rebuild and not member.stateful and any(change.needs == REBUILD for change in changes)
    if named or rebuilt:
        return _moved(member, life, target, "to be replaced" if named else _words(changes))
    return _kept(member, life, target, changes, wishes)


def _made(member: Member, hypervisor: str, disk: str, domain: str, start: str) -> list[Step]:
    """A disk, a domain, and its start."""
    spec = member.spec.as_dict()
    return [
        Step("prepare", hypervisor, disk, {"spec": spec}),
        Step("define", hypervisor, domain, _definition(member, spec)),
        Step("start", hypervisor, start, {"driver": member.spec.driver}),
    ]


def _moved(member: Member, life: Life, target: str, reason: str) -> Steps:
    """Taken away where it is, and made anew on the same or on another hypervisor."""
    driver, here = {"driver": member.spec.driver}, t.cast(str, life.hypervisor)
    down = [Step("stop", here, reason, driver)] if life.active else []
    if life.domain is not None:
        down.append(Step("undefine", here, reason, driver))
    if life.artefact is not None:
        down.append(Step("remove", here, reason, driver))
    up = _made(member, target, reason, "it is made anew", "it is new")
    # what goes on one hypervisor is over before it comes on another: never is a member in two places
    return Steps(tuple(down), tuple(up)) if life.active or here != target else Steps(up=(*down, *up))


def _kept(member: Member, life: Life, here: str, changes: t.Sequence[Change], wishes: Wishes) -> Steps:
    """On the disk that it has, with all that differs and may be brought in line."""
    domain, artefact = life.domain, life.artefact
    free = {LIVE} if life.active and not wishes.allow_restart else {LIVE, RESTART}
    brought = [change for change in changes if change.needs in free]
    pending = [_pending(member, change) for change in changes if change.needs not in free]
    spec = member.spec.as_dict()
    spec.update({wait.change.field: wait.change.was for wait in pending if wait.change.field in spec})
    steps = []
    if artefact is None or not artefact.prepared:
        reason = "no disk any more" if artefact is None else "its disk is half made"
        steps.append(Step("prepare", here, reason, {"spec": spec}))
    if domain is None:
        steps.append(Step("define", here, "no domain yet", _definition(member, spec)))
    elif not domain.persistent:
        reason = _words(brought) if brought else "it runs, and its definition is gone"
        steps.append(Step("define", here, reason, _definition(member, spec)))
    elif brought:
        steps.append(Step("define", here, _words(brought), _definition(member, spec)))
    named = life.active and member.name in wishes.restart
    stopped = named or (life.active and any(change.needs == RESTART for change in brought))
    start = Step("start", here, "it was stopped for it", {"driver": member.spec.driver})
    if stopped:
        stop = Step("stop", here, "to be started anew" if named else _words(brought), start.args)
        return Steps((stop,), (*steps, start), tuple(pending))
    if domain is None or not domain.running:
        steps.append(start._replace(reason=f"it is {domain.state}" if domain is not None else "it is new"))
    return Steps(up=tuple(steps), pending=tuple(pending))


def _pending(member: Member, change: Change) -> Pending:
    if change.needs == RESTART:
        return Pending(member.name, change, "allow_restart")
    return Pending(member.name, change, "replace" if member.stateful else "allow_rebuild")


def stays(member: Member, lives: str, reason: str) -> Pending:
    """A member that should leave its hypervisor, and may not."""
    change = Change("hypervisor", lives, f"another one, since {reason}", MOVE)
    return Pending(member.name, change, "replace" if member.stateful else "allow_move")


def _definition(member: Member, spec: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {"spec": dict(spec), **facts_of(member)}


def _words(changes: t.Sequence[Change]) -> str:
    return ", ".join(f"{change} ({change.needs})" for change in changes)
