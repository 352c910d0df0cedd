# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A command with all that descends from it: started as one, ended as one, whatever sessions its children make."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
import typing as t

from .errors import StuckProcessError

PR_SET_CHILD_SUBREAPER = 36
#: of all signals the one whose default is to be ignored, and that means "something urgent"
HURRY = signal.SIGURG
_LAUNCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch.py")
#: seconds between two looks at processes that were just killed
_LOOK = 0.01
#: the service manager's words to the agent are none of the command's business
_OWN_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


def adopt_orphans() -> None:
    """Become the parent of whatever loses its own below this process, so that nothing escapes (prctl(2)).

    Raises:
        OSError: the kernel does not know it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(pid: int) -> dict[int, str]:
    """All processes below one -> their state, one letter as in proc(5)."""
    parents: dict[int, list[tuple[int, str]]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as stream:
            # the name in parentheses may hold anything, further parentheses too
            words = stream.read().rpartition(b")")[2].split()
            parents.setdefault(int(words[1]), []).append((int(name), words[0].decode()))
    found: dict[int, str] = {}
    todo = [pid]
    while todo:
        for child, state in parents.get(todo.pop(), []):
            if child not in found:
                found[child] = state
                todo.append(child)
    return found


class Command:
    """One run of a command, a session and process group of its own. The caller's process must `adopt_orphans`.

    The thread that makes it must live as long as it does: the kernel ends the command with that thread.

    Args:
        environment: added to the agent's own.

    Raises:
        OSError: no process could be made.
    """

    def __init__(self, words: t.Sequence[str], environment: t.Mapping[str, str], kill_time: float) -> None:
        own = {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}
        self._kill_time = kill_time
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", _LAUNCH, str(os.getpid()), *words],
            env={**own, **environment},
            stdin=subprocess.DEVNULL,
            stdout=2,  # the agent's own output is its events
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._fd: int | None = os.pidfd_open(self.pid)

    def wait(self, seconds: float) -> int | None:
        """Its exit status once it has ended, negative for a signal; None after so many seconds.

        What it left running is killed then: a run does not outlive itself.

        Raises:
            StuckProcessError: a process cannot be killed.
        """
        if self._fd is not None:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            if not poll.poll(max(0.0, seconds) * 1000):
                return None
        return self._reaped()

    def _reaped(self) -> int:
        code = self._process.wait()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self._kill_all()
        return code

    def hurry(self) -> None:
        """Let the command know, by a signal that is ignored unless it cares, that somebody wants the lease."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, HURRY)

    def end(self, grace: float) -> int:
        """TERM to the group, then KILL to every process that is left, after which none of them lives.

        Args:
            grace: seconds from TERM to KILL; 0 kills at once.

        Raises:
            StuckProcessError: a process cannot be killed.
        """
        if self._fd is None:
            return self._process.wait()
        if grace > 0:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGTERM)
            code = self.wait(grace)
            if code is not None:
                return code
        self._kill_all()
        return self._reaped()

    def _kill_all(self) -> None:
        deadline = time.monotonic() + max(self._kill_time, _LOOK)
        while True:
            left = descendants(os.getpid())
            for pid, state in left.items():
                if state == "Z":
                    self._reap(pid)
                else:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            if not any(state not in "ZX" for state in left.values()):
                return
            if time.monotonic() >= deadline:
                stuck = sorted(pid for pid, state in left.items() if state not in "ZX")
                raise StuckProcessError(
                    f"processes {stuck} of the command did not end within {self._kill_time:g} s after SIGKILL. The "
                    "lease is left to run out; look for storage or a network file system that hangs on this node.",
                    pids=stuck,
                )
            time.sleep(_LOOK)

    def _reap(self, pid: int) -> None:
        """Orphans that ended wait for their new parent, this process."""
        if pid != self.pid:  # that one's status belongs to subprocess
            with contextlib.suppress(ChildProcessError, ProcessLookupError):
                os.waitpid(pid, os.WNOHANG)


def start_of(pid: int) -> str | None:
    """When a process began, in ticks of proc(5), which with the pid names a process; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return stream.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return None
