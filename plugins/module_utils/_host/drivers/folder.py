# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The folder that holds a member's disk: it names resource, member and driver from its first moment on."""

from __future__ import annotations

import abc
import os
import shutil
import typing as t

from ..._model.declaration import MemberSpec
from ..files import read_json, resource_dir, sync_dir, write_json
from ..images import Images
from .base import Seed

_ASIDE = ".new-"
_MARKER = "prepared.json"
_STANDS_ON = "image.json"


class Disk(abc.ABC):
    """The disk of one member of one resource, a copy-on-write clone of an image."""

    driver: t.ClassVar[str]
    image_format: t.ClassVar[str]

    def __init__(self, state: str, resource: str, member: str) -> None:
        self._resource, self._member = resource, member
        self._members = members_dir(state, resource)
        self._images = Images(state)
        self.folder = os.path.join(self._members, member)
        self._marker = os.path.join(self.folder, _MARKER)

    def marker(self) -> dict[str, t.Any] | None:
        """What the finished disk stands on, None while it is absent or half made."""
        return t.cast("dict[str, t.Any] | None", read_json(self._marker))

    def prepare(self, spec: MemberSpec, seed: Seed) -> None:
        """Clone the image and seed it. The marker is written last, so a half-made disk is known as such."""
        if self.marker() is not None:
            return
        self.remove()
        with self._images.choosing():
            digest = self._images.chosen(spec.image, self.image_format, spec.image_checksum)
            self._begin(digest)
        self._make(digest, spec, seed)
        write_json(self._marker, {"driver": self.driver, "image": spec.image, "image_digest": digest})
        sync_dir(self._members)

    def _begin(self, digest: str) -> None:
        """A folder that names its driver and its image and holds nothing else, there at once or not at all."""
        aside = os.path.join(self._members, _ASIDE + self._member)
        shutil.rmtree(aside, ignore_errors=True)
        os.makedirs(aside, mode=0o755)
        write_json(os.path.join(aside, "driver.json"), self.driver)
        write_json(os.path.join(aside, _STANDS_ON), digest)
        os.rename(aside, self.folder)

    @abc.abstractmethod
    def _make(self, digest: str, spec: MemberSpec, seed: Seed) -> None:
        """Clone the image of this digest into the new folder and seed it."""

    @abc.abstractmethod
    def attach(self) -> None:
        """Make the finished disk usable, e.g. after the hypervisor's reboot."""

    @abc.abstractmethod
    def _detach(self) -> None:
        """End what `attach` did; nothing that does not exist is an error."""

    def remove(self) -> None:
        """Remove everything; nothing that does not exist is an error."""
        self._detach()
        if os.path.isdir(self.folder):
            # the marker goes first: from here on the disk is half made, whatever happens
            if os.path.exists(self._marker):
                os.unlink(self._marker)
                sync_dir(self.folder)
            _remove_tree(self.folder, last="driver.json")
            sync_dir(self._members)


def _remove_tree(folder: str, last: str) -> None:
    """Remove a folder, and in it one file after all others, so that it names its driver to the end."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif name != last:
            os.unlink(path)
    # renamed away it is no member's any more, and the next `prepare` or `forget` takes it
    aside = os.path.join(os.path.dirname(folder), _ASIDE + os.path.basename(folder))
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(folder, aside)
    shutil.rmtree(aside)


def members_dir(state: str, resource: str) -> str:
    """The folder that holds one folder per member of a resource."""
    return os.path.join(resource_dir(state, resource), "members")


def remove_asides(state: str, resource: str) -> None:
    """Remove folders that were not yet, or are no longer, a member's."""
    folder = members_dir(state, resource)
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if name.startswith(_ASIDE):
            shutil.rmtree(os.path.join(folder, name))


def artefacts_of(state: str, resource: str, driver: str) -> list[dict[str, t.Any]]:
    """What lies here of a driver's members: member, driver, prepared, image, image_digest."""
    folder = members_dir(state, resource)
    found: list[dict[str, t.Any]] = []
    for member in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if member.startswith(_ASIDE):
            continue
        marker = read_json(os.path.join(folder, member, _MARKER))
        # a folder without the name of its driver was made when there was only one
        if (read_json(os.path.join(folder, member, "driver.json")) or "lxc") == driver:
            found.append(
                {
                    "member": member,
                    "driver": driver,
                    "prepared": marker is not None,
                    "image": (marker or {}).get("image"),
                    "image_digest": (marker or {}).get("image_digest"),
                }
            )
    return found


def standing_in(state: str) -> set[str]:
    """The sha256 of every image on which a disk of any resource stands, or is being made.

    Raises:
        CorruptStateError: a disk does not tell its image.
    """
    found = set()
    for resource in sorted(os.listdir(state)) if os.path.isdir(state) else ():
        folder = members_dir(state, resource)
        for member in os.listdir(folder) if os.path.isdir(folder) else ():
            home = os.path.join(folder, member)
            found.add(read_json(os.path.join(home, _STANDS_ON)))
            found.add((read_json(os.path.join(home, _MARKER)) or {}).get("image_digest"))
    return found - {None}
