# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The hypervisor's image cache: `/var/lib/ensemble/images/<sha256>/`, and names that point into it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import typing as t

from .._model.errors import EnsembleError
from .files import locked, read_json, write_json

UNPACK_TIMEOUT = 900.0
_CHUNK = 1024 * 1024


class ImageError(EnsembleError):
    """An image is not there, or cannot be imported."""

    code = "no_image"


class Images:
    """Golden images of this hypervisor; members' disks are overlays on them and never write there."""

    def __init__(self, root: str) -> None:
        self._folder = os.path.join(root, "images")
        self._names = os.path.join(self._folder, "names")

    def names(self) -> dict[str, str]:
        """Image name -> sha256 of what it was imported from."""
        try:
            files = sorted(os.listdir(self._names))
        except FileNotFoundError:
            return {}
        return {
            name[:-5]: read_json(os.path.join(self._names, name))["sha256"] for name in files if name.endswith(".json")
        }

    def digest(self, name: str) -> str:
        """The sha256 that a name points to.

        Raises:
            ImageError: no such image.
        """
        entry = read_json(os.path.join(self._names, name + ".json"))
        if entry is None:
            raise ImageError(f"image {name} is not on this hypervisor; import it with playbooks/pool.yml")
        return str(entry["sha256"])

    def root(self, digest: str) -> str:
        """The unpacked root file system of an image.

        Raises:
            ImageError: it was removed from the cache.
        """
        path = os.path.join(self._folder, digest, "root")
        if not os.path.isdir(path):
            raise ImageError(f"image {digest[:12]} is no longer in the cache; import it again with playbooks/pool.yml")
        return path

    def import_tar(self, name: str, path: str, checksum: str | None) -> bool:
        """Unpack a tar archive of a root file system under a name; true when that changed anything.

        A half-unpacked image never counts: it gets its final name only when it is whole and on disk.

        Raises:
            ImageError: unreadable, another checksum, or not an archive.
        """
        os.makedirs(self._names, mode=0o755, exist_ok=True)
        with locked(os.path.join(self._folder, "import.lock"), UNPACK_TIMEOUT):
            source = _source(path)
            entry_path = os.path.join(self._names, name + ".json")
            entry = read_json(entry_path)
            same = entry is not None and entry["source"] == source and checksum in (None, entry["sha256"])
            if same and self._cached(entry["sha256"]):
                return False
            digest = _sha256(path)
            if checksum is not None and digest != checksum:
                raise ImageError(
                    f"image {name}: {path} has sha256 {digest}, expected {checksum}", code="image_checksum"
                )
            unpacked = not self._cached(digest)
            if unpacked:
                self._unpack(path, digest)
            write_json(entry_path, {"sha256": digest, "source": source}, 0o644)
            return unpacked or entry is None or bool(entry["sha256"] != digest)

    def _cached(self, digest: str) -> bool:
        return os.path.isdir(os.path.join(self._folder, digest, "root"))

    def _unpack(self, path: str, digest: str) -> None:
        aside = os.path.join(self._folder, f".half-{digest}")
        shutil.rmtree(aside, ignore_errors=True)
        os.makedirs(os.path.join(aside, "root"), mode=0o755)
        target = os.path.join(aside, "root")
        command = ["tar", "--extract", "--numeric-owner", "--xattrs", "--file", path, "--directory", target]
        try:
            run(command, UNPACK_TIMEOUT)
        except EnsembleError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise ImageError(f"{path} cannot be unpacked: {error.msg}", code="bad_image") from error
        os.sync()
        os.rename(aside, os.path.join(self._folder, digest))


def _source(path: str) -> dict[str, t.Any]:
    try:
        stat = os.stat(path)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}. Put the image there, or name another path.") from error
    if not os.path.isfile(path):
        raise ImageError(f"{path} is not a file. Put the image's archive there, or name another path.")
    return {"path": path, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def run(argv: t.Sequence[str], timeout: float) -> None:
    """Run a command to its end.

    Raises:
        EnsembleError: `command_failed`, with the command's own words.
    """
    try:
        done = subprocess.run(list(argv), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnsembleError(f"{argv[0]}: {error}", code="command_failed") from error
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip()[-500:]
        raise EnsembleError(f"{' '.join(argv)}: exit {done.returncode}: {words}", code="command_failed")
