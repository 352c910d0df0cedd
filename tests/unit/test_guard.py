# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members of which no leader is heard: who is destroyed, when, and when certainly nobody."""

from __future__ import annotations

import os
import pathlib
import shutil
import time

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.armed import Armed
from ansible_collections.ensemble.stacks.plugins.module_utils._host.fields import Batch
from ansible_collections.ensemble.stacks.plugins.module_utils._host.guard import DEADLINE
from guarded import ALL, TTL, Machine, machine

__all__ = ["machine"]


# -- arming


def test_only_a_keepalive_arms(machine: Machine) -> None:
    assert machine.shown() == {"armed": False, "ttl": None, "heard_s": None, "destroyed": []}
    machine.ask(verb="start", member="head-0", driver="lxc")
    machine.now += 10**6
    assert machine.guard.look() == 5.0
    assert (machine.children, machine.lines) == ([], [])
    assert machine.destroy()
    assert machine.up() == ALL
    machine.keepalive("compute-0")
    machine.now += 7
    assert machine.shown() == {"armed": True, "ttl": 60.0, "heard_s": 7.0, "destroyed": []}


def test_a_keepalive_of_nothing_disarms(machine: Machine) -> None:
    machine.keepalive("compute-0")
    assert machine.keepalive("compute-0", ttl=0)["ok"]
    machine.now += 10**6
    machine.guard.look()
    assert machine.destroy()
    assert (machine.children, machine.up(), machine.shown()["armed"]) == ([], ALL, False)


def test_a_keepalive_that_says_nothing_leaves_what_is_armed(machine: Machine) -> None:
    assert machine.keepalive(ttl=None)["ok"]
    assert not machine.shown()["armed"], "nothing was"
    machine.keepalive("compute-0")
    machine.now += TTL - 1
    assert machine.keepalive(ttl=None)["ok"]
    machine.now += TTL - 1
    assert machine.destroy()
    assert (machine.up(), machine.shown()["armed"]) == (ALL, True)


def test_a_keepalive_counts_from_when_it_was_sent(machine: Machine) -> None:
    """Its answer tells what the clock says here, and the next one how much later it was sent."""
    machine.keepalive("compute-0")
    clock = machine.keepalive("compute-0")["value"]["clock"]
    assert clock == machine.now
    machine.now += 50
    machine.keepalive("compute-0", clock=clock, elapsed=5.0)
    assert machine.shown()["heard_s"] == 45.0
    machine.keepalive("compute-0", clock=clock, elapsed=500.0)
    assert machine.shown()["heard_s"] == 0.0, "nothing was sent in the time to come"


def test_one_of_which_that_is_not_known_counts_as_the_first_only(machine: Machine) -> None:
    machine.keepalive("compute-0", clock=None, elapsed=None)
    assert machine.shown()["heard_s"] == 0.0
    machine.now += 30
    machine.keepalive("compute-0", clock=None, elapsed=None)
    assert machine.shown()["heard_s"] == 30.0


def test_forgetting_a_resource_disarms(machine: Machine) -> None:
    machine.keepalive("compute-0")
    machine.arming().condemn(["compute-0"])
    assert machine.ask(verb="forget")["ok"]
    left = [*os.listdir(f"{machine.host.state}/demo"), *os.listdir(machine.host.run_dir)]
    assert {"guard.json", "destroyed.json", "guard-demo.json"} & set(left) == set()


def test_what_is_armed_is_written_only_where_it_differs(machine: Machine) -> None:
    path = pathlib.Path(machine.host.state, "demo", "guard.json")
    machine.keepalive("compute-1", "compute-0")
    first = path.stat().st_ino, path.stat().st_mtime_ns
    machine.now += 5
    machine.keepalive("compute-0", "compute-1")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == first
    machine.keepalive("compute-0")
    assert path.stat().st_ino != first[0]
    assert machine.arming().armed() == Armed(60.0, ("compute-0",))


