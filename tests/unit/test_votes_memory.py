# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What a voter does that has lost its memory, is killed, or is told a wish."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.votes import Voter
from voting_machine import ballot, config, now, pin, state, voter, voter_at
from world import Killed

__all__ = ["ballot", "config", "now", "pin", "state", "voter", "voter_at"]


# -- memory that was lost


def test_a_voter_that_joins_abstains_for_one_ttl(voter: Voter, now: list[float]) -> None:
    assert voter.join(1, 6, 15.0)["blank"] is False
    assert voter.request(ballot(6, "b"))["reason"] == "old_term"
    assert voter.request(ballot(7, "b"))["reason"] == "abstains"
    assert voter.request(ballot(7, "", founding=True))["reason"] == "founded"
    now[0] += 14.9
    assert voter.request(ballot(7, "b"))["reason"] == "abstains"
    now[0] += 0.1
    assert voter.request(ballot(7, "b"))["reason"] == "granted"


def test_a_voter_that_joins_before_any_are_pinned_may_still_be_founded(voter: Voter, now: list[float]) -> None:
    voter.join(1, 6, 15.0, founding=True)
    assert voter.request(ballot(7, "b", founding=True))["reason"] == "abstains"
    now[0] += 15
    assert voter.request(ballot(7, "b", founding=True))["reason"] == "granted"


def test_a_voter_that_joins_and_boots_abstains_for_one_ttl_more(
    voter: Voter, now: list[float], tmp_path: pathlib.Path
) -> None:
    voter.join(1, 6, 15.0)
    now[0] = 2.0
    rebooted = Voter(str(tmp_path / "state"), "demo", str(tmp_path / "run-after-boot"))
    assert rebooted.request(ballot(7, "b"))["reason"] == "abstains"
    now[0] = 16.9
    assert rebooted.request(ballot(7, "b"))["reason"] == "abstains"
    now[0] = 17.0
    assert rebooted.request(ballot(7, "b"))["reason"] == "granted"


@pytest.mark.parametrize("body", [b"", b"\0" * 300, b"garbage"])
def test_a_corrupt_lease_is_given_back(voter: Voter, now: list[float], tmp_path: pathlib.Path, body: bytes) -> None:
    voter.request(ballot(1, founding=True))
    (tmp_path / "state" / "demo" / "lease.json").write_bytes(body)
    assert voter.join(2, 6, 15.0)["term"] == 6
    assert (voter.read()["config_epoch"], voter.read()["session"]) == (2, "")


def test_who_has_its_memory_keeps_it(voter: Voter, now: list[float], tmp_path: pathlib.Path) -> None:
    voter.request(ballot(3, founding=True))
    before = state(tmp_path)
    assert (voter.join(1, 9, 15.0)["term"], voter.join(1, 9, 15.0)["session"]) == (3, "a")
    assert state(tmp_path) == before


# -- wishes


def test_a_wish_is_seen_until_it_ends(voter: Voter, now: list[float], tmp_path: pathlib.Path) -> None:
    assert voter.read()["wanted"] is None
    voter.wish("p", "P", True, 20.0)
    now[0] += 5
    said = {"session": "p", "holder": "P", "person": True, "for_s": 5.0}
    assert voter_at(tmp_path).read()["wanted"] == said
    now[0] += 15
    assert voter.read()["wanted"] is None
    assert not (tmp_path / "state").exists(), "it is no vote"


def test_a_wish_that_is_repeated_lasts_and_keeps_its_beginning(voter: Voter, now: list[float]) -> None:
    voter.wish("p", "P", True, 20.0)
    now[0] += 15
    wanted = voter.wish("p", "P", True, 20.0)["wanted"]
    now[0] += 15
    assert wanted["for_s"] == 15.0
    assert voter.read()["wanted"]["for_s"] == 30.0


def test_a_person_comes_before_a_candidate_and_the_first_one_first(voter: Voter, now: list[float]) -> None:
    for session, person, counts in (("c1", False, "c1"), ("c2", False, "c1"), ("p1", True, "p1"), ("p2", True, "p1")):
        assert voter.wish(session, session, person, 20.0)["wanted"]["session"] == counts
    assert voter.wish("c1", "c1", False, 20.0)["wanted"]["session"] == "p1"
    assert voter.wish("p2", "p2", True, 0)["wanted"]["session"] == "p1", "only its own"
    assert voter.wish("p1", "p1", True, 0)["wanted"] is None


