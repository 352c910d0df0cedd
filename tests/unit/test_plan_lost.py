# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A hypervisor is lost: who is made anew elsewhere, who is not, and what becomes of what comes back with it."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.report import observed_members, planned_members
from ansible_collections.ensemble.stacks.plugins.module_utils._host.boot import Found, decide
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError, PlanError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.identity import digest_of
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import (
    Artefact,
    Domain,
    Observation,
    ObservedHypervisor,
    Record,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.actions import Plan
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.place import settled
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.start import plan_started
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.stop import plan_absent, plan_stopped
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.wishes import NO_WISHES, Wishes
from declared import BASE, parsed
from hypothesis import given
from hypothesis import strategies as st
from simulator import IMAGES, after, owned_domain, record_of

POOL = [*BASE["pool"], {"name": "hv3", "address": "10.0.0.3", "capacity": {"memory_mb": 4096, "vcpus": 4}}]
ROLES = {
    "head": {"count": 1, "stateful": True},
    "compute": {"count": 2, "relocate": True},
    "web": {"count": 1, "min_count": 0},
}
DEMO = parsed(pool=POOL, roles=ROLES)
#: what lives on hv2 is what these tests are about
WHERE = {"head-0": "hv1", "compute-0": "hv2", "compute-1": "hv3", "web-0": "hv2"}
LOST = Wishes(lost=("hv2",))


def domain_of(resource: Resource, name: str, state: str = "running") -> Domain:
    member = next(member for member in resource.members if member.name == name)
    spec = member.spec.as_dict()
    facts = {"roles": list(member.roles), "spec": spec, "digest": digest_of(spec), "stateful": member.stateful}
    return owned_domain("demo", name, state, **facts)


def seen(
    where: t.Mapping[str, str],
    silent: t.Collection[str] = (),
    record: Record | None = None,
    resource: Resource = DEMO,
    states: t.Mapping[str, str] | None = None,
) -> Observation:
    """All members run where they are said to be, and the record says so."""
    hypervisors = []
    for hv in resource.pool:
        here = [name for name, place in where.items() if place == hv.name]
        domains = tuple(domain_of(resource, name, (states or {}).get(name, "running")) for name in here)
        disks = tuple(Artefact(name, "lxc", True, "node") for name in here)
        if hv.name not in silent:
            hypervisors.append(ObservedHypervisor(hv.name, 4096, 4, dict(IMAGES), domains, disks))
    why = {name: f"{name} does not answer." for name in silent}
    kept = record_of(resource, "started", where) if record is None else record
    return Observation("demo", tuple(hypervisors), kept, why)


def with_copy(observation: Observation, member: str, hypervisor: str, state: str | None = "running") -> Observation:
    """The same with something of a member on one more hypervisor; only a disk when the state is None."""
    domains = () if state is None else (domain_of(DEMO, member, state),)
    disk = Artefact(member, "lxc", True, "node")
    return replace(
        observation,
        hypervisors=tuple(
            replace(hv, domains=hv.domains + domains, artefacts=(*hv.artefacts, disk)) if hv.name == hypervisor else hv
            for hv in observation.hypervisors
        ),
    )


def steps(plan: Plan) -> list[tuple[str, str, str]]:
    return [(action.verb, action.member, action.hypervisor) for action in plan.actions]


def refused(code: str, observation: Observation, wishes: Wishes = NO_WISHES) -> EnsembleError:
    with pytest.raises(EnsembleError) as caught:
        plan_started(DEMO, observation, wishes)
    assert caught.value.code == code
    return caught.value


# -- who is made anew


def test_without_a_word_nobody_is_taken_for_dead() -> None:
    plan = plan_started(
        parsed(pool=POOL, roles={**ROLES, "compute": {"min_count": 0, **ROLES["compute"]}}), seen(WHERE, ["hv2"])
    )
    assert (steps(plan), set(plan.missing)) == ([], {"compute-0", "web-0"})


def test_a_lost_hypervisor_gives_up_what_may_be_relocated() -> None:
    plan = plan_started(DEMO, seen(WHERE, ["hv2"]), LOST)
    assert [(verb, member) for verb, member, _hv in steps(plan)] == [
        ("prepare", "compute-0"),
        ("define", "compute-0"),
        ("start", "compute-0"),
    ]
    assert {hv for _v, _m, hv in steps(plan)} <= {"hv1", "hv3"}
    assert plan.actions[0].reason.startswith("hv2 does not answer and is given up; placed on ")
    assert set(plan.missing) == {"web-0"}
    assert plan.record is not None
    assert plan.record.places("compute-0") == {plan.actions[0].hypervisor}, "on record before the first step"
    assert plan.record.places("web-0") == {"hv2"}
    assert plan.settled is None
    assert "compute-0" not in plan.missing


def test_a_member_that_is_named_is_given_up_whatever_its_role_says() -> None:
    plan = plan_started(DEMO, seen(WHERE, ["hv2"]), Wishes(lost=("web-0", "compute-0")))
    assert {member for verb, member, _hv in steps(plan) if verb == "start"} == {"compute-0", "web-0"}
    assert "and the member is given up there" in plan.actions[0].reason
    assert plan.missing == {}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("hv1", "this hypervisor answers"),
        ("head-0", "it is stateful, and its data is where it was"),
        ("compute-1", "it is on hv3, which answers"),
        ("hv9", "neither a member nor a hypervisor"),
        ("compute-7", "neither a member nor a hypervisor"),
    ],
)
def test_what_cannot_be_given_up_is_refused(name: str, why: str) -> None:
    error = refused("not_lost", seen(WHERE, ["hv2"]), Wishes(lost=("hv2", name)))
    assert f"{name}: {why}" in error.msg
    assert "Nothing was changed" in error.msg


