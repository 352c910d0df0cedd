# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Fencing: a hypervisor obeys the latest leader and the newest declaration only."""

from __future__ import annotations

import contextlib
import json
import pathlib
import stat
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host import fence
from ansible_collections.ensemble.stacks.plugins.module_utils._host.fence import fenced
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import (
    BusyError,
    CorruptStateError,
    read_json,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import RefusedError
from hypothesis import given
from hypothesis import strategies as st


def enter(root: pathlib.Path, token: tuple[int, int], generation: int = 1) -> str:
    """The code with which a batch is refused; empty when it may work."""
    try:
        with fenced(str(root), "demo", token, generation, 0.0):
            return ""
    except (RefusedError, BusyError) as error:
        return error.code


def stored(root: pathlib.Path) -> object:
    return read_json(str(root / "demo" / "fence.json"))


@pytest.mark.parametrize(
    ("token", "generation", "code"),
    [
        ((1, 5), 3, ""),
        ((1, 6), 3, ""),
        ((1, 5), 4, ""),
        ((2, 1), 3, ""),
        ((1, 4), 3, "stale_token"),
        ((0, 9), 9, "stale_token"),
        ((1, 5), 2, "stale_generation"),
        ((9, 9), 2, "stale_generation"),
    ],
)
def test_after_a_batch_with_token_1_5_of_generation_3(
    tmp_path: pathlib.Path, token: tuple[int, int], generation: int, code: str
) -> None:
    assert enter(tmp_path, (1, 5), 3) == ""
    before = stored(tmp_path)
    assert enter(tmp_path, token, generation) == code
    expected = before if code else {"token": list(token), "generation": generation}
    assert stored(tmp_path) == expected


def test_it_is_on_disk_before_anything_is_done(tmp_path: pathlib.Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), fenced(str(tmp_path), "demo", (1, 7), 2, 0.0):
        assert stored(tmp_path) == {"token": [1, 7], "generation": 2}
        raise KeyboardInterrupt
    assert enter(tmp_path, (1, 6), 2) == "stale_token"


def test_the_refusal_carries_both_sides(tmp_path: pathlib.Path) -> None:
    enter(tmp_path, (1, 5))
    with pytest.raises(RefusedError) as caught, fenced(str(tmp_path), "demo", (1, 4), 1, 0.0):
        pytest.fail("the block ran")
    assert caught.value.details == {"token": [1, 4], "highest": [1, 5]}


def test_resources_do_not_fence_each_other(tmp_path: pathlib.Path) -> None:
    enter(tmp_path, (1, 5))
    with fenced(str(tmp_path), "other", (1, 1), 1, 0.0):
        assert stored(tmp_path)["token"] == [1, 5]


def test_one_batch_at_a_time(tmp_path: pathlib.Path) -> None:
    with fenced(str(tmp_path), "demo", (1, 1), 1, 0.0):
        assert enter(tmp_path, (1, 2)) == "busy"
        assert stored(tmp_path) == {"token": [1, 1], "generation": 1}
    assert enter(tmp_path, (1, 2)) == ""


def test_a_corrupt_fence_lets_nobody_in(tmp_path: pathlib.Path) -> None:
    enter(tmp_path, (1, 5))
    (tmp_path / "demo" / "fence.json").write_bytes(b"\0" * 40)
    with pytest.raises(CorruptStateError):
        enter(tmp_path, (9, 9), 9)


def test_a_leader_that_repairs_a_corrupt_fence_is_let_in(tmp_path: pathlib.Path) -> None:
    enter(tmp_path, (1, 5))
    (tmp_path / "demo" / "fence.json").write_bytes(b"")
    with fenced(str(tmp_path), "demo", (1, 6), 1, 0.0, repair=True):
        assert stored(tmp_path) == {"token": [1, 6], "generation": 1}
    assert enter(tmp_path, (1, 5)) == "stale_token"


def test_to_repair_what_is_whole_takes_the_highest_token_all_the_same(tmp_path: pathlib.Path) -> None:
    enter(tmp_path, (1, 5))
    with pytest.raises(RefusedError), fenced(str(tmp_path), "demo", (1, 4), 1, 0.0, repair=True):
        pytest.fail("the block ran")


# -- the log of tokens


def logged(root: pathlib.Path, name: str = "tokens.log") -> list[tuple[t.Any, ...]]:
    lines = [json.loads(line) for line in (root / "demo" / name).read_text().splitlines()]
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    return [(line["token"], line["generation"], line["verdict"]) for line in lines]


def test_every_batch_leaves_a_line(tmp_path: pathlib.Path) -> None:
    for token, generation in (((1, 5), 2), ((1, 5), 2), ((1, 4), 2), ((1, 6), 1), ((2, 1), 2)):
        enter(tmp_path, token, generation)
    assert logged(tmp_path) == [
        ([1, 5], 2, "accepted"),
        ([1, 5], 2, "accepted"),
        ([1, 4], 2, "stale_token"),
        ([1, 6], 1, "stale_generation"),
        ([2, 1], 2, "accepted"),
    ]
    assert stat.S_IMODE((tmp_path / "demo" / "tokens.log").stat().st_mode) == 0o600


def test_what_did_not_get_in_is_not_in_the_log(tmp_path: pathlib.Path) -> None:
    """Neither a batch that waited in vain, nor one whose token could not be kept: it changed nothing."""
    with fenced(str(tmp_path), "demo", (1, 1), 1, 0.0):
        assert enter(tmp_path, (1, 2)) == "busy"

    def full(*_args: t.Any) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fence, "write_json", full)
        with pytest.raises(OSError, match="No space"):
            enter(tmp_path, (1, 9))
    assert enter(tmp_path, (1, 3)) == ""
    accepted = [token for token, _generation, verdict in logged(tmp_path) if verdict == "accepted"]
    assert accepted == [[1, 1], [1, 3]]


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: pathlib.Path) -> None:
    (tmp_path / "demo" / "tokens.log").mkdir(parents=True)
    assert enter(tmp_path, (1, 2)) == ""
    assert stored(tmp_path) == {"token": [1, 2], "generation": 1}


