# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What holds for every plan, whatever is declared and whatever is observed."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import PlanError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.identity import digest_of
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import (
    Artefact,
    Domain,
    Observation,
    ObservedHypervisor,
    Record,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import PLUGIN_NAME, parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.actions import Plan
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.place import Room, member_waves, settled
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.start import plan_started
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.stop import plan_absent, plan_stopped
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.wishes import NO_WISHES, Wishes
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import IMAGES, after, owned_domain, record_of

ROLES = ("a", "b", "c")
STATES = ("nothing", "half", "disk", "running", "shutoff", "paused", "crashed")
#: what a member's specification was when it was made
FORMER = (
    {},
    {},
    {"memory_mb": 300},
    {"bridge": "br9"},
    {"bridge": "br9", "memory_mb": 300},
    {"image": "former"},
    {"image": "former", "vcpus": 9},
)


@st.composite
def resources(draw: st.DrawFn) -> Resource:
    """One to three counted roles in any partial order, on one to four hypervisors in two racks."""
    roles: dict[str, t.Any] = {}
    for name in ROLES[: draw(st.integers(1, 3))]:
        roles[name] = {
            "count": draw(st.integers(1, 4)),
            "after": draw(st.lists(st.sampled_from(sorted(roles)), unique=True)) if roles else [],
            "spread": draw(st.sampled_from([None, "hypervisor", "rack", "nowhere"])),
            "stateful": draw(st.booleans()),
            "memory_mb": draw(st.sampled_from([256, 1024, 2048])),
            "vcpus": draw(st.integers(1, 3)),
            "driver": draw(st.sampled_from(["lxc", "qemu"])),
            "anti_affinity": draw(st.lists(st.sampled_from([*sorted(roles), name]), unique=True, max_size=1)),
            "min_count": draw(st.sampled_from([None, 0, 1])),
        }
    pool = [
        {
            "name": f"hv{n}",
            "address": f"10.0.0.{n}",
            "labels": {"rack": draw(st.sampled_from("ab"))},
            "state": draw(st.sampled_from(["active", "active", "active", "maintenance"])),
            "capacity": {"memory_mb": draw(st.sampled_from([2048, 4096, 65536]))},
        }
        for n in range(1, 1 + draw(st.integers(1, 4)))
    ]
    network = {"bridge": "br0", "cidr": "10.0.0.0/24", "range": "10.0.0.50-10.0.0.250"}
    raw = {"plugin": PLUGIN_NAME, "name": "demo", "pool": pool, "network": network, "roles": roles}
    return parse_declaration({**raw, "defaults": {"image": "node"}})


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Resource, Observation]:
    """A declaration and some state of its members, strangers among them."""
    resource = draw(resources())
    artefacts: dict[str, list[Artefact]] = {hv.name: [] for hv in resource.pool}
    domains: dict[str, list[Domain]] = {hv.name: [] for hv in resource.pool}
    placement: dict[str, str] = {}
    for member in resource.members:
        where, state = draw(st.sampled_from(sorted(domains))), draw(st.sampled_from(STATES))
        if state == "nothing":
            continue
        placement[member.name] = where
        spec = {**member.spec.as_dict(), **draw(st.sampled_from(FORMER))}
        artefacts[where].append(Artefact(member.name, member.spec.driver, state != "half", spec["image"]))
        if state in ("half", "disk"):
            continue
        known = {"roles": list(member.roles), "spec": spec, "digest": digest_of(spec), "stateful": member.stateful}
        domains[where].append(owned_domain("demo", member.name, state, **known))
    strangers = st.sampled_from(["web", "other-a-0", "demo2-a-0", "demo-x"])
    hypervisors = []
    for hv in resource.pool:
        foreign = [Domain(name, f"f-{name}", "running", None) for name in draw(st.sets(strangers, max_size=2))]
        alien = owned_domain("other", "a-0", "running", roles=["a"])
        reserved = draw(st.sampled_from([0, 512, 4096]))
        own = (*domains[hv.name], *foreign, alien)
        hypervisors.append(
            ObservedHypervisor(hv.name, 4096, 4, dict(IMAGES), own, tuple(artefacts[hv.name]), reserved, 0)
        )
    desired = draw(st.sampled_from([None, "started", "stopped", "absent"]))
    record = record_of(resource, desired, placement, draw(st.integers(1, 9))) if desired else Record()
    return resource, Observation("demo", tuple(hypervisors), record)


