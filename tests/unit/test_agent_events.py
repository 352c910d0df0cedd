# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Events: bounded in the file, told in words, and followed while the file is put aside."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._agent import journal as journals
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.events import Speaker, Tail, Wish, events_of, tell
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.journal import Journal
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.main import main
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from harness.documents import AT, NOW, event

PROGRAM = Path(__file__).with_name("agent_program.py")


def journal(path: Path, stream: t.TextIO | None = None) -> Journal:
    return Journal("mytorque", "a", lambda: 5000.0, stream or io.StringIO(), str(path), wall=lambda: NOW)


def lines_of(path: Path) -> list[dict[str, t.Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def told(path: Path, lines: int | None = None, since: float | None = None, raw: bool = False) -> list[str]:
    out = io.StringIO()
    assert tell(str(path), Wish(lines, since, False, raw), out, lambda: NOW) == 0
    return out.getvalue().splitlines()


def write(path: Path, *events: dict[str, t.Any]) -> None:
    with path.open("a") as stream:
        stream.writelines(json.dumps(each) + "\n" for each in events)


# -- the file


def test_every_line_has_both_clocks(tmp_path: Path) -> None:
    stream = io.StringIO()
    journal(tmp_path / "events", stream).event("elected", "a/b/c", (1, 2), 5015.0)
    (line,) = lines_of(tmp_path / "events")
    assert json.loads(stream.getvalue()) == line
    assert (line["at"], line["wall"], line["until"], line["token"]) == (5000.0, AT, 5015.0, [1, 2])


@pytest.mark.parametrize(
    "more",
    [
        {"msg": "x" * 999_999},
        {"quorum": {str(n): "y" * 99 for n in range(9999)}},
        {f"k{n}": "z" * 900 for n in range(99)},
    ],
)
def test_a_line_is_bounded(tmp_path: Path, more: dict[str, t.Any]) -> None:
    path = tmp_path / "events"
    journal(path).event("warning", "s", (1, 2), **more)
    assert path.stat().st_size <= journals.LONGEST_LINE + 1
    (line,) = lines_of(path)
    assert (line["event"], line["cut"], line["wall"], line["token"]) == ("warning", True, AT, [1, 2])


def test_the_files_never_exceed_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "ROTATE_AT", 20_000)
    path, aside = tmp_path / "events", tmp_path / "events.1"
    writer = journal(path)
    for number in range(700):
        writer.event("run_started", "s", (1, 2), run=number, msg="x" * (number % 300))
        assert path.stat().st_size <= 20_000
    assert 15_000 < aside.stat().st_size <= 20_000
    assert sorted(os.listdir(tmp_path)) == ["events", "events.1"]
    numbers = [line["run"] for line in [*lines_of(aside), *lines_of(path)]]
    assert numbers == list(range(numbers[0], 700))


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, stream = tmp_path / "events", io.StringIO()
    writer = journal(path, stream)
    writer.event("first", "s", (1, 2))
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, data[:7]))
    writer.event("second", "s", (1, 2))
    monkeypatch.setattr(os, "write", whole)
    writer.event("third", "s", (1, 2))
    assert [line["event"] for line in lines_of(path)] == ["first", "third"]
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "first",
        "second",
        "journal_unwritable",
        "third",
    ]


# -- what is told of it


def test_when_what_who_in_which_term_and_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    try:
        path = tmp_path / "events"
        write(path, event(1130, "elected"), event(60, "free", term=0), event(0, "released", why="asked"))
        assert told(path) == [
            "2026-05-04 14:48:22+02:00  mytorque-head-0  term 1,4   elected         leads from now on",
            "2026-05-04 15:06:12+02:00  mytorque-head-0  term 1,0   free            nobody leads",
            "2026-05-04 15:07:12+02:00  mytorque-head-0  term 1,4   released        "
            "gave the lease back: somebody asked it to, led for 18 min",
        ]
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_only_the_term_that_ended_is_measured() -> None:
    speaker = Speaker()
    speaker.tell(event(500, "elected", term=3))
    speaker.tell(event(300, "elected", term=4))
    assert "led for" not in speaker.tell(event(200, "lost", term=3, why="lost"))
    assert speaker.tell(event(0, "lost", why="lost")).endswith("lost the lease, led for 5 min")


def test_what_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "events"
    write(tmp_path / "events.1", *(event(1000 - n, "run_started", run=n) for n in range(60)))
    write(path, *(event(500 - n, "run_started", run=n) for n in range(60, 90)))

    def runs(**wish: t.Any) -> list[int]:
        return [json.loads(line)["run"] for line in told(path, raw=True, **wish)]

    assert runs() == list(range(40, 90))
    assert runs(lines=3) == [87, 88, 89]
    assert runs(lines=0) == []
    assert runs(lines=1000) == list(range(90))
    assert runs(since=415) == [85, 86, 87, 88, 89]
    assert runs(since=0) == []


