# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What a leader among the members does, look after look, over hypervisors in memory."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.journal import Journal
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.playbook import Ended
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.settings import parse
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.watch import Orders, Shown, Watch
from ansible_collections.ensemble.stacks.plugins.module_utils._election.store import Identity
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.keeper import boottime, held, this_run
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.leases import voting
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.health import FAILED, HEALTHY, STOPPED
from harness.waiting import wait_until
from scenes import Scene

SETTINGS = {
    "resource": "demo",
    "node_id": "demo-head-0",
    "candidates": ["demo-head-0"],
    "ttl": 3,
    "voters": [{"name": f"hv{n}", "address": f"10.0.0.{n}", "host_key": "ssh-ed25519 AAAA"} for n in (1, 2, 3)],
    "private_key": "/nowhere",
}


class Run:
    """One term of a watch.

    Attributes:
        looks: after so many it is told to end.
        between: called after each look with how many there were.
        codes: exit statuses of the playbook; 0 when there are none left.
    """

    def __init__(self, scene: Scene, looks: int = 1) -> None:
        self.scene = scene
        self.looks = looks
        self.between: t.Callable[[int], None] = lambda _count: None
        self.codes: list[int] = []
        self.played: list[str] = []
        self.shown: list[Shown] = []
        self.limits: list[float] = []
        self.orders = Orders()
        self.orders.over.wait = lambda _seconds=None: self.orders.over.is_set()  # type: ignore[method-assign,assignment]
        self.out = io.StringIO()

    def run(self, resource: Resource, _secrets: t.Any) -> Ended:
        """As the playbook."""
        self.played.append(resource.digest)
        code = self.codes.pop(0) if self.codes else 0
        return Ended(code, ("demo-compute-1: no route",) if code else ())

    def show(self, shown: Shown) -> None:
        self.shown.append(shown)
        self.between(len(self.shown))
        if len(self.shown) >= self.looks:
            self.orders.over.set()

    @property
    def events(self) -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]

    def told(self, name: str) -> list[dict[str, t.Any]]:
        return [event for event in self.events if event["event"] == name]

    def __call__(self, token: tuple[int, int] | None = None) -> int:
        scene = self.scene
        resource = scene.resource

        @contextlib.contextmanager
        def votes() -> t.Iterator[t.Any]:
            with voting("demo", resource.pool, resource.election, scene.connect) as found:
                yield found

        with votes() as found:
            lease = found.lease(this_run())
            with held(lease, 4.0):
                journal = Journal("demo", "demo-head-0", boottime, self.out, None)
                work = Watch(
                    parse(SETTINGS, "test")[0],
                    votes,
                    lambda _content: scene.resource,
                    lambda _resource: scene.connect,
                    t.cast(t.Any, self),
                    journal,
                    self.show,
                    Identity(lease.identity.session, "ensemble-agent on demo-head-0"),
                    token or lease.token,
                    self.limits.append,
                )
                return work.serve(self.orders)