def test_a_log_that_is_full_is_put_aside_and_one_is_kept(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "LOG_SIZE", 1000)
    for term in range(1, 60):
        enter(tmp_path, (1, term))
    assert sorted(path.name for path in (tmp_path / "demo").glob("tokens.log*")) == ["tokens.log", "tokens.log.1"]
    assert (tmp_path / "demo" / "tokens.log.1").stat().st_size < 1200
    terms = [token[1] for name in ("tokens.log.1", "tokens.log") for token, _g, _v in logged(tmp_path, name)]
    assert terms == list(range(terms[0], 60)), "no line is lost between the two"


def test_resources_have_logs_of_their_own(tmp_path: pathlib.Path) -> None:
    enter(tmp_path, (1, 1))
    with fenced(str(tmp_path), "other", (7, 7), 1, 0.0):
        pass
    assert logged(tmp_path) == [([1, 1], 1, "accepted")]


# -- anything


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_what_was_let_in_never_decreases(batches: list[tuple[int, int, int]]) -> None:
    root = pathlib.Path.home() / f"fence-{hash(tuple(batches))}"
    highest, newest = (0, 0), 0
    for epoch, term, generation in batches:
        allowed = (epoch, term) >= highest and generation >= newest
        assert (enter(root, (epoch, term), generation) == "") is allowed
        if allowed:
            highest, newest = (epoch, term), generation
    (root / "demo" / "fence.json").unlink(missing_ok=True)


WORKER = """
import sys
from ansible_collections.ensemble.stacks.plugins.module_utils._host import fence
from ansible_collections.ensemble.stacks.plugins.module_utils._host.fence import fenced
with fenced(sys.argv[1], "demo", (1, 2), 1, 0.0):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_overlap(tmp_path: pathlib.Path) -> None:
    argv = [sys.executable, "-c", WORKER, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"in\n"
        assert enter(tmp_path, (1, 3)) == "busy"
        worker.communicate()
    assert worker.returncode == 0
    assert enter(tmp_path, (1, 1)) == "stale_token"
    assert enter(tmp_path, (1, 3)) == ""
