# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One whole run over hypervisors in memory: observe, plan, apply; and what every module returns of it."""

from __future__ import annotations

import os
import pathlib
import stat
import time
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.voter import Ballot
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.credentials import cache_dir
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.report import observed_members, planned_members
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import Outcome, Request, converge
from ansible_collections.ensemble.stacks.plugins.module_utils._host.records import Records
from ansible_collections.ensemble.stacks.plugins.module_utils._host.votes import Voter
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import Observation
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.wishes import Wishes
from declared import BASE, parsed
from world import World

POOL = [*BASE["pool"], {"name": "hv3", "address": "10.0.0.3", "capacity": {"memory_mb": 4096, "vcpus": 4}}]
MEMBERS = ["demo-compute-0", "demo-compute-1", "demo-head-0"]


@pytest.fixture
def resource() -> Resource:
    return parsed(pool=POOL, election={"ttl": 3}, roles={"head": {"stateful": True}})


@pytest.fixture
def world(tmp_path: pathlib.Path, resource: Resource) -> World:
    return World(tmp_path, resource.pool)


def run(world: World, resource: Resource, state: str = "started", **more: t.Any) -> Outcome:
    """One run; no waiting for members that exist only in memory, and none for a lease."""
    declared = resource if state == "started" else None
    options = {"wait": False, "lease_timeout": 0.0, "election": resource.election, **more}
    request = Request(resource.name, resource.pool, state, declared, **options)
    return converge(request, world.connect)


def voter_of(world: World) -> dict[str, t.Any]:
    """What the first hypervisor keeps as the lease."""
    state = world.hosts["hv1"].state
    return Voter(state, "demo", os.path.join(state, ".run")).read()


def test_the_life_of_a_resource(world: World, resource: Resource) -> None:
    started = run(world, resource)
    assert started.plan.changed
    assert world.states() == dict.fromkeys(MEMBERS, "running")
    assert world.disks() == {"head-0": True, "compute-0": True, "compute-1": True}
    assert started.generation == 1
    for state, generation in (("started", 1), ("stopped", 2), ("stopped", 2), ("started", 3)):
        outcome = run(world, resource, state)
        assert outcome.generation == generation
        assert world.states() == dict.fromkeys(MEMBERS, "running" if state == "started" else "shutoff")
    run(world, resource, "absent", wishes=Wishes(delete_data=("head",)))
    assert (world.states(), world.disks()) == ({}, {})
    again = run(world, resource, "absent")
    assert (again.plan.changed, again.plan.actions) == (False, ())


@pytest.mark.parametrize("state", ["started", "stopped", "absent"])
def test_a_second_run_does_nothing(world: World, resource: Resource, state: str) -> None:
    run(world, resource)
    run(world, resource, state, wishes=Wishes(delete_data=("head",)))
    before = world.calls()
    second = run(world, resource, state)
    assert (second.plan.actions, second.plan.changed, second.plan.record) == ((), False, None)
    assert second.plan.diff() == {"before": "", "after": ""}
    assert world.calls() == before


@pytest.mark.parametrize("state", ["started", "stopped", "absent"])
@pytest.mark.parametrize("first", ["absent", "started", "stopped"])
def test_check_mode_is_the_run_and_changes_nothing(world: World, resource: Resource, state: str, first: str) -> None:
    if first != "absent":
        run(world, resource)
    if first == "stopped":
        run(world, resource, "stopped")
    files = snapshot(world)
    calls = world.calls()
    checked = run(world, resource, state, wishes=Wishes(delete_data=("head",)), check=True)
    assert (world.calls(), snapshot(world)) == (calls, files)
    done = run(world, resource, state, wishes=Wishes(delete_data=("head",)))
    assert checked.plan == done.plan
    assert unpinned(checked.observation) == unpinned(done.observation)
    assert checked.generation == done.generation
    assert sorted(world.calls()[len(calls) :]) != [] or not done.plan.actions


def unpinned(seen: Observation) -> Observation:
    """Without what a run has told the hypervisors of their voters before it looked."""
    return replace(seen, hypervisors=tuple(replace(hv, voters="") for hv in seen.hypervisors))


def snapshot(world: World) -> dict[str, bytes]:
    """Every state file of every hypervisor."""
    return {
        str(path): path.read_bytes()
        for host in world.hosts.values()
        for path in sorted(pathlib.Path(host.state).rglob("*"))
        if path.is_file()
    }


def test_what_was_planned_is_what_is_done(world: World, resource: Resource) -> None:
    outcome = run(world, resource)
    assert sorted(world.calls()) == sorted((action.verb, action.member) for action in outcome.plan.actions)
    assert set(outcome.seconds) >= {"connect", "lease", "observe", "record", "secrets", "prepare", "define", "start"}
    where = {member: name for name, driver in world.drivers.items() for (_r, member) in driver.disks}
    assert where == outcome.plan.record.placement  # type: ignore[union-attr]


def test_a_step_that_fails_leaves_the_others_done_and_the_next_run_finishes(world: World, resource: Resource) -> None:
    for driver in world.drivers.values():
        driver.failing = {("define", "compute-0")}
    with pytest.raises(EnsembleError) as caught:
        run(world, resource)
    assert caught.value.code == "broken"
    assert caught.value.details["member"] == "compute-0"
    assert "define compute-0 on " in caught.value.msg
    assert world.states() == {"demo-head-0": "running", "demo-compute-1": "running"}
    assert world.disks()["compute-0"] is True
    for driver in world.drivers.values():
        driver.failing = set()
    second = run(world, resource)
    assert [(action.verb, action.member) for action in second.plan.actions] == [
        ("define", "compute-0"),
        ("start", "compute-0"),
    ]
    assert world.states() == dict.fromkeys(MEMBERS, "running")


