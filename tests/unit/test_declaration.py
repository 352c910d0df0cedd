# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What a valid declaration means: members, addresses, groups of settings."""

from __future__ import annotations

import ipaddress
import pathlib
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.addresses import nth, parse_range, size, split
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import DeclarationError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.load import load_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration, parse_target
from declared import BASE, NAMED, parsed
from hypothesis import given
from hypothesis import strategies as st


def addresses(resource: Resource) -> dict[str, str]:
    return {member.name: member.spec.address for member in resource.members}


def test_the_template_for_a_real_pool_is_valid(root: pathlib.Path) -> None:
    resource = load_declaration(str(root / "inventories" / "torque" / "resource.yml"))
    assert (resource.name, len(resource.members)) == ("mytorque", 5)
    assert resource.known_hosts is None


def test_the_demo_is_valid_and_complete(root: pathlib.Path) -> None:
    resource = load_declaration(str(root / "inventories" / "demo" / "resource.yml"))
    assert (resource.name, resource.stack, resource.election.ttl) == ("demo", "torque", 15)
    assert [hv.name for hv in resource.pool] == ["hv1", "hv2", "hv3"]
    assert addresses(resource) == {
        "head-0": "172.30.0.50",
        "compute-0": "172.30.0.150",
        "compute-1": "172.30.0.151",
        "compute-2": "172.30.0.152",
        "compute-3": "172.30.0.153",
    }
    assert resource.monitor.services["head"] == ("munge", "slurmctld")
    assert resource.known_hosts == str(root / ".lab" / "ensemble" / "known_hosts")
    assert resource.pool[0].access.private_key == str(root / ".lab" / "ensemble" / "id_ed25519")
    assert resource.domain("head-0") == "demo-head-0"


def test_named_members_play_several_roles_and_have_settings_of_their_own() -> None:
    resource = parse_declaration(NAMED)
    first, second = resource.members
    assert (first.roles, first.hypervisor, first.spec.image, first.spec.memory_mb) == (
        ("master", "appengine"),
        "hv2",
        "platform",
        1024,
    )
    assert (second.roles, second.hypervisor, second.spec.image, second.spec.memory_mb) == (
        ("appengine",),
        None,
        "node",
        512,
    )
    assert addresses(resource) == {"m1": "172.30.0.60", "m2": "172.30.0.61"}
    assert not any(role.counted for role in resource.roles)


def test_settings_come_from_the_role_then_the_defaults_then_the_collection() -> None:
    roles = {"head": {"memory_mb": 2048}, "compute": {"image": "other", "vcpus": 3}}
    head, compute = parsed(roles=roles).members[:2]
    assert (head.spec.memory_mb, head.spec.image, head.spec.vcpus, head.spec.driver) == (2048, "node", 1, "lxc")
    assert (compute.spec.memory_mb, compute.spec.image, compute.spec.vcpus) == (512, "other", 3)
    assert (head.spec.prefix, head.spec.bridge, head.spec.gateway) == (24, "br0", "10.0.0.254")


def test_removed_indices_are_skipped_and_their_addresses_stay_free() -> None:
    resource = parsed(roles={"compute": {"count": 3, "removed": [1, 3]}})
    assert resource.role("compute").members == ("compute-0", "compute-2", "compute-4")
    assert addresses(resource)["compute-4"] == "10.0.0.104"


def test_an_underscore_in_a_roles_name_never_reaches_a_host_name() -> None:
    resource = parsed(roles={"log_store": {"count": 1}})
    assert resource.role("log_store").members == ("log-store-0",)


def test_a_role_with_a_range_of_its_own_still_leaves_the_others_where_they_are() -> None:
    plain = addresses(parsed())
    own = addresses(parsed(roles={"head": {"range": "10.0.0.200-10.0.0.201"}}))
    assert own["head-0"] == "10.0.0.200"
    assert {name: own[name] for name in own if name != "head-0"} == {
        name: plain[name] for name in plain if name != "head-0"
    }


@given(before=st.integers(1, 50), more=st.integers(0, 49))
def test_growing_a_role_moves_nobody(before: int, more: int) -> None:
    small = addresses(parsed(roles={"compute": {"count": before}}))
    large = addresses(parsed(roles={"compute": {"count": min(50, before + more)}}))
    assert small.items() <= large.items()


@given(index=st.integers(0, 9))
def test_removing_a_member_moves_nobody_else(index: int) -> None:
    whole = addresses(parsed(roles={"compute": {"count": 10}}))
    left = addresses(parsed(roles={"compute": {"count": 9, "removed": [index]}}))
    assert left == {name: at for name, at in whole.items() if name != f"compute-{index}"}


@given(first=st.integers(0, 2**31), length=st.integers(1, 5000), parts=st.integers(1, 40))
def test_blocks_are_equal_disjoint_and_inside(first: int, length: int, parts: int) -> None:
    whole = (ipaddress.IPv4Address(first), ipaddress.IPv4Address(first + length - 1))
    blocks = split(whole, parts)
    taken = [nth(block, index) for block in blocks for index in range(size(block))]
    assert len({size(block) for block in blocks}) == 1
    assert len(taken) == len(set(taken)) == (length // parts) * parts
    assert all(whole[0] <= ipaddress.IPv4Address(str(address)) <= whole[1] for address in taken)
    assert nth(blocks[0], size(blocks[0])) is None


@pytest.mark.parametrize("text", ["", "10.0.0.1", "10.0.0.9-10.0.0.1", "a-b", "1-2-3", "10.0.0.1-", None, 7, ["x"]])
def test_what_is_no_range(text: t.Any) -> None:
    assert parse_range(text) is None


@pytest.mark.parametrize("key", ["members", "monitor", "election", "overcommit", "ssh", "stack", "known_hosts"])
def test_an_empty_section_is_as_good_as_none(key: str) -> None:
    assert parse_declaration({**BASE, key: None}).members == parse_declaration(BASE).members


def test_name_and_pool_suffice_to_stop() -> None:
    name, pool = parse_target("demo", [{"name": "hv1", "address": "10.0.0.1"}])
    assert (name, pool[0].name, pool[0].access.user) == ("demo", "hv1", "root")


@pytest.mark.parametrize(
    ("name", "pool", "paths"),
    [
        ("demo", [], ["pool"]),
        ("pool", [{"name": "hv1"}], ["name", "pool[0].address"]),
        (None, None, ["name", "pool"]),
        ("demo", "hv1", ["pool"]),
        ("demo", [None, 3], ["pool[0].name", "pool[0].address", "pool[1]", "pool[1].name", "pool[1].address"]),
    ],
)
def test_faults_of_name_and_pool(name: t.Any, pool: t.Any, paths: list[str]) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_target(name, pool)
    assert [fault.path for fault in caught.value.faults] == paths
