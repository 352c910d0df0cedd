# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The plan, case by case: declared x observed -> actions, diff, record and errors."""

from __future__ import annotations

import pathlib
import typing as t
from dataclasses import replace

import pytest
import yaml
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import Request, make_plan
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Member, Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.identity import digest_of, member_mac, member_uuid
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import (
    Artefact,
    Domain,
    Observation,
    ObservedHypervisor,
    Record,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.actions import Plan
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.wishes import Wishes
from declared import BASE, merged
from simulator import IMAGES, after, owned_domain, record_of

Case = t.Dict[str, t.Any]
CASES: list[Case] = yaml.safe_load((pathlib.Path(__file__).parent / "data" / "plan_cases.yml").read_text())
NAMES = [case["name"] for case in CASES]
WHERE = {"head-0": "hv1", "compute-0": "hv2", "compute-1": "hv1"}


def lives_of(case: Case) -> dict[str, dict[str, t.Any]]:
    """Member -> what the case says of it."""
    lives = case.get("lives") or {}
    lives = {"converged": True} if lives == "converged" else dict(lives)
    if lives.pop("converged", False):
        lives = {**{member: {"at": at} for member, at in WHERE.items()}, **lives}
    return {member: life for member, life in lives.items() if life}


def domain_of(resource: Resource, name: str, life: t.Mapping[str, t.Any]) -> Domain | None:
    if life.get("state") == "none":
        return None
    declared: Member | None = next((member for member in resource.members if member.name == name), None)
    facts = {key: life[key] for key in ("labels", "autostart") if key in life}
    differs = {key: value for key, value in life.items() if key not in ("at", "state", "disk", "disk_digest", *facts)}
    base = (declared or resource.members[0]).spec.as_dict()
    spec = {**base, "address": base["address"] if declared else "10.0.0.99", **differs}
    roles = list(declared.roles) if declared else []
    stateful = any(resource.role(role).stateful for role in roles)
    return owned_domain(
        resource.name,
        name,
        life.get("state", "running"),
        roles=roles,
        stateful=stateful,
        spec=spec,
        digest=digest_of(spec),
        **facts,
    )


def foreign_of(entry: t.Mapping[str, t.Any]) -> Domain:
    uuid = member_uuid("demo", entry["uuid_of"]) if "uuid_of" in entry else "00000000-0000-4000-8000-000000000000"
    macs = (member_mac("demo", entry["mac_of"]),) if "mac_of" in entry else ("52:54:00:00:00:01",)
    record = {"resource": entry["resource"], "member": "head-0"} if "resource" in entry else None
    return Domain(entry["name"], uuid, "running", record, macs)


def observed(case: Case, resource: Resource) -> Observation:
    """The case's world."""
    lives = lives_of(case)
    hypervisors = []
    for hv in (hv for hv in resource.pool if hv.name not in case.get("silent", ())):
        here = {member: life for member, life in lives.items() if life["at"] == hv.name}
        domains = [domain_of(resource, member, life) for member, life in here.items()]
        domains += [foreign_of(entry) for entry in case.get("foreign", ()) if entry["at"] == hv.name]
        disks = {member: life.get("disk", "whole") for member, life in here.items()}
        hypervisors.append(
            ObservedHypervisor(
                name=hv.name,
                memory_mb=4096,
                vcpus=4,
                images=dict.fromkeys(case.get("images", {}).get(hv.name, IMAGES), IMAGES["node"]),
                domains=tuple(domain for domain in domains if domain is not None),
                artefacts=tuple(
                    Artefact(
                        member,
                        here[member].get("driver", "lxc"),
                        disk == "whole",
                        here[member].get("image", "node"),
                        here[member].get("disk_digest"),
                    )
                    for member, disk in disks.items()
                ),
                reserved_memory_mb=case.get("reserved", {}).get(hv.name, 0),
            )
        )
    silent = {name: f"{name} does not answer." for name in case.get("silent", ())}
    return Observation(resource.name, tuple(hypervisors), recorded(case, resource), silent)


def recorded(case: Case, resource: Resource) -> Record:
    desired = case.get("record", "started")
    if desired == "none":
        return Record()
    before = parse_declaration(merged(merged(BASE, case.get("declare", {})), case.get("declare_before", {})))
    placement = {member: life["at"] for member, life in lives_of(case).items()}
    record = record_of(before if "declare_before" in case else resource, desired, placement)
    return replace(record, declaration={}, digest="", placement={}, stateful=()) if case.get("forgotten") else record


def wishes_of(case: Case, again: bool = False) -> Wishes:
    """What the case allows; what was replaced is not replaced once more."""
    wishes = {
        name: tuple(value) if isinstance(value, list) else value for name, value in case.get("wishes", {}).items()
    }
    if again:
        wishes.pop("replace", None)
    return Wishes(**{"delete_data": tuple(case.get("delete_data", ())), **wishes})


def planned(case: Case) -> tuple[Resource, Observation, Plan]:
    resource = parse_declaration(merged(BASE, case.get("declare", {})))
    seen = observed(case, resource)
    request = Request(
        resource.name,
        resource.pool,
        case.get("state", "started"),
        resource,
        wishes_of(case),
    )
    return resource, seen, make_plan(request, seen)


def words(plan: Plan) -> list[str]:
    return [f"{action.wave} {action.verb} {action.member} {action.hypervisor}" for action in plan.actions]


@pytest.mark.parametrize("case", [case for case in CASES if "error" not in case], ids=lambda case: case["name"])
def test_plans(case: Case) -> None:
    _resource, seen, plan = planned(case)
    if "actions" in case:
        assert words(plan) == case["actions"]
    if "placed" in case:
        assert {action.member: action.hypervisor for action in plan.actions} == case["placed"]
    assert plan.changed is bool(plan.actions)
    if "generation" in case:
        assert (plan.record.generation if plan.record else None) == case["generation"]
    if plan.record is not None:
        assert plan.record.version == seen.record.version + 1
        assert plan.record.desired == case.get("state", "started")
    diff = plan.diff()
    for side in ("before", "after"):
        if side in case:
            assert diff[side] == case[side]
    assert list(plan.surplus) == case.get("surplus", [])
    assert [f"{wait.member} {wait.change} {wait.change.needs} {wait.allow}" for wait in plan.pending] == case.get(
        "pending", []
    )
    assert list(plan.waiting) == case.get("waiting", [])
    assert dict(plan.missing) == case.get("missing", {})
    assert dict(plan.lines) == case.get("lines", {})
    assert plan.forget is case.get("forget", plan.forget)
    said = " ".join([*(action.reason for action in plan.actions), *plan.notes])
    for part in case.get("says", ()):
        assert part in said


@pytest.mark.parametrize("case", [case for case in CASES if "error" in case], ids=lambda case: case["name"])
def test_refusals(case: Case) -> None:
    with pytest.raises(EnsembleError) as caught:
        planned(case)
    assert caught.value.code == case["error"]
    for part in case.get("says", ()):
        assert part in caught.value.msg


@pytest.mark.parametrize("case", [case for case in CASES if "error" not in case], ids=lambda case: case["name"])
def test_a_second_plan_is_empty(case: Case) -> None:
    resource, seen, plan = planned(case)
    state = case.get("state", "started")
    request = Request(resource.name, resource.pool, state, resource, wishes_of(case, again=True))
    second = make_plan(request, after(plan, seen))
    assert words(second) == []
    assert second.pending == plan.pending
    assert second.record is None
    assert second.forget is False


def test_the_table_has_no_two_cases_of_one_name() -> None:
    assert len(NAMES) == len(set(NAMES))
