# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The record and the secrets on a majority: what one leader completed, every later one finds."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.ledger import Ledger
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import read_json
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError, LeaseError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import Record
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import FATES, NAMES, Keepers, OneByOne, StandIn
from world import Killed


@pytest.fixture
def keepers(tmp_path: pathlib.Path) -> Keepers:
    found = Keepers(tmp_path)
    found.found()
    return found


def write(ledger: Ledger, lease: StandIn, digest: str, **secrets: str) -> None:
    """The next version of the record; and of the secrets, if there are any."""
    ledger.write_record(replace(ledger.record, version=ledger.record.version + 1, digest=digest), lease)
    if secrets:
        ledger.write_secrets(secrets, lease)


def leads(keepers: Keepers, term: int, down: t.Collection[str] = ()) -> tuple[Ledger, StandIn]:
    lease = StandIn((1, term))
    ledger = keepers.ledger(down=down)
    ledger.settle(lease)
    return ledger, lease


def kept(keepers: Keepers, name: str) -> tuple[str, t.Any]:
    """What one voter has: the record's digest and the secrets."""
    folder = keepers.folder(name)
    record, secrets = read_json(str(folder / "record.json")) or {}, read_json(str(folder / "secrets.json")) or {}
    return str(record.get("digest", "")), secrets.get("secrets")


def everywhere(keepers: Keepers) -> list[tuple[str, t.Any]]:
    return [kept(keepers, name) for name in NAMES]


# -- one leader after another


@pytest.mark.parametrize("name", ["lease.json", "fence.json", "record.json", "secrets.json", "voters.json"])
@pytest.mark.parametrize("body", [b"", b"garbage", b"\0" * 80], ids=["empty", "garbage", "zeroed"])
def test_the_next_leader_makes_a_broken_file_whole(keepers: Keepers, name: str, body: bytes) -> None:
    """Although it has nothing to write itself."""
    ledger, lease = leads(keepers, 1)
    write(ledger, lease, "first", key="x")
    path = keepers.folder("hv2") / name
    path.write_bytes(body)
    leads(keepers, 2)
    assert read_json(str(path))
    assert everywhere(keepers) == [("first", {"key": "x"})] * 3


def test_before_the_first_start_there_is_nothing(tmp_path: pathlib.Path) -> None:
    ledger = Keepers(tmp_path).ledger()
    ledger.read()
    assert (ledger.record, ledger.secrets) == (Record(), {})


def test_the_first_leader_pins_the_voters_each_by_its_own_name(keepers: Keepers) -> None:
    for name in NAMES:
        assert read_json(str(keepers.folder(name) / "voters.json")) == keepers.electorate.config(name).as_dict()


def test_what_stands_is_not_written_again(keepers: Keepers) -> None:
    write(*leads(keepers, 2), "one", a="1")
    before = keepers.world.exchanges
    leads(keepers, 3)
    assert keepers.world.exchanges - before == len(NAMES), "one trip to each: it reads"


@pytest.mark.parametrize("away", NAMES)
def test_a_voter_that_was_away_is_brought_up_to_date(keepers: Keepers, away: str) -> None:
    write(*leads(keepers, 2), "one", a="1")
    write(*leads(keepers, 3, down=[away]), "two", a="1", b="2")
    assert kept(keepers, away) == ("one", {"a": "1"})
    ledger, _lease = leads(keepers, 4)
    assert (ledger.record.digest, ledger.secrets) == ("two", {"a": "1", "b": "2"})
    assert everywhere(keepers) == [("two", {"a": "1", "b": "2"})] * 3


@pytest.mark.parametrize("down", [("hv1", "hv2"), ("hv2", "hv3"), NAMES])
def test_without_a_majority_nothing_is_read_or_written(keepers: Keepers, down: tuple[str, ...]) -> None:
    ledger, lease = leads(keepers, 2)
    write(ledger, lease, "one", a="1")
    t.cast("OneByOne", ledger.links).down = set(down)
    for act in (ledger.read, lambda: ledger.settle(lease), lambda: write(ledger, lease, "two")):
        with pytest.raises(LeaseError) as caught:
            act()
        assert caught.value.code == "no_quorum"
        assert all(f"{name} is away" in caught.value.msg for name in down)


def test_what_a_dead_leader_left_on_one_voter_wins_when_it_is_seen(keepers: Keepers) -> None:
    """Nobody can know that it was not completed: so it is completed now, before anybody acts by it."""
    ledger, lease = leads(keepers, 2)
    write(ledger, lease, "one")
    with pytest.raises(LeaseError):
        write(Ledger(OneByOne(keepers.world, down=["hv2", "hv3"]), keepers.electorate, ledger.record), lease, "two")
    seen, _lease = leads(keepers, 3)
    assert seen.record.digest == "two"
    assert [digest for digest, _secrets in everywhere(keepers)] == ["two"] * 3


