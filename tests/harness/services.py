# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Faults of the services within a member: killed, crashing again and again, dying at once, programs that hang."""

from __future__ import annotations

import contextlib
import itertools
import shlex
import typing as t

from .members import Member
from .waiting import wait_until

_SECONDS = 20
_UNITS = "/run/systemd/system"
_numbers = itertools.count(1)

# Ends a unit's main process so many seconds after each of its starts.
_CRASHER = """
import os, signal, subprocess, sys, time
unit, seconds = sys.argv[1], float(sys.argv[2])
while True:
    show = ["systemctl", "show", "--property=MainPID,ExecMainStartTimestampMonotonic", unit]
    shown = dict(line.split("=") for line in subprocess.check_output(show, text=True, timeout=10).split())
    pid, age = int(shown["MainPID"]), time.monotonic() - int(shown["ExecMainStartTimestampMonotonic"]) / 1e6
    if pid and age >= seconds:
        os.kill(pid, signal.SIGKILL)
        print(pid, flush=True)
    time.sleep(min(0.2, seconds / 10))
"""


def main_pid(member: Member, unit: str) -> int:
    """Number of a unit's main process as the member has it; 0 where there is none."""
    return int(member.run("systemctl", "show", "--property=MainPID", "--value", unit))


def state_of(member: Member, unit: str) -> str:
    """As systemd has it: active, activating, failed, ..."""
    return member.run("systemctl", "show", "--property=ActiveState", "--value", unit).strip()


def kill_service(member: Member, unit: str) -> int:
    """End a unit's main process by SIGKILL, and only that; its number in the member.

    Raises:
        RuntimeError: it has none.
        TimeoutError: it does not die.
    """
    pid = main_pid(member, unit)
    if not pid:
        raise RuntimeError(f"{unit} of {member.domain} does not run")
    member.run("kill", "-KILL", str(pid))
    wait_until(lambda: main_pid(member, unit) != pid, _SECONDS, f"end of {unit} of {member.domain}")
    return pid


def wait_back(member: Member, unit: str, former: int, seconds: float) -> int:
    """Until a unit is active with another main process than the former; that one's number.

    Raises:
        TimeoutError: not within so many seconds.
    """
    wait_until(
        lambda: state_of(member, unit) == "active" and main_pid(member, unit) not in (0, former),
        seconds,
        f"{unit} of {member.domain} back after the end of process {former}",
    )
    return main_pid(member, unit)


@contextlib.contextmanager
def crashing(member: Member, unit: str, every: float = 10.0) -> t.Iterator[t.Callable[[], int]]:
    """A unit whose main process ends by SIGKILL so many seconds after each of its starts; yields how often it did."""
    name = f"ensemble-lab-crasher-{next(_numbers)}"
    program = f"/run/{name}.py"
    command = ("systemd-run", "--quiet", f"--unit={name}", "--collect", "/usr/bin/python3", program, unit, str(every))
    member.run("tee", program, stdin=_CRASHER.encode())
    try:
        member.run(*command)
        yield lambda: len(member.run("journalctl", "--quiet", "--output=cat", f"_SYSTEMD_UNIT={name}.service").split())
    finally:
        member.run("systemctl", "stop", f"{name}.service", check=False)
        member.run("rm", "-f", program)
        _bring_back(member, unit)


@contextlib.contextmanager
def dying(member: Member, unit: str) -> t.Iterator[None]:
    """A unit that ends with exit status 1 as soon as it is started; what runs of it is killed first."""
    dropin = f"{_UNITS}/{unit if '.' in unit else unit + '.service'}.d"
    lines = "[Service]\nType=simple\nExecStart=\nExecStart=/bin/false\n"
    try:
        member.run("mkdir", "-p", dropin)
        member.run("tee", f"{dropin}/99-lab-fault.conf", stdin=lines.encode())
        member.run("systemctl", "daemon-reload")
        kill_service(member, unit)
        yield
    finally:
        member.run("rm", "-f", f"{dropin}/99-lab-fault.conf")
        member.run("systemctl", "daemon-reload")
        _bring_back(member, unit)


def _bring_back(member: Member, unit: str) -> None:
    member.run("systemctl", "reset-failed", unit, check=False)  # it need not have failed
    member.run("systemctl", "start", unit)
    wait_until(lambda: state_of(member, unit) == "active", _SECONDS, f"{unit} of {member.domain} active again")


@contextlib.contextmanager
def hanging(member: Member, program: str) -> t.Iterator[None]:
    """A program of a member (absolute path) does nothing when it is called, and never ends: so a probe hangs."""
    name = f"ensemble-lab-hanging-{next(_numbers)}"
    path = f"/run/{name}"
    try:
        member.run("cp", "/usr/bin/sleep", f"{path}.sleep")
        member.run("tee", path, stdin=f"#!/bin/sh\nexec {path}.sleep 86400\n".encode())
        member.run("chmod", "755", path)
        member.run("mount", "--bind", path, program)
        yield
    finally:
        member.run("sh", "-c", f"mountpoint -q {shlex.quote(program)} && umount {shlex.quote(program)}", check=False)
        # those that hang still, found by the copy of sleep that is theirs alone
        member.run("pkill", "-KILL", "-f", f"^{path}.sleep ", check=False)
        member.run("rm", "-f", path, f"{path}.sleep")
