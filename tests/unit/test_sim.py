# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Simulated pools: what is declared of them, what they keep, and what can be made to go wrong there."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import Outcome, Request, converge
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError, HypervisorError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration, parse_target
from ansible_collections.ensemble.stacks.plugins.module_utils._pool import sim
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.keys import generate_key_pair
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.pool import in_parallel
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session
from declared import faults_of, raw
from simulated import Simulated

WRITE: dict[str, t.Any] = {"resource": "demo", "generation": 1, "token": [1, 1]}


@pytest.fixture
def pool(tmp_path: pathlib.Path) -> Simulated:
    return Simulated(tmp_path)


def run(pool: Simulated, state: str = "started", **more: t.Any) -> Outcome:
    return pool.run(state, **more)


def session_to(pool: Simulated, name: str, slept: list[float] | None = None) -> Session:
    hypervisor = next(hv for hv in pool.resource.pool if hv.name == name)
    return sim.connect(hypervisor, ["node"], slept.append if slept is not None else lambda _seconds: None)


# -- the declaration


def test_members_of_a_simulated_pool_are_simulated(pool: Simulated) -> None:
    assert {member.spec.driver for member in pool.resource.members} == {"sim"}
    assert [hv.sim for hv in pool.resource.pool] == [str(pool.folder / hv.name) for hv in pool.resource.pool]


def test_a_folder_is_relative_to_the_declaration() -> None:
    declared = parse_declaration(raw(pool=[{"name": "hv1", "sim": "pool/hv1"}]), "/etc/demo/resource.yml")
    assert declared.pool[0].sim == "/etc/demo/pool/hv1"


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        ({"pool": [{"name": "a", "sim": "a"}, {"name": "b", "address": "b"}]}, ["pool[1].sim"]),
        ({"pool": [{"name": "a", "sim": "x"}, {"name": "b", "sim": "./x"}]}, ["pool[1].sim"]),
        ({"pool": [{"name": "a", "sim": "x", "address": "10.0.0.1"}]}, ["pool[0].address"]),
        ({"pool": [{"name": "a", "sim": "x", "ssh": {}, "host_key": "k"}]}, ["pool[0].ssh", "pool[0].host_key"]),
        ({"pool": [{"name": "a", "sim": 7}]}, ["pool[0].sim", "pool[0].address"]),
        ({"pool": [{"name": "a", "sim": "x"}], "defaults": {"driver": "lxc"}}, ["defaults.driver"]),
        ({"pool": [{"name": "a", "sim": "x"}], "roles": {"head": {"driver": "lxc"}}}, ["roles.head.driver"]),
        ({"defaults": {"driver": "sim"}}, ["defaults.driver"]),
        ({"roles": {"head": {"driver": "sim"}}}, ["roles.head.driver"]),
    ],
    ids=str,
)
def test_faults_of_a_mixture(change: dict[str, t.Any], paths: list[str]) -> None:
    assert sorted(faults_of(raw(**change))) == sorted(paths)


# -- the life of a resource


def test_the_life_of_a_resource(pool: Simulated) -> None:
    assert run(pool).plan.changed
    assert pool.states() == dict.fromkeys(pool.names(), "running")
    again = run(pool)
    assert (again.plan.actions, again.plan.record) == ((), None)
    run(pool, "stopped")
    assert pool.states() == dict.fromkeys(pool.names(), "shutoff")
    run(pool, "absent")
    assert pool.left() == {}


def test_looking_leaves_nothing_behind(pool: Simulated) -> None:
    checked = run(pool, check=True)
    assert len(checked.plan.actions) == 3 * len(pool.names())
    assert not pool.folder.exists()


def test_to_remove_it_name_and_pool_suffice(pool: Simulated) -> None:
    run(pool)
    name, hypervisors = parse_target("demo", [{"name": hv.name, "sim": hv.sim} for hv in pool.resource.pool])
    converge(Request(name, hypervisors, "absent"), sim.connect)
    assert pool.left() == {}