def test_several_faults_are_told_together() -> None:
    error = refused("not_lost", seen({**WHERE, "head-0": "hv2"}, ["hv2"]), Wishes(lost=("hv1", "head-0", "nobody")))
    assert [fault.split(":")[0] for fault in error.details["names"]] == ["hv1", "head-0", "nobody"]


def test_what_has_data_stays_where_it_is() -> None:
    where = {**WHERE, "head-0": "hv2"}
    assert refused("hypervisor_unreachable", seen(where, ["hv2"]), LOST).details["hypervisor"] == "hv2"


def test_one_that_was_moving_is_given_up_only_where_every_place_is_lost() -> None:
    record = replace(record_of(DEMO, "started", {**WHERE, "compute-0": "hv2"}), moving={"compute-0": "hv3"})
    gone = seen({"head-0": "hv1"}, ["hv2", "hv3"], replace(record, placement={**WHERE, "compute-1": "hv1"}))
    refused("hypervisor_unreachable", gone, LOST)
    plan = plan_started(DEMO, gone, Wishes(lost=("hv2", "hv3")))
    assert plan.record is not None
    assert plan.record.places("compute-0") == {"hv1"}


def test_without_room_it_stays_placed_where_it_was() -> None:
    small = [{**hv, "capacity": {"memory_mb": 600, "vcpus": 4}} for hv in POOL]
    roles = {**ROLES, "compute": {"min_count": 0, **ROLES["compute"]}}
    tight = parsed(pool=small, roles=roles)
    observation = seen(WHERE, ["hv2"], record_of(tight, "started", WHERE), tight)
    plan = plan_started(tight, observation, LOST)
    assert (steps(plan), plan.record) == ([], None)
    assert plan.missing["compute-0"].startswith("no room")


def test_a_run_that_was_killed_after_the_record_is_finished() -> None:
    first = plan_started(DEMO, seen(WHERE, ["hv2"]), LOST)
    killed = replace(seen(WHERE, ["hv2"]), record=t.cast("Record", first.record))
    for wishes in (LOST, NO_WISHES, Wishes(lost=("compute-0",))):
        plan = plan_started(DEMO, killed, wishes)
        assert [member for verb, member, _hv in steps(plan) if verb == "start"] == ["compute-0"]
        assert after(plan, killed).owned()["compute-0"][1].running