def test_a_wish_ends_with_its_fulfilment_and_with_a_boot(
    voter: Voter, now: list[float], tmp_path: pathlib.Path
) -> None:
    voter.wish("a", "A", True, 20.0)
    assert voter.request(ballot(1, founding=True))["wanted"] is None
    voter.wish("b", "B", True, 20.0)
    assert voter.request(ballot(1))["wanted"]["session"] == "b", "the holder is told"
    other_boot = tmp_path / "run-after-boot"
    other_boot.mkdir()
    shutil.copy(tmp_path / "run" / "wish-demo.json", other_boot)
    assert Voter(str(tmp_path / "state"), "demo", str(other_boot)).read()["wanted"] is None


def test_who_gives_its_lease_back_wants_it_no_more(voter: Voter, now: list[float]) -> None:
    """Also where this voter was not among those that granted it."""
    voter.request(ballot(1, founding=True))
    voter.wish("b", "B", True, 20.0)
    voter.release("c", 9)
    assert voter.read()["wanted"]["session"] == "b"
    voter.release("b", 2)
    assert voter.read()["wanted"] is None


def test_a_corrupt_wish_is_none(voter: Voter, now: list[float], tmp_path: pathlib.Path) -> None:
    voter.wish("a", "A", True, 20.0)
    (tmp_path / "run" / "wish-demo.json").write_bytes(b"\0" * 9)
    assert voter.read()["wanted"] is None
    assert voter.request(ballot(1, founding=True))["granted"] is True
    assert voter.wish("b", "B", True, 20.0)["wanted"]["session"] == "b"


# -- killed between any two changes of the disk


class Power:
    """Ends at the n-th change of the disk, before it; and before every later one."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.left = at
        for name in ("rename", "unlink"):
            patch.setattr(os, name, self._cut(getattr(os, name)))

    def _cut(self, real: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def change(*args: t.Any, **more: t.Any) -> t.Any:
            self.left -= 1
            if self.left <= 0:
                raise Killed
            return real(*args, **more)

        return change


Act = t.Callable[[Voter, pathlib.Path], t.Any]
#: what is done -> what a later reader may find of (term, session, founding, epoch of the voters)
CUTS: dict[str, tuple[Act, set[tuple[t.Any, ...]]]] = {
    "first": (lambda voter, _f: voter.request(ballot(9, "n", epoch=2)), {(8, "a", False, 2), (9, "n", False, 2)}),
    "release": (lambda voter, _f: voter.release("a", 8), {(8, "a", False, 2), (8, "", False, 2)}),
    "pin": (lambda _v, folder: pin(folder, 3), {(8, "a", False, 2), (8, "a", False, 3)}),
    # the voters go first: a founding of a resource that still has voters would be two resources
    "unpin": (lambda voter, _f: voter.unpin(), {(8, "a", False, 2), (8, "a", False, None), (8, "a", True, None)}),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_power_cut_leaves_the_old_or_the_new(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, now: list[float], name: str
) -> None:
    act, allowed = CUTS[name]
    found = set()
    for number in range(1, 20):
        folder = tmp_path / str(number)
        voter = voter_at(folder)
        voter.request(ballot(8, epoch=2, founding=True))
        pin(folder, 2)
        voter.request(ballot(8, epoch=2))
        if name == "first":
            now[0] += 15
        with monkeypatch.context() as patch:
            power = Power(patch, number)
            with contextlib.suppress(Killed):
                act(Voter(str(folder / "state"), "demo", str(folder / "run")), folder)
        seen = voter_at(folder).read()
        pinned = seen["config"]["epoch"] if seen["config"] else None
        found.add((seen["term"], seen["session"], seen["founding"], pinned))
        assert seen["config_epoch"] >= 2, "an epoch is never forgotten"
        if power.left > 0:
            break
    else:
        pytest.fail("it never ends")
    assert found == allowed
