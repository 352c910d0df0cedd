# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Processes of this machine, told apart from later ones with the same number."""

from __future__ import annotations

import os
import select
import signal
import typing as t
from dataclasses import dataclass

#: words by which a program of Ansible is known
_PROGRAM = "ansible"
_NEVER_MS = 2**31 - 1


@dataclass(frozen=True)
class Process:
    """Attributes: started: in clock ticks since boot, field 22 of proc_pid_stat(5)."""

    pid: int
    started: int


def process(pid: int) -> Process | None:
    """A process as it is now; None when there is none."""
    fields = _stat(pid)
    return Process(pid, int(fields[19])) if fields else None


def _stat(pid: int) -> list[str]:
    """The fields of proc_pid_stat(5) from the third on: the second may hold anything, in parentheses."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()
    except OSError:
        return []


def _command(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return stream.read().decode(errors="replace").split("\0")
    except OSError:
        return []


def calling_ansible(pid: int | None = None) -> Process | None:
    """The program of Ansible that runs this module: the topmost of its processes, whose workers look like itself.

    Returns:
        None where there is none, as in a test.
    """
    found = None
    at = os.getpid() if pid is None else pid
    while at > 1:
        fields = _stat(at)
        if not fields:
            break
        words = _command(at)
        program = any(os.path.basename(word).startswith(_PROGRAM) for word in words[:2])
        if found is not None and words != _command(found):
            break
        # what runs a module's own archive is called so as well, and is no program of Ansible
        if program and "AnsiballZ" not in " ".join(words[:2]):
            found = at
        at = int(fields[1])
    return process(found) if found is not None else None


class Watch:
    """Waits for the end of a process, which need not be a child.

    Raises:
        ProcessLookupError: it has ended already.
    """

    def __init__(self, watched: Process) -> None:
        self._fd = os.pidfd_open(watched.pid)
        if process(watched.pid) != watched:  # its number went to another one in between
            os.close(self._fd)
            raise ProcessLookupError(watched.pid)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def ended(self, seconds: float) -> bool:
        """Whether it has ended, after waiting for at most so long."""
        return bool(self._poll.poll(min(_NEVER_MS, max(0.0, seconds) * 1000)))

    def terminate(self) -> None:
        """Ask it to end."""
        signal.pidfd_send_signal(self._fd, signal.SIGTERM)

    def close(self) -> None:
        os.close(self._fd)


def detached(work: t.Callable[[t.BinaryIO], None]) -> t.BinaryIO:
    """Do work in a process that outlives this one and is nobody's child.

    Args:
        work: is given a stream to answer on, which the caller reads.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _alone(work, writing)
    os.close(writing)
    os.waitpid(child, 0)
    return os.fdopen(reading, "rb")


def _alone(work: t.Callable[[t.BinaryIO], None], writing: int) -> t.NoReturn:
    """The child: leaves the terminal and the caller's streams, and gives the work to a child of its own."""
    code = 1
    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        # locks and pipes of the caller must not stay open for as long as this lives
        os.closerange(3, writing)
        os.closerange(writing + 1, 1024)
        with os.fdopen(writing, "wb") as answer:
            work(answer)
        code = 0
    finally:
        os._exit(code)