@pytest.fixture
def scene(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_it_looks_runs_the_playbook_once_and_tells_what_changed(scene: Scene) -> None:
    run = Run(scene, looks=3)
    assert run() == 0
    assert run.played == [scene.resource.digest]
    assert [shown.health.verdict for shown in run.shown] == [HEALTHY] * 3
    assert [event["code"] for event in run.told("converged")] == [0]
    assert {event["member"]: event["verdict"] for event in run.told("verdict")}["compute-0"] == HEALTHY
    assert len(run.told("verdict")) == 5, "each verdict once: three members, the resource, what is asked for"


def test_what_breaks_between_two_looks_is_repaired_and_told(scene: Scene) -> None:
    run = Run(scene, looks=4)
    run.between = lambda count: scene.stop("compute-0") if count == 1 else None
    assert run() == 0
    assert scene.world.states()["demo-compute-0"] == "running"
    assert [(event["action"], event["member"]) for event in run.told("repair")] == [("start", "compute-0")]
    assert [event["outcome"] for event in run.told("repaired")] == ["done"]
    told = [(event["verdict"], event["was"]) for event in run.told("verdict") if event["member"] == "compute-0"]
    assert told == [(HEALTHY, None), (FAILED, HEALTHY), (HEALTHY, FAILED)]
    assert [(entry["action"], entry["outcome"]) for entry in run.shown[-1].repairs] == [("start", "done")]
    assert run.shown[-1].totals == {"start": {"done": 1}}
    # before it reads what is wanted, before each look, the playbook and the repair
    assert run.limits == [183.0, 190.0, 1980.0, 190.0, 1800.0, 190.0]


def test_a_member_that_was_made_anew_is_configured(scene: Scene) -> None:
    run = Run(scene, looks=8)  # people are shown a repair before it and after it
    run.between = lambda count: scene.stop("compute-1") if count <= 5 else None
    assert run() == 0
    assert [event["action"] for event in run.told("repair")] == ["start", "start", "rebuild"]
    assert len(run.played) == 2


def test_a_playbook_that_fails_is_run_again_later(scene: Scene) -> None:
    run = Run(scene, looks=3)
    run.codes = [2]
    assert run() == 0
    assert len(run.played) == 1, "its time has not come yet"
    (failed,) = run.told("converge_failed")
    assert (failed["code"], failed["why"]) == (2, ["demo-compute-1: no route"])


@pytest.mark.parametrize(("codes", "runs"), [([0, 4, 0], 3), ([0, 4, 4, 4, 4], 4)])
def test_a_member_that_was_made_anew_is_configured_until_it_is_for_a_while(
    scene: Scene, codes: list[int], runs: int
) -> None:
    """Without its configuration no restart of its services is of any use; after some runs it is tried all the same."""
    run = Run(scene, looks=12)
    run.codes = codes
    run.between = lambda count: scene.stop("compute-1") if count <= 5 else None
    assert run() == 0
    assert [event["action"] for event in run.told("repair")] == ["start", "start", "rebuild"]
    assert len(run.played) == runs


def test_what_is_stopped_stays_stopped(scene: Scene) -> None:
    scene.converge("stopped")
    calls = scene.world.calls()
    run = Run(scene, looks=2)
    assert run() == 0
    assert (run.played, run.shown[-1].health.verdict) == ([], STOPPED)
    assert scene.world.calls() == calls
    assert scene.record()["desired"] == "stopped"


def test_who_leads_no_more_ends_before_anything_is_touched(scene: Scene) -> None:
    scene.stop("compute-0")
    run = Run(scene)
    assert run(token=(1, 1)) == 1
    assert [event["code"] for event in run.told("lost")] == ["lease_lost"]
    assert scene.world.states()["demo-compute-0"] == "shutoff"


def test_hypervisors_are_armed_while_it_leads(scene: Scene) -> None:
    def armed() -> list[tuple[str, ...]]:
        found = (host.guard.of("demo").armed() for host in scene.world.hosts.values())
        return [one.members if one is not None else () for one in found]

    run = Run(scene, looks=1)
    run.between = lambda _count: wait_until(lambda: () not in armed(), 10, "beats everywhere")
    assert run() == 0
    assert armed() == [("compute-0", "compute-1")] * 3
    assert scene.record()["member_ttl"] == 120.0


def test_a_hypervisor_that_falls_silent_is_told_and_looked_for_again(scene: Scene) -> None:
    run = Run(scene, looks=4)
    where = scene.place("compute-0")

    def fall(count: int) -> None:
        if count == 1:
            scene.silent.add(where)
            scene.members.dark.add(where)
            for transport in scene.world.transports:
                transport.exchange = scene.broken(transport, where)  # type: ignore[method-assign]
        if count == 3:
            scene.silent.clear()
            scene.members.dark.clear()

    run.between = fall
    assert run() == 0
    told = [event["verdict"] for event in run.told("verdict") if event["member"] == f"hypervisor {where}"]
    assert told == ["silent", "answers"]
    assert run.told("repair") == []
