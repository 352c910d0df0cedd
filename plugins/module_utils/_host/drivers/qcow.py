# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A virtual machine's disk: a qcow2 overlay on a cached base image, and its seed beside it."""

from __future__ import annotations

import os

from ..._model.declaration import MemberSpec
from ..files import sync_dir
from ..images import run
from .base import Seed
from .folder import Disk
from .nocloud import nocloud_files, write_private, write_volume

_CREATE_TIMEOUT = 30.0
#: others may pass, not list: the emulator has a user of its own
_PASSABLE = 0o711


class QcowDisk(Disk):
    """`disk.qcow2`, `seed.iso`, and `console.log` once the machine has run."""

    driver = "qemu"
    image_format = "qcow2"

    @property
    def path(self) -> str:
        return os.path.join(self.folder, "disk.qcow2")

    @property
    def seed(self) -> str:
        return os.path.join(self.folder, "seed.iso")

    @property
    def console(self) -> str:
        return os.path.join(self.folder, "console.log")

    def base(self, digest: str) -> str:
        """The cached image below the overlay, by absolute path."""
        return self._images.disk(digest)

    def _make(self, digest: str, spec: MemberSpec, seed: Seed) -> None:
        for folder in (os.path.dirname(self._members), self._members, self.folder):
            os.chmod(folder, _PASSABLE)
        write_private(self.path, b"")
        # the backing file's format is named: else a guest could write a header that points elsewhere
        backing = ["-F", self.image_format, "-b", self.base(digest)]
        run(["qemu-img", "create", "-q", "-f", self.image_format, *backing, self.path], _CREATE_TIMEOUT)
        write_volume(self.seed, nocloud_files(self._resource, self._member, spec, seed))
        for path in (self.path, self.seed):
            _flush(path)
        sync_dir(self.folder)

    def attach(self) -> None:
        """Nothing to do: the emulator opens the files."""

    def _detach(self) -> None:
        """Nothing to do: the emulator has closed them."""


def _flush(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
