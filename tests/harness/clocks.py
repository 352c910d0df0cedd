# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Wall clocks that are wrong. The lab's machines share one clock, so it is a program that is told another time.

Only the wall clock is moved: CLOCK_MONOTONIC and CLOCK_BOOTTIME stay the kernel's.
"""

from __future__ import annotations

import base64
import contextlib
import typing as t

from .lab import Hypervisor
from .members import Member

HOST_PROGRAM = "/usr/local/bin/ensemble-host"
_LIBRARIES = "/usr/lib/*/faketime/libfaketime.so.1"
_FOLDER = "/run/ensemble-lab-clock"
_OFFSET = f"{_FOLDER}/offset"
_LIBRARY = f"{_FOLDER}/libfaketime.so.1"
_WRITE = "import os, sys; f = open(sys.argv[1] + '~', 'wb'); f.write(sys.stdin.buffer.read()); f.close(); " + (
    "os.chmod(sys.argv[1] + '~', int(sys.argv[2], 8)); os.replace(sys.argv[1] + '~', sys.argv[1])"
)


def _give_library(machine: Hypervisor, run: t.Callable[..., str]) -> None:
    """Put a hypervisor's libfaketime where `run` runs, less one function.

    Version 0.9.10 takes the deadline of a sleep on CLOCK_MONOTONIC for one of a clock that it has moved, though it was
    told to leave that alone: every `time.sleep` fails. Under another name its clock_nanosleep is never called.
    """
    path = machine.run("sh", "-c", f"ls {_LIBRARIES}").split()[0]
    library = base64.b64decode(machine.run("base64", "-w0", path))
    # the first is the symbol, the second what it looks up in the C library
    library = library.replace(b"\0clock_nanosleep\0", b"\0clock_nanosleeq\0", 1)
    run("mkdir", "-p", "-m", "0755", _FOLDER)
    run("python3", "-c", _WRITE, _LIBRARY, "644", stdin=library)


@contextlib.contextmanager
def host_program_clock(machine: Hypervisor, offset: str, program: str = HOST_PROGRAM) -> t.Iterator[None]:
    """The host program of a machine takes the time to be later or earlier, e.g. by `+1h` or `-1h`."""
    _give_library(machine, machine.run)
    aside = f"{program}.unmoved"
    settings = f"LD_PRELOAD={_LIBRARY} FAKETIME={offset} FAKETIME_DONT_FAKE_MONOTONIC=1"
    script = f'#!/bin/sh\n{settings} exec {aside} "$@"\n'
    machine.run("ln", program, aside)  # so that there is a program at every moment
    try:
        machine.run("python3", "-c", _WRITE, program, "755", stdin=script.encode())
        yield
    finally:
        machine.run("mv", aside, program)
        machine.run("rm", "-rf", _FOLDER)


class WallClock:
    """The wall clock of one service of a member; it jumps while the service runs."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def jump(self, offset: str) -> None:
        """Be off by so much from now on, e.g. `+1h`, `-1h` or `+0`."""
        self._member.run("python3", "-c", _WRITE, _OFFSET, "644", stdin=f"{offset}\n".encode())


@contextlib.contextmanager
def agent_clock(member: Member, unit: str) -> t.Iterator[WallClock]:
    """A clock for a unit of a member, right at first. The unit is restarted for it, and again at the end."""
    folder = f"/run/systemd/system/{unit}.d"
    settings = {
        "LD_PRELOAD": _LIBRARY,
        "FAKETIME_TIMESTAMP_FILE": _OFFSET,
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    drop_in = "[Service]\n" + "".join(f"Environment={name}={value}\n" for name, value in settings.items())
    clock = WallClock(member)
    try:
        _give_library(member.hypervisor, member.run)
        member.run("mkdir", "-p", "-m", "0755", folder)
        clock.jump("+0")
        member.run("python3", "-c", _WRITE, f"{folder}/ensemble-lab-clock.conf", "644", stdin=drop_in.encode())
        member.run("systemctl", "daemon-reload")
        member.run("systemctl", "restart", unit)
        yield clock
    finally:
        member.run("rm", "-f", f"{folder}/ensemble-lab-clock.conf")
        member.run("systemctl", "daemon-reload")
        member.run("systemctl", "restart", unit)
        member.run("rm", "-rf", _FOLDER)
