# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A member's root: an OverlayFS on a cached image. All of it lies in one folder named after resource and member."""

from __future__ import annotations

import os
import shutil
import typing as t

from ..._model.declaration import MemberSpec
from ..files import read_json, resource_dir, sync_dir, write_json
from ..images import Images, run
from .base import Seed
from .seed import seed_files, write_seed

MOUNT_TIMEOUT = 30.0


class Overlay:
    """The disk of one member of one resource."""

    def __init__(self, state: str, resource: str, member: str) -> None:
        self._resource, self._member = resource, member
        self._images = Images(state)
        self.folder = os.path.join(members_dir(state, resource), member)
        self.root = os.path.join(self.folder, "root")
        self._marker = os.path.join(self.folder, "prepared.json")

    def marker(self) -> dict[str, t.Any] | None:
        """What the finished disk stands on, None while it is absent or half made."""
        return t.cast("dict[str, t.Any] | None", read_json(self._marker))

    def prepare(self, spec: MemberSpec, seed: Seed) -> None:
        """Clone the image and seed it. The marker is written last, so a half-made disk is known as such."""
        if self.marker() is not None:
            return
        self.remove()
        digest = self._images.digest(spec.image)
        for name in ("upper", "work", "root"):
            os.makedirs(os.path.join(self.folder, name), mode=0o755)
        self._mount(digest)
        write_seed(self.root, seed_files(self._resource, self._member, spec, seed))
        write_json(self._marker, {"image": spec.image, "image_digest": digest})
        sync_dir(os.path.dirname(self.folder))

    def mount(self) -> None:
        """Mount the root if it is not mounted, e.g. after the hypervisor's reboot."""
        marker = self.marker()
        if marker is not None and not os.path.ismount(self.root):
            self._mount(marker["image_digest"])

    def _mount(self, digest: str) -> None:
        layers = f"lowerdir={self._images.root(digest)},upperdir={self.folder}/upper,workdir={self.folder}/work"
        run(["mount", "-t", "overlay", "overlay", "-o", layers, self.root], MOUNT_TIMEOUT)

    def remove(self) -> None:
        """Unmount and remove everything; nothing that does not exist is an error."""
        if os.path.ismount(self.root):
            run(["umount", self.root], MOUNT_TIMEOUT)
        if os.path.isdir(self.folder):
            # the marker goes first: from here on the disk is half made, whatever happens
            if os.path.exists(self._marker):
                os.unlink(self._marker)
                sync_dir(self.folder)
            shutil.rmtree(self.folder)
            sync_dir(os.path.dirname(self.folder))


def members_dir(state: str, resource: str) -> str:
    """The folder that holds one folder per member of a resource."""
    return os.path.join(resource_dir(state, resource), "members")


def list_members(state: str, resource: str) -> list[str]:
    """Members for which anything lies here."""
    try:
        return sorted(os.listdir(members_dir(state, resource)))
    except FileNotFoundError:
        return []
