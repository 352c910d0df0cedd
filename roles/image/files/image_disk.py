# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A disk that boots from a BIOS, made of a root file system without mounting anything."""

import os
import shutil

START = 1 << 20  # bytes before the one partition; GRUB's core lies there
_SECTOR = 512
_BOOT_CODE = 440  # bytes of the first sector; behind it lie the disk's signature and the partition table


class DiskError(Exception):
    """The disk cannot be made of this root."""


def bootable(run, archive, work, size_mb, identity=None):
    """Make ``disk.qcow2`` in a folder from a tar archive with a kernel and ``/boot/grub/i386-pc/{boot,core}.img``.

    The archive is removed. ``run`` runs a command (a list; ``text_in`` is its standard input) and raises when it fails.
    With ``identity``, a UUID, the disk and its file system carry no chance value. GRUB's boot sector expects its core
    in the sectors that follow, which is where it is put: as ``grub-bios-setup`` would, but without a mounted disk.

    Raises:
        DiskError: GRUB's core is too large.
    """
    root, raw, disk = (os.path.join(work, name) for name in ("disk-root", "disk.raw", "disk.qcow2"))
    os.mkdir(root)
    every = ["--xattrs", "--xattrs-include=*"]
    run(["tar", "--extract", "--numeric-owner", *every, "--file", str(archive), "--directory", root])
    os.unlink(archive)
    with open(raw, "wb") as handle:
        handle.truncate(size_mb << 20)
    signature = f"label-id: 0x{identity[:8]}\n" if identity else ""
    table = f"label: dos\n{signature}start={START // _SECTOR}, type=83, bootable\n"
    run(["sfdisk", "--quiet", raw], text_in=table)
    blocks = f"{(size_mb << 10) - (START >> 10)}k"
    options = f"offset={START},lazy_itable_init=1,lazy_journal_init=1"
    options += f",hash_seed={identity}" if identity else ""
    known = ["-U", identity] if identity else []
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", *known, "-E", options, "-d", root, raw, blocks])
    _write_loader(raw, os.path.join(root, "boot/grub/i386-pc"))
    shutil.rmtree(root)
    run(["qemu-img", "convert", "-O", "qcow2", raw, disk])
    os.unlink(raw)
    return disk


def _write_loader(raw, folder):
    with open(os.path.join(folder, "boot.img"), "rb") as handle:
        boot = handle.read()
    with open(os.path.join(folder, "core.img"), "rb") as handle:
        core = handle.read()
    if len(core) > START - _SECTOR:
        raise DiskError(f"{folder}/core.img: {len(core)} bytes do not fit before the partition")
    with open(raw, "r+b") as handle:
        handle.write(boot[:_BOOT_CODE])
        handle.seek(_SECTOR)
        handle.write(core)
