# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A pure simulator: what a pool would look like after a plan. It refuses what a real hypervisor would refuse."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.drivers import IMAGE_FORMATS
from ansible_collections.ensemble.stacks.plugins.module_utils._model.identity import digest_of, domain_name, member_uuid
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import (
    Artefact,
    Domain,
    Observation,
    ObservedHypervisor,
    Record,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.actions import FETCH, Action, Plan

#: what an image that is fetched holds
FETCHED = "f" * 64
IMAGES = {"node": {"tar": "0" * 64, "qcow2": "2" * 64}, "platform": {"tar": "1" * 64}}


def owned_domain(resource: str, member: str, state: str, **record: t.Any) -> Domain:
    """A domain of ours with its ownership record."""
    owner = {
        "resource": resource,
        "member": member,
        "roles": [],
        "stateful": False,
        "digest": "",
        "spec": {"driver": "lxc"},
        **record,
    }
    return Domain(domain_name(resource, member), member_uuid(resource, member), state, owner)


def record_of(resource: Resource, desired: str, placement: t.Mapping[str, str], generation: int = 1) -> Record:
    """The record as a run of this declaration left it."""
    stateful = sorted({member for role in resource.roles if role.stateful for member in role.members})
    return Record(
        version=generation,
        generation=generation,
        digest=resource.digest,
        desired=desired,
        stack=resource.stack,
        declaration=resource.content,
        placement=dict(placement),
        stateful=tuple(stateful),
    )


def after(plan: Plan, seen: Observation) -> Observation:
    """What is observed when every action of a plan was carried out."""
    hypervisors = {hv.name: hv for hv in seen.hypervisors}
    for wave in plan.waves():
        places: dict[str, str] = {}
        for action in wave:
            if (
                action.verb != FETCH and not action.stale
            ):  # hypervisors work side by side: none waits for what another one does
                assert places.setdefault(action.member, action.hypervisor) == action.hypervisor
            hypervisors[action.hypervisor] = _act(hypervisors[action.hypervisor], action, seen.resource)
    record = plan.settled or plan.record or seen.record
    if plan.forget and record.declaration:
        record = replace(record, version=record.version + 1, declaration={}, placement={}, stateful=(), digest="")
    return replace(seen, hypervisors=tuple(hypervisors.values()), record=record)


def _act(hv: ObservedHypervisor, action: Action, resource: str) -> ObservedHypervisor:
    if action.verb == FETCH:
        name, kind = action.args["name"], action.args["format"]
        return replace(hv, images={**hv.images, name: {**hv.images.get(name, {}), kind: FETCHED}})
    name = domain_name(resource, action.member)
    domain = next((domain for domain in hv.domains if domain.name == name), None)
    artefact = next((artefact for artefact in hv.artefacts if artefact.member == action.member), None)
    if domain is not None:
        assert domain.record is not None, f"{action.verb} of {name}, which is foreign"
        assert domain.record["resource"] == resource, f"{action.verb} of {name}, which is foreign"
    if action.verb not in ("prepare", "define"):
        lived = artefact.driver if artefact is not None else domain.record["spec"]["driver"]  # type: ignore[union-attr,index]
        more = {"timeout": 0} if action.stale and action.verb == "stop" else {}
        assert action.args == {"driver": lived, **more}, f"{action.verb} of {name} without its driver"
    domains = tuple(other for other in hv.domains if other is not domain)
    artefacts = tuple(other for other in hv.artefacts if other is not artefact)
    if action.verb in ("prepare", "remove"):
        assert action.verb == "prepare" or domain is None, f"the disk of {name} goes while its domain is defined"
        spec = action.args.get("spec", {})
        assert action.verb == "remove" or artefact is None or not artefact.prepared, f"{name} has its disk already"
        if action.verb == "prepare":
            kind = IMAGE_FORMATS[spec["driver"]]
            assert kind in hv.images.get(spec["image"], {}), f"{spec['image']} is not on {hv.name}"
            assert spec["image_checksum"] in (None, hv.images[spec["image"]][kind])
        made = (
            (Artefact(action.member, spec["driver"], True, spec["image"], spec["image_checksum"]),)
            if action.verb == "prepare"
            else ()
        )
        return replace(hv, artefacts=artefacts + made)
    if action.verb == "define":
        assert artefact is not None, f"{name} is defined without a disk"
        assert artefact.prepared, f"{name} is defined on half a disk"
        return replace(hv, domains=(*domains, _defined(resource, action, domain)))
    assert domain is not None, f"{action.verb} of {name}, which is not defined"
    assert action.verb != "start" or (artefact is not None and artefact.prepared), f"{name} starts without its disk"
    if action.verb == "undefine":
        assert domain.state == "shutoff", f"{name} is undefined while it is {domain.state}"
        return replace(hv, domains=domains)
    return replace(hv, domains=(*domains, replace(domain, state={"start": "running", "stop": "shutoff"}[action.verb])))


def _defined(resource: str, action: Action, domain: Domain | None) -> Domain:
    spec, state = action.args["spec"], domain.state if domain is not None else "shutoff"
    return owned_domain(
        resource,
        action.member,
        state,
        roles=action.args["roles"],
        stateful=action.args["stateful"],
        autostart=action.args["autostart"],
        labels=action.args["labels"],
        spec=spec,
        digest=digest_of(spec),
    )
