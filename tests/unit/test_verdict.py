# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Verdicts: what may be said of a member from the signs that were seen, and what may not."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.health import (
    DEGRADED,
    DOMAIN,
    DRAINING,
    FAILED,
    HEALTHY,
    HYPERVISOR,
    REACH,
    STARTING,
    STOPPED,
    UNKNOWN,
    VERDICTS,
    Sign,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.monitor import SCHEDULER, UNIT
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.verdict import (
    UNSEEN,
    Look,
    broken,
    judge,
    judge_all,
)
from hypothesis import given
from hypothesis import strategies as st

DECLARATION: dict[str, t.Any] = {
    "plugin": "ensemble.stacks.distributed_resource",
    "name": "demo",
    "stack": "torque",
    "pool": [{"name": "hv1", "address": "10.0.0.1"}, {"name": "hv2", "address": "10.0.0.2"}],
    "defaults": {"image": "batch-node"},
    "network": {"bridge": "br0", "cidr": "10.0.0.0/24", "range": "10.0.0.50-10.0.0.250"},
    "roles": {"head": {"count": 1}, "compute": {"count": 3, "after": ["head"], "relocate": True}},
    "monitor": {"services": {"head": ["munge", "slurmctld"], "compute": ["munge", "slurmd"]}},
}
RESOURCE: Resource = parse_declaration(DECLARATION)
COMPUTE = RESOURCE.members[1]

GONE = Sign(DOMAIN, "hv1", False, "it runs, and its definition is gone")
SSH = Sign(REACH, "ssh", True, "answers")
NO_SSH = Sign(REACH, "ssh", False, "timed out")
MUNGE = Sign(UNIT, "munge", True, "active")
NO_MUNGE = Sign(UNIT, "munge", False, "failed (exit-code)")
SLURMD = Sign(UNIT, "slurmd", True, "active")
NO_SLURMD = Sign(UNIT, "slurmd", False, "failed (exit-code)")
MUTE = Sign(UNIT, "slurmd", None, "had not answered after 5 s")
NEAR = Sign(HYPERVISOR, "hv1", True, "answers")
FAR = Sign(HYPERVISOR, "hv1", False, "no banner")
NODE = Sign(SCHEDULER, "slurm node", True, "idle")
NO_NODE = Sign(SCHEDULER, "slurm node", False, "down*")


def soon(age: float | None) -> Sign:
    return Sign(UNIT, "slurmd", False, "activating (auto-restart), 1 restart", age=age)


def look(*signs: Sign, state: str = "running", **more: t.Any) -> Look:
    return Look(COMPUTE, "hv1", state, signs=signs, **more)


NEEDS = {"compute": ("munge", "slurmd")}

