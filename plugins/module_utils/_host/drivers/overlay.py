# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A container's root: an OverlayFS on a cached image. All of it lies in one folder named after resource and member."""

from __future__ import annotations

import os

from ..._model.declaration import MemberSpec
from ..images import run
from .base import Seed
from .folder import Disk
from .seed import seed_files, write_seed

MOUNT_TIMEOUT = 30.0


class Overlay(Disk):
    """Layers `upper` and `work` on the unpacked image, mounted at `root`."""

    driver = "lxc"
    image_format = "tar"

    @property
    def root(self) -> str:
        """Where the member's root is mounted."""
        return os.path.join(self.folder, "root")

    def _make(self, digest: str, spec: MemberSpec, seed: Seed) -> None:
        for name in ("upper", "work", "root"):
            os.mkdir(os.path.join(self.folder, name), mode=0o755)
        self._mount(digest)
        write_seed(self.root, seed_files(self._resource, self._member, spec, seed))

    def attach(self) -> None:
        marker = self.marker()
        if marker is not None and not os.path.ismount(self.root):
            self._mount(marker["image_digest"])

    def _mount(self, digest: str) -> None:
        layers = f"lowerdir={self._images.root(digest)},upperdir={self.folder}/upper,workdir={self.folder}/work"
        run(["mount", "-t", "overlay", "overlay", "-o", layers, self.root], MOUNT_TIMEOUT)

    def _detach(self) -> None:
        if os.path.ismount(self.root):
            run(["umount", self.root], MOUNT_TIMEOUT)
