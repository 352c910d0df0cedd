# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Runs while voters are silent: without a majority nothing changes, with one nobody is missed."""

from __future__ import annotations

import pathlib
import time
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.store import Identity
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.leases import open_lease
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.look import look
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import read_json, write_json
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from simulated import Simulated

DOWN = {"kind": "down"}
#: a hypervisor that works and does not vote
VOTES_NOT = [{"kind": "failing_verb", "verb": verb} for verb in ("lease_read", "lease_request")]
KEEPS_NOT = [{"kind": "failing_verb", "verb": verb} for verb in ("record_write", "secrets_write", "voters_write")]


@pytest.fixture
def pool(tmp_path: pathlib.Path) -> Simulated:
    return Simulated(tmp_path)


@pytest.fixture
def witnessed(tmp_path: pathlib.Path) -> Simulated:
    """Two hypervisors and a witness vote."""
    plain = Simulated(tmp_path, 2)
    return Simulated(tmp_path, 2, election={"ttl": 3, "witnesses": [plain.witness("w1")]})


def code_of(act: t.Callable[[], t.Any]) -> str:
    with pytest.raises(EnsembleError) as caught:
        act()
    return caught.value.code


def running(pool: Simulated) -> bool:
    return pool.states() == dict.fromkeys(pool.names(), "running")


# -- without a majority


@pytest.mark.parametrize("silent", [("hv1", "hv2"), ("hv2", "hv3"), ("hv1", "hv3")])
@pytest.mark.parametrize("faults", [[DOWN], VOTES_NOT[:1], VOTES_NOT], ids=["down", "deaf", "no votes"])
def test_a_controller_without_a_majority_changes_nothing(
    pool: Simulated, silent: tuple[str, ...], faults: list[dict[str, t.Any]]
) -> None:
    pool.run("started")
    pool.run("stopped")
    before, obeyed = pool.kept(), pool.obeyed()
    for name in silent:
        pool.faults(name, *faults)
    assert code_of(lambda: pool.run("started")) == "no_quorum"
    assert code_of(lambda: pool.run("started", check=True)) == "no_quorum"
    states = ("stopped", "absent") if faults != [DOWN] else ()  # those ask every hypervisor first
    for state in states:
        assert code_of(lambda state=state: pool.run(state)) == "no_quorum"  # type: ignore[misc]
    assert (pool.kept(), pool.obeyed()) == (before, obeyed)
    pool.mend()
    pool.run("started")
    assert running(pool)


@pytest.mark.parametrize("silent", [("hv1",), ("hv3",), ("hv1", "hv2")])
@pytest.mark.parametrize("faults", [[DOWN], VOTES_NOT[:1]], ids=["down", "deaf"])
def test_a_first_start_takes_all_voters(
    pool: Simulated, silent: tuple[str, ...], faults: list[dict[str, t.Any]]
) -> None:
    for name in silent:
        pool.faults(name, *faults)
    assert code_of(lambda: pool.run("started")) in ("amnesiac", "no_quorum")
    assert pool.kept() == {}
    pool.mend()
    pool.run("started")
    assert running(pool)


def test_a_majority_that_keeps_nothing_is_none(pool: Simulated) -> None:
    """They vote, and their disks take nothing: the wish is not on record, so no machine is touched."""
    pool.run("started")
    for name in ("hv1", "hv3"):
        pool.faults(name, *KEEPS_NOT)
    assert code_of(lambda: pool.run("stopped")) == "no_quorum"
    assert running(pool)


# -- one of three


@pytest.mark.parametrize("silent", ["hv1", "hv2", "hv3"])
@pytest.mark.parametrize("faults", [VOTES_NOT, KEEPS_NOT], ids=["votes not", "keeps not"])
def test_one_hypervisor_that_does_not_vote_is_not_missed(
    pool: Simulated, silent: str, faults: list[dict[str, t.Any]]
) -> None:
    pool.run("started")
    pool.faults(silent, *faults)
    for state, there in (("stopped", "shutoff"), ("started", "running")):
        pool.run(state)
        assert pool.states() == dict.fromkeys(pool.names(), there)
        seen = look("demo", pool.resource.pool, pool.resource, pool.connect)
        assert (seen.record.desired, seen.record.generation) == (state, {"stopped": 2, "started": 3}[state])
    pool.mend()
    again = pool.run("started")
    assert (again.plan.actions, again.generation) == ((), 3)


def test_a_silent_witness_is_not_missed(witnessed: Simulated) -> None:
    assert [voter.name for voter in witnessed.resource.voters] == ["hv1", "hv2", "w1"]
    witnessed.run("started")
    witnessed.faults("w1", DOWN)
    for state, there in (("stopped", "shutoff"), ("started", "running")):
        witnessed.run(state)
        assert witnessed.states() == dict.fromkeys(witnessed.names(), there)
        seen = look("demo", witnessed.resource.pool, witnessed.resource, witnessed.connect)
        assert seen.record.desired == state
    witnessed.run("absent")
    assert witnessed.left() == {}
    witnessed.mend()
    again = witnessed.run("absent")
    assert (again.plan.actions, again.plan.record, again.plan.forget) == ((), None, False)


