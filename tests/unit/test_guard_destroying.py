# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What the guard destroys when nobody is heard any more, and what not."""

from __future__ import annotations

import pathlib
import socket
import threading
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host import armed as armed_module
from ansible_collections.ensemble.stacks.plugins.module_utils._host import guard as guard_module
from ansible_collections.ensemble.stacks.plugins.module_utils._host.fence import alone, fenced
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import BusyError
from ansible_collections.ensemble.stacks.plugins.module_utils._host.guard import carry_out
from ansible_collections.ensemble.stacks.plugins.module_utils._host.notify import notify
from guarded import ALL, TTL, Machine, machine
from world import WatchedDriver

__all__ = ["machine"]


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
