# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The program ensemble-agent as real processes on a lease that is one file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("agent_program.py")
#: writes its token where the test looks, then works for long, and takes its time to end
WORK = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: None)
with open(sys.argv[1], "a") as stream:
    stream.write(os.environ["ENSEMBLE_FENCING_TOKEN"] + f" {os.getpid()}\\n")
for _ in range(3000):
    time.sleep(0.1)
"""


class Node:
    """One candidate."""

    def __init__(self, folder: Path, node: str, *command: str, **changes: t.Any) -> None:
        self.folder = folder / node
        self.folder.mkdir()
        self.lease = folder / "lease.json"
        (self.folder / "lease.json").symlink_to(self.lease)
        key = self.folder / "key"
        key.touch(0o600)
        self.settings = self.folder / "demo.json"
        self.journal = self.folder / "events.jsonl"
        raw = {
            "resource": "demo",
            "node_id": node,
            "candidates": ["a", "b"],
            "ttl": 3,
            "yield_s": 0.5,
            "voters": [{"name": "hv1", "address": "192.0.2.1"}],
            "private_key": str(key),
            "known_hosts": str(key),
            "command": list(command),
            "journal": str(self.journal),
            **changes,
        }
        self.settings.write_text(json.dumps(raw))

    def words(self, command: str, *options: str) -> list[str]:
        return [sys.executable, str(PROGRAM), str(self.folder), command, "--settings", str(self.settings), *options]

    def ask(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(command, *options), capture_output=True, text=True, timeout=60, check=False)

    def told(self, command: str) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", json.loads(self.ask(command, "--json").stdout))

    @contextlib.contextmanager
    def running(self) -> t.Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(self.words("run"), stdout=subprocess.DEVNULL, text=True)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(30)

    def events(self) -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in self.journal.read_text().splitlines()] if self.journal.exists() else []

    def wait_for(self, name: str, count: int = 1) -> dict[str, t.Any]:
        """The so manieth event of a name, waited for."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = [event for event in self.events() if event["event"] == name]
            if len(found) >= count:
                return found[count - 1]
            time.sleep(0.05)
        raise AssertionError(f"no event {name}: {self.events()}")


def lines(path: Path, count: int) -> list[str]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = path.read_text().splitlines() if path.exists() else []
        if len(found) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{path} has no {count} lines")


def alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def test_status_without_a_leader(tmp_path: Path) -> None:
    node = Node(tmp_path, "a")
    done = node.ask("status")
    assert done.returncode == 3
    assert "demo: nobody leads" in done.stdout
    assert "its agent does not run" in done.stdout


def test_the_life_of_two_candidates(tmp_path: Path) -> None:
    work = tmp_path / "work"
    one, two = (Node(tmp_path, name, sys.executable, "-c", WORK, str(work)) for name in "ab")
    with one.running() as first:
        token, pid = lines(work, 1)[0].split()
        assert token == "1,1"
        told = one.told("status")
        assert (told["leader"]["node"], told["token"], told["quorum"]["needed"]) == ("a", [1, 1], 1)
        assert told["agent"]["run"]["number"] == 1
        with two.running():
            assert two.wait_for("follows")["leader"].startswith("a/")
            elsewhere = two.ask("release")
            assert (elsewhere.returncode, "a leads" in elsewhere.stdout) == (0, True)
            assert two.ask("status").returncode == 0

            # a person lets the other one lead; the run is ended first
            assert one.ask("release").returncode == 0
            assert not alive(int(pid))
            assert one.wait_for("released")["why"] == "asked"
            token, second_pid = lines(work, 2)[1].split()
            assert token == "1,2"
            assert two.wait_for("elected")["at"] >= one.wait_for("released")["at"]

            # the first one stops in good order while it follows
            first.terminate()
            assert first.wait(20) == 0
            assert one.events()[-1]["event"] == "stopped"
        assert not alive(int(second_pid))
    assert json.loads(two.lease.read_text())["session"] == ""
    status = json.loads((two.folder / "run/agent/demo.json").read_text())
    assert (status["role"], status["last_run"]["ended_by"]) == ("stopped", "stopped")