def test_started_members_are_waited_for_until_they_have_booted(pool: Simulated) -> None:
    for hv in pool.resource.pool:
        pool.settings(hv.name, boot_ms=3_600_000)
    with pytest.raises(EnsembleError) as caught:
        run(pool, timeout=0.0)
    assert caught.value.code == "not_reachable"
    assert set(caught.value.details["members"]) == {"head-0"}
    assert pool.states() == {"demo-head-0": "running"}


# -- sim.json


def test_a_hypervisor_has_what_its_settings_say(pool: Simulated) -> None:
    foreign = {"name": "web", "memory_mb": 512, "vcpus": 2, "macs": ["52:54:00:00:00:01"]}
    pool.settings("hv1", capacity={"memory_mb": 1000, "vcpus": 3}, images=["a", "b"], foreign=[foreign])
    seen = session_to(pool, "hv1").call("observe", 1.0, resource="demo")
    assert (seen["memory_mb"], seen["vcpus"], sorted(seen["images"])) == (1000, 3, ["a", "b"])
    [domain] = seen["domains"]
    told = {"uuid": "", "state": "running", "reason": "unknown", "persistent": True, "record": None}
    assert domain == {**foreign, **told}
    assert sorted(session_to(pool, "hv2").call("observe", 1.0, resource="demo")["images"]) == ["node"]


def test_a_foreign_domain_stays_what_it_is(pool: Simulated) -> None:
    pool.settings("hv1", foreign=[{"name": "demo-head-0"}])
    with pytest.raises(EnsembleError) as caught:
        run(pool)
    assert caught.value.code == "name_taken"
    for verb in ("start", "stop", "undefine", "remove"):
        with pytest.raises(EnsembleError) as caught:
            session_to(pool, "hv1").call(verb, 1.0, {"member": "head-0", "driver": "sim"}, **WRITE)
        assert caught.value.code == "foreign"


@pytest.mark.parametrize("name", ["sim.json", "faults.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", '{"colour": 1}', '{"faults": 7}', '{"images": "node"}', "\xff"])
def test_settings_that_make_no_sense(pool: Simulated, name: str, text: str) -> None:
    folder = pool.folder / "hv1"
    folder.mkdir(parents=True)
    (folder / name).write_text(text, encoding="latin-1")
    with pytest.raises(EnsembleError) as caught:
        session_to(pool, "hv1").call("hello", 1.0)
    assert caught.value.code == "bad_settings"
    assert name in caught.value.msg


# -- faults.json


def test_a_hypervisor_that_is_down(pool: Simulated) -> None:
    pool.faults("hv1", {"kind": "down", "times": 2})
    for _time in range(2):
        with pytest.raises(HypervisorError):
            session_to(pool, "hv1")
    assert session_to(pool, "hv1").call("hello", 1.0)["hostname"] == "hv1"


def test_a_hypervisor_that_goes_down_after_two_trips(pool: Simulated) -> None:
    pool.faults("hv1", {"kind": "down", "after": 2})
    session = session_to(pool, "hv1")
    for _trip in range(2):
        session.call("hello", 1.0)
    for _trip in range(2):
        with pytest.raises(HypervisorError) as caught:
            session.call("hello", 1.0)
        assert caught.value.code == "hypervisor_unreachable"
    with pytest.raises(HypervisorError):
        session_to(pool, "hv1")


def test_a_slow_hypervisor_takes_its_time_and_keeps_the_deadline(pool: Simulated) -> None:
    pool.faults("hv1", {"kind": "slow", "ms": 1500})
    slept: list[float] = []
    session = session_to(pool, "hv1", slept)
    session.call("hello", 2.0)
    with pytest.raises(HypervisorError) as caught:
        session.call("record_write", 1.0, {"record": {"version": 1}}, **WRITE)
    assert caught.value.code == "hypervisor_timeout"
    assert slept == [1.5, 1.0]
    with pytest.raises(HypervisorError):
        session.call("hello", 2.0)
    assert session_to(pool, "hv1").call("record_read", 2.0, resource="demo") == {"version": 1, "token": [1, 1]}, (
        "it acted all the same"
    )