@st.composite
def wishes(draw: st.DrawFn) -> Wishes:
    """Any leave that a person may give, with members that may not be there."""
    names = [f"{role}-{index}" for role in ROLES[:1] for index in range(2)]
    return Wishes(
        remove=tuple(draw(st.sampled_from([[], [], ["a-1"], ["a-7"]]))),
        replace=tuple(draw(st.sampled_from([[], [], names[:1]]))),
        allow_restart=draw(st.booleans()),
        allow_rebuild=draw(st.booleans()),
        allow_move=draw(st.booleans()),
        delete_data=ROLES,
        max_unavailable=draw(st.integers(1, 3)),
    )


def start(world: tuple[Resource, Observation], leave: Wishes = NO_WISHES) -> Plan | None:
    """The plan, or None where there is no room, or no member would be left."""
    try:
        return plan_started(*world, leave)
    except PlanError as error:
        if error.code not in ("no_room", "last_member"):
            raise
        return None


def wave_of(plan: Plan, verb: str) -> dict[str, int]:
    return {action.member: action.wave for action in plan.actions if action.verb == verb}


@given(worlds(), wishes())
def test_after_started_there_is_nothing_to_do(world: tuple[Resource, Observation], leave: Wishes) -> None:
    plan = start(world, leave)
    if plan is None:
        return
    seen = after(plan, world[1])
    declared = {member.name for member in world[0].members}
    running = {name for name, (_hv, domain) in seen.owned().items() if domain.running}
    assert running == declared - set(plan.missing) - set(leave.remove)
    again = plan_started(world[0], seen, replace(leave, replace=()))
    assert (again.actions, again.record, again.settled, again.changed) == ((), None, None, False)
    assert again.pending == plan.pending


@given(worlds(), wishes())
def test_members_that_run_are_interrupted_only_with_leave(world: tuple[Resource, Observation], leave: Wishes) -> None:
    plan = start(world, leave)
    if plan is None:
        return
    owned = world[1].owned()
    level = member_waves(world[0])
    interrupted: dict[int, set[str]] = {}
    for action in plan.actions:
        if action.verb != "stop" or action.member in leave.remove:
            continue
        interrupted.setdefault(action.wave, set()).add(action.member)
        member = next(member for member in world[0].members if member.name == action.member)
        maintained = {hv.name for hv in world[0].pool if hv.maintenance}
        record = owned[action.member][1].record or {}
        differs = [name for name, value in member.spec.as_dict().items() if record["spec"].get(name) != value]
        assert (
            action.member in leave.replace
            or (leave.allow_move and action.hypervisor in maintained and not member.stateful)
            or (leave.allow_rebuild and "image" in differs and not member.stateful)
            or (leave.allow_restart and differs)
        )
    for wave, members in interrupted.items():
        assert len(members) <= leave.max_unavailable
        assert len({level[member] for member in members}) == 1, wave


@given(worlds(), wishes())
def test_what_is_put_off_is_what_would_be_interrupted(world: tuple[Resource, Observation], leave: Wishes) -> None:
    held, plan = start(world, replace(leave, interrupt=False)), start(world, leave)
    if plan is None or held is None:
        assert plan is held
        return
    owned = world[1].owned()
    assert {a.member for a in held.actions if a.verb == "stop"} == set()
    assert set(held.waiting) == {a.member for a in plan.actions if a.verb == "stop"}
    for action in held.actions:
        assert action.member not in held.waiting
        assert action.verb != "undefine" or owned[action.member][1].state == "shutoff"


