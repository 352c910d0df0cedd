# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Looks and repairs over hypervisors in memory: what is seen, what is done, and that it is on record before."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.oversee import Overseen
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.health import (
    DEGRADED,
    FAILED,
    HEALTHY,
    STOPPED,
    UNKNOWN,
)
from declared import parsed
from scenes import POOL, UNITS, Scene
from world import Killed


@pytest.fixture
def scene(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def verdicts(found: Overseen) -> dict[str, str]:
    return {member.member: member.verdict for member in found.health.members}


def actions(found: Overseen) -> list[tuple[str, str]]:
    assert found.repairs is not None
    return [(step.action, step.member) for step in found.repairs.steps]


def test_a_resource_that_runs_is_healthy_and_nothing_is_done(scene: Scene) -> None:
    before = (scene.world.calls(), scene.record())
    found = scene.look(repair=True)
    assert (found.health.verdict, set(verdicts(found).values()), actions(found)) == (HEALTHY, {HEALTHY}, [])
    assert (scene.world.calls(), scene.record()) == before
    assert scene.members.closed


def test_a_member_that_was_ended_is_started_where_it_was(scene: Scene) -> None:
    place = scene.place("compute-0")
    scene.stop("compute-0")
    assert verdicts(scene.look())["compute-0"] == FAILED
    found = scene.repair()
    assert actions(found) == [("start", "compute-0")]
    assert (found.health.verdict, scene.place("compute-0")) == (HEALTHY, place)
    assert [entry["action"] for entry in scene.record()["repairs"]] == ["start"]
    assert actions(scene.repair()) == []


def test_check_mode_shows_the_very_repairs_and_changes_nothing(scene: Scene) -> None:
    scene.stop("compute-0")
    scene.members.broken.add(("head-0", "ctl"))
    before = (scene.world.states(), scene.record(), scene.world.calls())
    checked = scene.look(repair=True, check=True)
    assert (scene.world.states(), scene.record(), scene.world.calls()) == before
    assert scene.members.restarts == []
    assert actions(checked) == actions(scene.repair()) == [("restart_unit", "head-0"), ("start", "compute-0")]


def test_without_a_token_nothing_is_repaired(scene: Scene) -> None:
    scene.stop("compute-0")
    before = scene.world.states()
    with pytest.raises(EnsembleError) as caught:
        scene.look(repair=True)
    assert caught.value.code == "bad_option"
    assert "fencing_token" in caught.value.msg
    with pytest.raises(EnsembleError) as caught:
        scene.look(repair=True, token=(1, 1))
    assert caught.value.code == "lease_lost"
    assert (scene.world.states(), scene.record()["repairs"]) == (before, [])


def test_a_unit_is_restarted_under_the_token_and_the_machine_is_let_be(scene: Scene) -> None:
    scene.members.broken.add(("compute-1", "node"))
    calls = len(scene.world.calls())
    found = scene.repair()
    assert [(member, unit) for member, unit, _token in scene.members.restarts] == [("compute-1", "node")]
    assert (found.health.verdict, len(scene.world.calls())) == (HEALTHY, calls)


def test_what_a_restart_of_its_unit_does_not_mend_gets_harder_steps_until_the_budget_ends(scene: Scene) -> None:
    scene.members.broken.add(("compute-1", "node"))
    scene.members.stubborn.add(("compute-1", "node"))
    tried = []
    for _round in range(4):
        scene.now += 10
        found = scene.repair()
        tried += actions(found)
    assert tried == [("restart_unit", "compute-1"), ("restart", "compute-1"), ("restart", "compute-1")]
    assert found.repairs is not None
    assert "3 times" in found.repairs.exhausted["compute-1"]
    assert [call for call in scene.world.calls() if call[1] == "compute-1"][-2:] == [
        ("stop", "compute-1"),
        ("start", "compute-1"),
    ]
    scene.now += 600
    assert actions(scene.repair()) == [("restart_unit", "compute-1")]


def test_the_budget_outlives_the_leader_who_dies_at_a_repair(scene: Scene) -> None:
    scene.stop("compute-0")

    def die(name: str) -> None:
        if scene.record()["repairs"] and name == scene.place("compute-0"):
            scene.world.before = lambda _name: None
            raise Killed

    scene.world.before = die
    with pytest.raises(Killed):
        scene.repair()
    assert scene.world.states()["demo-compute-0"] == "shutoff"
    assert len(scene.record()["repairs"]) == 1
    found = scene.repair()
    assert (actions(found), found.health.verdict) == ([("start", "compute-0")], HEALTHY)
    assert len(scene.record()["repairs"]) == 2


def test_a_silent_hypervisor_is_no_dead_member(scene: Scene) -> None:
    where = scene.place("compute-0")
    scene.silent.add(where)
    scene.members.dark.add(where)
    found = scene.repair()
    assert verdicts(found)["compute-0"] == UNKNOWN
    assert found.health.silent == {where: f"{where} is silent."}
    assert actions(found) == []


def test_members_of_a_lost_hypervisor_are_made_anew_elsewhere(scene: Scene) -> None:
    where = scene.place("compute-0")
    lost = {member.name for member in scene.resource.members if scene.place(member.name) == where}
    scene.silent.add(where)
    scene.members.dark.add(where)
    found = scene.repair(lost=(where,))
    assert actions(found) == [("relocate", name) for name in sorted(lost - {"head-0"})]
    assert found.mended is not None
    assert found.mended.fresh == tuple(sorted(lost - {"head-0"}))
    assert scene.record()["placement"]["compute-0"] != where


def test_a_member_that_nobody_reaches_is_asked_by_its_hypervisor(scene: Scene) -> None:
    scene.members.deaf.add("compute-0")
    found = scene.look()
    health = next(member for member in found.health.members if member.member == "compute-0")
    assert [sign.kind for sign in health.signs][:2] == ["reach", "hypervisor"]


def test_what_shall_be_stopped_is_not_repaired(scene: Scene) -> None:
    scene.converge("stopped")
    found = scene.repair()
    assert (found.health.verdict, actions(found)) == (STOPPED, [])
    scene.world.drivers[scene.place("head-0")].start("demo", "head-0")
    found = scene.repair()
    assert (found.health.verdict, actions(found)) == (DEGRADED, [])


def test_another_declaration_than_the_one_that_was_carried_out_repairs_nothing(scene: Scene) -> None:
    scene.stop("compute-0")
    scene.resource = parsed(pool=POOL, election={"ttl": 3}, monitor={"services": UNITS})
    with pytest.raises(EnsembleError) as caught:
        scene.repair()
    assert caught.value.code == "other_declaration"
    assert scene.world.states()["demo-compute-0"] == "shutoff"