CASES: dict[str, tuple[Look, str, str]] = {
    "all is well": (look(SSH, MUNGE, SLURMD, NODE), HEALTHY, ""),
    "nothing is asked of it": (look(SSH), HEALTHY, ""),
    "a unit is dead": (look(SSH, MUNGE, NO_SLURMD), FAILED, "slurmd: failed"),
    "all units are dead": (look(SSH, NO_MUNGE, NO_SLURMD), FAILED, "munge: failed"),
    "its scheduler does not hear it": (look(SSH, MUNGE, SLURMD, NO_NODE), FAILED, "down*"),
    "a probe hangs": (look(SSH, MUNGE, MUTE), DEGRADED, "no answer in time"),
    "started a moment ago": (look(SSH, NO_MUNGE, NO_SLURMD, age=4.0), STARTING, "4 s ago"),
    "started long ago": (look(SSH, NO_MUNGE, NO_SLURMD, age=121.0), FAILED, "munge"),
    "systemd starts it again": (look(SSH, MUNGE, soon(0.4)), STARTING, "auto-restart"),
    "what hangs on that": (look(SSH, MUNGE, soon(0.4), NO_NODE), STARTING, "auto-restart"),
    "another unit is dead": (look(SSH, NO_MUNGE, soon(0.4)), FAILED, "munge"),
    "it does not come up": (look(SSH, MUNGE, soon(11.0)), FAILED, "auto-restart"),
    "since when is not known": (look(SSH, MUNGE, soon(None)), FAILED, "auto-restart"),
    "its definition is gone": (look(GONE, SSH, MUNGE, SLURMD), DEGRADED, "definition"),
    "that, and a unit is dead": (look(GONE, SSH, NO_MUNGE, NO_SLURMD), FAILED, "munge"),
    "drained by wish": (look(SSH, MUNGE, SLURMD, NODE, draining=True), DRAINING, "wish"),
    "drained by its scheduler": (look(SSH, MUNGE, SLURMD, NODE, drained="Kill task failed"), DEGRADED, "Kill task"),
    "drained and broken": (look(SSH, NO_MUNGE, NO_SLURMD, draining=True), FAILED, "munge"),
    "shut off": (look(state="shutoff", reason="destroyed"), FAILED, "shutoff (destroyed)"),
    "suspended": (look(NO_SSH, state="paused"), FAILED, "paused"),
    "no domain": (look(state="absent"), FAILED, "absent"),
    "one sign of death": (look(NO_SSH), DEGRADED, "no second sign"),
    "two signs of death": (look(NO_SSH, FAR), FAILED, "no banner"),
    "its scheduler is the second": (look(NO_SSH, NO_NODE), FAILED, "down*"),
    "it answers its hypervisor": (look(NO_SSH, NEAR), DEGRADED, "but it answers"),
    "its scheduler hears it": (look(NO_SSH, FAR, NODE), DEGRADED, "but it answers"),
    "it boots": (look(NO_SSH, FAR, age=10.0), STARTING, "10 s ago"),
    "somebody else answers": (look(Sign(REACH, "ssh", False, "key"), FAR, strange="another key"), DEGRADED, "another"),
    "nobody can tell": (look(NO_SSH, state=UNSEEN), UNKNOWN, "hv1 does not answer"),
    "nobody asked": (look(state=UNSEEN), UNKNOWN, "hv1 does not answer"),
    "it answers, its hypervisor does not": (look(SSH, MUNGE, SLURMD, state=UNSEEN), HEALTHY, "hv1 does not answer"),
    "its hypervisor is silent, a unit dead": (look(SSH, MUNGE, NO_SLURMD, state=UNSEEN), FAILED, "slurmd"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_member_is_judged_by_its_signs(name: str) -> None:
    seen, verdict, words = CASES[name]
    found, cause = judge(seen, "started", 120.0, NEEDS)
    assert found == verdict
    assert words in cause


@pytest.mark.parametrize(
    ("state", "verdict"), [("shutoff", STOPPED), ("absent", STOPPED), ("running", DEGRADED), (UNSEEN, UNKNOWN)]
)
def test_what_shall_be_stopped_is_measured_by_that(state: str, verdict: str) -> None:
    assert judge(look(SSH, state=state), "stopped", 120.0, NEEDS)[0] == verdict


SIGNS = st.builds(
    Sign,
    st.sampled_from([HYPERVISOR, UNIT, SCHEDULER]),
    st.just("x"),
    st.sampled_from([True, False, None]),
    st.just("words"),
)
REACHES = st.sampled_from([SSH, NO_SSH, Sign(REACH, "ssh", None, "not asked")])
LOOKS = st.builds(
    lambda reach, signs, state, age, draining: look(reach, *signs, state=state, age=age, draining=draining),
    REACHES,
    st.lists(SIGNS, max_size=5),
    st.sampled_from(["running", "blocked", UNSEEN]),
    st.one_of(st.none(), st.floats(0, 1000)),
    st.booleans(),
)


@given(LOOKS)
def test_death_needs_two_signs_and_silence_is_no_death(seen: Look) -> None:
    verdict, cause = judge(seen, "started", 120.0, NEEDS)
    assert verdict in VERDICTS
    assert cause or verdict == HEALTHY
    if seen.sign(REACH) != SSH:
        others = [sign for sign in seen.signs if sign.kind in (HYPERVISOR, SCHEDULER)]
        if verdict == FAILED:
            assert seen.state != UNSEEN
            assert any(sign.ok is False for sign in others)
            assert not any(sign.ok for sign in others)
        if seen.state == UNSEEN:
            assert verdict == UNKNOWN


@given(LOOKS)
def test_one_more_good_sign_makes_nothing_worse(seen: Look) -> None:
    order = {verdict: rank for rank, verdict in enumerate(VERDICTS)}
    better = replace(seen, signs=(*seen.signs, Sign(SCHEDULER, "slurm node", True, "idle")))
    if seen.sign(REACH) == NO_SSH:
        assert order[judge(better, "started", 120.0, NEEDS)[0]] <= order[judge(seen, "started", 120.0, NEEDS)[0]]


@pytest.mark.parametrize(
    ("signs", "verdict", "roles"),
    [
        ((SSH, MUNGE, SLURMD), HEALTHY, set()),
        ((SSH, MUNGE, NO_SLURMD), DEGRADED, {"compute"}),
        ((SSH, NO_MUNGE, SLURMD), FAILED, {"compute", "login"}),
        ((SSH, MUNGE, SLURMD, NO_NODE), FAILED, {"compute", "login"}),
    ],
)
def test_a_member_of_several_roles_works_in_part(signs: tuple[Sign, ...], verdict: str, roles: set[str]) -> None:
    needs = {"compute": ("munge", "slurmd"), "login": ("munge",)}
    assert judge(look(*signs), "started", 120.0, needs)[0] == verdict
    assert broken(look(*signs), needs) == roles


def whole(*verdicts: str, desired: str = "started") -> tuple[str, str]:
    """The resource's verdict from those of head-0, compute-0, compute-1, compute-2."""
    seen = {
        HEALTHY: (SSH, MUNGE, SLURMD),
        DEGRADED: (SSH, MUNGE, MUTE),
        FAILED: (SSH, NO_MUNGE),
    }
    looks = []
    for member, verdict in zip(RESOURCE.members, verdicts):
        state = {UNKNOWN: UNSEEN, STOPPED: "shutoff"}.get(verdict, "running")
        signs = seen.get(verdict, (SSH, NO_MUNGE) if verdict == STARTING else ())
        age = 3.0 if verdict == STARTING else None
        draining = verdict == DRAINING
        signs = (SSH, MUNGE) if draining else signs
        looks.append(Look(member, "hv1", state, signs=signs, age=age, draining=draining))
    health = judge_all(RESOURCE, looks, desired, 3, {})
    assert [member.verdict for member in health.members] == list(verdicts)
    return health.verdict, health.cause


@pytest.mark.parametrize(
    ("members", "verdict", "words"),
    [
        ((HEALTHY,) * 4, HEALTHY, ""),
        ((HEALTHY, HEALTHY, DRAINING, HEALTHY), HEALTHY, ""),
        ((HEALTHY, FAILED, HEALTHY, HEALTHY), DEGRADED, "compute-0 failed"),
        ((HEALTHY, HEALTHY, DEGRADED, UNKNOWN), DEGRADED, "compute-1 degraded, compute-2 unknown"),
        ((HEALTHY, FAILED, FAILED, FAILED), FAILED, "role compute"),
        ((FAILED, HEALTHY, HEALTHY, HEALTHY), FAILED, "role head"),
        ((HEALTHY, STARTING, HEALTHY, HEALTHY), STARTING, "compute-0 starting"),
        ((HEALTHY, STARTING, FAILED, FAILED), STARTING, "role compute"),
        ((STARTING,) * 4, STARTING, "role head"),
        ((UNKNOWN, HEALTHY, HEALTHY, HEALTHY), UNKNOWN, "role head"),
        ((UNKNOWN,) * 4, UNKNOWN, "role head"),
    ],
)
def test_a_resource_is_judged_by_its_roles(members: tuple[str, ...], verdict: str, words: str) -> None:
    found, cause = whole(*members)
    assert found == verdict
    assert words in cause


def test_a_stopped_resource_is_stopped_when_all_of_it_is() -> None:
    stopped = [Look(member, "hv1", "shutoff") for member in RESOURCE.members]
    assert judge_all(RESOURCE, stopped, "stopped", 3, {}).verdict == STOPPED
    stopped[2] = replace(stopped[2], state="running")
    health = judge_all(RESOURCE, stopped, "stopped", 3, {})
    assert (health.verdict, health.cause) == (DEGRADED, "not stopped yet: compute-1")
