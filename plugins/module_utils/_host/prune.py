# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Removing images from the cache on which no disk stands."""

from __future__ import annotations

import os
import shutil
import typing as t

from .images import Images
from .incoming import Incoming

_GONE = ".gone-"
_HALF = ".half-"


class Unused(t.NamedTuple):
    """Attributes: names: what pointed to it; format: empty for an interrupted transfer; bytes: on disk."""

    names: tuple[str, ...]
    format: str
    sha256: str
    bytes: int


def prune(
    images: Images, standing: t.Callable[[], set[str]], keep: t.Collection[str], check: bool = False
) -> list[Unused]:
    """Remove images on which no disk stands and whose name is not to be kept, and transfers that nobody continues.

    Args:
        standing: the sha256 of all images below disks; asked while nobody can choose an image for a new one.
        check: only tell what would be removed.

    Returns:
        What was removed.
    """
    incoming = Incoming(images.folder)
    with images.importing():
        if not check:
            _sweep(images)  # what a killed one left would be in the way of the same image, brought again since
        with images.choosing():
            names = images.names()
            used = standing()
            used |= {digest for name in keep for digest in names.get(name, {}).values()}
            found = [
                _unused(images, names, digest, kind) for digest, kind in images.contents().items() if digest not in used
            ]
            if not check:
                _unname(images, names, used)
                for unused in found:
                    os.rename(_path(images, unused.sha256), _path(images, _GONE + unused.sha256))
        if not check:
            _sweep(images)
    for digest, size in incoming.abandoned().items():
        found.append(Unused((), "", digest, size))
        if not check:
            incoming.remove(digest)
    return found


def _sweep(images: Images) -> None:
    """Remove what is no image any more, or was never one."""
    for name in os.listdir(images.folder) if os.path.isdir(images.folder) else ():
        if name.startswith((_GONE, _HALF)):
            shutil.rmtree(os.path.join(images.folder, name))


def _unused(images: Images, names: t.Mapping[str, t.Mapping[str, str]], digest: str, kind: str) -> Unused:
    pointing = tuple(name for name, formats in names.items() if digest in formats.values())
    return Unused(pointing, kind, digest, _weight(_path(images, digest)))


def _unname(images: Images, names: t.Mapping[str, t.Mapping[str, str]], used: t.Collection[str]) -> None:
    """The names go first: one that means nothing would be worse than an image without a name."""
    for name, formats in names.items():
        for kind, digest in formats.items():
            if digest not in used:
                images.unname(name, kind)


def _path(images: Images, name: str) -> str:
    return os.path.join(images.folder, name)


def _weight(folder: str) -> int:
    """Bytes that a folder takes on disk."""
    total = 0
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total
