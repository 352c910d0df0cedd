# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""An agent that leads: its command runs only within the lease, and it gives way when it must or is asked to."""

from __future__ import annotations

import itertools
import typing as t
from pathlib import Path

import pytest
from agents import Scene
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.errors import StuckProcessError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import LeaseError

SILENT = LeaseError("0 of 3 voters answer", code="no_quorum")


def elected_at(scene: Scene, number: int = 0) -> float:
    return scene.told("elected")[number][0]


def test_the_command_is_repeated_on_the_interval_with_the_token(tmp_path: Path) -> None:
    scene = Scene(tmp_path, interval=30)
    scene.play(80)
    begun = [round(run.begun - 1000.0 - elected_at(scene)) for run in scene.world.runs]
    assert begun == [0, 35, 70]
    assert scene.world.runs[0].environment == {
        "ENSEMBLE_RESOURCE": "demo",
        "ENSEMBLE_FENCING_TOKEN": "1,1",
        "ENSEMBLE_SESSION": "b/boot1/run1",
    }
    assert [event["code"] for event in scene.events if event["event"] == "run_ended"][:2] == [0, 0]
    assert [event["why"] for event in scene.events if event["event"] == "released"] == ["stopped"]


def test_without_a_command_it_only_leads(tmp_path: Path) -> None:
    scene = Scene(tmp_path, command=[])
    scene.play(200)
    assert scene.world.runs == []
    assert [name for _at, name in scene.told("elected", "lost", "released")] == ["elected", "released"]
    assert len(scene.voters.history) >= 200 / 5 - 1


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize("at", [4.0, 5.5, 9.9])
def test_the_command_has_ended_before_the_lease_when_renewals_fail(tmp_path: Path, deaf: bool, at: float) -> None:
    scene = Scene(tmp_path, term_grace=1.4)
    scene.world.next_runs = itertools.repeat((1000.0, 0))

    def cut_off() -> None:
        scene.voters.error = SILENT
        scene.world.runs[0].deaf = deaf

    scene.world.at(at, cut_off)
    scene.play(60)
    run = scene.world.runs[0]
    assert run.ended is not None
    assert run.over is not None
    _term, _session, _from, lease_end = scene.voters.history[-1]
    assert run.ended[1] == pytest.approx(1.4), "TERM came before KILL"
    assert run.over <= lease_end - scene.settings.kill_time + 1e-6
    assert run.over >= lease_end - scene.settings.reserve - 1e-6, "and not needlessly early"
    lost = scene.event("lost")
    assert lost["until"] == pytest.approx(lease_end, abs=1e-3)
    assert lost["at"] <= lost["until"]
    assert scene.event("run_ended")["ended_by"] == "lost"
    assert len(scene.told("renewal_failed")) == 1


