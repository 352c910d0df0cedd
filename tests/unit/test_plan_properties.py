# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What holds for every plan, whatever is declared and whatever is observed."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import PlanError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import (
    Artefact,
    Domain,
    Observation,
    ObservedHypervisor,
    Record,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import PLUGIN_NAME, parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.actions import Plan
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.place import Room, settled
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.start import plan_started
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.stop import plan_absent, plan_stopped
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import IMAGES, after, owned_domain, record_of

ROLES = ("a", "b", "c")
STATES = ("nothing", "half", "disk", "running", "shutoff", "paused", "crashed", "old")


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
        }
    pool = [
        {
            "name": f"hv{n}",
            "address": f"10.0.0.{n}",
            "labels": {"rack": draw(st.sampled_from("ab"))},
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
        artefacts[where].append(Artefact(member.name, "lxc", state != "half", "node"))
        if state in ("half", "disk"):
            continue
        spec = member.spec.as_dict()
        digest = member.spec.digest if state != "old" else "0" * 64
        stateful = any(resource.role(role).stateful for role in member.roles)
        known = {"roles": list(member.roles), "spec": spec, "digest": digest, "stateful": stateful}
        domains[where].append(owned_domain("demo", member.name, "running" if state == "old" else state, **known))
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


def start(world: tuple[Resource, Observation]) -> Plan | None:
    """The plan, or None where there is no room."""
    try:
        return plan_started(*world)
    except PlanError as error:
        if error.code != "no_room":
            raise
        return None


def wave_of(plan: Plan, verb: str) -> dict[str, int]:
    return {action.member: action.wave for action in plan.actions if action.verb == verb}


@given(worlds())
def test_after_started_there_is_nothing_to_do(world: tuple[Resource, Observation]) -> None:
    plan = start(world)
    if plan is None:
        return
    seen = after(plan, world[1])
    assert {name for name, (_hv, domain) in seen.owned().items() if domain.running} == {
        member.name for member in world[0].members
    }
    again = plan_started(world[0], seen)
    assert (again.actions, again.record, again.changed) == ((), None, False)


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
    lives = {name: min(places) for name, places in seen.artefacts().items()}
    lives.update({name: hv.name for name, (hv, _domain) in seen.owned().items()})
    for action in plan.actions if plan is not None else ():
        assert action.hypervisor == lives.get(action.member, action.hypervisor)


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
    filled = {placement[member.name] for member in resource.members if member.name not in lived}
    for hv, there in ((hv, there) for hv in resource.pool for there in seen.hypervisors if there.name == hv.name):
        here = [member.spec for member in resource.members if placement[member.name] == hv.name]
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
