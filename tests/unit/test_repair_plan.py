# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What is repaired: the mildest step first, never what nobody can tell, never more than the budget."""

from __future__ import annotations

import copy
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
    UNKNOWN,
    VERDICTS,
    Health,
    MemberHealth,
    Sign,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.monitor import SCHEDULER, UNIT
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.repair import (
    DEFINE,
    REBUILD,
    RELOCATE,
    RESTART,
    RESTART_UNIT,
    RESUME,
    START,
    Known,
    Repair,
    Repairs,
    decide,
    told,
)
from hypothesis import given
from hypothesis import strategies as st
from test_verdict import DECLARATION

NOW = 1_000_000.0
SSH, NO_SSH = Sign(REACH, "ssh", True, "answers"), Sign(REACH, "ssh", False, "timed out")
GONE = Sign(DOMAIN, "hv1", False, "it runs, and its definition is gone")
FAR = Sign(HYPERVISOR, "hv1", False, "no banner")
MUNGE, NO_SLURMD = Sign(UNIT, "munge", True, "active"), Sign(UNIT, "slurmd", False, "failed")
NO_NODE = Sign(SCHEDULER, "slurm node", False, "down*")


def resource(**monitor: t.Any) -> Resource:
    raw = copy.deepcopy(DECLARATION)
    raw["monitor"].update(monitor)
    return parse_declaration(raw)


RESOURCE = resource()


def member(
    name: str = "compute-0", verdict: str = FAILED, state: str = "running", signs: tuple[Sign, ...] = ()
) -> t.Any:
    found = next(one for one in RESOURCE.members if one.name == name)
    return MemberHealth(name, name, found.roles, "hv1", found.spec.address, state, verdict, "its cause", signs)


def health(*members: MemberHealth) -> Health:
    return Health("demo", "started", 1, DEGRADED, "", members)


def tried(*actions: str, name: str = "compute-0", ago: float = 10.0) -> list[Repair]:
    return [Repair(NOW - ago, name, action, "why") for action in actions]


def decided(found: MemberHealth, *history: str, **more: t.Any) -> list[tuple[str, tuple[str, ...]]]:
    steps = decide(RESOURCE, health(found), tried(*history, name=found.member), NOW, Known(**more)).steps
    return [(step.action, step.units) for step in steps]


BROKEN_UNIT = (SSH, MUNGE, NO_SLURMD)


@pytest.mark.parametrize(
    ("found", "history", "expected"),
    [
        (member(signs=BROKEN_UNIT), (), [(RESTART_UNIT, ("slurmd",))]),
        (replace(member(verdict=DEGRADED, signs=(SSH, MUNGE)), resume="slurm"), (), [(RESUME, ())]),
        (replace(member(verdict=DEGRADED, signs=(NO_SSH,)), resume="slurm"), (), []),
        (member(signs=BROKEN_UNIT), (RESTART_UNIT,), [(RESTART, ())]),
        (member(signs=BROKEN_UNIT), (RESTART, RESTART), [(RESTART_UNIT, ("slurmd",))]),
        (member(signs=(SSH, MUNGE, NO_NODE)), (), [(RESTART_UNIT, ("munge", "slurmd"))]),
        (member(signs=(NO_SSH, FAR)), (), [(RESTART, ())]),
        (member(signs=(NO_SSH, FAR)), (RESTART, RESTART), [(REBUILD, ())]),
        (member(state="shutoff"), (), [(START, ())]),
        (member(state="shutoff"), (START, START), [(REBUILD, ())]),
        (member(state="paused"), (), [(START, ())]),
        (member(state="absent"), (), [(START, ())]),
        (member("head-0", state="shutoff"), (START, START), [(START, ())]),
        (member(verdict=HEALTHY, signs=(SSH, MUNGE)), (), []),
        (member(verdict=STARTING, signs=BROKEN_UNIT), (), []),
        (member(verdict=DRAINING, signs=(SSH,)), (), []),
        (member(verdict=DEGRADED, signs=(NO_SSH,)), (), []),
        (member(verdict=DEGRADED, signs=(SSH, Sign(UNIT, "slurmd", None, "late"))), (), []),
        (member(verdict=UNKNOWN, state="unknown", signs=(NO_SSH,)), (), []),
        (member(verdict=DEGRADED, signs=(GONE, SSH, MUNGE)), (), [(DEFINE, ())]),
        (member(signs=(GONE, *BROKEN_UNIT)), (), [(DEFINE, ())]),
        (member(signs=(GONE, NO_SSH, FAR)), (), [(RESTART, ())]),
    ],
)
def test_the_mildest_step_that_was_not_tried(
    found: MemberHealth, history: tuple[str, ...], expected: list[tuple[str, tuple[str, ...]]]
) -> None:
    assert decided(found, *history) == expected