def test_what_is_no_event_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(b'{"event": "old", "at": 12.5}\n{"eve\n\xff\xfe\n[1]\n"x"\n\n{"a": 1}\n{"event": "half')
    assert told(path) == ["12.500 s after boot    no term    old"]
    assert told(path, raw=True) == ['{"event": "old", "at": 12.5}']
    assert told(tmp_path / "none") == []


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(EnsembleError) as error:
        told(tmp_path)
    assert error.value.code == "unreadable"


def test_nothing_is_missed_or_told_twice_while_files_are_put_aside(tmp_path: Path) -> None:
    path, aside = tmp_path / "events", tmp_path / "events.1"
    write(path, event(0, "first"))
    tail = Tail(str(path))
    seen = [each["event"] for each, line in events_of(tail.earlier())]
    write(path, event(0, "second"))
    path.rename(aside)
    seen += [each["event"] for each, line in events_of(tail.more())]  # nothing is there instead yet
    write(aside, event(0, "third"))
    write(path, event(0, "fourth"))
    seen += [each["event"] for each, line in events_of(tail.more())]
    with path.open("a") as stream:
        stream.write('{"event": "fi')
        stream.flush()
        seen += [each["event"] for each, line in events_of(tail.more())]
        stream.write('fth"}\n')
    seen += [each["event"] for each, line in events_of(tail.more())]
    tail.close()
    assert seen == ["first", "second", "third", "fourth", "fifth"]


def test_a_file_that_is_put_aside_while_it_is_opened_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, aside = tmp_path / "events", tmp_path / "events.1"
    write(path, event(0, "first"))
    tail = Tail(str(path))
    lines = tail.earlier()
    here = path.open("rb")
    monkeypatch.setattr(tail, "_file", here)
    path.rename(aside)
    monkeypatch.setattr(
        "ansible_collections.ensemble.stacks.plugins.module_utils._agent.events._opened",
        lambda name: here if name == str(path) else aside.open("rb"),
    )
    assert [each["event"] for each, line in events_of(lines)] == ["first"]
    tail.close()


# -- as a program


def settings(folder: Path, path: Path) -> Path:
    key = folder / "key"
    key.touch(0o600)
    file = folder / "demo.json"
    raw = {"resource": "demo", "node_id": "a", "candidates": ["a"], "voters": [{"name": "h", "address": "192.0.2.1"}]}
    file.write_text(json.dumps({**raw, "private_key": str(key), "known_hosts": str(key), "journal": str(path)}))
    return file


@contextlib.contextmanager
def following(folder: Path, path: Path, *options: str) -> t.Iterator[subprocess.Popen[str]]:
    words = [sys.executable, str(PROGRAM), str(folder), "events", "--settings", str(settings(folder, path)), "--follow"]
    process = subprocess.Popen([*words, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_it_follows_across_files_until_it_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "ROTATE_AT", 2000)
    path = tmp_path / "events"
    writer = journal(path)
    writer.event("run_started", "s", (1, 2), run=0)
    with following(tmp_path, path, "--json", "--lines", "5") as process:
        assert process.stdout is not None
        seen = [json.loads(process.stdout.readline())["run"]]
        for number in range(1, 40):
            writer.event("run_started", "s", (1, 2), run=number, msg="x" * 100)
            seen.append(json.loads(process.stdout.readline())["run"])
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
        assert (process.returncode, rest, errors) == (0, "", "")
    assert seen == list(range(40))
    assert (tmp_path / "events.1").exists()


def test_it_ends_when_nobody_reads_any_more(tmp_path: Path) -> None:
    path = tmp_path / "events"
    write(path, event(0, "first"))
    with following(tmp_path, path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "first" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 0  # without another event
        assert process.stderr.read() == ""
        process.stdout = None


def test_a_pipe_that_closes_early_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "events"
    write(path, *(event(0, "run_started", run=n) for n in range(5000)))
    words = [sys.executable, str(PROGRAM), str(tmp_path), "events", "--settings", str(settings(tmp_path, path))]
    process = subprocess.Popen([*words, "--lines", "5000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.parametrize(
    "words", [["--lines", "-1"], ["--since", "x"], ["--since", "nan"], ["--lines", "1", "--since", "1"]]
)
def test_a_wrong_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["events", "--settings", "none", *words])
    assert end.value.code == 2
    assert "usage: ensemble-agent events" in capsys.readouterr().err
