# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What must never be planned: a member twice, on hypervisors that the declaration forgot or that a copy reached."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import Request, make_plan
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import HypervisorError, PlanError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import (
    Artefact,
    Observation,
    ObservedHypervisor,
    Record,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.actions import Plan
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.wishes import Wishes
from declared import BASE
from simulator import IMAGES, after, owned_domain

ONE_LEFT = [BASE["pool"][0]]


def plan(state: str, resource: Resource, seen: Observation) -> Plan:
    return make_plan(Request(resource.name, resource.pool, state, resource), seen)


def empty(resource: Resource, record: Record) -> Observation:
    hypervisors = tuple(ObservedHypervisor(hv.name, 4096, 4, dict(IMAGES)) for hv in resource.pool)
    return Observation(resource.name, hypervisors, record)


def doubled(resource: Resource) -> Observation:
    """head-0 has a domain on both hypervisors, as after a copy of a whole domain."""
    seen = empty(resource, Record())
    spec = resource.members[0].spec
    domain = owned_domain(resource.name, "head-0", "running", roles=["head"], spec=spec.as_dict(), digest=spec.digest)
    return replace(seen, hypervisors=tuple(replace(hv, domains=(domain,)) for hv in seen.hypervisors))


def test_a_pool_without_a_hypervisor_that_carries_members_is_refused() -> None:
    """Their disks and domains are still there: starting them elsewhere would make every one of them twice."""
    whole = parse_declaration(BASE)
    placed = plan("started", whole, empty(whole, Record())).record
    assert placed is not None
    smaller = parse_declaration({**BASE, "pool": ONE_LEFT})
    with pytest.raises(PlanError) as caught:
        plan("started", smaller, empty(smaller, placed))
    assert caught.value.code == "pool_shrunk"
    assert caught.value.details["members"] == {"compute-0": "hv2"}


def test_after_removal_the_pool_may_shrink() -> None:
    smaller = parse_declaration({**BASE, "pool": ONE_LEFT})
    removed = Record(version=4, generation=2, desired="absent", placement={"compute-0": "hv2"})
    assert plan("started", smaller, empty(smaller, removed)).actions


@pytest.mark.parametrize("state", ["started", "stopped", "absent"])
def test_a_member_with_two_domains_stops_everything(state: str) -> None:
    resource = parse_declaration(BASE)
    with pytest.raises(PlanError) as caught:
        plan(state, resource, doubled(resource))
    assert caught.value.code == "double"
    assert "demo-head-0 on hv1 (running), demo-head-0 on hv2 (running)" in caught.value.msg


def test_a_stray_disk_elsewhere_goes_with_the_resource() -> None:
    resource = parse_declaration(BASE)
    seen = doubled(resource)
    first, second = seen.hypervisors
    disk = Artefact("head-0", "lxc", True, "node")
    seen = replace(
        seen, hypervisors=(replace(first, artefacts=(disk,)), replace(second, domains=(), artefacts=(disk,)))
    )
    removed = [action.hypervisor for action in plan("absent", resource, seen).actions if action.verb == "remove"]
    assert removed == ["hv1", "hv2"]


THIRD = {"name": "hv3", "address": "10.0.0.3", "capacity": {"memory_mb": 4096, "vcpus": 4}}


def silenced(seen: Observation, name: str) -> Observation:
    left = tuple(hv for hv in seen.hypervisors if hv.name != name)
    return replace(seen, hypervisors=left, silent={name: f"{name} does not answer."})


@pytest.mark.parametrize("silent", ["hv2", "hv3"])
def test_a_member_that_was_about_to_move_is_on_neither_hypervisor_taken_for_gone(silent: str) -> None:
    """The run ended between the two: the one that answers carries nothing, the other one may."""
    base = {**BASE, "roles": {"head": {"count": 1}, "compute": {"count": 1, "spread": "hypervisor"}}}
    first, second = BASE["pool"]
    whole = parse_declaration({**base, "pool": [first, second, THIRD]})
    draining = parse_declaration({**base, "pool": [first, {**second, "state": "maintenance"}, THIRD]})
    start = empty(whole, Record())
    seen = after(plan("started", whole, start), start)
    assert seen.record.placement["compute-0"] == "hv2"
    assert "hv3" not in {seen.record.placement["head-0"], seen.record.placement["compute-0"]}
    move = plan("started", draining, seen)
    assert move.record is not None
    assert (move.record.placement["compute-0"], dict(move.record.moving)) == ("hv2", {"compute-0": "hv3"})
    assert move.settled is not None
    assert (move.settled.placement["compute-0"], dict(move.settled.moving)) == ("hv3", {})
    nowhere = tuple(
        replace(
            hv,
            domains=tuple(d for d in hv.domains if d.name != "demo-compute-0"),
            artefacts=tuple(a for a in hv.artefacts if a.member != "compute-0"),
        )
        for hv in seen.hypervisors
    )
    broken = silenced(replace(seen, hypervisors=nowhere, record=move.record), silent)
    with pytest.raises(HypervisorError, match=f"{silent} does not answer"):
        plan("started", draining, broken)


def test_what_is_on_a_silent_hypervisor_stays_placed_there_though_it_is_not_declared() -> None:
    """Else a count that is raised again meanwhile would make it a second time."""
    flexible = {"compute": {**BASE["roles"]["compute"], "count": 2, "min_count": 0}}
    whole = parse_declaration({**BASE, "roles": {**BASE["roles"], **flexible}})
    seen = after(plan("started", whole, empty(whole, Record())), empty(whole, Record()))
    less = {"compute": {**flexible["compute"], "count": 1, "removed": [0]}}
    fewer = parse_declaration({**BASE, "roles": {**BASE["roles"], **less}})
    silent = silenced(seen, seen.record.placement["compute-0"])
    shrunk = plan("started", fewer, silent)
    assert shrunk.record is not None
    assert shrunk.record.placement["compute-0"] == seen.record.placement["compute-0"]
    back = {"compute": {**flexible["compute"], "removed": []}}
    whole = parse_declaration({**BASE, "roles": {**BASE["roles"], **back}})
    again = plan("started", whole, replace(silent, record=shrunk.record))
    assert "compute-0" in again.missing
    assert [action for action in again.actions if action.member == "compute-0"] == []


def test_a_named_member_that_was_removed_may_be_named_again() -> None:
    named = {"m": {"address": "10.0.0.9"}, "n": {"address": "10.0.0.10"}}
    roles = {**BASE["roles"], "r": {"members": ["m", "n"]}}
    whole = parse_declaration({**BASE, "members": named, "roles": roles})
    seen = after(plan("started", whole, empty(whole, Record())), empty(whole, Record()))
    left = parse_declaration({**BASE, "members": {"m": named["m"]}, "roles": {**roles, "r": {"members": ["m"]}}})
    wishes = Wishes(remove=("n",))
    request = Request(left.name, left.pool, "started", left, wishes)
    gone = make_plan(request, seen)
    assert {action.verb for action in gone.actions} == {"stop", "undefine", "remove"}
    again = make_plan(request, after(gone, seen))
    assert (again.actions, again.record, again.settled) == ((), None, None)
    back = make_plan(Request(whole.name, whole.pool, "started", whole), after(gone, seen))
    assert back.record is not None
    assert back.record.removed == ()
