# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The plan that makes a resource run: pure, declared x observed -> actions."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._model.declaration import Member, Resource
from .._model.drivers import IMAGE_FORMATS
from .._model.errors import HypervisorError, PlanError
from .._model.observed import Observation
from .actions import FETCH, Action, Plan
from .checks import (
    refuse_blind,
    refuse_doubles,
    refuse_foreign,
    refuse_moved_addresses,
    refuse_other_driver,
    refuse_smaller_pool,
)
from .drift import Pending
from .lost import copies_taken_away, given_up
from .member import Life, Step, Steps, stays, steps_of
from .notes import notes_of
from .place import Room, member_waves, settled
from .record import Places, may_be_at, records
from .scale import Scaled, is_counted, scaled
from .stop import refuse_data_loss, taken_away
from .wishes import NO_WISHES, Wishes


def plan_started(resource: Resource, observation: Observation, wishes: Wishes = NO_WISHES) -> Plan:
    """All members exist as declared and run, as far as the wishes allow.

    Raises:
        PlanError: foreign machines are in the way, addresses would move, or there is no room; nothing is planned then.
        HypervisorError: members may be on a hypervisor that does not answer, and their roles cannot do without them.
    """
    scale = scaled(resource, observation, wishes)
    resource = scale.resource
    refuse_foreign(resource.name, [member.name for member in resource.members], observation)
    refuse_doubles(observation)
    refuse_blind(observation)
    refuse_smaller_pool(resource, observation.record)
    refuse_data_loss(observation, scale.leaving, wishes.delete_data)
    refuse_moved_addresses(resource, observation.owned())
    refuse_other_driver(resource, observation.owned(), observation.artefacts())
    draft = _Draft(resource, observation, wishes)
    for member in resource.members:
        draft.add(member)
    draft.refuse_too_few()
    return draft.plan(scale)


#: before all others: members that do not run leave a hypervisor, and start elsewhere when it is their role's turn;
#: stale copies go
_FIRST = -1