# -- what comes back


@pytest.mark.parametrize("state", ["running", "shutoff", "paused", "crashed", None])
def test_a_copy_that_came_back_goes_first_and_is_never_started(state: str | None) -> None:
    now = {**WHERE, "compute-0": "hv3"}
    plan = plan_started(DEMO, with_copy(seen(now), "compute-0", "hv2", state))
    verbs = [*(["stop"] if state not in ("shutoff", None) else []), *(["undefine"] if state else []), "remove"]
    assert steps(plan) == [(verb, "compute-0", "hv2") for verb in verbs]
    assert all(action.reason.endswith("compute-0 is placed on hv3 now") for action in plan.actions)
    assert [action.args.get("timeout") for action in plan.actions if action.verb == "stop"] == [0] * verbs.count("stop")
    assert plan.diff()["after"] == "demo-compute-0 on hv2: absent\n"
    clean = after(plan, with_copy(seen(now), "compute-0", "hv2", state))
    assert settled(clean) == now
    assert plan_started(DEMO, clean).actions == ()


def test_the_member_itself_is_told_of_and_not_its_copy() -> None:
    observation = with_copy(seen({**WHERE, "compute-0": "hv3"}), "compute-0", "hv2", "shutoff")
    plan = plan_started(DEMO, observation)
    for facts in (observed_members(observation, DEMO), planned_members(observation, plan, DEMO)):
        [entry] = [entry for entry in facts if entry["member"] == "compute-0"]
        assert (entry["hypervisor"], entry["state"]) == ("hv3", "running")


def test_a_copy_goes_while_the_members_own_hypervisor_is_silent() -> None:
    roles = {**ROLES, "compute": {"min_count": 0, **ROLES["compute"]}}
    resource = parsed(pool=POOL, roles=roles)
    now = {**WHERE, "compute-0": "hv3"}
    observation = with_copy(seen(now, ["hv3"], record_of(resource, "started", now)), "compute-0", "hv2", "shutoff")
    plan = plan_started(resource, observation)
    assert steps(plan) == [("undefine", "compute-0", "hv2"), ("remove", "compute-0", "hv2")]
    assert set(plan.missing) == {"compute-0", "compute-1"}
    assert plan.record is None, "it stays placed where it was"


def test_one_that_is_not_declared_any_more_stays_placed_where_nobody_sees_it() -> None:
    now = {**WHERE, "compute-0": "hv3", "compute-7": "hv3"}
    roles = {**ROLES, "compute": {"min_count": 0, **ROLES["compute"]}}
    resource = parsed(pool=POOL, roles=roles)
    record = record_of(resource, "started", now)
    observation = seen({k: v for k, v in now.items() if k != "compute-7"}, ["hv3"], record, resource)
    disk = Artefact("compute-7", "lxc", True, "node")
    hv1, hv2 = observation.hypervisors
    hv2 = replace(hv2, artefacts=(disk,), domains=(owned_domain("demo", "compute-7", "shutoff"),))
    plan = plan_started(resource, replace(observation, hypervisors=(hv1, hv2)))
    assert [verb for verb, member, _hv in steps(plan) if member == "compute-7"] == ["undefine", "remove"]
    assert plan.record is None or plan.record.placement["compute-7"] == "hv3"


def test_a_copy_goes_where_the_newer_place_is_still_empty() -> None:
    record = record_of(DEMO, "started", {**WHERE, "compute-0": "hv3"})
    plan = plan_started(DEMO, seen(WHERE, (), record))
    assert steps(plan)[:3] == [(verb, "compute-0", "hv2") for verb in ("stop", "undefine", "remove")]
    waves = {(a.verb, a.hypervisor): a.wave for a in plan.actions}
    assert min(a.wave for a in plan.actions if not a.stale) > waves["remove", "hv2"]
    assert [verb for verb, _m, _hv in steps(plan)[3:]] == ["prepare", "define", "start"]


