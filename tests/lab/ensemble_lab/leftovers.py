# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What an engine that was killed leaves behind: containers that run on, their shims, partitions of the cgroup trees."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from ensemble_lab import mounts, processes
from ensemble_lab.hypervisors import IDENTITY
from ensemble_lab.layout import container_pattern, partition_of
from ensemble_lab.processes import Process
from ensemble_lab.system import LabError, wait_until


@dataclass(frozen=True)
class Orphan:
    """A hypervisor that runs without an engine: its init, and the shim that is init's parent."""

    container: str
    init: Process
    shim: Process | None


def running_hypervisors(name: str) -> list[Orphan]:
    """Find the inits of a lab's containers by their environment and their place in a pid namespace of their own."""
    pattern = container_pattern(name)
    found = []
    for pid in processes.all_pids():
        with contextlib.suppress(OSError):
            container = _identity(pid)
            init = Process.of(pid)
            if container and pattern.fullmatch(container) and init and _is_init_of_a_namespace(pid):
                found.append(Orphan(container, init, _shim(pid)))
    return found


def _identity(pid: int) -> str | None:
    prefix = f"{IDENTITY}=".encode()
    for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode(errors="replace")
    return None


def _status(pid: int, key: str) -> list[str]:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(f"{key}:"):
            return line.split()[1:]
    return []


def _is_init_of_a_namespace(pid: int) -> bool:
    numbers = _status(pid, "NSpid")
    return len(numbers) > 1 and numbers[-1] == "1"


def _shim(init: int) -> Process | None:
    parent = Process.of(int(_status(init, "PPid")[0]))
    return parent if parent and parent.command.startswith("containerd-shim"[:15]) else None


def kill_hypervisors(name: str) -> list[Orphan]:
    """Kill the inits: the kernel then ends all processes of their pid namespaces, members included."""
    orphans = running_hypervisors(name)
    for orphan in orphans:
        _thaw_container(orphan.init.pid)
        orphan.init.end(grace=0)
    return orphans


def _thaw_container(init: int) -> None:
    """Undo `docker pause` without an engine: a process frozen by the v1 freezer does not even die of SIGKILL."""
    lines = Path(f"/proc/{init}/cgroup").read_text(encoding="utf-8").splitlines()
    paths = [path for _index, controllers, path in (line.split(":", 2) for line in lines) if controllers == "freezer"]
    for path in paths:
        _thaw(Path("/sys/fs/cgroup/freezer", path.lstrip("/")))


def thaw(name: str) -> None:
    """Thaw the members of a lab's hypervisors: tests freeze partitions, and what is frozen cannot be ended."""
    for partition in _partitions(name):
        for directory in [partition, *(path for path in partition.rglob("*") if path.is_dir())]:
            _thaw(directory)


def _thaw(directory: Path) -> None:
    state = directory / "freezer.state"  # cgroup2 needs nothing: SIGKILL ends frozen processes there
    with contextlib.suppress(FileNotFoundError):
        if state.read_text(encoding="ascii").strip() != "THAWED":
            state.write_text("THAWED\n", encoding="ascii")


def end_shims(orphans: list[Orphan]) -> None:
    """End the shims that no engine has taken away."""
    for orphan in orphans:
        if orphan.shim is not None:
            orphan.shim.end(grace=5)


def remove_partitions(name: str) -> int:
    """Remove the cgroup directories of a lab's hypervisors; return how many there were.

    Raises LabError when processes live in one: then something is not ended.
    """
    partitions = _partitions(name)
    for partition in partitions:
        _remove_cgroup(partition)
    return len(partitions)


def _partitions(name: str) -> list[Path]:
    pattern = re.compile(rf"{re.escape(partition_of(name))}-hv\d+\.partition")
    return [
        entry
        for hierarchy in set(mounts.mount_points(("cgroup", "cgroup2")))
        for entry in hierarchy.iterdir()
        if entry.is_dir() and pattern.fullmatch(entry.name)
    ]


def _remove_cgroup(directory: Path) -> None:
    def gone() -> bool:  # a cgroup stays busy for a moment after its last process has ended
        children = sorted((path for path in directory.rglob("*") if path.is_dir()), reverse=True)
        for path in [*children, directory]:
            with contextlib.suppress(OSError):
                path.rmdir()
        return not directory.exists()

    try:
        wait_until(gone, 10, f"removal of {directory}")
    except LabError as error:
        raise LabError(f"{error}: processes still live in it (see cgroup.procs below it)") from error
