# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Verdicts: pure, signs -> what may be said of a member and of the whole resource.

A member is called dead by its hypervisor's own word, or by two signs that do not hang on the same thing: no SSH from
here, and no answer to its own hypervisor or to its scheduler. One sign alone is no more than a doubt, and what nobody
can tell is unknown.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._model.declaration import Member, Resource
from .._model.health import (
    DEGRADED,
    DOMAIN,
    DRAINING,
    FAILED,
    HEALTHY,
    HYPERVISOR,
    REACH,
    STARTING,
    STOPPED,
    UNKNOWN,
    Health,
    Job,
    MemberHealth,
    Sign,
)
from .._model.monitor import SCHEDULER, UNIT

#: states of a domain that is at work, and of one that nobody could ask about
_UP, UNSEEN = ("running", "idle", "blocked"), "unknown"
#: a resource's members that do their work, in part at least
_SERVES = (HEALTHY, DRAINING, DEGRADED)
#: seconds for which a unit may be on its way up
SUPERVISED_S = 10.0


@dataclass(frozen=True)
class Look:
    """All that was seen of one member.

    Attributes:
        hypervisor: where it is, or was placed.
        state: libvirt's word, `absent`, `undefined`, or `unknown` where its hypervisor does not answer.
        reason: libvirt's reason for it, as far as it gave one.
        age: seconds since the member's start, where known.
        draining: its scheduler lets go of it by somebody's wish.
        drained: why its scheduler gives it no jobs by itself; empty when it does.
        resume: engine of the scheduler, where it took the member out of service by a mistake of its own.
        strange: why it is not the machine that it should be; empty when it is.
    """

    member: Member
    hypervisor: str | None
    state: str
    reason: str = ""
    age: float | None = None
    signs: tuple[Sign, ...] = ()
    draining: bool = False
    strange: str = ""
    drained: str = ""
    resume: str = ""

    def sign(self, kind: str) -> Sign | None:
        """The first sign of a kind."""
        return next((sign for sign in self.signs if sign.kind == kind), None)

    @property
    def probes(self) -> tuple[Sign, ...]:
        """What the member itself, or its scheduler, was asked."""
        return tuple(sign for sign in self.signs if sign.kind not in (DOMAIN, REACH, HYPERVISOR))


#: role -> names of its probes
Needs = t.Mapping[str, t.Collection[str]]


def judge(look: Look, desired: str, starting: float, needs: Needs) -> tuple[str, str]:
    """A member's verdict and its cause.

    Args:
        desired: what the record asks for.
        starting: seconds from a start in which a member need not answer yet.
        needs: of the member's roles.
    """
    if desired != "started":
        return _at_rest(look, desired)
    reach = look.sign(REACH)
    reached = reach is not None and reach.ok is True
    if look.state == UNSEEN and not reached:
        return UNKNOWN, f"its hypervisor {look.hypervisor} does not answer, and neither does it"
    if look.state not in (*_UP, UNSEEN):
        return FAILED, f"its hypervisor says {look.state}" + (f" ({look.reason})" if look.reason else "")
    if look.strange:
        return DEGRADED, look.strange
    if reached:
        return _at_work(look, starting, needs)
    return _out_of_reach(look, reach, starting)


def _at_rest(look: Look, desired: str) -> tuple[str, str]:
    if look.state == UNSEEN:
        return UNKNOWN, f"its hypervisor {look.hypervisor} does not answer"
    if look.state in _UP:
        return DEGRADED, f"it runs, although the resource shall be {desired}"
    return STOPPED, f"the resource shall be {desired}"


def _young(look: Look, starting: float) -> bool:
    return look.age is not None and look.age < starting


def _supervised(sign: Sign) -> bool:
    """Whether systemd is about to start it again, which is not to be disturbed; it gives up by itself (`failed`)."""
    return (
        sign.kind == UNIT and sign.detail.startswith("activating") and sign.age is not None and sign.age < SUPERVISED_S
    )


def broken(look: Look, needs: Needs) -> frozenset[str]:
    """The roles that a member does not play: a probe of theirs says so, or one that is about the whole member."""
    bad = [sign.name for sign in look.probes if sign.ok is False]
    special = {name for names in needs.values() for name in names}
    if any(name not in special for name in bad):
        return frozenset(needs)
    return frozenset(role for role, names in needs.items() if any(name in names for name in bad))


