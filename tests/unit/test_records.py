# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The record and the secrets on a voter, and its votes."""

from __future__ import annotations

import pathlib
import stat

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host import votes
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import CorruptStateError
from ansible_collections.ensemble.stacks.plugins.module_utils._host.records import Records
from ansible_collections.ensemble.stacks.plugins.module_utils._host.votes import Voter, this_boot
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import RefusedError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import Record
from declared import parsed
from simulator import record_of


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "demo").mkdir()
    return tmp_path / "demo"


@pytest.fixture
def records(folder: pathlib.Path) -> Records:
    return Records(str(folder.parent), "demo")


def test_the_record_is_changed_by_compare_and_set(records: Records) -> None:
    assert records.read() == {}
    records.write({"version": 1, "desired": "started"})
    records.write({"version": 2, "desired": "stopped"})
    for version in (0, 1, 2, 4):
        with pytest.raises(RefusedError) as caught:
            records.write({"version": version})
        assert (caught.value.code, caught.value.details) == ("record_changed", {"stored": 2})
    assert records.read() == {"version": 2, "desired": "stopped"}


@pytest.mark.parametrize("version", ["2", None, [2], 1.5])
def test_a_version_that_is_no_number_is_refused_as_such(records: Records, version: object) -> None:
    with pytest.raises(RefusedError):
        records.write({"version": version})
    assert records.read() == {}


def test_the_first_writer_of_a_secret_wins(records: Records, folder: pathlib.Path) -> None:
    assert records.secrets() == {}
    assert records.add_secrets({"a": "1"}) == {"a": "1"}
    assert records.add_secrets({"a": "2", "b": "3"}) == {"a": "1", "b": "3"}
    assert records.secrets() == {"a": "1", "b": "3"}
    assert [entry.name for entry in folder.iterdir()] == ["secrets.json"]
    assert stat.S_IMODE((folder / "secrets.json").stat().st_mode) == 0o600


def test_forgetting_leaves_a_tombstone(records: Records, folder: pathlib.Path) -> None:
    resource = parsed(roles={"head": {"stateful": True}})
    record = record_of(resource, "absent", {"head-0": "hv1"}, 1)
    records.write(record.as_dict())
    records.add_secrets({"munge.key": "TOP-SECRET"})
    assert stat.S_IMODE((folder / "record.json").stat().st_mode) == 0o600
    records.forget()
    left = Record.from_dict(records.read())
    assert (left.version, left.generation, left.desired) == (2, 1, "absent")
    assert (dict(left.declaration), dict(left.placement), left.stateful, left.digest) == ({}, {}, (), "")
    text = "".join(entry.read_text() for entry in folder.iterdir())
    assert "TOP-SECRET" not in text
    assert "10.0.0.1" not in text
    assert records.secrets() == {}
    records.forget()
    assert Record.from_dict(records.read()) == left


def test_a_resource_that_was_never_there_is_forgotten_without_a_trace(records: Records, folder: pathlib.Path) -> None:
    records.forget()
    assert list(folder.iterdir()) == []


def test_a_record_survives_its_file_and_ignores_what_is_newer(records: Records) -> None:
    record = record_of(parsed(), "started", {"head-0": "hv1"}, 1)
    records.write({**record.as_dict(), "of_a_later_version": 1})
    assert Record.from_dict(records.read()) == record
    assert Record.from_dict({}) == Record()


@pytest.fixture
def voter(tmp_path: pathlib.Path) -> Voter:
    return Voter(str(tmp_path / "state"), "demo", str(tmp_path / "run"))


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The voter's clock: change the only item."""
    seconds = [100.0]
    monkeypatch.setattr(votes, "boottime", lambda: seconds[0])
    return seconds


def test_a_vote_is_on_disk_before_it_is_told(voter: Voter, now: list[float], tmp_path: pathlib.Path) -> None:
    assert voter.read()["term"] == 0
    assert not (tmp_path / "state").exists(), "reading leaves nothing"
    answer = voter.request(1, "s", "me", 15.0)
    assert (answer["granted"], answer["reason"], answer["expires_in"]) == (True, "granted", 15.0)
    again = Voter(str(tmp_path / "state"), "demo", str(tmp_path / "run")).read()
    assert (again["term"], again["session"], again["holder"], again["granted"]) == (1, "s", "me", False)
    assert stat.S_IMODE((tmp_path / "state" / "demo" / "lease.json").stat().st_mode) == 0o600


def test_votes_expire_and_are_given_back(voter: Voter, now: list[float]) -> None:
    voter.request(1, "a", "A", 15.0)
    assert voter.request(2, "b", "B", 15.0)["reason"] == "held"
    assert voter.release("b")["session"] == "a"
    now[0] += 15
    assert voter.request(2, "b", "B", 15.0)["reason"] == "granted"
    assert voter.release("b")["session"] == ""
    assert voter.read()["term"] == 2


def test_releasing_what_was_never_granted_leaves_nothing(voter: Voter, tmp_path: pathlib.Path) -> None:
    assert voter.release("a")["term"] == 0
    assert not (tmp_path / "state").exists()


def test_a_rebooted_voter_waits_one_ttl(voter: Voter, now: list[float], tmp_path: pathlib.Path) -> None:
    voter.request(1, "a", "A", 15.0)
    now[0] = 0.0
    rebooted = Voter(str(tmp_path / "state"), "demo", str(tmp_path / "run-after-boot"))
    now[0] = 3.0
    assert rebooted.request(2, "b", "B", 15.0)["reason"] == "held"
    now[0] = 14.9
    assert rebooted.request(2, "b", "B", 15.0)["reason"] == "held"
    now[0] = 15.0
    assert rebooted.request(2, "b", "B", 15.0)["reason"] == "granted"


def test_a_corrupt_vote_abstains(voter: Voter, tmp_path: pathlib.Path) -> None:
    voter.request(1, "a", "A", 15.0)
    (tmp_path / "state" / "demo" / "lease.json").write_bytes(b"")
    for ask in (voter.read, lambda: voter.request(9, "b", "B", 15.0), lambda: voter.release("a")):
        with pytest.raises(CorruptStateError):
            ask()


def test_a_boot_has_one_id(tmp_path: pathlib.Path) -> None:
    first = this_boot(str(tmp_path / "a"))
    assert this_boot(str(tmp_path / "a")) == first != this_boot(str(tmp_path / "b"))
    assert len(first.boot_id) == 36