def test_a_former_leader_neither_arms_nor_is_heard(machine: Machine) -> None:
    machine.term = 2
    machine.keepalive("compute-0")
    machine.now += 50
    machine.term = 1
    assert machine.keepalive("compute-0", ttl=3600)["error"]["code"] == "stale_token"
    assert (machine.shown()["ttl"], machine.shown()["heard_s"]) == (60.0, 50.0)


def test_every_batch_that_was_let_in_is_heard_at_its_arrival(machine: Machine) -> None:
    machine.keepalive("compute-0")
    machine.now += 50
    machine.host.guard.heard(Batch("demo", 1, (1, 1), machine.now - 20))
    assert machine.shown()["heard_s"] == 20.0
    machine.host.guard.heard(Batch("demo", 1, (1, 1), machine.now - 30))
    assert machine.shown()["heard_s"] == 20.0, "the later one counts"
    machine.ask(verb="start", member="head-0", driver="lxc")
    assert machine.shown()["heard_s"] == 0.0


def test_a_broken_file_destroys_nobody_and_the_next_keepalive_mends_it(machine: Machine) -> None:
    machine.keepalive("compute-0")
    path = pathlib.Path(machine.host.state, "demo", "guard.json")
    path.write_text("garbage")
    machine.now += 10**6
    machine.guard.look()
    machine.guard.look()
    assert machine.children == []
    [line] = machine.lines
    assert "not guarded" in line
    assert "is corrupt" in line
    assert machine.shown()["armed"] is False
    machine.keepalive("compute-0")
    assert machine.shown()["armed"] is True


# -- watching the time


def test_the_time_is_that_of_the_last_keepalive(machine: Machine) -> None:
    machine.keepalive("compute-0")
    assert machine.guard.look() == TTL / 20
    machine.now += TTL - 0.1
    machine.guard.look()
    machine.keepalive("compute-0")
    machine.now += TTL - 0.1
    machine.guard.look()
    assert machine.children == []
    machine.now += 0.1
    assert machine.guard.look() < 1, "it waits for the process"
    machine.guard.look()
    assert len(machine.children) == 1, "one at a time"


def test_a_guard_that_comes_back_goes_on_counting(machine: Machine) -> None:
    machine.keepalive("compute-0")
    machine.now += TTL - 1
    machine.watcher().look()
    machine.now += 1
    machine.watcher().look()
    assert len(machine.children) == 1


def test_after_a_boot_the_time_counts_anew(machine: Machine) -> None:
    machine.keepalive("compute-0")
    machine.now += 10**6
    shutil.rmtree(machine.host.run_dir)  # it is empty after a boot
    machine.guard.look()
    machine.now += TTL - 1
    machine.guard.look()
    assert machine.children == []
    assert machine.destroy()
    assert machine.up() == ALL
    machine.now += 1
    machine.guard.look()
    assert len(machine.children) == 1


def test_a_time_that_lies_ahead_is_of_another_boot(machine: Machine) -> None:
    machine.keepalive("compute-0")
    machine.now = 5.0
    machine.guard.look()
    machine.now += TTL
    machine.guard.look()
    assert len(machine.children) == 1


def test_wall_clocks_may_jump(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.keepalive("compute-0")
    monkeypatch.setattr(time, "time", lambda: 10.0**10)
    machine.guard.look()
    assert machine.destroy()
    assert (machine.children, machine.up()) == ([], ALL)


def test_a_process_that_hangs_is_killed_told_and_started_anew(machine: Machine) -> None:
    machine.keepalive("compute-0")
    machine.now += TTL
    machine.guard.look()
    machine.now += DEADLINE - 1
    machine.guard.look()
    assert [child.killed for child in machine.children] == [False]
    machine.now += 1
    machine.guard.look()
    assert [child.killed for child in machine.children] == [True, False]
    assert machine.lines == [f"demo: libvirt did not answer within {DEADLINE:g} s; trying again"]


def test_as_long_as_nobody_is_heard_it_is_looked_again(machine: Machine) -> None:
    machine.keepalive("compute-0")
    machine.now += TTL
    machine.guard.look()
    machine.children[0].code = 0
    machine.guard.look()
    assert len(machine.children) == 2
