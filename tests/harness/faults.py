# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Faults of processes and whole machines. Each waits until it has come true, and is undone however the test ends.

Those of the network, of disks and of clocks lie beside this module and are offered here, too.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import typing as t

from .clocks import WallClock, agent_clock, host_program_clock
from .disks import corrupt, full_disk, small_disk
from .domains import destroyed, full_folder, suspended, undefined, unplugged
from .lab import Hypervisor
from .members import Member, find_member, pids_of_unit
from .network import cut, isolate, loss, one_way, partition, ring
from .relay import Relay, relay
from .services import crashing, dying, hanging, kill_service
from .waiting import wait_until

__all__ = [
    "Member",
    "Relay",
    "WallClock",
    "agent_clock",
    "corrupt",
    "crashing",
    "cut",
    "destroyed",
    "dying",
    "find_member",
    "frozen",
    "full_disk",
    "full_folder",
    "hanging",
    "host_program_clock",
    "isolate",
    "kill",
    "kill_service",
    "loss",
    "one_way",
    "partition",
    "pids_of_unit",
    "powered_off",
    "reboot",
    "relay",
    "ring",
    "small_disk",
    "stopped",
    "suspended",
    "undefined",
    "unplugged",
]

_SIGNAL_SECONDS = 10
_BOOT_SECONDS = 60
_FREEZER = "/sys/fs/cgroup/freezer"

# The state letters of processes, "-" for one that is gone.
_STATES = """
import sys
for pid in sys.argv[1:]:
    try:
        with open(f"/proc/{pid}/stat") as handle:
            print(handle.read().rpartition(") ")[2][0])
    except (FileNotFoundError, ProcessLookupError):
        print("-")
"""


def states(hypervisor: Hypervisor, pids: t.Sequence[int]) -> list[str]:
    """State letters of processes as proc(5) has them; `-` for one that is gone."""
    return hypervisor.run("python3", "-c", _STATES, *map(str, pids)).split()


@contextlib.contextmanager
def stopped(hypervisor: Hypervisor, *pids: int) -> t.Iterator[None]:
    """Processes do not run (SIGSTOP), by the hypervisor's numbers; its members' are among them.

    Raises:
        RuntimeError: one is not there.
        TimeoutError: one does not stop.
    """
    words = [str(pid) for pid in pids]
    try:
        hypervisor.run("kill", "-STOP", *words)
        wait_until(
            lambda: set(states(hypervisor, pids)) <= {"T"}, _SIGNAL_SECONDS, f"{pids} on {hypervisor.name} stopped"
        )
        yield
    finally:
        hypervisor.run("kill", "-CONT", *words, check=False)  # one may have been killed meanwhile
        wait_until(
            lambda: "T" not in states(hypervisor, pids), _SIGNAL_SECONDS, f"{pids} on {hypervisor.name} going on"
        )


def kill(hypervisor: Hypervisor, *pids: int) -> None:
    """End processes by SIGKILL, by the hypervisor's numbers.

    Raises:
        RuntimeError: one is not there.
        TimeoutError: one does not die.
    """
    if "-" in states(hypervisor, pids):
        raise RuntimeError(f"{hypervisor.name}: of the processes {pids} one is gone already")
    # the end of one may be that of the others
    hypervisor.run("kill", "-KILL", *map(str, pids), check=False)
    wait_until(lambda: set(states(hypervisor, pids)) <= {"-", "Z"}, _SIGNAL_SECONDS, f"end of {pids}")


@contextlib.contextmanager
def frozen(hypervisor: Hypervisor, *, members: bool = False) -> t.Iterator[None]:
    """A machine that stands still and goes on later.

    Args:
        members: its members, too; where cgroups are of version 2 they always do.
    """
    # the engine's own freezer does not reach them: their cgroups lie in the partition, beside the container's
    partition = f"{_FREEZER}/ensemble-{hypervisor.container}.partition/freezer.state"
    with contextlib.ExitStack() as undo:
        if members:
            undo.callback(_freeze_partition, partition, "THAWED")
            _freeze_partition(partition, "FROZEN")
        undo.callback(_engine, "unpause", hypervisor.container)
        _engine("pause", hypervisor.container)
        yield


def _freeze_partition(path: str, state: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        with open(path, "w", encoding="ascii") as handle:
            handle.write(state)

        def reached() -> bool:
            with open(path, encoding="ascii") as handle:
                return handle.read().strip() == state

        wait_until(reached, _SIGNAL_SECONDS, f"{path}: {state}")


def reboot(machine: Hypervisor) -> None:
    """Restart a machine in good order and wait until it can be used; what was in /run is gone, its members are down.

    Faults of the network end on it.

    Raises:
        TimeoutError: it does not come back.
    """
    _engine("restart", machine.container)
    _wait_usable(machine)


@contextlib.contextmanager
def powered_off(machine: Hypervisor) -> t.Iterator[None]:
    """A machine whose power is cut, and comes back at the end."""
    try:
        _engine("kill", machine.container)
        wait_until(lambda: not _is_running(machine), _SIGNAL_SECONDS, f"{machine.name} off")
        yield
    finally:
        _engine("start", machine.container)
        _wait_usable(machine)


def _is_running(machine: Hypervisor) -> bool:
    return _engine("inspect", "--format", "{{.State.Running}}", machine.container).strip() == "true"


def _wait_usable(machine: Hypervisor) -> None:
    wait_until(lambda: _is_usable(machine), _BOOT_SECONDS, f"sshd and libvirtd of {machine.name}")


def _is_usable(machine: Hypervisor) -> bool:
    if machine.run("systemctl", "is-system-running", check=False).strip() not in ("running", "degraded"):
        return False
    try:
        with socket.create_connection((machine.address, 22), timeout=3) as connection:
            if connection.recv(4) != b"SSH-":
                return False
    except OSError:
        return False
    witness = machine.run("systemctl", "is-enabled", "libvirtd.service", check=False).startswith("masked")
    return witness or "running" in machine.run("virsh", "-c", "lxc:///system", "version", check=False).lower()


def _engine(*argv: str) -> str:
    """Standard output of a command of the container engine."""
    done = subprocess.run(["docker", *argv], capture_output=True, timeout=120, check=False, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"docker {' '.join(argv)}: exit {done.returncode}: {done.stderr[-500:]}")
    return done.stdout