def test_the_record_must_settle_it() -> None:
    placed = {**WHERE, "compute-0": "hv3"}
    moving = replace(record_of(DEMO, "started", placed), moving={"compute-0": "hv2"})
    for record in (moving, record_of(DEMO, "started", {}), Record()):
        observation = replace(with_copy(seen(placed), "compute-0", "hv2"), record=record)
        refused("double", observation)
        for plan in (lambda: plan_stopped(observation), lambda: plan_absent(observation, ("head",))):  # noqa: B023
            with pytest.raises(PlanError, match="more than one domain"):
                plan()


def test_data_is_never_taken_for_a_copy() -> None:
    placed = {**WHERE, "head-0": "hv3"}
    refused("double", with_copy(seen(placed), "head-0", "hv1"))
    record = record_of(DEMO, "started", placed)
    assert steps(plan_started(DEMO, seen(WHERE, (), record))) == [], "it lives where it is"


def test_a_hypervisor_that_was_renamed_makes_no_copies() -> None:
    record = record_of(DEMO, "started", {**WHERE, "compute-0": "former"})
    assert seen(WHERE, (), record).stale == frozenset()
    refused("pool_shrunk", seen(WHERE, (), record))


def test_stopping_ends_copies_and_removing_takes_them_away() -> None:
    observation = with_copy(seen({**WHERE, "compute-0": "hv3"}), "compute-0", "hv2")
    stopped = plan_stopped(observation)
    assert ("stop", "compute-0", "hv2") in steps(stopped)
    assert {verb for verb, _m, _hv in steps(stopped)} == {"stop"}
    down = after(stopped, observation)
    assert {domain.state for _m, _hv, domain in down.ours} == {"shutoff"}
    assert plan_stopped(down).actions == ()
    gone = after(plan_absent(observation, ("head",)), observation)
    assert [hv.domains + hv.artefacts for hv in gone.hypervisors] == [(), (), ()]
    assert plan_absent(gone, ()).actions == ()


def test_a_boot_does_not_start_a_copy() -> None:
    record = t.cast("Record", plan_started(DEMO, seen(WHERE, ["hv2"]), LOST).record)
    owner = {**(domain_of(DEMO, "compute-0").record or {}), "autostart": True}
    [decision] = decide("hv2", [Found("lxc", "shutoff", owner)], record)
    assert (decision.start, decision.why) == (False, f"it is placed on {record.placement['compute-0']} now")


def test_a_definition_that_is_gone_is_made_again_without_an_interruption() -> None:
    observation = seen(WHERE)
    hv = next(hv for hv in observation.hypervisors if hv.name == "hv3")
    transient = replace(hv, domains=tuple(replace(domain, persistent=False) for domain in hv.domains))
    others = tuple(other for other in observation.hypervisors if other is not hv)
    observation = replace(observation, hypervisors=(*others, transient))
    plan = plan_started(DEMO, observation)
    assert steps(plan) == [("define", "compute-1", "hv3")]
    assert plan.actions[0].reason == "it runs, and its definition is gone"
    assert plan_started(DEMO, after(plan, observation)).actions == ()


# -- whatever happens