def test_a_lost_reply(pool: Simulated) -> None:
    pool.faults("hv1", {"kind": "lost_reply", "times": 1})
    with pytest.raises(HypervisorError):
        session_to(pool, "hv1").call("record_write", 1.0, {"record": {"version": 1}}, **WRITE)
    assert session_to(pool, "hv1").call("record_read", 2.0, resource="demo") == {"version": 1, "token": [1, 1]}


def test_a_verb_that_fails_once_for_one_member(pool: Simulated) -> None:
    for hv in pool.resource.pool:
        pool.faults(hv.name, {"kind": "failing_verb", "verb": "define", "member": "head-0", "times": 1})
    with pytest.raises(EnsembleError) as caught:
        run(pool)
    assert (caught.value.code, caught.value.details["member"]) == ("simulated_fault", "head-0")
    done = run(pool)
    assert ("define", "head-0") in [(action.verb, action.member) for action in done.plan.actions]
    assert ("prepare", "head-0") not in [(action.verb, action.member) for action in done.plan.actions]
    assert pool.states() == dict.fromkeys(pool.names(), "running")


def test_faults_that_are_written_anew_begin_anew(pool: Simulated) -> None:
    for ms in (1, 2):
        pool.faults("hv1", {"kind": "lost_reply", "times": 1}, {"kind": "slow", "ms": ms})
        with pytest.raises(HypervisorError):
            session_to(pool, "hv1").call("hello", 1.0)
        session_to(pool, "hv1").call("hello", 1.0)


def test_where_nothing_is_wrong_nothing_is_counted(pool: Simulated) -> None:
    run(pool)
    assert not list(pool.folder.rglob("struck.json*"))


def test_the_file_of_a_full_hypervisor_stays_small(tmp_path: pathlib.Path) -> None:
    network = {"range": "10.0.0.1-10.0.0.250"}
    pool = Simulated(tmp_path, hypervisors=1, roles={"compute": {"count": 99}}, network=network)
    run(pool)
    [path] = pool.folder.rglob("domains.json")
    assert len(json.loads(path.read_text())["value"]["domains"]) == 100
    assert path.stat().st_size < 100 * 1024


def test_two_resources_share_a_hypervisor(pool: Simulated, tmp_path: pathlib.Path) -> None:
    other: Resource = Simulated(tmp_path, name="other").resource
    run(pool)
    converge(Request("other", other.pool, "started", other), lambda hv: sim.connect(hv, ["node"]))
    assert len(pool.states()) == 2 * len(pool.names())
    run(pool, "absent")
    assert {name.split("-")[0] for name in pool.states()} == {"other"}


# -- the file, shared


def test_sessions_see_and_keep_each_others_changes(pool: Simulated) -> None:
    sessions = [session_to(pool, "hv1") for _number in range(4)]
    spec = pool.resource.members[0].spec.as_dict()
    key = generate_key_pair()
    seed = {"host_key": key.private, "host_key_public": key.public, "authorized_keys": [key.public]}

    def prepare(session: Session) -> None:
        verbs = [
            {"verb": "prepare", "member": f"m-{sessions.index(session)}-{n}", "spec": spec, "seed": seed}
            for n in range(10)
        ]
        resource = f"demo{sessions.index(session)}"  # a lock of its own, so that only the driver's keeps them apart
        for result in session.batch(verbs, 60.0, **{**WRITE, "resource": resource}):
            assert result["ok"], result

    assert in_parallel(prepare, sessions) == [None] * 4
    for session in sessions:
        for number in range(4):
            assert len(session.call("observe", 1.0, resource=f"demo{number}")["artefacts"]) == 10