@given(worlds(), wishes())
def test_the_record_names_a_hypervisor_until_it_carries_the_member_no_more(
    world: tuple[Resource, Observation], leave: Wishes
) -> None:
    """A run may end anywhere: until all is over, the record must not say that a hypervisor is free of a member."""
    plan = start(world, leave)
    if plan is None:
        return
    record, last = plan.record or world[1].record, plan.settled or plan.record or world[1].record
    for action in plan.actions:
        if action.member in settled(world[1]):
            assert record.placement[action.member] == settled(world[1])[action.member]
    there = settled(after(plan, world[1]))
    assert {name: where for name, where in last.placement.items() if name in there} == there


@given(worlds(), wishes())
def test_no_disk_with_data_goes_unless_it_is_named(world: tuple[Resource, Observation], leave: Wishes) -> None:
    plan = start(world, leave)
    data = {member.name for member in world[0].members if member.stateful}
    whole = {name for name, places in world[1].artefacts().items() if any(disk.prepared for disk in places.values())}
    for action in plan.actions if plan is not None else ():
        if action.verb == "remove" and action.member in data & whole:
            assert action.member in (*leave.remove, *leave.replace)


@given(worlds())
def test_roles_that_keep_apart_share_no_hypervisor_anew(world: tuple[Resource, Observation]) -> None:
    plan = start(world)
    if plan is None:
        return
    assert plan.record is None or set(plan.missing).isdisjoint(plan.record.placement)
    new = {action.member: action.hypervisor for action in plan.actions if action.verb == "prepare"}
    new = {name: where for name, where in new.items() if name not in settled(world[1])}
    placed = {**settled(world[1]), **new}
    for role in world[0].roles:
        for other in (name for apart in role.anti_affinity for name in world[0].role(apart).members):
            for name in role.members:
                if name != other and (name in new or other in new) and name in placed and other in placed:
                    assert placed[name] != placed[other]


@given(worlds())
def test_after_stopped_there_is_nothing_to_do(world: tuple[Resource, Observation]) -> None:
    seen = after(plan_stopped(world[1]), world[1])
    assert {domain.state for _hv, domain in seen.owned().values()} <= {"shutoff"}
    assert seen.artefacts().keys() == world[1].artefacts().keys()
    again = plan_stopped(seen)
    assert (again.actions, again.record, again.changed) == ((), None, False)


@given(worlds())
def test_after_absent_nothing_of_ours_is_left_and_all_else_is(world: tuple[Resource, Observation]) -> None:
    seen = after(plan_absent(world[1], ROLES), world[1])
    assert not seen.owned()
    assert not seen.artefacts()
    assert not seen.record.declaration
    theirs = [[d for d in hv.domains if not d.name.startswith("demo-")] for hv in world[1].hypervisors]
    assert [[d for d in hv.domains if not d.name.startswith("demo-")] for hv in seen.hypervisors] == theirs
    again = plan_absent(seen, ())
    assert (again.actions, again.record, again.forget) == ((), None, False)


@given(worlds())
def test_absent_never_takes_data_that_was_not_named(world: tuple[Resource, Observation]) -> None:
    resource, seen = world
    data = {name for role in resource.roles if role.stateful for name in role.members}
    plan, kept = Plan("demo"), set()
    try:
        plan = plan_absent(seen, ())
    except PlanError as error:
        kept = set(error.details["members"])
    assert kept <= data
    known = data if seen.record.stateful else {name for name in data if name in seen.owned()}
    assert not known & {action.member for action in plan.actions}


@given(worlds())
def test_roles_start_after_those_they_name_and_stop_before_them(world: tuple[Resource, Observation]) -> None:
    resource, seen = world
    seen = replace(seen, record=record_of(resource, "started", {}))
    for plan, verb, sign in ((start((resource, seen)), "start", 1), (plan_stopped(seen), "stop", -1)):
        waves = wave_of(plan, verb) if plan is not None else {}
        for role in resource.roles:
            for member in role.members:
                for earlier in (name for other in role.after for name in resource.role(other).members):
                    if member in waves and earlier in waves:
                        assert sign * waves[earlier] < sign * waves[member]