def test_an_agent_stopped_longer_than_its_lease_kills_its_run_at_once(tmp_path: Path) -> None:
    work = tmp_path / "work"
    node = Node(tmp_path, "a", sys.executable, "-c", WORK, str(work))
    with node.running() as process:
        _token, pid = lines(work, 1)[0].split()
        process.send_signal(signal.SIGSTOP)
        until = json.loads(node.lease.read_text())["until"]
        deadline = time.monotonic() + 20
        while time.clock_gettime(time.CLOCK_BOOTTIME) < until + 0.2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert alive(int(pid))
        continued = time.clock_gettime(time.CLOCK_BOOTTIME)
        process.send_signal(signal.SIGCONT)
        lost = node.wait_for("lost")
        assert lost["at"] - continued < 1.0
        assert not alive(int(pid))
        again = node.wait_for("elected", 2)
        assert again["token"] == [1, 2]
        assert again["session"] != lost["session"]


def test_a_persons_wish_ends_the_run(tmp_path: Path) -> None:
    work = tmp_path / "work"
    node = Node(tmp_path, "a", sys.executable, "-c", WORK, str(work))
    with node.running():
        lines(work, 1)
        # a writer like the others: under the lock
        script = (
            "import fcntl, json, sys\nwith open(sys.argv[1], 'r+') as s:\n fcntl.flock(s, fcntl.LOCK_EX)\n"
            " state = json.load(s)\n state['wanted'] = 'ann@laptop/1'\n s.seek(0)\n s.truncate()\n"
            " json.dump(state, s)\n"
        )
        subprocess.run([sys.executable, "-c", script, str(node.lease)], check=True, timeout=20)
        assert node.wait_for("released")["why"] == "wanted"
        assert "wanted by a person: ann" in node.ask("status").stdout


def test_only_one_agent_of_a_resource_runs_on_a_node(tmp_path: Path) -> None:
    node = Node(tmp_path, "a")
    with node.running():
        node.wait_for("elected")
        second = node.ask("run")
    assert second.returncode == 1
    assert "runs on this node already" in second.stderr


def test_silent_voters_are_an_error_that_names_itself(tmp_path: Path) -> None:
    node = Node(tmp_path, "a")
    node.lease.write_text('{"silent": true}')
    done = node.ask("status", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "no_quorum"


def test_a_duplicate_ends_the_agent_with_status_3(tmp_path: Path) -> None:
    first, second = Node(tmp_path, "a"), None
    other = tmp_path / "elsewhere"
    other.mkdir()
    second = Node(other, "a")
    (second.folder / "lease.json").unlink()
    (second.folder / "lease.json").symlink_to(first.lease)
    with first.running():
        first.wait_for("elected")
        done = second.ask("run")
    assert done.returncode == 3
    assert "another agent goes by the node id a" in done.stderr
    assert second.events()[-2]["event"] == "duplicate"


@pytest.mark.parametrize("words", [[], ["lead"], ["status", "--resource", "x", "--settings", "y"]])
def test_a_wrong_command_line(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), *words], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 2


def test_settings_with_faults_start_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path, "a", ttl=1, comand=["x"])
    for command in ("run", "status", "release", "check"):
        done = node.ask(command, "--json")
        assert done.returncode == 1
        assert json.loads(done.stdout)["error"]["code"] == "invalid_settings"
        assert "comand: found an unknown key" in done.stderr
    assert node.events() == []


def test_sound_settings_pass_the_check_and_start_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path, "a")
    done = node.ask("check")
    assert (done.returncode, json.loads(done.stdout)["resource"]) == (0, "demo")
    assert node.events() == []


def test_the_events_file_is_put_aside_when_it_is_full(tmp_path: Path) -> None:
    node = Node(tmp_path, "a")
    node.journal.write_text('{"event": "old"}\n' * (1024 * 1024 // 17 + 1))
    with node.running():
        node.wait_for("elected")
    assert os.stat(f"{node.journal}.1").st_size >= 1024 * 1024
    assert node.events()[-1]["event"] == "stopped"
