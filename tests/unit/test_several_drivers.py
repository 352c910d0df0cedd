# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Several drivers on one pool: what hypervisors tell of them, and what is planned or refused for it."""

from __future__ import annotations

import json
import pathlib
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.observe import hypervisor_from
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import Request, make_plan
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.libvirt_common import LibvirtError
from ansible_collections.ensemble.stacks.plugins.module_utils._host.serve import handle
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import PlanError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import (
    Artefact,
    Observation,
    ObservedHypervisor,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import PROTOCOL
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.actions import Plan
from declared import parsed
from simulator import owned_domain
from world import WatchedDriver, host_at

BOTH = {"node": {"tar": "0" * 64, "qcow2": "1" * 64}}


def machines(**changes: t.Any) -> Resource:
    """The base declaration as virtual machines."""
    return parsed(defaults={"driver": "qemu"}, **changes)


class AwayDriver(WatchedDriver):
    """A driver whose connection fails."""

    name = "qemu"

    def domains(self) -> list[dict[str, t.Any]]:
        raise LibvirtError("no such driver")

    def accelerator(self) -> str | None:
        return "untried"


def test_a_driver_that_is_away_is_told_and_the_other_one_serves(tmp_path: pathlib.Path) -> None:
    host = host_at(tmp_path, "hv1")
    host.drivers = {**host.drivers, "qemu": AwayDriver(str(tmp_path))}
    request = {"protocol": PROTOCOL, "id": 1, "resource": "demo", "verbs": [{"verb": "observe"}]}
    seen = observe(host, request)
    assert seen["drivers"] == {"lxc": "ok", "qemu": "no such driver"}
    assert seen["accelerators"] == {"qemu": "untried"}
    assert hypervisor_from("hv1", "demo", seen).lack(replace(parsed().members[0].spec, driver="qemu")) == (
        "driver qemu is not available there (no such driver)"
    )
    host.drivers = {"qemu": AwayDriver(str(tmp_path))}
    with pytest.raises(AssertionError, match="no such driver"):
        observe(host, request)


def observe(host: t.Any, request: dict[str, t.Any]) -> dict[str, t.Any]:
    [result] = handle(host, json.dumps(request).encode())["results"]
    assert result["ok"], result["error"]["msg"]
    return t.cast("dict[str, t.Any]", result["value"])


def pool(resource: Resource, **changes: t.Any) -> Observation:
    """An empty pool with both kinds of the image."""
    hypervisors = tuple(ObservedHypervisor(hv.name, 4096, 4, BOTH) for hv in resource.pool)
    return Observation(resource.name, tuple(replace(hv, **changes) for hv in hypervisors))


def plan(resource: Resource, seen: Observation, state: str = "started") -> Plan:
    return make_plan(Request(resource.name, resource.pool, state, resource), seen)


def test_members_go_where_their_driver_is() -> None:
    resource = machines()
    seen = pool(resource)
    first = replace(seen.hypervisors[0], drivers={"lxc": "ok", "qemu": "not installed"})
    actions = plan(resource, replace(seen, hypervisors=(first, seen.hypervisors[1]))).actions
    assert {action.hypervisor for action in actions} == {"hv2"}
    assert {action.args.get("driver", action.args.get("spec", {}).get("driver")) for action in actions} == {"qemu"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"drivers": {"lxc": "ok", "qemu": "no package"}}, "driver qemu is not available there (no package)"),
        ({"drivers": {"lxc": "ok"}}, "the host program does not know it"),
        ({"images": {"node": {"tar": "0" * 64}}}, "image node is there as tar only, driver qemu takes qcow2"),
        ({"images": {}}, "image node is not there"),
    ],
)
def test_why_a_machine_can_be_nowhere(changes: dict[str, t.Any], words: str) -> None:
    resource = machines()
    with pytest.raises(PlanError) as caught:
        plan(resource, pool(resource, **changes))
    assert caught.value.code == "no_room"
    assert words in caught.value.msg


@pytest.mark.parametrize("state", ["started", "stopped", "absent"])
def test_nothing_is_planned_where_members_cannot_be_seen(state: str) -> None:
    resource = machines()
    away = {"lxc": "ok", "qemu": "libvirtd is down"}
    seen = pool(resource, drivers=away, artefacts=(Artefact("head-0", "qemu", True, "node"),))
    with pytest.raises(PlanError) as caught:
        plan(resource, seen, state)
    assert caught.value.code == "driver_unavailable"
    assert "hv1, driver qemu: libvirtd is down" in caught.value.msg


@pytest.mark.parametrize("lives", ["disk", "domain"])
def test_a_container_does_not_become_a_machine(lives: str) -> None:
    resource, former = machines(), parsed()
    seen = pool(resource)
    spec = former.members[0].spec
    first = replace(
        seen.hypervisors[0],
        artefacts=(Artefact("head-0", "lxc", True, "node"),) if lives == "disk" else (),
        domains=(owned_domain("demo", "head-0", "shutoff", spec=spec.as_dict(), digest=spec.digest),)
        if lives == "domain"
        else (),
    )
    with pytest.raises(PlanError) as caught:
        plan(resource, replace(seen, hypervisors=(first, seen.hypervisors[1])))
    assert (caught.value.code, caught.value.details["members"]) == ("driver_changed", {"head-0": "lxc -> qemu"})


def test_stop_and_remove_name_the_driver_that_each_member_has() -> None:
    resource = machines()
    spec = resource.members[0].spec
    domain = owned_domain("demo", "head-0", "running", roles=["head"], spec=spec.as_dict(), digest=spec.digest)
    seen = pool(resource)
    first = replace(
        seen.hypervisors[0],
        domains=(domain,),
        artefacts=(Artefact("head-0", "qemu", True, "node"), Artefact("old-0", "lxc", False)),
    )
    seen = replace(seen, hypervisors=(first, seen.hypervisors[1]))
    drivers = {(action.verb, action.member): action.args for action in plan(resource, seen, "absent").actions}
    assert drivers == {
        ("stop", "head-0"): {"driver": "qemu"},
        ("undefine", "head-0"): {"driver": "qemu"},
        ("remove", "head-0"): {"driver": "qemu"},
        ("remove", "old-0"): {"driver": "lxc"},
    }