@st.composite
def disasters(draw: st.DrawFn) -> tuple[Resource, Observation, Observation, Wishes]:
    """A pool with some hypervisors away, the same when they are back, and what is given up."""
    names = draw(st.lists(st.sampled_from(["hv1", "hv2", "hv3"]), unique=True, max_size=2))
    roles = {
        "head": {"count": 1, "stateful": draw(st.booleans()), "min_count": 0},
        "compute": {"count": draw(st.integers(1, 3)), "relocate": True, "min_count": 0},
        "web": {"count": 1, "min_count": 0, "relocate": draw(st.booleans()), "after": ["head"]},
    }
    resource = parsed(pool=POOL, roles=roles)
    hypervisor = st.sampled_from(["hv1", "hv2", "hv3"])
    where = {member.name: draw(hypervisor) for member in resource.members}
    states = {name: draw(st.sampled_from(["running", "shutoff", "paused"])) for name in where}
    record = record_of(resource, "started", where)
    away = seen(where, names, record, resource, states)
    back = seen(where, (), record, resource, states)
    lost = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    return resource, away, back, Wishes(lost=tuple(lost))


def joined(resource: Resource, now: Observation, back: Observation) -> Observation:
    """What is seen once those that were away are back with all that they had."""
    there = {hv.name: hv for hv in now.hypervisors}
    hypervisors = tuple(there.get(hv.name, hv) for hv in back.hypervisors)
    return replace(now, hypervisors=hypervisors, silent={})


@given(disasters(), st.integers(0, 40))
def test_never_may_a_member_run_in_two_places(
    disaster: tuple[Resource, Observation, Observation, Wishes], end: int
) -> None:
    """A run may end after any step, and the lost may come back at any time: boot unit and next run start no second."""
    resource, away, back, wishes = disaster
    plan = plan_started(resource, away, wishes)
    record = plan.record or away.record
    for name in {action.member for action in plan.actions}:
        assert len(record.places(name)) == 1
    data = {member.name for member in resource.members if member.stateful}
    anew = {action.member for action in plan.actions if action.verb == "prepare"}
    assert not anew & data
    killed = replace(plan, actions=plan.actions[:end], settled=None)
    now = replace(after(killed, away), record=record)
    world = joined(resource, now, back)
    for hv in world.hypervisors:  # they come back now: the boot unit of each asks the record
        found = [
            Found("lxc", domain.state, {**(domain.record or {}), "autostart": True})
            for _m, there, domain in world.ours
            if there is hv
        ]
        for decision in decide(hv.name, found, record):
            assert not decision.start or record.places(decision.member) == {hv.name}
    final = plan_started(resource, world)
    made = {(action.member, action.hypervisor) for action in final.actions if action.verb == "prepare"}
    started = {(action.member, action.hypervisor) for action in final.actions if action.verb == "start"}
    assert started & world.stale <= made, "what is left of it goes first, wherever it is made anew"
    first = [action.wave for action in final.actions if not action.stale]
    assert all(action.wave < min(first, default=99) for action in final.actions if action.stale)
    settled_world = after(final, world)
    assert settled_world.stale == frozenset()
    assert len(settled_world.ours) == len(resource.members)
    assert all(domain.running for _m, _hv, domain in settled_world.ours)
    again = plan_started(resource, settled_world)
    assert (again.actions, again.record, again.settled) == ((), None, None)


@given(disasters())
def test_the_second_run_has_nothing_to_do(disaster: tuple[Resource, Observation, Observation, Wishes]) -> None:
    resource, away, _back, wishes = disaster
    plan = plan_started(resource, away, wishes)
    now = after(plan, away)
    for leave in (wishes, NO_WISHES):
        again = plan_started(resource, now, leave)
        assert (again.actions, again.record, again.settled) == ((), None, None)
        assert set(again.missing) == set(plan.missing)


@given(disasters())
def test_nobody_is_made_anew_without_a_word(disaster: tuple[Resource, Observation, Observation, Wishes]) -> None:
    resource, away, _back, wishes = disaster
    plan = plan_started(resource, away)
    unknown = {name for name in away.record.placement if away.record.places(name) & set(away.silent)}
    assert not unknown & {action.member for action in plan.actions}
    given = {action.member for action in plan_started(resource, away, wishes).actions} & unknown
    members = {member.name: member for member in resource.members}
    assert all(resource.relocatable(members[name]) for name in given)
    assert all(away.record.placement[name] in wishes.lost for name in given)
