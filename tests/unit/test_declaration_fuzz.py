# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Whatever stands in a declaration: a valid resource or a DeclarationError comes out, nothing else."""

from __future__ import annotations

import contextlib
import copy
import pathlib
import random
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import DeclarationError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.load import load_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration, parse_target
from declared import BASE, NAMED
from hypothesis import example, given, settings
from hypothesis import strategies as st

#: words and numbers that mean something somewhere in a declaration
TELLING = st.sampled_from(
    ["", "all", "head", "m1", "hv1", "demo", "10.0.0.0", "10.0.0.1", "10.0.0.0/24", "10.0.0.1-10.0.0.9", "x" * 70]
) | st.sampled_from(["~nobody/x", "~\0", "a\nb", "\ud800", "$(id)", "lxc", "count", "members", "after", "hypervisor"])
TELLING |= st.sampled_from([0, -1, 1, 2, 10_000, 2**31, 2**64, 10**300, 0.5, float("nan"), float("inf"), True, False])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | TELLING
JSON_LIKE = st.recursive(
    SCALARS | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | TELLING, inner, max_size=4),
    max_leaves=12,
)
SECTIONS = st.sampled_from([*BASE, "members", "monitor", "election", "overcommit", "ssh", "known_hosts", "stack"])


def judge(data: t.Any) -> None:
    """The declaration is valid, whole and has a digest, or its faults are told."""
    told: DeclarationError | None = None
    try:
        sound(parse_declaration(data))
    except DeclarationError as error:
        told = error
    assert told is None or (told.faults and str(told))


def sound(resource: Resource) -> None:
    assert len(resource.digest) == 64
    assert resource.members
    assert len({member.name for member in resource.members}) == len(resource.members)
    assert len({member.spec.address for member in resource.members}) == len(resource.members)
    for member in resource.members:
        assert member.roles
        assert member.spec.address in map(str, resource.network.cidr.hosts())


@given(JSON_LIKE)
@settings(max_examples=150)
def test_arbitrary_data(data: t.Any) -> None:
    judge(data)


@given(SECTIONS, JSON_LIKE)
@settings(max_examples=250)
@example("known_hosts", "~\0")
@example("known_hosts", "~\ud800")
@example("pool", [[[]]])
def test_one_section_replaced(section: str, value: t.Any) -> None:
    judge({**BASE, section: value})
    judge({**NAMED, section: value})


def spots(data: t.Any) -> list[tuple[t.Any, t.Any]]:
    """(container, key) of everything below some data."""
    keys: t.Iterable[t.Any] = data.keys() if isinstance(data, dict) else range(len(data))
    found = []
    for key in list(keys):
        found.append((data, key))
        if isinstance(data[key], (dict, list)):
            found += spots(data[key])
    return found


@given(st.sampled_from([BASE, NAMED]), st.lists(st.tuples(st.integers(0, 10**6), JSON_LIKE), min_size=1, max_size=3))
@settings(max_examples=300)
def test_a_valid_declaration_mutated(base: dict[str, t.Any], changes: list[tuple[int, t.Any]]) -> None:
    data = copy.deepcopy(base)
    for where, value in changes:
        choices = spots(data)
        container, key = choices[where % len(choices)]
        container[key] = value
    judge(data)


@given(JSON_LIKE, JSON_LIKE)
def test_name_and_pool(name: t.Any, pool: t.Any) -> None:
    try:
        found, hypervisors = parse_target(name, pool)
    except DeclarationError:
        return
    assert found
    assert hypervisors


@given(st.integers(0, 2**32))
@settings(max_examples=100)
def test_a_garbled_file(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 -- no secret
    folder = pathlib.Path(__file__).resolve().parents[2]
    body = bytearray((folder / "inventories" / "demo" / "resource.yml").read_bytes())
    for _step in range(chance.randrange(1, 6)):
        at = chance.randrange(len(body))
        body[at : at + chance.randrange(3)] = bytes(chance.randrange(256) for _step in range(chance.randrange(3)))
    path = pathlib.Path.home() / "resource.yml"
    path.write_bytes(bytes(body))
    with contextlib.suppress(DeclarationError):
        sound(load_declaration(str(path)))


@pytest.mark.parametrize("section", ["name", "pool", "roles", "network", "election", "known_hosts", "plugin", "extra"])
def test_a_number_too_long_to_be_written_in_decimal(section: str) -> None:
    number = 1 << 20_000  # 0x1000...: YAML reads it, repr() refuses it
    judge({**BASE, section: number})
    judge({**BASE, section: {number: number}})
    judge({**BASE, section: [number, {"name": number}]})


@pytest.mark.parametrize("depth", [50, 200, 900])
def test_deeply_nested_data(depth: int) -> None:
    nested: t.Any = "x"
    for _step in range(depth):
        nested = [nested]
    judge({**BASE, "name": nested})
    judge({**BASE, "pool": [nested]})
