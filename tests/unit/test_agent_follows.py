# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""An agent that does not lead: when it campaigns, when it lets others go first, and what never ends it."""

from __future__ import annotations

import itertools
import typing as t
from pathlib import Path

import pytest
from agents import Scene
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.errors import DuplicateNodeError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import LeaseError


@pytest.mark.parametrize(
    ("node", "at"),
    [("a", 0.25), ("b", 0.75), ("c", 1.25)],
)
def test_a_free_lease_is_taken_after_the_delay_of_the_rank(tmp_path: Path, node: str, at: float) -> None:
    scene = Scene(tmp_path, node_id=node)
    scene.play(3)
    assert scene.told("elected") == [(at, "elected")]
    elected = scene.event("elected")
    assert (elected["token"], elected["session"]) == ([1, 1], f"{node}/boot1/run1")
    assert elected["until"] == pytest.approx(1000 + at + 0.95 * 15)


def test_a_held_lease_is_followed_until_it_ends(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.voters.hold_from(0, 21, "a/boot9/run1")  # renewed last at 20, so it ends at 35
    scene.play(40)
    assert scene.told("follows") == [(0, "follows")]
    at, _name = scene.told("elected")[0]
    assert 35.75 <= at <= 35.9
    assert scene.event("elected")["token"] == [1, 2]


def test_a_follower_never_asks_in_a_busy_loop(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.voters.hold_from(0, 600, "a/boot9/run1")
    scene.play(600)
    assert 600 / 5 <= scene.voters.asked <= 600 / 5 + 5


def test_somebody_who_was_faster_during_the_delay_is_followed(tmp_path: Path) -> None:
    scene = Scene(tmp_path, node_id="c")
    scene.voters.hold_from(0.5, 30, "a/boot9/run1")
    scene.play(30)
    assert scene.told("elected") == []
    assert scene.event("follows")["leader"] == "a/boot9/run1"


@pytest.mark.parametrize("code", ["no_quorum", "amnesiac", "hypervisor_unreachable"])
def test_silent_voters_are_told_of_once_and_end_nothing(tmp_path: Path, code: str) -> None:
    scene = Scene(tmp_path)
    scene.voters.error = LeaseError("0 of 3 voters answer", code=code, quorum={"needed": 2, "acks": 0, "silent": {}})

    def answer() -> None:
        scene.voters.error = None

    scene.world.at(62, answer)
    scene.play(80)
    assert [name for _at, name in scene.told(code, "answered", "elected")] == [code, "answered", "elected"]
    assert scene.event(code)["quorum"]["needed"] == 2
    assert scene.voters.asked < 62 / 5 + 5 + 5
    assert scene.told("elected")[0][0] < 62 + 5 + 1


def test_voters_that_are_slow_at_first_are_asked_again_soon(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.voters.error = LeaseError("0 of 3 voters answer", code="no_quorum")
    scene.world.at(0.2, lambda: setattr(scene.voters, "error", None))
    scene.play(10)
    assert scene.told("elected")[0][0] < 2


def test_another_epoch_opens_the_lease_anew(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.voters.error = LeaseError("epoch 2", code="new_epoch", epoch=2)

    def answer() -> None:
        scene.voters.error = None

    scene.world.at(0.3, answer)
    scene.play(10)
    assert len(scene.voters.opened) == 2
    assert scene.voters.opened[0].closed
    assert scene.event("elected")["session"] == "b/boot1/run2"


@pytest.mark.parametrize(
    ("person", "preempt", "wanter", "campaigns"),
    [
        (True, False, "ann@laptop/run", False),
        (False, True, "a/boot9/run1", False),
        (False, True, "c/boot9/run1", True),
        (False, False, "a/boot9/run1", True),
    ],
)
def test_who_is_let_go_first(tmp_path: Path, person: bool, preempt: bool, wanter: str, campaigns: bool) -> None:
    scene = Scene(tmp_path, preempt=preempt)
    scene.voters.want(wanter, person)
    scene.play(20)
    assert bool(scene.told("elected")) == campaigns


def test_a_wish_that_comes_during_the_delay_counts(tmp_path: Path) -> None:
    scene = Scene(tmp_path, node_id="c")
    scene.world.at(1, lambda: scene.voters.want("ann@laptop/run", True))
    scene.play(20)
    assert scene.told("elected") == []


@pytest.mark.parametrize(
    ("changes", "holder", "wishes"),
    [
        ({"preempt": True, "node_id": "b"}, "c/boot9/run1", True),
        ({"preempt": True, "node_id": "b"}, "a/boot9/run1", False),
        ({"preempt": True, "node_id": "b"}, "laptop/run1", False),
        ({"preempt": False, "node_id": "b"}, "c/boot9/run1", False),
    ],
)
def test_only_a_preferred_candidate_says_so(
    tmp_path: Path, changes: dict[str, t.Any], holder: str, wishes: bool
) -> None:
    scene = Scene(tmp_path, **changes)
    scene.voters.hold_from(0, 60, holder)
    scene.play(60)
    if not wishes:
        assert scene.voters.wishes == []
        return
    said = [at for at, _session, person in scene.voters.wishes if not person]
    assert max(later - earlier for earlier, later in itertools.pairwise(said)) < 15  # it lasts for a ttl


def test_a_node_id_that_somebody_else_renews_is_an_error(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.voters.hold_from(0, 100, "b/boot2/run7")
    with pytest.raises(DuplicateNodeError) as caught:
        scene.play(100)
    assert caught.value.code == "duplicate_node"
    assert "b/boot2/run7" in caught.value.msg
    assert scene.told("duplicate")[0][0] <= 20
    assert scene.event("duplicate")["other"] == "b/boot2/run7"


@pytest.mark.parametrize("restarted_voter", [False, True])
def test_the_lease_of_this_node_before_its_restart_is_no_duplicate(tmp_path: Path, restarted_voter: bool) -> None:
    scene = Scene(tmp_path)
    scene.voters.hold_from(0, 1, "b/boot1/run0")
    if restarted_voter:  # it counts the dead session's lease from its boot
        scene.world.at(9, lambda: scene.voters.grant("b/boot1/run0", "ensemble-agent on b (pid 7)"))
    scene.play(40)
    assert scene.told("elected")


def test_a_persons_run_on_this_node_is_no_duplicate(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.voters.grant("b/run7", "root@b (pid 9)")
    for at in range(0, 60, 5):
        scene.world.at(at, lambda: scene.voters.grant("b/run7", "root@b (pid 9)"))
    scene.play(70)
    assert scene.told("duplicate") == []


def test_what_the_voters_granted_to_this_session_is_given_back(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.voters.grant("b/boot1/run1", "ensemble-agent on b (pid 1)")
    scene.play(3)
    assert scene.told("elected")[0][0] < 2


def test_the_status_file_tells_who_leads(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    seen: list[dict[str, t.Any]] = []
    scene.voters.hold_from(0, 100, "a/boot9/run1")
    scene.world.at(21, lambda: seen.append(scene.status))
    scene.play(30)
    status = seen[0]
    assert (status["role"], status["leader"]["node"], status["token"]) == ("follower", "a", [1, 1])
    assert status["since"] == 1000.0
    assert scene.status["role"] == "stopped"
    assert scene.status_path.stat().st_mode & 0o777 == 0o644