def test_a_lease_that_somebody_else_has_ends_the_run_at_once(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.world.next_runs = itertools.repeat((1000.0, 0))
    scene.world.at(7, lambda: scene.voters.grant("a/boot9/run1", "ensemble-agent on a (pid 7)"))
    scene.play(20)
    run = scene.world.runs[0]
    assert run.ended is not None
    assert run.ended[0] <= elected_at(scene) + 10 + 0.5  # the second renewal finds out


def test_an_agent_that_slept_through_its_lease_kills_first(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.world.next_runs = itertools.chain([(1000.0, 0)], itertools.repeat((5.0, 0)))

    def sleep() -> None:  # as by SIGSTOP: time passes, and nothing of the agent's happens
        scene.world.now += 60

    scene.world.at(8, sleep)
    scene.play(120)
    run = scene.world.runs[0]
    assert run.ended is not None
    assert run.ended[1] == 0, "without any grace: the lease is over"
    assert run.ended[0] <= 68 + 0.5
    first, second = [event for event in scene.events if event["event"] == "elected"]
    assert second["session"] != first["session"]
    assert second["token"] > first["token"]
    assert scene.event("lost")["until"] < 1000 + 30


def test_no_two_terms_overlap_in_the_journal(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    for at in (10.0, 60.0, 110.0):
        scene.world.at(at, lambda: setattr(scene.voters, "error", SILENT))
        scene.world.at(at + 25, lambda: setattr(scene.voters, "error", None))
    scene.play(200)
    terms = [event for event in scene.events if event["event"] in ("elected", "lost", "released")]
    assert len(terms) == 8
    for begin, end, after in zip(terms[::2], terms[1::2], [*terms[2::2], None]):
        assert begin["token"] == end["token"]
        assert begin["at"] <= end["at"]
        assert after is None or min(end["until"], end["at"]) <= after["at"]


# -- giving way


@pytest.mark.parametrize(
    ("run_takes", "ended_after"),
    [(20.0, None), (1000.0, 45.0)],
)
def test_a_person_waits_for_the_run_or_it_is_ended(tmp_path: Path, run_takes: float, ended_after: float | None) -> None:
    scene = Scene(tmp_path)
    scene.world.next_runs = itertools.repeat((run_takes, 0))
    scene.world.at(7, lambda: scene.voters.want("ann@laptop/run", True))
    scene.play(200)
    assert len(scene.world.runs) == 1, "no new run while somebody waits"
    run = scene.world.runs[0]
    seen = elected_at(scene) + 10  # with the second renewal
    assert [seen <= at <= seen + 1 for at in run.hurried] == [True], "it is told once"
    if ended_after is None:
        assert run.ended is None
    else:
        assert run.ended is not None
        assert seen + ended_after <= run.ended[0] <= seen + ended_after + 1
    assert scene.event("released")["why"] == "wanted"
    assert scene.event("released")["until"] > scene.event("released")["at"], "it was given back while it was held"
    assert len(scene.told("elected")) == 1, "no campaign while the wish lives"


def test_it_leads_again_when_the_wish_is_over(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.world.at(7, lambda: scene.voters.want("ann@laptop/run", True))
    scene.world.at(40, lambda: setattr(scene.voters, "wanted", None))
    scene.play(60)
    assert len(scene.told("elected")) == 2
    assert 40 <= elected_at(scene, 1) <= 46


def test_a_wish_that_is_taken_back_ends_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.world.next_runs = itertools.repeat((1000.0, 0))
    scene.world.at(7, lambda: scene.voters.want("ann@laptop/run", True))
    scene.world.at(20, lambda: setattr(scene.voters, "wanted", None))
    scene.world.at(80, lambda: scene.voters.want("ann@laptop/run", True))
    scene.play(200)
    assert scene.event("released")["why"] == "wanted"
    ended = scene.world.runs[0].ended
    assert ended is not None
    assert ended[0] >= 80 + 45, "another wish counts from its own beginning"


@pytest.mark.parametrize(
    ("preempt", "wanter", "for_s", "why"),
    [
        (True, "a/boot9/run1", 31.0, "preempted"),
        (True, "a/boot9/run1", 29.0, "stopped"),
        (True, "c/boot9/run1", 31.0, "stopped"),
        (False, "a/boot9/run1", 31.0, "stopped"),
    ],
)
def test_a_preferred_candidate_is_given_way_between_runs(
    tmp_path: Path, preempt: bool, wanter: str, for_s: float, why: str
) -> None:
    scene = Scene(tmp_path, preempt=preempt, preempt_delay=30)
    scene.world.next_runs = itertools.repeat((50.0, 0))
    scene.world.at(3, lambda: scene.voters.want(wanter, False, for_s))
    scene.play(70)
    released = scene.event("released")
    assert released["why"] == why
    assert scene.world.runs[0].ended is None, "a run is never interrupted for it"
    if why == "preempted":
        assert released["at"] - 1000 == pytest.approx(elected_at(scene) + 50, abs=1)
        assert len(scene.told("elected")) == 1


@pytest.mark.parametrize(("candidates", "why"), [(["a", "b", "c"], "failing"), (["b"], "stopped")])
def test_three_failed_runs_let_others_try(tmp_path: Path, candidates: list[str], why: str) -> None:
    scene = Scene(tmp_path, interval=10, candidates=candidates)
    scene.world.next_runs = itertools.chain([(1, 2), (1, 2), (1, 0)], itertools.repeat((1, 2)))
    scene.play(100)
    released = scene.event("released")
    assert released["why"] == why
    if why == "failing":
        number = [
            event["run"] for event in scene.events if event["event"] == "run_ended" and event["at"] <= released["at"]
        ]
        assert number[-1] == 6, "a run that went well begins the count anew"
        again = elected_at(scene, 1) - (released["at"] - 1000)
        assert again >= 15 + 15 / 3, "all others could campaign first"


def test_a_command_that_is_not_there_is_a_failed_run(tmp_path: Path) -> None:
    scene = Scene(tmp_path, command=["missing"], interval=10)
    scene.play(25)
    assert scene.event("run_ended")["code"] == 127
    assert scene.event("run_ended")["ended_by"].startswith("[Errno 2]")


def test_a_person_on_this_node_has_it_released(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.world.next_runs = itertools.repeat((20.0, 0))
    scene.world.at(5, lambda: setattr(scene.world.orders, "release", True))
    scene.play(60)
    released = scene.event("released")
    assert released["why"] == "asked"
    assert released["at"] - 1000 == pytest.approx(elected_at(scene) + 20, abs=1), "the run went on to its end"
    assert elected_at(scene, 1) >= released["at"] - 1000 + 15, "others were let go first"


def test_to_stop_ends_the_run_and_gives_the_lease_back(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.world.next_runs = itertools.repeat((1000.0, 0))
    scene.play(30)
    run = scene.world.runs[0]
    assert run.ended is not None
    assert 30 <= run.ended[0] <= 30.5
    assert run.ended[1] == pytest.approx(1.5)
    assert scene.voters.session == ""
    assert [name for _at, name in scene.told()][-2:] == ["released", "stopped"]


def test_a_process_that_cannot_be_killed_keeps_the_lease_from_others(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.world.next_runs = itertools.repeat((1000.0, 0))

    def hang() -> None:
        def end(_grace: float) -> int:
            raise StuckProcessError("processes [7] did not end", pids=[7])

        scene.world.runs[0].end = end  # type: ignore[method-assign]

    scene.world.at(5, hang)
    with pytest.raises(StuckProcessError):
        scene.play(30)
    assert scene.voters.session == "b/boot1/run1", "it was not given back"
    assert scene.event("stuck")["pids"] == [7]


def test_the_service_manager_hears_often_from_a_leader(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    heard: list[float] = []
    alive = scene.world.alive

    def listen(words: str, within: float | None = None) -> None:
        if words.startswith("leads"):
            heard.append(scene.world.now)
            assert within == pytest.approx(0.6 * 15)
        alive(words, within)

    scene.world.alive = listen  # type: ignore[method-assign]
    scene.play(200)
    assert max(later - earlier for earlier, later in itertools.pairwise(heard)) < 0.6 * 15 / 3
    assert scene.world.words[0] == ("follows", 60.0)


def test_renewals_are_told_to_who_asks_only(tmp_path: Path) -> None:
    quiet, loud = Scene(tmp_path), Scene(tmp_path, debug=True)
    for scene in (quiet, loud):
        scene.play(60)
    assert quiet.told("renewed") == []
    assert len(loud.told("renewed")) >= 10


def test_an_error_of_any_kind_in_the_renewing_thread_is_a_failed_renewal(tmp_path: Path) -> None:
    scene = Scene(tmp_path, command=[])
    broken: dict[str, t.Any] = {}

    def break_it() -> None:
        lease = scene.voters.opened[0]
        broken["renew"] = lease.renew
        lease.renew = lambda: 1 // 0  # type: ignore[method-assign]

    scene.world.at(7, break_it)
    scene.world.at(11, lambda: setattr(scene.voters.opened[0], "renew", broken["renew"]))
    scene.play(60)
    assert scene.event("renewal_failed")["msg"].startswith("ZeroDivisionError")
    assert [name for _at, name in scene.told("elected", "lost", "released")] == ["elected", "released"]