def test_a_lost_hypervisor_gives_its_members_away_where_that_is_declared() -> None:
    gone = member(verdict=UNKNOWN, state="unknown", signs=(NO_SSH,))
    assert decided(gone, lost=("hv1",)) == [(RELOCATE, ())]
    assert decided(gone, lost=("hv2",)) == []
    assert decided(member("head-0", verdict=UNKNOWN, state="unknown"), lost=("hv1",)) == [], "it does not relocate"
    assert decided(member(verdict=HEALTHY, signs=(SSH,)), lost=("hv1",)) == [], "it lives"


def test_what_was_not_configured_yet_has_no_services_that_could_be_repaired() -> None:
    new = ("compute-0",)
    assert decided(member(signs=BROKEN_UNIT), unconfigured=new) == []
    assert decided(member(state="shutoff"), unconfigured=new) == [(START, ())]
    assert decided(member(signs=(NO_SSH, FAR)), unconfigured=new) == [(RESTART, ())]
    assert decided(member(signs=BROKEN_UNIT), unconfigured=("compute-1",)) == [(RESTART_UNIT, ("slurmd",))]


def test_whoever_is_left_alone_says_why() -> None:
    found = health(member(state="shutoff"), member("compute-1", verdict=HEALTHY))
    decision = decide(RESOURCE, found, tried(START, START, REBUILD), NOW)
    causes = [one.cause for one in told(found, decision).members]
    assert causes == ["its cause; not repaired: repaired 3 times within 600 s, to no avail: its cause", "its cause"]


def test_a_member_is_left_to_a_person_when_its_budget_is_used_up() -> None:
    found = decide(RESOURCE, health(member(state="shutoff")), tried(START, START, REBUILD), NOW)
    assert found.steps == ()
    assert found.exhausted == {"compute-0": "repaired 3 times within 600 s, to no avail: its cause"}
    later = decide(RESOURCE, health(member(state="shutoff")), tried(START, START, REBUILD), NOW + 600)
    assert [step.action for step in later.steps] == [START]


def test_repairs_of_others_use_up_the_budget_of_the_resource() -> None:
    small = resource(repair={"resource": 2})
    down = [member(f"compute-{index}", state="shutoff") for index in range(3)]
    found = decide(small, health(*down), [], NOW)
    assert [step.member for step in found.steps] == ["compute-0", "compute-1"]
    assert found.exhausted == {"compute-2": "2 repairs within 600 s are all that this resource is allowed"}
    assert decide(small, health(*down), tried(START, START, name="head-0"), NOW).steps == ()
    assert len(decide(RESOURCE, health(*down), [], NOW).steps) == 3, "by default as many as there are members"


def test_a_clock_that_was_ahead_frees_no_budget() -> None:
    ahead = [replace(repair, at=NOW + 5000) for repair in tried(START, START, START)]
    assert decide(RESOURCE, health(member(state="shutoff")), ahead, NOW).steps == ()


HEALTHS = st.builds(
    member,
    st.sampled_from(["head-0", "compute-0", "compute-1"]),
    st.sampled_from(VERDICTS),
    st.sampled_from(["running", "unknown", "shutoff", "absent", "paused"]),
    st.lists(st.sampled_from([SSH, NO_SSH, FAR, MUNGE, NO_SLURMD, NO_NODE]), max_size=4).map(tuple),
)
HISTORIES = st.lists(
    st.builds(
        Repair,
        st.floats(NOW - 1000, NOW),
        st.sampled_from(["head-0", "compute-0"]),
        st.sampled_from([RESTART_UNIT, START, RESTART, REBUILD]),
        st.just("why"),
    ),
    max_size=8,
)


@given(HEALTHS, HISTORIES, st.sampled_from([(), ("hv1",)]))
def test_whatever_was_seen_no_rule_is_broken(found: MemberHealth, history: list[Repair], lost: tuple[str, ...]) -> None:
    decision: Repairs = decide(RESOURCE, health(found), history, NOW, Known(lost))
    late = [repair for repair in history if NOW - repair.at < 600 and repair.member == found.member]
    for step in decision.steps:
        assert len(late) < 3
        assert found.verdict in (FAILED, DEGRADED) or step.action == RELOCATE
        assert found.state != "unknown" or step.action == RELOCATE
        assert step.action not in (REBUILD, RELOCATE) or found.member != "head-0", "its disk holds accepted jobs"
        assert step.action != RELOCATE or lost
    assert not set(decision.exhausted) & {step.member for step in decision.steps}