def test_a_wave_that_fails_ends_the_run(world: World, resource: Resource) -> None:
    for driver in world.drivers.values():
        driver.failing = {("start", "head-0")}
    with pytest.raises(EnsembleError):
        run(world, resource)
    assert not any(member.startswith("compute") for _verb, member in world.calls())
    assert voter_of(world)["session"] == "", "the lease was given back"


def test_all_failures_of_a_wave_are_told(world: World, resource: Resource) -> None:
    for driver in world.drivers.values():
        driver.failing = {("prepare", "compute-0"), ("start", "compute-1")}
    with pytest.raises(EnsembleError) as caught:
        run(world, resource)
    assert "2 faults" in caught.value.msg
    assert "prepare compute-0" in caught.value.msg
    assert "start compute-1" in caught.value.msg


def test_somebody_elses_machines_are_left_alone(world: World, resource: Resource) -> None:
    for name, driver in world.drivers.items():
        driver.add_foreign(f"web-{name}")
        driver.add_foreign(f"other-head-{name}", {"resource": "other", "member": f"head-{name}"})
    before = {name: state for name, state in world.states().items() if not name.startswith("demo")}
    for state in ("started", "stopped", "absent"):
        run(world, resource, state, wishes=Wishes(delete_data=("head",)))
        assert {name: s for name, s in world.states().items() if not name.startswith("demo")} == before


def test_data_is_kept_unless_its_role_is_named(world: World, resource: Resource) -> None:
    run(world, resource)
    with pytest.raises(EnsembleError) as caught:
        run(world, resource, "absent")
    assert caught.value.code == "has_data"
    assert world.states() == dict.fromkeys(MEMBERS, "running")


def test_another_holder_is_named_and_nothing_happens(world: World, resource: Resource) -> None:
    state = world.hosts["hv1"].state
    Voter(state, "demo", os.path.join(state, ".run")).request(Ballot(1, 1, "other", "ops@desk", 30.0, founding=True))
    with pytest.raises(EnsembleError) as caught:
        run(world, resource)
    assert (caught.value.code, caught.value.details["holder"]) == ("lease_held", "ops@desk")
    assert world.calls() == []
    assert run(world, resource, check=True).plan.changed, "looking needs no lease"


def test_the_lease_is_given_back_and_every_run_has_a_higher_token(world: World, resource: Resource) -> None:
    for term in (1, 2, 3):
        run(world, resource)
        lease = voter_of(world)
        assert (lease["term"], lease["session"], lease["expires_in"]) == (term, "", 0.0)
    assert all(transport.closed for transport in world.transports)


def test_a_lease_lost_in_the_middle_ends_the_run(
    world: World, resource: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time jumps after the first wave, and another controller wins the lease meanwhile."""
    ahead = [0.0]
    real = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + ahead[0])

    def steal() -> None:
        for driver in world.drivers.values():
            driver.tick = lambda: None
        ahead[0] = 100.0
        state = world.hosts["hv1"].state
        Voter(state, "demo", os.path.join(state, ".run")).request(Ballot(1, 9, "thief", "thief", 30.0))

    for driver in world.drivers.values():
        driver.tick = steal
    with pytest.raises(EnsembleError) as caught:
        run(world, resource)
    assert caught.value.code == "lease_lost"
    assert not any(member.startswith("compute") for _verb, member in world.calls())
    assert voter_of(world)["session"] == "thief"


def test_the_controllers_copies_are_private_and_go_with_the_resource(world: World, resource: Resource) -> None:
    run(world, resource)
    folder = pathlib.Path(cache_dir("demo"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"id_ed25519", "known_hosts", "ssh_config"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert "StrictHostKeyChecking yes" in (folder / "ssh_config").read_text()
    assert len((folder / "known_hosts").read_text().splitlines()) == len(MEMBERS)
    run(world, resource, "absent", wishes=Wishes(delete_data=("head",)))
    assert not folder.exists()
    for host in world.hosts.values():
        assert Records(host.state, "demo").secrets()["secrets"] == {}
        assert not Records(host.state, "demo").read().get("declaration")


def test_an_empty_controller_gets_the_same_keys(
    world: World, resource: Resource, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    run(world, resource)
    first = {path.name: path.read_bytes() for path in pathlib.Path(cache_dir("demo")).glob("*") if path.is_file()}
    monkeypatch.setenv("HOME", str(tmp_path / "colleague"))
    assert not run(world, resource).plan.changed
    second = {path.name: path.read_bytes() for path in pathlib.Path(cache_dir("demo")).glob("*") if path.is_file()}
    assert second["id_ed25519"] == first["id_ed25519"]
    assert second["known_hosts"] == first["known_hosts"]


def test_what_modules_return(world: World, resource: Resource) -> None:
    outcome = run(world, resource)
    members = planned_members(outcome.observation, outcome.plan, resource)
    assert [entry["member"] for entry in members] == ["head-0", "compute-0", "compute-1"]
    assert {(entry["was"], entry["state"]) for entry in members} == {("absent", "running")}
    assert {entry["hypervisor"] for entry in members} == {"hv1", "hv2", "hv3"}
    seen = observed_members(run(world, resource, "stopped", check=True).observation, None)
    assert [(entry["name"], entry["state"]) for entry in seen] == [(name, "running") for name in MEMBERS]
    assert seen[2]["address"] == "10.0.0.50"