def test_a_witness_carries_no_members_and_keeps_the_record(witnessed: Simulated) -> None:
    witnessed.run("started")
    state = witnessed.folder / "w1" / "state" / "demo"
    assert {path.name for path in state.glob("*.json")} >= {"lease.json", "record.json", "secrets.json", "voters.json"}
    assert not list((witnessed.folder / "w1").rglob("domains.json"))


def test_a_witness_makes_the_majority_of_two(witnessed: Simulated) -> None:
    """One of the two hypervisors is lost: its members cannot be told, and the other one still has a leader."""
    witnessed.run("started")
    witnessed.faults("hv2", DOWN)
    lease = open_lease("demo", witnessed.resource.pool, witnessed.resource.election, ME, witnessed.connect)
    try:
        lease.acquire()
        assert lease.token > (1, 1)
        assert set(lease.quorum.silent) == {"hv2"}
    finally:
        lease.release()
        lease.close()


ME = Identity("desk/boot/run", "me@desk")


def test_a_hypervisor_that_comes_back_is_brought_up_to_date(pool: Simulated) -> None:
    pool.run("started")
    pool.faults("hv2", *KEEPS_NOT)
    pool.run("stopped")
    files = [pool.folder / name / "state" / "demo" / "record.json" for name in ("hv1", "hv2")]
    assert files[0].read_bytes() != files[1].read_bytes()
    pool.mend()
    pool.run("stopped")
    assert files[0].read_bytes() == files[1].read_bytes()


# -- who votes, whatever is declared


def test_voters_that_differ_in_more_than_one_are_no_next_step(pool: Simulated) -> None:
    pool.run("started")
    before = pool.kept()
    lonely = replace(pool.resource.election, voters=("hv3",))
    for state in ("started", "stopped"):
        assert code_of(lambda state=state: pool.run(state, election=lonely)) == "too_many_changes"  # type: ignore[misc]
    assert pool.kept() == before
    assert running(pool)


def pin_half(pool: Simulated, told: t.Sequence[str], names: t.Sequence[str]) -> None:
    """As a change of the voters leaves them that was killed: some have been told, others not."""
    for name in told:
        path = str(pool.folder / name / "state" / "demo" / "voters.json")
        known = read_json(path)
        voters = [{**known["voters"][0], "name": voter} for voter in names]
        write_json(path, {**known, "epoch": known["epoch"] + 1, "voters": voters})


@pytest.mark.parametrize("names", [("hv1", "hv2", "hv3", "hv4"), ("hv1", "hv2"), ("hv2", "hv3")], ids=len)
@pytest.mark.parametrize("told", [("hv1",), ("hv2",), ("hv3",), ("hv1", "hv2"), ("hv2", "hv3"), ("hv1", "hv2", "hv3")])
def test_a_change_of_the_voters_that_was_killed_half_way_is_gone_on_with(
    tmp_path: pathlib.Path, told: tuple[str, ...], names: tuple[str, ...]
) -> None:
    pool = Simulated(tmp_path, 4)
    pool.run("started")
    pin_half(pool, told, names)
    for state in ("stopped", "started"):
        pool.run(state)
    for name in pool.resource.pool:
        known = read_json(str(pool.folder / name.name / "state" / "demo" / "voters.json"))
        assert (known["epoch"], tuple(voter["name"] for voter in known["voters"])) == (2, names)


def test_a_colleague_without_the_witness_in_the_file_meets_it_all_the_same(witnessed: Simulated) -> None:
    """It is pinned; a hypervisor that is deaf does not make the other one alone a majority."""
    witnessed.run("started")
    plain = parse_declaration({**witnessed.raw, "election": {"ttl": 3}})
    assert [voter.name for voter in plain.voters] == ["hv1"]
    witnessed.faults("hv2", *VOTES_NOT)
    witnessed.faults("w1", DOWN)
    assert code_of(lambda: witnessed.run("stopped", election=plain.election)) == "no_quorum"
    assert running(witnessed)


def test_a_voter_that_lost_everything_is_given_it_back_and_waits(
    pool: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.run("started")
    folder = pool.folder / "hv2" / "state" / "demo"
    for path in folder.glob("*.json"):
        path.unlink()
    assert pool.run("started").plan.actions == ()
    assert {path.name for path in folder.glob("*.json")} >= {"lease.json", "record.json", "secrets.json", "voters.json"}
    pool.faults("hv1", *VOTES_NOT)
    with pytest.raises(EnsembleError) as caught:
        pool.run("stopped")
    assert (caught.value.code, 0 < caught.value.details["expires_in"] <= 3) == ("amnesiac", True), (
        "it abstains for a ttl"
    )
    real = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + 3.1)
    pool.run("stopped")
    assert set(pool.states().values()) == {"shutoff"}
