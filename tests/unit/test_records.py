# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The record and the secrets on a voter."""

from __future__ import annotations

import pathlib
import stat

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import CorruptStateError, write_json
from ansible_collections.ensemble.stacks.plugins.module_utils._host.records import Records
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import RefusedError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import Record, stamp_of
from declared import parsed
from simulator import record_of

TOKEN = (1, 4)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "demo").mkdir()
    return tmp_path / "demo"


@pytest.fixture
def records(folder: pathlib.Path) -> Records:
    return Records(str(folder.parent), "demo")


def test_the_record_is_changed_by_compare_and_set(records: Records) -> None:
    assert records.read() == {}
    records.write({"version": 1, "desired": "started"}, TOKEN)
    records.write({"version": 2, "desired": "stopped"}, TOKEN)
    for version in (0, 1, 2):
        with pytest.raises(RefusedError) as caught:
            records.write({"version": version}, TOKEN)
        assert (caught.value.code, caught.value.details) == ("record_changed", {"stored": 2})
    assert records.read() == {"version": 2, "desired": "stopped", "token": [1, 4]}


def test_a_write_whose_answer_was_lost_may_be_repeated(records: Records) -> None:
    for _time in range(2):
        records.write({"version": 1, "desired": "started"}, TOKEN)
        records.write_secrets({"a": "1"}, 1, TOKEN)
    assert records.read() == {"version": 1, "desired": "started", "token": [1, 4]}
    assert records.secrets() == {"version": 1, "token": [1, 4], "secrets": {"a": "1"}}


@pytest.mark.parametrize("later", [(1, 5), (2, 1)])
@pytest.mark.parametrize("version", [1, 2, 7, 9])
def test_a_later_leaders_word_counts_whatever_stands_here(
    records: Records, later: tuple[int, int], version: int
) -> None:
    """What its predecessor left on this voter only, no majority ever said."""
    records.write({"version": 7, "desired": "started"}, TOKEN)
    records.write_secrets({"a": "1"}, 7, TOKEN)
    records.write({"version": version, "desired": "stopped"}, later)
    records.write_secrets({"b": "2"}, version, later)
    assert records.read() == {"version": version, "desired": "stopped", "token": list(later)}
    assert records.secrets() == {"version": version, "token": list(later), "secrets": {"b": "2"}}


def test_an_earlier_leaders_word_does_not_count_any_more(records: Records) -> None:
    records.write({"version": 7}, TOKEN)
    records.write_secrets({"a": "1"}, 7, TOKEN)
    for earlier in ((1, 3), (0, 9)):
        with pytest.raises(RefusedError):
            records.write({"version": 8}, earlier)
        with pytest.raises(RefusedError):
            records.write_secrets({}, 8, earlier)
    assert (records.read()["version"], records.secrets()["version"]) == (7, 7)


def test_what_is_corrupt_is_replaced_by_a_leader(records: Records, folder: pathlib.Path) -> None:
    for name in ("record.json", "secrets.json"):
        (folder / name).write_bytes(b"\0" * 64)
    for read in (records.read, records.secrets):
        with pytest.raises(CorruptStateError):
            read()
    records.write({"version": 3}, TOKEN)
    records.write_secrets({"a": "1"}, 3, TOKEN)
    assert (records.read()["version"], records.secrets()["secrets"]) == (3, {"a": "1"})


@pytest.mark.parametrize("version", ["2", None, [2], 1.5])
def test_a_version_that_is_no_number_is_refused_as_such(records: Records, version: object) -> None:
    with pytest.raises(RefusedError):
        records.write({"version": version}, TOKEN)
    assert records.read() == {}


def test_secrets_are_private_and_replaced_as_a_whole(records: Records, folder: pathlib.Path) -> None:
    assert records.secrets() == {}
    records.write_secrets({"a": "1"}, 1, TOKEN)
    records.write_secrets({"b": "3"}, 2, TOKEN)
    assert records.secrets()["secrets"] == {"b": "3"}
    with pytest.raises(RefusedError, match="list of secrets"):
        records.write_secrets({"c": "4"}, 2, TOKEN)
    assert [entry.name for entry in folder.iterdir()] == ["secrets.json"]
    assert stat.S_IMODE((folder / "secrets.json").stat().st_mode) == 0o600


def test_secrets_of_the_time_before_versions_are_still_known(records: Records, folder: pathlib.Path) -> None:
    write_json(str(folder / "secrets.json"), {"munge.key": "x"})
    assert records.secrets() == {"version": 1, "token": [0, 0], "secrets": {"munge.key": "x"}}
    records.write_secrets({"munge.key": "x", "more": "y"}, 2, (1, 1))
    assert records.secrets()["secrets"] == {"munge.key": "x", "more": "y"}


def test_forgetting_leaves_a_tombstone(records: Records, folder: pathlib.Path) -> None:
    resource = parsed(roles={"head": {"stateful": True}})
    record = record_of(resource, "absent", {"head-0": "hv1"}, 1)
    records.write(record.as_dict(), TOKEN)
    records.write_secrets({"munge.key": "TOP-SECRET"}, 1, TOKEN)
    assert stat.S_IMODE((folder / "record.json").stat().st_mode) == 0o600
    records.forget((1, 5))
    left = Record.from_dict(records.read())
    assert (left.version, left.generation, left.desired) == (2, 1, "absent")
    assert (dict(left.declaration), dict(left.placement), left.stateful, left.digest) == ({}, {}, (), "")
    assert (dict(left.moving), left.removed) == ({}, ())
    assert records.read()["token"] == [1, 5]
    text = "".join(entry.read_text() for entry in folder.iterdir())
    assert "TOP-SECRET" not in text
    assert "10.0.0.1" not in text
    assert records.secrets() == {"version": 2, "token": [1, 5], "secrets": {}}
    records.forget((1, 6))
    assert Record.from_dict(records.read()) == left


def test_what_was_forgotten_outweighs_a_voter_that_was_away(records: Records, tmp_path: pathlib.Path) -> None:
    (tmp_path / "away" / "demo").mkdir(parents=True)
    away = Records(str(tmp_path / "away"), "demo")
    record = record_of(parsed(), "absent", {}, 1).as_dict()
    for each in (records, away):
        each.write(record, TOKEN)
        each.write_secrets({"munge.key": "x"}, 1, TOKEN)
    records.forget(TOKEN)
    assert stamp_of(records.read()) > stamp_of(away.read())
    assert stamp_of(records.secrets()) > stamp_of(away.secrets())


def test_a_resource_that_was_never_there_is_forgotten_without_a_trace(records: Records, folder: pathlib.Path) -> None:
    records.forget(TOKEN)
    assert list(folder.iterdir()) == []


def test_a_record_survives_its_file_and_ignores_what_is_newer(records: Records) -> None:
    record = record_of(parsed(), "started", {"head-0": "hv1"}, 1)
    records.write({**record.as_dict(), "of_a_later_version": 1}, TOKEN)
    assert Record.from_dict(records.read()) == record
    assert Record.from_dict({}) == Record()
