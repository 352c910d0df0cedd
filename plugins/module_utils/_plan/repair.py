# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What is repaired now: pure, verdicts x repairs of late x budget -> the mildest step that was not tried yet.

The steps are, from mild to hard: have the scheduler take back its own mistake, restart units, restart the member in
place, rebuild it. What has data is never rebuilt, what nobody can tell is never touched, and whoever was repaired as
often as the budget allows is left alone.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from .._model.declaration import Member, Resource
from .._model.health import DEGRADED, DOMAIN, FAILED, REACH, STARTING, Health, MemberHealth
from .._model.monitor import UNIT
from .._model.stacks import STACKS
from .wishes import Wishes

RESTART_UNIT, START, RESTART, REBUILD, RELOCATE = "restart_unit", "start", "restart", "rebuild", "relocate"
#: a node that its scheduler took out of service by mistake
RESUME = "resume"
#: a machine that runs without a definition, and would be gone with its end
DEFINE = "define"
#: states of a domain that is started where it is
_DOWN = ("shutoff", "crashed", "paused", "pmsuspended", "undefined", "absent")


@dataclass(frozen=True)
class Repair:
    """One repair as the record keeps it; `at` is wall time in seconds since the epoch."""

    at: float
    member: str
    action: str
    reason: str

    def as_dict(self) -> dict[str, t.Any]:
        return {"at": round(self.at, 1), "member": self.member, "action": self.action, "reason": self.reason}


@dataclass(frozen=True)
class Step:
    """One repair to be tried now.

    Attributes:
        units: that are restarted, of `restart_unit`.
        engine: of the scheduler, of `resume`.
    """

    member: str
    action: str
    reason: str
    units: tuple[str, ...] = ()
    engine: str = ""

    def public(self) -> dict[str, t.Any]:
        """As modules return it."""
        more = {"units": list(self.units)} if self.units else {}
        return {"action": self.action, "member": self.member, "reason": self.reason, **more}


@dataclass(frozen=True)
class Repairs:
    """What is done now, and what is not.

    Attributes:
        exhausted: member -> why it is left alone although it is broken.
    """

    steps: tuple[Step, ...] = ()
    exhausted: t.Mapping[str, str] = field(default_factory=dict)

    def of(self, *actions: str) -> tuple[str, ...]:
        """Members for which one of these is done."""
        return tuple(step.member for step in self.steps if step.action in actions)

    def wishes(self) -> Wishes:
        """What the plan of the machines is allowed, and asked for."""
        return Wishes(
            replace=self.of(REBUILD),
            restart=self.of(RESTART),
            lost=self.of(RELOCATE),
            allow_move=False,
            max_unavailable=max(1, len(self.steps)),
        )

    def machines(self) -> frozenset[str]:
        """Members whose machine is touched."""
        return frozenset(self.of(DEFINE, START, RESTART, REBUILD, RELOCATE))


def recent(history: t.Iterable[Repair], now: float, window: float) -> list[Repair]:
    """The repairs that still count. One that a clock put into the future counts as done just now."""
    return [repair for repair in history if now - repair.at < window]


class Known(t.NamedTuple):
    """What else is known when repairs are decided on.

    Attributes:
        lost: hypervisors on which nothing of this resource lives any more.
        unconfigured: members that have still to be configured, so that what their services lack is no fault yet.
    """

    lost: t.Collection[str] = ()
    unconfigured: t.Collection[str] = ()


NOTHING_ELSE = Known()


def decide(
    resource: Resource, health: Health, history: t.Sequence[Repair], now: float, known: Known = NOTHING_ELSE
) -> Repairs:
    """The repairs to be tried now.

    Args:
        history: repairs of late, oldest first, of any leader.
        now: wall time, seconds since the epoch.
    """
    budget = resource.monitor.budget
    late = recent(history, now, budget.window)
    left = (len(resource.members) if budget.resource is None else budget.resource) - len(late)
    members = {member.name: member for member in resource.members}
    steps: list[Step] = []
    exhausted: dict[str, str] = {}
    for found in health.members:
        own = [repair for repair in late if repair.member == found.member]
        step = _step(resource, members[found.member], found, own, known)
        if step is None:
            continue
        if len(own) >= budget.member:
            exhausted[found.member] = (
                f"repaired {len(own)} times within {budget.window:g} s, to no avail: {found.cause}"
            )
        elif len(steps) >= left:
            exhausted[found.member] = (
                f"{len(late) + len(steps)} repairs within {budget.window:g} s are all that this resource is allowed"
            )
        else:
            steps.append(step)
    return Repairs(tuple(steps), exhausted)


def _step(
    resource: Resource, member: Member, found: MemberHealth, own: t.Sequence[Repair], known: Known
) -> Step | None:
    """The mildest step that was not tried yet; None where nothing may, or need, be done."""
    if found.hypervisor in known.lost and found.state == "unknown" and resource.relocatable(member):
        return Step(member.name, RELOCATE, f"its hypervisor {found.hypervisor} is gone, and the member with it")
    if found.verdict not in (FAILED, DEGRADED) or found.state == "unknown":
        return None
    if found.state in _DOWN:
        return _of_machine(resource, member, found, own, START)
    if not any(sign.kind == REACH and sign.ok for sign in found.signs):
        return _of_machine(resource, member, found, own, RESTART) if found.verdict == FAILED else None
    gone = next((sign for sign in found.signs if sign.kind == DOMAIN and sign.ok is False), None)
    if gone is not None:
        return Step(member.name, DEFINE, gone.detail)
    return None if member.name in known.unconfigured else _of_services(resource, member, found, own)


def _of_services(resource: Resource, member: Member, found: MemberHealth, own: t.Sequence[Repair]) -> Step | None:
    """It can be spoken to: its units first, and if that was of no use the machine."""
    if found.resume:
        return Step(member.name, RESUME, found.cause, engine=found.resume)
    units = _units(resource, member, found)
    if not units:
        return None
    if not any(repair.action == RESTART_UNIT for repair in own) or found.verdict != FAILED:
        return Step(member.name, RESTART_UNIT, found.cause, units)
    return _of_machine(resource, member, found, own, RESTART)


def _of_machine(resource: Resource, member: Member, found: MemberHealth, own: t.Sequence[Repair], first: str) -> Step:
    """In place at first, and at last anew from its image where nothing is lost by that."""
    tried = [repair for repair in own if repair.action in (START, RESTART)]
    if len(tried) >= 2 and may_rebuild(resource, member):
        return Step(member.name, REBUILD, f"{found.cause}; {len(tried)} restarts did not help")
    return Step(member.name, first, found.cause)


def may_rebuild(resource: Resource, member: Member) -> bool:
    """Whether nothing is lost with a member's disk."""
    keeps = STACKS[resource.stack].keeps_state
    return member.access is None and not member.stateful and not set(member.roles) & set(keeps)


def _units(resource: Resource, member: Member, found: MemberHealth) -> tuple[str, ...]:
    """The units that do not do their work; where none is to blame, all that the member has."""
    bad = [sign for sign in found.signs if sign.ok is False and sign.kind != REACH]
    named = tuple(sign.name for sign in bad if sign.kind == UNIT)
    return named or (resource.units(member) if bad else ())


def told(health: Health, repairs: Repairs) -> Health:
    """The same health, in which whoever is left alone although it is broken says why."""
    why = {member: f"; not repaired: {words}" for member, words in repairs.exhausted.items()}
    members = (replace(member, cause=member.cause + why.get(member.member, "")) for member in health.members)
    return replace(health, members=tuple(members))


#: verdicts under which a repaired member is waited for
WAITS = (STARTING, DEGRADED, FAILED)