class _Draft:
    """The plan while member after member is added to it."""

    def __init__(self, resource: Resource, observation: Observation, wishes: Wishes) -> None:
        self._resource, self._seen, self._wishes = resource, observation, wishes
        self._where = settled(observation)
        self._owned, self._artefacts = observation.owned(), observation.artefacts()
        self._hypervisors = {hv.name: hv for hv in observation.hypervisors}
        self._pending: list[Pending] = []
        self._leaves = self._leaving()
        self._lost = given_up(resource, observation, wishes)
        self._room = Room(resource, observation, self._leaves)
        self._level = member_waves(resource)
        self._actions: list[Action] = []
        self._rolling: list[tuple[Member, Steps]] = []
        self._waiting: list[str] = []
        self._before: dict[str, str] = {}
        self._after: dict[str, str] = {}
        self._placement: dict[str, str] = {}
        self._missing: dict[str, str] = {}
        self._brought: set[tuple[str, ...]] = set()
        self._first: Exception | None = None

    def _leaving(self) -> dict[str, str]:
        """Members that leave the hypervisor they are on -> why; those that may not are pending."""
        declared = {hv.name: hv for hv in self._resource.pool}
        found = {}
        for member in self._resource.members:
            lives = self._where.get(member.name)
            if lives is None or member.access is not None:
                continue
            reason = f"{lives} is in maintenance" if declared[lives].maintenance else ""
            if not reason and member.hypervisor not in (None, lives):
                reason = f"it is pinned to {member.hypervisor}"
            if reason and (member.name in self._wishes.replace or (self._wishes.allow_move and not member.stateful)):
                found[member.name] = reason
            elif reason:
                self._pending.append(stays(member, lives, reason))
        return found

    # -- one member

    def add(self, member: Member) -> None:
        """Plan one member; what cannot be had is remembered with the error that tells why."""
        lives, leaves = self._where.get(member.name), self._leaves.get(member.name, "")
        lost = self._lost.get(member.name, "")
        if lives is None and not lost and self._is_unknown(member):
            return
        if member.access is not None:
            self._add_existing(member)
            return
        try:
            target, why = (lives, f"{lives}: it lives there") if lives and not leaves else self._room.place(member)
        except PlanError as error:
            if leaves:  # it stays where it is, and nothing else happens before there is room
                raise
            self._miss(member, error, f"no room: {error.details['short']}")
            return
        domain = self._owned[member.name][1] if member.name in self._owned else None
        artefact = self._artefacts.get(member.name, {}).get(lives) if lives else None
        life = Life(lives, domain, artefact)
        steps = steps_of(member, life, target, why, leaves or lost, self._wishes)
        self._pending += steps.pending
        if steps.interrupts and not self._wishes.interrupt:
            self._waiting.append(member.name)
            steps, target = Steps(), t.cast(str, lives)
        fetched = self._fetched(member, steps)
        self._placement[member.name] = target
        name = self._resource.domain(member.name)
        self._before[name] = _state(life)
        changes = steps.down or steps.up
        self._after[name] = _told(member, target, steps) if changes else self._before[name]
        self._note(member, fetched, self._level[member.name])
        if steps.interrupts:
            self._rolling.append((member, steps))
        else:
            self._note(member, steps.down, _FIRST)
            self._note(member, steps.up, self._level[member.name])

    def _add_existing(self, member: Member) -> None:
        """A machine that somebody else provides: only its services may have to be started."""
        machine, domain = self._owned[member.name]
        name = self._resource.domain(member.name)
        self._placement[member.name] = machine.name
        self._before[name] = self._after[name] = domain.state
        if not domain.running:
            args = {"driver": member.spec.driver}
            self._note(member, [Step("start", name, "its services do not run", args)], self._level[member.name])
            self._after[name] = f"running at {member.spec.address} ({member.spec.driver})"

    def _is_unknown(self, member: Member) -> bool:
        """Whether it may be on a hypervisor that does not answer; then nothing is done for it."""
        places = may_be_at(self._seen.record, member.name)
        if member.access is not None:
            places = {self._resource.domain(member.name)}
        elif self._seen.record.desired == "absent":
            return False
        silent = sorted(places & set(self._seen.silent))
        if not silent:
            return False
        where, reason = silent[0], self._seen.silent[silent[0]]
        error = HypervisorError(
            f"{reason} Members of {self._resource.name} may run there; they are not taken for gone. "
            "Nothing was changed.",
            hypervisor=where,
        )
        self._miss(member, error, f"{where} does not answer")
        self._placement[member.name] = where
        return True

    def _miss(self, member: Member, error: Exception, why: str) -> None:
        self._missing[member.name] = why
        self._first = self._first or error

    def _fetched(self, member: Member, steps: Steps) -> list[Step]:
        """The image that a disk is made from is brought once to each hypervisor that lacks it, before all else.

        Raises:
            PlanError: `no_image`: it can neither be found nor brought, which is known before anything is touched.
        """
        where = next((step.hypervisor for step in steps.up if step.verb == "prepare"), None)
        if where is None:
            return []
        seen, spec = self._hypervisors[where], member.spec
        lack = seen.lack(spec, self._resource.images)
        if lack:
            raise PlanError(
                f"member {member.name} belongs on hypervisor {seen.name}, but {lack} "
                f"(images there: {', '.join(sorted(seen.images)) or 'none'}). Run playbooks/pool.yml, or declare where "
                "the image comes from.",
                code="no_image",
            )
        image = {"name": spec.image, "format": IMAGE_FORMATS[spec.driver]}
        if seen.has_image(spec) or (where, *image.values()) in self._brought:
            return []
        self._brought.add((where, *image.values()))
        origin = self._resource.images[spec.image, image["format"]].origin
        return [Step(FETCH, where, f"image {spec.image} is not there; from {origin}", image)]

    def _note(self, member: Member, steps: t.Iterable[Step], wave: int) -> None:
        self._actions += [
            Action(step.verb, member.name, step.hypervisor, wave, step.reason, step.args, member.roles)
            for step in steps
        ]

    # -- all of them

    def refuse_too_few(self) -> None:
        """Raise the first error unless every role has the members that it needs at least."""
        if self._first is None:
            return
        for role in self._resource.roles:
            there = sum(name not in self._missing for name in role.members)
            if there < (len(role.members) if role.min_count is None else role.min_count):
                raise self._first

    def plan(self, scale: Scaled) -> Plan:
        """Put everything in order: what is new or only started, then what runs and is interrupted, then what goes."""
        copies = copies_taken_away(self._seen, _FIRST)
        self._actions += copies.actions
        if any(action.wave == _FIRST for action in self._actions):
            self._actions = [replace(action, wave=action.wave + 1) for action in self._actions]
        self._actions.sort(key=lambda action: action.wave)
        last = max((action.wave for action in self._actions), default=0)
        self._roll(1 + max(last, *self._level.values()))
        last = 1 + max((action.wave for action in self._actions), default=-1)
        held = [name for name in scale.leaving if not self._wishes.interrupt and self._runs(name)]
        leaving = [name for name in scale.leaving if name not in held]
        gone = taken_away(self._seen, leaving, last, "it is to be removed")
        declared = {member.name for member in self._resource.members}
        surplus = sorted(set(self._where) - declared - set(scale.leaving))
        staying = {name: self._where[name] for name in (*surplus, *held)}
        until = {name: self._where[name] for name in (*self._leaves, *leaving) if name in self._where}
        removed = tuple(name for name in scale.leaving if name not in declared and not is_counted(self._resource, name))
        record, settled_record = records(
            self._seen, self._resource, Places(until, {**staying, **self._placement}, removed)
        )
        return Plan(
            self._resource.name,
            (*self._actions, *gone.actions),
            record,
            False,
            {**self._before, **gone.before, **copies.before},
            {**self._after, **gone.after, **copies.after},
            tuple(surplus),
            tuple(notes_of(self._resource, surplus, self._pending, self._missing, self._seen.silent, scale.lines)),
            settled_record,
            tuple(self._pending),
            dict(self._missing),
            scale.lines,
            (*self._waiting, *held),
        )

    def _runs(self, name: str) -> bool:
        return name in self._owned and not self._owned[name][1].stopped

    def _roll(self, wave: int) -> None:
        """Members that run are interrupted a few at a time, role after role in the order of the start."""
        order = sorted(self._rolling, key=lambda entry: self._level[entry[0].name])
        while order:
            level = self._level[order[0][0].name]
            size = next((n for n, (member, _s) in enumerate(order) if self._level[member.name] != level), len(order))
            batch = order[: min(size, self._wishes.max_unavailable)]
            order = order[len(batch) :]
            elsewhere = any(steps.down[0].hypervisor != steps.up[-1].hypervisor for _member, steps in batch)
            for member, steps in batch:
                self._note(member, steps.down, wave)
            for member, steps in batch:
                self._note(member, steps.up, wave + elsewhere)
            wave += 1 + elsewhere


def _told(member: Member, target: str, steps: Steps) -> str:
    size = f"{member.spec.driver}, {member.spec.image}, {member.spec.vcpus} vCPU, {member.spec.memory_mb} MiB"
    left = ", ".join(f"{wait.change.field} {wait.change.was}" for wait in steps.pending)
    return f"running on {target} at {member.spec.address} ({size})" + (f", still {left}" if left else "")


def _state(life: Life) -> str:
    if life.domain is not None:
        return life.domain.state
    return "absent" if life.artefact is None else "a disk without a domain"
