# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members of which no leader is heard: who is destroyed, when, and when certainly nobody."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import socket
import threading
import time
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host import armed as armed_module
from ansible_collections.ensemble.stacks.plugins.module_utils._host import guard as guard_module
from ansible_collections.ensemble.stacks.plugins.module_utils._host.armed import Armed, Arming
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.base import Ownership
from ansible_collections.ensemble.stacks.plugins.module_utils._host.fence import alone, fenced
from ansible_collections.ensemble.stacks.plugins.module_utils._host.fields import Batch
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import BusyError
from ansible_collections.ensemble.stacks.plugins.module_utils._host.guard import DEADLINE, Guard, carry_out
from ansible_collections.ensemble.stacks.plugins.module_utils._host.notify import notify
from ansible_collections.ensemble.stacks.plugins.module_utils._host.serve import handle
from ansible_collections.ensemble.stacks.plugins.module_utils._host.verbs import Host
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import MUTATING, PROTOCOL
from declared import parsed
from world import WatchedDriver, driver_of, host_at

DEMO = parsed()
TTL = 60.0


class Child:
    """A process of the guard that ends when a test says so."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.killed = False

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        self.killed, self.code = True, -9

    def wait(self, timeout: float | None = None) -> int:
        assert self.code is not None
        return self.code


class Machine:
    """A hypervisor with a clock that a test moves: two members that may be made anew elsewhere, and a head."""

    def __init__(self, folder: pathlib.Path, patch: pytest.MonkeyPatch) -> None:
        self.host: Host = host_at(folder, "hv1")
        self.driver: WatchedDriver = driver_of(self.host)
        self.now = 1000.0
        patch.setattr(time, "clock_gettime", lambda _clock: self.now)
        self.lines: list[str] = []
        self.children: list[Child] = []
        self.term = 1
        for member in DEMO.members:
            self.make("demo", member.name)
        self.driver.calls.clear()
        self.guard = self.watcher()

    def make(self, resource: str, member: str) -> None:
        spec = DEMO.members[0].spec
        self.driver.prepare(resource, member, spec, t.cast("t.Any", None))
        self.driver.define(Ownership(resource, member, (), 1, (1, 1), spec, "", False))
        self.driver.start(resource, member)

    def watcher(self) -> Guard:
        """A guard that was just started."""
        return Guard(self.host.state, self.host.run_dir, self.lines.append, self._child, lambda: self.now)

    def _child(self, resource: str) -> Child:
        assert resource == "demo"
        self.children.append(Child())
        return self.children[-1]

    def arming(self) -> Arming:
        return Arming(self.host.state, self.host.run_dir, "demo")

    def ask(self, **verb: t.Any) -> dict[str, t.Any]:
        """The answer of one verb, sent by the leader of this term."""
        request = {"protocol": PROTOCOL, "id": 1, "resource": "demo", "verbs": [verb]}
        if verb["verb"] in MUTATING:
            request.update(generation=1, token=[1, self.term])
        answer = handle(self.host, json.dumps(request).encode() + b"\n")
        return t.cast("dict[str, t.Any]", answer["results"][0] if "results" in answer else answer)

    def keepalive(self, *members: str, ttl: t.Any = TTL, **more: t.Any) -> dict[str, t.Any]:
        """Sent now, and here at once, unless more is said."""
        sent = {"clock": self.now, "elapsed": 0.0, **more}
        return self.ask(verb="keepalive", member_ttl=ttl, relocatable=list(members), **sent)

    def destroy(self) -> bool:
        """What the guard's own process does."""
        return carry_out(self.host.drivers, self.host.state, self.host.run_dir, "demo", self.lines.append)

    def up(self) -> set[str]:
        return {entry["name"] for entry in self.driver.domains() if entry["state"] == "running"}

    def shown(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", self.ask(verb="observe")["value"]["guard"])


@pytest.fixture
def machine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


ALL = {"demo-head-0", "demo-compute-0", "demo-compute-1"}


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


# -- destroying


def test_just_the_members_that_are_named_end(machine: Machine) -> None:
    machine.make("other", "compute-0")
    machine.driver.add_foreign("demo-compute-9", None)
    machine.keepalive("compute-0", "compute-1", "compute-9")
    machine.driver.stop("demo", "compute-1", 5)
    machine.now += TTL
    assert machine.destroy()
    assert machine.up() == {"demo-head-0", "other-compute-0", "demo-compute-9"}
    assert machine.lines == ["demo/compute-0: destroyed: no leader was heard for 60.0 s (60 s allowed)"]
    assert machine.driver.disks["demo", "compute-0"], "its disk stays"
    assert machine.shown()["destroyed"] == ["compute-0"]
    [entry] = [entry for entry in machine.driver.domains() if entry["name"] == "demo-compute-0"]
    assert entry["reason"] == "destroyed"
    assert machine.destroy()
    assert len(machine.lines) == 1


def test_what_is_started_again_was_not_destroyed(machine: Machine) -> None:
    machine.keepalive("compute-0", "compute-1")
    machine.now += TTL
    machine.destroy()
    machine.keepalive("compute-0", "compute-1")
    assert machine.shown()["destroyed"] == ["compute-0", "compute-1"], "a leader that comes back is to know it"
    machine.ask(verb="start", member="compute-0", driver="lxc")
    machine.ask(verb="undefine", member="compute-1", driver="lxc")
    assert machine.shown()["destroyed"] == []
    machine.driver.stop("demo", "compute-0", 5)
    assert machine.shown()["destroyed"] == []


def test_a_leader_that_is_heard_in_the_last_moment_saves_them(machine: Machine) -> None:
    machine.keepalive("compute-0")
    machine.now += TTL
    machine.guard.look()
    assert len(machine.children) == 1
    machine.keepalive("compute-0")
    assert machine.destroy()
    assert (machine.up(), machine.lines) == (ALL, [])


def test_nothing_ends_under_the_hands_of_a_leader(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "LOCK_TIMEOUT", 0.01)
    machine.keepalive("compute-0")
    machine.now += TTL
    with fenced(machine.host.state, "demo", (1, 1), 1, 1.0):
        assert not machine.destroy()
    assert machine.up() == ALL
    assert machine.destroy()
    assert machine.up() == ALL - {"demo-compute-0"}


def test_no_batch_is_let_in_between_the_decision_and_the_deed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def stop(resource: str, member: str, timeout: float) -> bool:
        try:
            with alone(machine.host.state, resource, 0.01):
                pass
        except BusyError:
            refused.append(timeout)
        return True

    monkeypatch.setattr(machine.driver, "stop", stop)
    machine.keepalive("compute-0")
    machine.now += TTL
    machine.destroy()
    assert refused == [0]


def test_one_that_cannot_be_destroyed_holds_up_nobody_and_is_tried_again(machine: Machine) -> None:
    machine.driver.failing.add(("stop", "compute-0"))
    machine.keepalive("compute-0", "compute-1")
    machine.now += TTL
    assert not machine.destroy()
    assert machine.up() == {"demo-head-0", "demo-compute-0"}
    assert machine.lines[-1] == "demo: lxc: compute-0 was not destroyed: no stop today; trying again"
    assert machine.shown()["destroyed"] == ["compute-1"]
    machine.driver.failing.clear()
    assert machine.destroy()
    assert machine.shown()["destroyed"] == ["compute-0", "compute-1"]


def test_a_driver_that_hangs_holds_up_no_other(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "CALL_TIMEOUT", 0.3)
    free = threading.Event()

    class Hanging(WatchedDriver):
        def domains(self) -> list[dict[str, t.Any]]:
            free.wait(20)
            return []

    hanging = Hanging(str(machine.host.state) + "/hanging")
    machine.keepalive("compute-0")
    machine.now += TTL
    drivers = {"qemu": hanging, "lxc": machine.driver}
    try:
        assert not carry_out(drivers, machine.host.state, machine.host.run_dir, "demo", machine.lines.append)
    finally:
        free.set()
    assert machine.up() == ALL - {"demo-compute-0"}
    assert "demo: qemu: libvirt did not answer within 0.3 s; trying again" in machine.lines


def test_a_driver_that_is_not_installed_is_no_reason_to_try_again(machine: Machine) -> None:
    class Missing(WatchedDriver):
        def domains(self) -> list[dict[str, t.Any]]:
            raise RuntimeError("no such driver")

    drivers = {"qemu": Missing(str(machine.host.state) + "/missing"), "lxc": machine.driver}
    machine.keepalive("compute-0")
    machine.now += TTL
    assert carry_out(drivers, machine.host.state, machine.host.run_dir, "demo", machine.lines.append)
    assert len(machine.lines) == 1


def test_a_full_disk_saves_nobody(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.keepalive("compute-0")
    machine.now += TTL

    def full(*_args: t.Any, **_more: t.Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(armed_module, "write_json", full)
    assert machine.destroy()
    assert machine.up() == ALL - {"demo-compute-0"}
    assert "No space left" in machine.lines[0]


def test_systemd_is_told(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")  # nobody listens
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("WATCHDOG=1")
        assert listening.recv(100) == b"WATCHDOG=1"