def test_what_a_dead_leader_left_on_one_voter_never_comes_back_once_it_was_not_seen(keepers: Keepers) -> None:
    ledger, lease = leads(keepers, 2)
    write(ledger, lease, "one")
    lonely = Ledger(OneByOne(keepers.world, down=["hv2", "hv3"]), keepers.electorate, ledger.record)
    for digest in ("two", "three", "four"):  # its versions run far ahead
        with pytest.raises(LeaseError):
            write(lonely, lease, digest)
        lonely.record = replace(lonely.record, version=lonely.record.version + 1)
    second, later = leads(keepers, 3, down=["hv1"])
    assert second.record.digest == "one"
    write(second, later, "other")
    third, _lease = leads(keepers, 4)
    assert third.record.digest == "other"
    assert [digest for digest, _secrets in everywhere(keepers)] == ["other"] * 3


# -- a leader that does not know that it leads no more


def test_a_former_leader_is_refused_by_one_voter_and_believes_it(keepers: Keepers) -> None:
    former, lease = leads(keepers, 2)
    write(former, lease, "one")
    write(*leads(keepers, 3, down=["hv1"]), "two")
    with pytest.raises(EnsembleError) as caught:
        write(former, lease, "three")
    assert caught.value.code == "stale_token"
    assert leads(keepers, 4)[0].record.digest == "two"


def test_a_write_that_took_longer_than_the_lease_is_no_success(keepers: Keepers) -> None:
    """A successor that has only read meanwhile has told no voter of its token, and none of them refuses."""
    former, lease = leads(keepers, 2)
    write(former, lease, "one")
    paused = t.cast("OneByOne", former.links)
    successor: list[Ledger] = []

    def pause(name: str) -> None:
        if name == "hv1":
            lease.end()
            successor.append(leads(keepers, 3)[0])

    paused.between = pause
    with pytest.raises(LeaseError) as caught:
        write(former, lease, "two")
    assert caught.value.code == "lease_lost"
    assert successor[0].record.digest == "one"


def test_without_a_lease_nothing_is_sent(keepers: Keepers) -> None:
    ledger, lease = leads(keepers, 2)
    lease.end()
    before = keepers.world.exchanges
    acts: list[t.Callable[[], None]] = [lambda: write(ledger, lease, "one"), lambda: ledger.write_secrets({}, lease)]
    for act in (*acts, lambda: ledger.forget(lease)):
        with pytest.raises(LeaseError):
            act()
    assert keepers.world.exchanges == before


# -- voters that lost their memory


def damage(folder: pathlib.Path, names: t.Sequence[str], body: bytes | None) -> None:
    """Files of a voter, garbled or gone; without names all of them."""
    for path in [folder / name for name in names] or sorted(folder.glob("*.json")):
        if body is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(body)


DAMAGES: list[tuple[tuple[str, ...], bytes | None]] = [
    ((), None),
    ((), b""),
    ((), b"\0" * 200),
    *(((name,), b"garbage") for name in ("lease.json", "record.json", "secrets.json", "voters.json", "fence.json")),
    (("lease.json",), None),
    (("voters.json",), None),
    (("lease.json", "fence.json"), b""),
]


@pytest.mark.parametrize("name", ["hv1", "hv3"])
@pytest.mark.parametrize(("files", "body"), DAMAGES, ids=str)
def test_a_voter_is_given_back_what_it_lost(
    keepers: Keepers, name: str, files: tuple[str, ...], body: bytes | None
) -> None:
    write(*leads(keepers, 2), "one", a="1")
    damage(keepers.folder(name), files, body)
    ledger, lease = leads(keepers, 3)
    assert (ledger.record.digest, ledger.secrets) == ("one", {"a": "1"})
    write(ledger, lease, "two", b="2")
    assert everywhere(keepers) == [("two", {"b": "2"})] * 3
    [answer] = t.cast("list[t.Any]", ledger.links.batch({name: [{"verb": "lease_read"}]})[name])
    assert (answer["value"]["blank"], answer["value"]["config"]["epoch"]) == (False, 1)
    assert read_json(str(keepers.folder(name) / "fence.json"))["token"] == [1, 3]


@pytest.mark.parametrize(("files", "body"), DAMAGES[:4], ids=str)
def test_a_voter_without_memory_vouches_for_nothing(
    keepers: Keepers, files: tuple[str, ...], body: bytes | None
) -> None:
    write(*leads(keepers, 2, down=["hv3"]), "one", a="1")
    damage(keepers.folder("hv2"), files, body)
    for down in ("hv1", "hv3"):
        with pytest.raises(LeaseError) as caught:
            keepers.ledger(down=[down]).read()
        assert caught.value.code == "no_quorum"
    assert leads(keepers, 3)[0].record.digest == "one"


# -- the whole resource goes


