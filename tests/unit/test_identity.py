# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Names, UUIDs, MAC addresses and digests: the same on every controller, for ever."""

from __future__ import annotations

import json
import pathlib
import random
import typing as t
import uuid

import yaml
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.identity import (
    digest_of,
    domain_name,
    group_name,
    member_mac,
    member_of_role,
    member_uuid,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import VERSION
from declared import BASE, NAMED, merged, parsed
from hypothesis import given
from hypothesis import strategies as st

#: computed once; another value would orphan every machine that exists
KNOWN_UUID = "a4cdadd1-cdb0-55c2-a54e-92ada36e06a8"
KNOWN_MAC = "0e:1a:6f:b3:d2:26"
KNOWN_DIGEST = "dd734403955ce5a1985af938026046308b65a9c02fb57cf776180bc05eacc858"
KNOWN_SPEC_DIGEST = "367e9785c9b494e610f015b3ae653f2735877543015c50b8993b6e770c50c91e"


def shuffled(data: t.Any, chance: random.Random, keep: t.Container[str] = ("roles",)) -> t.Any:
    """The same data with the keys of all mappings in another order, except right below the keys to keep."""
    if isinstance(data, list):
        return [shuffled(item, chance, keep) for item in data]
    if not isinstance(data, dict):
        return data
    keys = list(data)
    chance.shuffle(keys)
    result = {}
    for key in keys:
        value = shuffled(data[key], chance, keep)
        result[key] = {name: value[name] for name in data[key]} if key in keep else value
    return result


def identity(resource: Resource) -> tuple[t.Any, ...]:
    return resource.digest, resource.members, resource.roles, resource.pool


def test_known_values() -> None:
    assert member_uuid("demo", "head-0") == KNOWN_UUID
    assert member_mac("demo", "head-0") == KNOWN_MAC
    assert parsed().digest == KNOWN_DIGEST
    assert parsed().members[0].spec.digest == KNOWN_SPEC_DIGEST


def test_names() -> None:
    assert domain_name("demo", "head-0") == "demo-head-0"
    assert member_of_role("log_store", 12) == "log-store-12"
    assert group_name("my-demo", "log_store") == "my_demo_log_store"


def test_ten_thousand_members_have_ten_thousand_identities() -> None:
    members = [(f"r{n % 100}", f"compute-{n // 100}") for n in range(10_000)]
    assert len({member_mac(*member) for member in members}) == len(members)
    assert len({member_uuid(*member) for member in members}) == len(members)


def test_a_mac_address_is_local_and_for_one_machine() -> None:
    first = int(member_mac("demo", "head-0")[:2], 16)
    assert first & 0b10, "locally administered"
    assert not first & 0b1, "unicast"


def test_a_uuid_is_of_version_5() -> None:
    made = uuid.UUID(member_uuid("demo", "head-0"))
    assert (made.version, made.variant) == (5, uuid.RFC_4122)


@given(st.randoms(use_true_random=False))
def test_the_order_of_keys_says_nothing(chance: random.Random) -> None:
    assert identity(parse_declaration(shuffled(BASE, chance))) == identity(parsed())


@given(st.randoms(use_true_random=False))
def test_the_order_of_named_members_says_nothing(chance: random.Random) -> None:
    assert identity(parse_declaration(shuffled(NAMED, chance))) == identity(parse_declaration(NAMED))


def test_the_order_of_roles_counts() -> None:
    turned = {**BASE, "roles": dict(reversed(BASE["roles"].items()))}
    assert parse_declaration(turned).digest != parsed().digest


def test_what_concerns_one_controller_only_is_not_in_the_digest() -> None:
    local = parsed(known_hosts="/home/me/known_hosts", ssh={"user": "ops", "private_key": "/home/me/key"})
    pool = [{**hv, "ssh": {"port": 2222}} for hv in BASE["pool"]]
    assert local.digest == parsed().digest == parsed(pool=pool).digest
    assert local.known_hosts == "/home/me/known_hosts"


def test_everything_else_is_in_the_digest() -> None:
    changes: list[dict[str, t.Any]] = [
        {"name": "other"},
        {"stack": "custom"},
        {"defaults": {"memory_mb": 513}},
        {"network": {"dns": ["10.0.0.254"]}},
        {"roles": {"compute": {"count": 3}}},
        {"roles": {"compute": {"stateful": True}}},
        {"election": {"ttl": 20}},
        {"pool": [*BASE["pool"], {"name": "hv3", "address": "10.0.0.3"}]},
    ]
    digests = {parse_declaration(merged(BASE, change)).digest for change in changes}
    assert len(digests | {parsed().digest}) == len(changes) + 1


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.dictionaries(st.text(), x)))
def test_a_digest_survives_json(value: t.Any) -> None:
    assert digest_of(value) == digest_of(json.loads(json.dumps(value)))


def test_the_host_program_carries_the_version_of_the_collection(root: pathlib.Path) -> None:
    """Role `hypervisor` compares it: one that lags behind would pass for a downgrade."""
    assert yaml.safe_load((root / "galaxy.yml").read_text())["version"] == VERSION
