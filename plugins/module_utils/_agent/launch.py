# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Become the command of an agent. Run as a program: `python3 -I -S launch.py PARENT WORD...`.

The kernel kills this process, and what it becomes, when the agent's main thread ends: an agent that was killed leaves
no leaderless run even where no service manager cleans up after it. This is no function between fork and exec of the
agent, since that one has threads, after whose fork nothing but exec is safe.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import typing as t

PR_SET_PDEATHSIG = 1


def become(parent: int, words: t.Sequence[str]) -> None:
    """Replace this process by the command, found on PATH; returns never.

    Raises:
        OSError: there is no such command.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it ended before the kernel knew
        raise SystemExit(128 + signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the agent blocks those that a thread of it waits for
    os.execvp(words[0], list(words))  # noqa: S606 - an argument list of the settings, no shell


if __name__ == "__main__":
    try:
        become(int(sys.argv[1]), sys.argv[2:])
    except OSError as problem:
        sys.stderr.write(f"ensemble-agent: {sys.argv[2]}: {problem.strerror}\n")
        raise SystemExit(127) from problem
