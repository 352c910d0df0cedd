# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What must never be planned: a member twice, on hypervisors that the declaration forgot or that a copy reached."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import Request, make_plan
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import PlanError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import (
    Artefact,
    Observation,
    ObservedHypervisor,
    Record,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.actions import Plan
from declared import BASE
from simulator import IMAGES, owned_domain

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
