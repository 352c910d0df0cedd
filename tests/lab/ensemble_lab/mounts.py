# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Mounts and directory trees of our own: taking them away without ever leaving our directories."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from ensemble_lab.system import LabError, run


def mount_points(file_systems: tuple[str, ...] = ()) -> list[Path]:
    """Return the machine's mount points in order of mounting, optionally of these file systems only."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        left, _sep, right = line.partition(" - ")
        if not file_systems or right.split()[0] in file_systems:
            points.append(Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), left.split()[4])))
    return points


def unmount_below(directory: Path) -> int:
    """Unmount everything below (or at) a directory, latest first; return how many mounts that were."""
    ours = [point for point in mount_points() if point == directory or directory in point.parents]
    for point in reversed(ours):
        if run(["umount", point], check=False).returncode != 0:
            run(["umount", "--lazy", point])
    return len(ours)


def detach_loops_below(directory: Path) -> int:
    """Detach the loop devices whose backing file lies below a directory; return how many that were."""
    output = run(["losetup", "--list", "--json"], check=False).stdout
    devices = json.loads(output)["loopdevices"] if output.strip() else []
    count = 0
    for device in devices:
        backing = Path(str(device["back-file"]).removesuffix(" (deleted)"))
        if directory in backing.parents:
            run(["losetup", "--detach", str(device["name"])], check=False)
            count += 1
    return count


def remove_tree(directory: Path) -> bool:
    """Remove a directory and what is mounted in it; return whether there was one."""
    if not directory.exists():
        return False
    unmount_below(directory)
    detach_loops_below(directory)
    if any(directory in point.parents for point in mount_points()):
        raise LabError(f"{directory}: something is still mounted below; nothing was removed")
    shutil.rmtree(directory)
    return True
