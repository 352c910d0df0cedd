# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Who reaches whom on the lab's network: what a fault of it has to change."""

from __future__ import annotations

import socket
import subprocess
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

from .lab import Hypervisor

SSH = 22
Run = t.Callable[..., str]  # a command on this machine, in a hypervisor or in a member

# Prints y or n for each address: whether a connection to its sshd is made and it says its name.
_KNOCK = f"""
import socket, sys
for address in sys.argv[1:]:
    try:
        with socket.create_connection((address, {SSH}), timeout=1) as connection:
            print("y" if connection.recv(4) == b"SSH-" else "n")
    except OSError:
        print("n")
"""
# Prints who sends a datagram first.
_HEAR = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
    listener.bind(("", 7777))
    listener.settimeout(1.5)
    try:
        print(listener.recvfrom(9)[1][0])
    except TimeoutError:
        print("nobody")
"""
_CALL = """
import contextlib, socket, sys, time
end = time.monotonic() + 1
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
    while time.monotonic() < end:
        with contextlib.suppress(PermissionError):  # it was dropped on this side
            caller.sendto(b"here", (sys.argv[1], 7777))
        time.sleep(0.02)
"""


def reached(run: Run, *addresses: str) -> str:
    """Which sshds answer, one letter each."""
    return "".join(run("python3", "-c", _KNOCK, *addresses).split())


def reached_all(*questions: tuple[Run, str]) -> str:
    """The same from several places at once."""
    with ThreadPoolExecutor(len(questions)) as pool:
        return "".join(pool.map(lambda question: reached(*question), questions))


def here(*argv: str) -> str:
    """Standard output of a command on this machine, where the controllers are."""
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout


def greeting(address: str, port: int) -> float:
    """Seconds until an sshd has said its name."""
    begun = time.monotonic()
    with socket.create_connection((address, port), timeout=10) as connection:
        assert connection.recv(4) == b"SSH-"
    return time.monotonic() - begun


def heard(one: Hypervisor, other: Hypervisor) -> tuple[bool, bool]:
    """Whether a datagram that `one` sends for a second comes to `other`, and the other way round."""

    def comes(source: Hypervisor, target: Hypervisor) -> bool:
        listening = pool.submit(target.run, "python3", "-c", _HEAR)
        source.run("python3", "-c", _CALL, target.address)
        return listening.result().strip() == source.address

    with ThreadPoolExecutor(4) as pool:
        there, back = pool.submit(comes, one, other), pool.submit(comes, other, one)
        return there.result(), back.result()
