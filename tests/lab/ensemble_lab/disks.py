# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A disk that boots, made of a root file system without mounting anything."""

from __future__ import annotations

import shutil
from pathlib import Path

from ensemble_lab.system import LabError, run

_SIZE_MB = 4096
_START = 1 << 20  # of the one partition; GRUB's core lies before it
_SECTOR = 512
_BOOT_CODE = 440  # bytes of the first sector; behind it lie the disk's signature and the partition table
_TIMEOUT = 600


def bootable(archive: Path, work: Path) -> Path:
    """Make ``disk.qcow2`` from a tar archive with a kernel and ``/boot/grub/i386-pc/{boot,core}.img``.

    GRUB's boot sector expects its core in the sectors that follow, which is where it is put: as `grub-bios-setup`
    would, but without a mounted disk. Raises LabError when a tool fails.
    """
    root, raw, disk = work / "disk-root", work / "disk.raw", work / "disk.qcow2"
    root.mkdir()
    run(["tar", "--extract", "--numeric-owner", "--xattrs", "--file", archive, "--directory", root], timeout=_TIMEOUT)
    archive.unlink()
    with open(raw, "wb") as handle:
        handle.truncate(_SIZE_MB << 20)
    run(["sfdisk", "--quiet", raw], text_in=f"label: dos\nstart={_START // _SECTOR}, type=83, bootable\n")
    blocks = f"{(_SIZE_MB << 10) - (_START >> 10)}k"
    options = f"offset={_START},lazy_itable_init=1,lazy_journal_init=1"
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-E", options, "-d", root, raw, blocks], timeout=_TIMEOUT)
    _write_loader(raw, root / "boot/grub/i386-pc")
    shutil.rmtree(root)
    run(["qemu-img", "convert", "-O", "qcow2", raw, disk], timeout=_TIMEOUT)
    raw.unlink()
    return disk


def _write_loader(raw: Path, folder: Path) -> None:
    boot, core = (folder / "boot.img").read_bytes(), (folder / "core.img").read_bytes()
    if len(core) > _START - _SECTOR:
        raise LabError(f"{folder}/core.img: {len(core)} bytes do not fit before the partition")
    with open(raw, "r+b") as handle:
        handle.write(boot[:_BOOT_CODE])
        handle.seek(_SECTOR)
        handle.write(core)
