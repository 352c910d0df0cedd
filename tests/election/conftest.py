# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One rollout of agents for all tests, and what must hold after each of them."""

from __future__ import annotations

import json
import os
import typing as t

import pytest
from harness.controller import Controller
from harness.lab import Lab
from integration.conftest import controller, lab, pool

from .elected import TTL, Elected

__all__ = ["controller", "lab", "pool"]

FULL = bool(os.environ.get("ENSEMBLE_TEST_FULL"))
_FIGURES: dict[str, float] = {}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: only with ENSEMBLE_TEST_FULL=1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(
        reason="the long form of the election suite; run it with ENSEMBLE_TEST_FULL=1 or make chaos"
    )
    for item in items:
        if item.get_closest_marker("long") is not None and not FULL:
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter: t.Any) -> None:
    if _FIGURES:
        terminalreporter.write_line("election seconds: " + json.dumps(_FIGURES))


def rolled_out(lab: Lab, controller: Controller, name: str, members: int, **election: t.Any) -> t.Iterator[Elected]:
    """A resource with agents; at the end its whole history is judged, and a further run changes nothing."""
    witnesses = [{"name": one.name, "address": one.address} for one in lab.witnesses]
    declared = lab.declaration(
        name,
        roles={"node": {"count": members, "spread": "hypervisor", "memory_mb": 192}},
        election={"ttl": TTL, "witnesses": witnesses, **election},
    )
    elected = Elected(lab, controller, name, declared, controller.home / name / "resource.yml", figures=_FIGURES)
    elected.declare()
    try:
        elected.roll_out()
        yield elected
        last = elected.play("start")
        assert (last.code, last.resource["changed"], last.resource["actions"]) == (0, False, []), last.output
        elected.wait_leader()
        assert not (found := elected.violations()), "\n".join(found)
    finally:
        removed = elected.play("remove")
        if removed.code != 0:
            elected.end_members()
    assert removed.code == 0, removed.output
    assert lab.leftovers(name) == []


@pytest.fixture(scope="session")
def with_five_voters(lab: Lab, controller: Controller, pool: None) -> t.Iterator[Elected]:
    voters = [one.name for one in lab.machines]
    yield from rolled_out(lab, controller, "elect", 3, voters=voters)


@pytest.fixture(scope="session")
def with_three_voters(lab: Lab, controller: Controller, pool: None) -> t.Iterator[Elected]:
    voters = [one.name for one in lab.hypervisors]
    yield from rolled_out(lab, controller, "elect3", 2, voters=voters)


def judged(elected: Elected) -> t.Iterator[Elected]:
    """Exactly one leads before the test and soon after it, and the history shows no violation."""
    elected.wait_leader()
    yield elected
    elected.wait_leader()
    assert not (found := elected.violations()), "\n".join(found)


@pytest.fixture
def five(with_five_voters: Elected) -> t.Iterator[Elected]:
    yield from judged(with_five_voters)


@pytest.fixture
def three(with_three_voters: Elected) -> t.Iterator[Elected]:
    yield from judged(with_three_voters)
