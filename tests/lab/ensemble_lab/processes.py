# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Processes by identity: a pid together with its start time names one process for as long as the machine runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

from ensemble_lab.system import LabError, wait_until, write_atomically


@dataclass(frozen=True)
class Process:
    """One process: ``start`` is field 22 of /proc/<pid>/stat (clock ticks since boot), see proc(5)."""

    pid: int
    start: int
    command: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the living process with this pid; a zombie counts as dead."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        command, _sep, rest = stat.partition("(")[2].rpartition(")")
        fields = rest.split()
        if fields[0] in "ZX":
            return None
        return cls(pid=pid, start=int(fields[19]), command=command)

    @classmethod
    def load(cls, path: Path) -> Process | None:
        """Return the process that a file names, when it still is that very process."""
        try:
            recorded = cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return recorded if recorded.alive() else None

    def save(self, path: Path) -> None:
        """Write pid, start time and command name to a file."""
        write_atomically(path, json.dumps(asdict(self)) + "\n")

    def alive(self) -> bool:
        """Tell whether this very process still runs (its command name may change, its start time not)."""
        current = Process.of(self.pid)
        return current is not None and current.start == self.start

    def end(self, grace: float, *, group: bool = False) -> None:
        """Send SIGTERM, and SIGKILL after ``grace`` seconds (0: at once); with ``group`` to its process group."""
        if grace > 0:
            self._signal(signal.SIGTERM, group)
            with contextlib.suppress(LabError):
                wait_until(lambda: not self.alive(), grace, f"end of process {self.pid}")
        if self.alive():
            self._signal(signal.SIGKILL, group)
            wait_until(lambda: not self.alive(), 10, f"end of process {self.pid} ({self.command}) after SIGKILL")

    def _signal(self, number: signal.Signals, group: bool) -> None:
        with contextlib.suppress(ProcessLookupError):
            if not self.alive():
                return
            if group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)


def command_of(pid_file: Path) -> str | None:
    """Return the command name of the process that a pid file names, or None when no such process lives."""
    try:
        process = Process.of(int(pid_file.read_text(encoding="ascii").strip()))
    except (OSError, ValueError):
        return None
    return process.command if process else None


def all_pids() -> list[int]:
    """Return the pids of all processes that this /proc shows."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