def _at_work(look: Look, starting: float, needs: Needs) -> tuple[str, str]:
    """It can be spoken to; its probes decide. It works in part while it plays one of its roles."""
    probes = look.probes
    bad = [sign for sign in probes if sign.ok is False]
    mute = [sign for sign in probes if sign.ok is None]
    unseen = f"; its hypervisor {look.hypervisor} does not answer" if look.state == UNSEEN else ""
    if bad and _young(look, starting):
        return STARTING, f"started {look.age:.0f} s ago; not yet: {_words(bad)}{unseen}"
    if bad:
        units = [sign for sign in bad if sign.kind == UNIT]
        worst = FAILED if broken(look, needs) == set(needs) else DEGRADED
        # what else is bad may hang on a unit that is on its way up
        return (STARTING if units and all(map(_supervised, units)) else worst), _words(bad) + unseen
    if mute:
        return DEGRADED, f"no answer in time: {_words(mute)}{unseen}"
    gone = look.sign(DOMAIN)
    doubt = f"its scheduler drained it: {look.drained}" if look.drained else gone.detail if gone is not None else ""
    if doubt:
        return DEGRADED, doubt + unseen
    if look.draining:
        return DRAINING, "its scheduler gives it no more jobs, by somebody's wish"
    return HEALTHY, unseen[2:]


def _out_of_reach(look: Look, reach: Sign | None, starting: float) -> tuple[str, str]:
    """It runs, says its hypervisor, but does not let us in."""
    why = reach.detail if reach is not None else "it was not asked"
    if reach is None or reach.ok is None:
        return UNKNOWN, f"it runs; whether it answers is not known: {why}"
    if _young(look, starting):
        return STARTING, f"started {look.age:.0f} s ago; SSH: {why}"
    others = [sign for sign in look.signs if sign.kind in (HYPERVISOR, SCHEDULER) and sign.ok is not None]
    alive = [sign for sign in others if sign.ok]
    if alive:
        return DEGRADED, f"no SSH from here ({why}), but it answers: {_words(alive)}"
    if others:
        return FAILED, f"no SSH ({why}), and {_words(others)}"
    return DEGRADED, f"no SSH ({why}), and no second sign that it is dead"


def _words(signs: t.Iterable[Sign]) -> str:
    return ", ".join(f"{sign.name}: {sign.detail}" for sign in signs)


def judge_all(
    resource: Resource,
    looks: t.Sequence[Look],
    desired: str,
    generation: int,
    silent: t.Mapping[str, str],
    jobs: tuple[Job, ...] | None = None,
) -> Health:
    """The verdicts of all members, and that of the resource."""
    members: list[MemberHealth] = []
    plays: dict[str, frozenset[str]] = {}
    for look in looks:
        member = look.member
        needs = {role: [probe.name for probe in resource.asked(role)] for role in member.roles}
        verdict, cause = judge(look, desired, resource.monitor.starting, needs)
        if verdict in _SERVES:
            plays[member.name] = frozenset(member.roles) - broken(look, needs)
        members.append(
            MemberHealth(
                member.name,
                resource.domain(member.name),
                member.roles,
                look.hypervisor,
                member.spec.address,
                look.state,
                verdict,
                cause,
                look.signs,
                look.resume,
            )
        )
    verdict, cause = _of_resource(resource, members, plays, desired)
    return Health(resource.name, desired, generation, verdict, cause, tuple(members), silent, jobs)


def _of_resource(
    resource: Resource, members: t.Sequence[MemberHealth], plays: t.Mapping[str, t.Collection[str]], desired: str
) -> tuple[str, str]:
    """From the members', and from which roles each of those that work plays."""
    verdicts = {member.member: member.verdict for member in members}
    if desired != "started":
        left = [name for name, verdict in verdicts.items() if verdict != STOPPED]
        return (DEGRADED, f"not stopped yet: {', '.join(left)}") if left else (STOPPED, f"it shall be {desired}")
    for role in resource.roles:
        known = [verdicts[name] for name in role.members if name in verdicts]
        if known and not any(role.name in plays.get(name, ()) for name in role.members):
            whole = next((verdict for verdict in (STARTING, UNKNOWN) if verdict in known), FAILED)
            return whole, f"no member of role {role.name} does its work: {_summary(known)}"
    others = {name: verdict for name, verdict in verdicts.items() if verdict not in (HEALTHY, DRAINING)}
    if not others:
        return HEALTHY, ""
    words = ", ".join(f"{name} {verdict}" for name, verdict in sorted(others.items())[:5])
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    return (STARTING if set(others.values()) == {STARTING} else DEGRADED), words + more


def _summary(verdicts: t.Sequence[str]) -> str:
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts)))