def test_what_was_forgotten_stays_so_although_one_voter_was_away(keepers: Keepers) -> None:
    ledger, lease = leads(keepers, 2)
    full = {"declaration": {"name": "demo"}, "desired": "started", "generation": 3}
    ledger.write_record(Record.from_dict({"version": 1, **full}), lease)
    ledger.write_secrets({"a": "1"}, lease)
    t.cast("OneByOne", ledger.links).down = {"hv3"}
    ledger.forget(lease)
    for down in ([], ["hv1"], ["hv2"]):
        later = keepers.ledger(down=down)
        later.read()
        assert (dict(later.record.declaration), later.secrets, later.record.generation) == ({}, {}, 3)


# -- anything, anywhere


class Story:
    """Leaders one after another, each with what becomes of its questions; nobody is at work beside another one."""

    def __init__(self, keepers: Keepers) -> None:
        self.keepers = keepers
        self.term = 1
        self.written = 0  # numbers of writes: each carries its own
        self.sure = {"record": 0, "secrets": 0}  # the last one that was completed, or seen by a leader that settled

    def lead(self, fates: t.Sequence[str], writes: int) -> None:
        self.term += 1
        lease = StandIn((1, self.term))
        ledger = self.keepers.ledger(fates)
        with contextlib.suppress(Killed, LeaseError):
            ledger.settle(lease)
            self.judge(ledger)
            self.sure = self.numbers(ledger)
            for _write in range(writes):
                self.written += 1
                write(ledger, lease, str(self.written))
                self.sure["record"] = self.written
                ledger.write_secrets({"n": str(self.written)}, lease)
                self.sure["secrets"] = self.written

    def numbers(self, ledger: Ledger) -> dict[str, int]:
        return {"record": int(ledger.record.digest or 0), "secrets": int(ledger.secrets.get("n", 0))}

    def judge(self, ledger: Ledger) -> None:
        seen = self.numbers(ledger)
        assert seen["record"] >= self.sure["record"], "a completed record was lost"
        assert seen["secrets"] >= self.sure["secrets"], "completed secrets were lost"

    def look(self, down: str) -> None:
        """Somebody who only looks, while one voter is away."""
        ledger = self.keepers.ledger(down=[down])
        with contextlib.suppress(LeaseError):
            ledger.read()
            self.judge(ledger)


LEADER = st.tuples(st.lists(st.sampled_from(FATES + ("done",) * 8), max_size=24), st.integers(0, 3))
LOSSES = st.sampled_from([None, None, None, *((name, how) for name in NAMES for how in (None, b"", b"\0" * 99))])


def play(steps: t.Sequence[tuple[tuple[list[str], int], t.Any, str]], loses: bool) -> None:
    """Leaders that die and, where `loses`, a voter at a time that loses its memory before the next one leads."""
    with tempfile.TemporaryDirectory() as base, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _fd: None)
        keepers = Keepers(pathlib.Path(base))
        keepers.found()
        story = Story(keepers)
        lost = ""
        for (fates, writes), loss, away in steps:
            story.lead(fates, writes)
            if loses and loss and lost in ("", loss[0]):
                lost = loss[0]
                damage(keepers.folder(lost), (), loss[1])
            story.look(away)
        story.lead([], 1)
        assert story.sure == {"record": story.written, "secrets": story.written}
        assert everywhere(keepers) == [(str(story.written), {"n": str(story.written)})] * 3


@given(st.lists(st.tuples(LEADER, st.none(), st.sampled_from(NAMES)), min_size=1, max_size=3))
@settings(max_examples=60)
def test_what_was_completed_is_never_lost(steps: list[t.Any]) -> None:
    play(steps, False)


@given(st.lists(st.tuples(LEADER, LOSSES, st.sampled_from(NAMES)), min_size=2, max_size=4))
@settings(max_examples=60)
def test_what_was_completed_survives_a_voter_that_loses_its_memory(steps: list[t.Any]) -> None:
    play(steps, True)


@pytest.mark.parametrize("number", range(1, 40))
def test_a_voter_that_is_given_back_its_memory_vouches_only_once_it_has_all_of_it(
    keepers: Keepers, number: int
) -> None:
    """Killed at any question while it repairs one of the two that know; then the other one is away."""
    write(*leads(keepers, 2), "one", a="1")
    write(*leads(keepers, 3, down=["hv3"]), "two", a="1", b="2")
    damage(keepers.folder("hv2"), (), None)
    fates = ["done"] * (number - 1) + ["killed_before"]
    with contextlib.suppress(Killed):
        keepers.ledger(fates).settle(StandIn((1, 4)))
    for down in ("hv1", "hv3"):
        ledger = keepers.ledger(down=[down])
        with contextlib.suppress(LeaseError):
            ledger.read()
            assert (ledger.record.digest, ledger.secrets) == ("two", {"a": "1", "b": "2"})
