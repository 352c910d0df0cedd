# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Images on their way into the cache: `incoming/<sha256>.part`, grown piece by piece, verified before it is used.

What is there of a file is told by its length alone. So a transfer that was cut goes on where it stopped, whoever
brings the rest; and of two who bring the same file at once each finds that the other has brought some of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import typing as t

from .._model.image import SHA256
from .files import BusyError, locked
from .images import UNPACK_TIMEOUT, ImageError, sha256_of

#: bytes of one piece; in base64 it must fit into a line of the protocol
MAX_CHUNK = 4 * 1024 * 1024
#: bytes that stay free on the hypervisor's disk
RESERVE = 64 * 1024 * 1024
#: seconds to wait while another one brings a piece
PIECE_TIMEOUT = 10.0
#: seconds without a new piece after which nobody is bringing this file any more
ABANDONED_S = 600.0
_PART = ".part"
_MIB = 1024 * 1024


class Incoming:
    """The parts of images that are not whole yet."""

    def __init__(self, images: str) -> None:
        self._folder = os.path.join(images, "incoming")

    def free(self) -> int:
        """Bytes free for images."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        return shutil.disk_usage(self._folder).free

    def have(self, digest: str) -> int:
        """Bytes of a file that are here."""
        return _size(self._path(digest))

    @contextlib.contextmanager
    def part(self, digest: str, timeout: float) -> t.Iterator[str]:
        """The part's path, while nobody else works on it. A full disk is told as such.

        Raises:
            BusyError: another one works on it.
            ImageError: `no_space`.
        """
        with locked(self._path(digest, ".lock"), timeout):
            try:
                yield self._path(digest)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise ImageError(
                    f"the disk of {self._folder} is full. Remove images that nobody uses: playbooks/images.yml "
                    "-e ensemble_images_state=pruned",
                    code="no_space",
                    free=self.free(),
                ) from error

    def append(self, digest: str, kind: str, size: int, offset: int, data: bytes) -> int:
        """Add a piece, unless the file does not end where it begins, or another one works on it.

        Returns:
            Bytes that are here now; the next piece begins there.

        Raises:
            ImageError: `no_space`; nothing was written.
        """
        try:
            with self.part(digest, PIECE_TIMEOUT) as path:
                return self._append(path, digest, kind, size, offset, data)
        except BusyError:
            return offset

    def _append(self, path: str, digest: str, kind: str, size: int, offset: int, data: bytes) -> int:
        have = _size(path)
        if have > size:  # of no such file
            os.unlink(path)
            have = 0
        if offset != have:
            return have
        self.require_room(digest, kind, size, have)
        with open(path, "ab") as stream:
            stream.write(data[: size - have])
        return _size(path)

    def require_room(self, digest: str, kind: str, size: int, have: int) -> None:
        """Refuse a file that the disk cannot take: the rest of it and, of an archive, what comes out of it.

        Raises:
            ImageError: `no_space`, with what is free and what is needed.
        """
        needed = size - have + (0 if kind == "qcow2" else size) + RESERVE
        free = self.free()
        if free < needed:
            raise ImageError(
                f"no room for the image {digest[:12]}: {free // _MIB} MiB are free in {self._folder}, "
                f"{-(-needed // _MIB)} MiB are needed. Remove images that nobody uses: playbooks/images.yml "
                "-e ensemble_images_state=pruned",
                code="no_space",
                free=free,
                needed=needed,
            )

    @contextlib.contextmanager
    def whole(self, digest: str, kind: str) -> t.Iterator[str | None]:
        """The path of the whole file, None when somebody else has used it up; it is gone afterwards, or useless.

        Raises:
            ImageError: `image_checksum`: the part was removed; `no_space`: it stays.
        """
        with self.part(digest, UNPACK_TIMEOUT) as path:
            if not os.path.exists(path):
                yield None
                return
            found = sha256_of(path)
            if found != digest:
                os.unlink(path)
                raise ImageError(
                    f"what arrived has sha256 {found}, expected {digest}; it was removed. Compare the declared "
                    "checksum with that of the file at its origin.",
                    code="image_checksum",
                    found=found,
                    expected=digest,
                )
            self.require_room(digest, kind, _size(path), _size(path))
            try:
                yield path
            except ImageError:  # it is no image, and would not become one
                _unlink(path)
                raise
            _unlink(path)
            _unlink(self._path(digest, ".lock"))

    def abandoned(self) -> dict[str, int]:
        """sha256 -> bytes of what nobody is bringing any more."""
        found = {}
        for name in sorted(os.listdir(self._folder)) if os.path.isdir(self._folder) else ():
            path = os.path.join(self._folder, name)
            digest = name[: -len(_PART)]
            if name.endswith(_PART) and SHA256.fullmatch(digest) and time.time() - os.stat(path).st_mtime > ABANDONED_S:
                found[digest] = _size(path)
        return found

    def remove(self, digest: str) -> None:
        """Remove a part, unless somebody works on it."""
        with contextlib.suppress(BusyError), self.part(digest, 0.0) as path:
            _unlink(path)
            _unlink(self._path(digest, ".lock"))

    def _path(self, digest: str, ending: str = _PART) -> str:
        return os.path.join(self._folder, digest + ending)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