@given(worlds())
def test_every_action_is_on_a_member_of_ours(world: tuple[Resource, Observation]) -> None:
    resource, seen = world
    declared = {member.name for member in resource.members}
    there = set(seen.owned()) | set(seen.artefacts())
    for plan, ours in ((start(world), declared), (plan_stopped(seen), there), (plan_absent(seen, ROLES), there)):
        for action in plan.actions if plan is not None else ():
            assert action.member in ours
            assert action.hypervisor in {hv.name for hv in resource.pool}


@given(worlds())
def test_the_same_inputs_give_the_same_plan(world: tuple[Resource, Observation]) -> None:
    resource, seen = world
    turned = replace(seen, hypervisors=tuple(reversed(seen.hypervisors)))
    assert start((resource, seen)) == start((resource, seen)) == start((resource, turned))


@given(worlds())
def test_members_that_live_somewhere_stay_there(world: tuple[Resource, Observation]) -> None:
    seen = world[1]
    plan = start(world)
    lives = settled(seen)
    maintained = {hv.name for hv in world[0].pool if hv.maintenance}
    for action in plan.actions if plan is not None else ():
        if lives.get(action.member) not in maintained:
            assert action.hypervisor == lives.get(action.member, action.hypervisor)
        elif action.verb in ("prepare", "define"):
            stateful = next(member.stateful for member in world[0].members if member.name == action.member)
            assert action.hypervisor not in maintained or stateful


@given(worlds(), st.booleans())
@settings(max_examples=150)
def test_no_hypervisor_gets_more_than_it_can_carry(world: tuple[Resource, Observation], fresh: bool) -> None:
    resource, seen = world
    if fresh:
        empty = tuple(replace(hv, domains=(), artefacts=()) for hv in seen.hypervisors)
        seen = replace(seen, hypervisors=empty)
    plan = start((resource, seen))
    if plan is None or plan.record is None:
        return
    placement = plan.record.placement
    lived = set(seen.owned()) | set(seen.artefacts())
    members = [member for member in resource.members if member.name in placement]
    filled = {placement[member.name] for member in members if member.name not in lived}
    for hv, there in ((hv, there) for hv in resource.pool for there in seen.hypervisors if there.name == hv.name):
        here = [member.spec for member in members if placement[member.name] == hv.name]
        if hv.name in filled:
            assert sum(spec.memory_mb for spec in here) <= (hv.capacity.memory_mb or 0) - there.reserved_memory_mb
            assert sum(spec.vcpus for spec in here) <= there.vcpus * resource.overcommit.vcpus


@given(worlds())
def test_the_diff_tells_just_the_members_with_actions(world: tuple[Resource, Observation]) -> None:
    plan = start(world)
    if plan is None:
        return
    changed = {f"demo-{action.member}" for action in plan.actions}
    for text in plan.diff().values():
        assert {line.split(":")[0] for line in text.splitlines()} == changed
    assert all(set(action.public()) == {"action", "member", "hypervisor", "wave", "reason"} for action in plan.actions)


@given(worlds())
@settings(max_examples=150)
def test_placement_is_that_of_looking_at_every_hypervisor_each_time(world: tuple[Resource, Observation]) -> None:
    resource, seen = world
    quick, thorough = Room(resource, seen), Room(resource, seen)
    for member in resource.members:
        if member.name in settled(seen):
            continue
        fitting = [hv for hv in resource.pool if not thorough.lack(member, hv)]
        if not fitting:
            return
        best = min(fitting, key=lambda hv: thorough.rank(member, hv))
        chosen, reason = quick.place(member)
        assert (chosen, reason.rsplit(" ", 1)[1]) == (best.name, str(len(fitting)))
        thorough.place(replace(member, hypervisor=best.name))
