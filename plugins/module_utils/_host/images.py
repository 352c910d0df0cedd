# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The hypervisor's image cache: `/var/lib/ensemble/images/<sha256>/`, and names that point into it.

An image is a tar archive of a root file system, kept unpacked in `root/`, or a qcow2 disk, kept as `disk.qcow2`.
Which of them a file is, its content says. One name may stand for both: one machine as container and as virtual one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import typing as t

from .._model.errors import EnsembleError
from .._model.image import FORMATS, SHA256
from .files import locked, read_json, sync_dir, write_json

UNPACK_TIMEOUT = 900.0
#: seconds to wait while somebody chooses an image for a disk, or removes what nobody uses
CHOICE_TIMEOUT = 30.0
TAR, QCOW2 = FORMATS
_PASSABLE = 0o711
_CONTENT = {TAR: "root", QCOW2: "disk.qcow2"}
_CHUNK = 1024 * 1024
#: the parts of a qcow2 header (docs/interop/qcow2 of QEMU) that say what it is and whether it stands alone
_QCOW2_MAGIC = b"QFI\xfb"
_QCOW2_HEADER = 104
_EXTERNAL_DATA = 0x04


class ImageError(EnsembleError):
    """An image is not there, or cannot be imported."""

    code = "no_image"


class Images:
    """Golden images of this hypervisor; members' disks are overlays on them and never write there."""

    def __init__(self, root: str) -> None:
        self.folder = os.path.join(root, "images")
        self._names = os.path.join(self.folder, "names")

    def names(self) -> dict[str, dict[str, str]]:
        """Image name -> format -> sha256 of what it was imported from."""
        try:
            files = sorted(os.listdir(self._names))
        except FileNotFoundError:
            return {}
        names = [name[:-5] for name in files if name.endswith(".json")]
        return {name: {kind: entry["sha256"] for kind, entry in self._entries(name).items()} for name in names}

    def named(self, name: str, kind: str, digest: str) -> bool:
        """Whether a name means just this image, and it is here."""
        return self._entries(name).get(kind, {}).get("sha256") == digest and self.cached(digest, kind)

    def _entries(self, name: str) -> dict[str, dict[str, t.Any]]:
        """Format -> what a name points to, and where that came from."""
        stored = read_json(os.path.join(self._names, name + ".json")) or {}
        # written when tar was the only format
        return {TAR: stored} if "sha256" in stored else stored

    def digest(self, name: str, kind: str) -> str:
        """The sha256 that a name points to in a format.

        Raises:
            ImageError: no such image, or in another format only.
        """
        entries = self._entries(name)
        if kind not in entries:
            known = f"here as {', '.join(sorted(entries))} only, not as {kind}" if entries else "not on this hypervisor"
            raise ImageError(f"image {name} is {known}; import it with playbooks/pool.yml")
        return str(entries[kind]["sha256"])

    def chosen(self, name: str, kind: str, checksum: str | None) -> str:
        """The sha256 of the image for a new disk: the declared one where there is one, whatever the name means here.

        Raises:
            ImageError: it is not in the cache.
        """
        if checksum is None:
            return self.digest(name, kind)
        if not self.cached(checksum, kind):
            raise ImageError(
                f"image {name} with sha256 {checksum} is not on this hypervisor as {kind}; "
                "bring it with playbooks/images.yml"
            )
        return checksum

    @contextlib.contextmanager
    def choosing(self) -> t.Iterator[None]:
        """No image goes between the choice for a disk and the mark on the disk that tells of it."""
        with locked(os.path.join(self.folder, "choice.lock"), CHOICE_TIMEOUT):
            yield

    @contextlib.contextmanager
    def importing(self) -> t.Iterator[None]:
        """Nobody else changes what is in the cache."""
        os.makedirs(self._names, mode=0o755, exist_ok=True)
        with locked(os.path.join(self.folder, "import.lock"), UNPACK_TIMEOUT):
            yield

    def root(self, digest: str) -> str:
        """The unpacked root file system of an image.

        Raises:
            ImageError: it was removed from the cache.
        """
        return self._content(digest, TAR)

    def disk(self, digest: str) -> str:
        """The disk of an image, never to be written to.

        Raises:
            ImageError: it was removed from the cache.
        """
        return self._content(digest, QCOW2)

    def _content(self, digest: str, kind: str) -> str:
        path = os.path.join(self.folder, digest, _CONTENT[kind])
        if not os.path.exists(path):
            raise ImageError(f"image {digest[:12]} is no longer in the cache; import it again with playbooks/pool.yml")
        return path

    def import_file(self, name: str, path: str, checksum: str | None) -> bool:
        """Take a tar archive or a qcow2 disk into the cache under a name; true when that changed anything.

        A half-made image never counts: it gets its final name only when it is whole and on disk.

        Raises:
            ImageError: unreadable, another checksum, or neither archive nor a disk that stands alone.
        """
        with self.importing():
            source = _source(path)
            kind = _kind(path)
            entries = self._entries(name)
            entry = entries.get(kind)
            same = entry is not None and entry["source"] == source and checksum in (None, entry["sha256"])
            if entry is not None and same and self.cached(entry["sha256"], kind):
                return False
            digest = sha256_of(path)
            if checksum is not None and digest != checksum:
                raise ImageError(
                    f"image {name}: {path} has sha256 {digest}, expected {checksum}", code="image_checksum"
                )
            made = not self.cached(digest, kind)
            if made:
                self._make(path, digest, kind)
            self._point(name, {**entries, kind: {"sha256": digest, "source": source}})
            return made or entry is None or bool(entry["sha256"] != digest)

    def take(self, name: str, kind: str, digest: str, part: str | None) -> None:
        """Give a name to an image that is here, or to a verified file, which becomes one and is used up.

        Raises:
            ImageError: `bad_image`, the file is of another format, or is none.
        """
        with self.importing():
            found = kind
            if part is not None and not self.cached(digest, kind):
                found = _kind(part)
                self._refuse_other(name, kind, found)
                self._make(part, digest, found, move=True)
            self._point(name, {**self._entries(name), found: {"sha256": digest, "source": {"transfer": digest}}})

    def _refuse_other(self, name: str, declared: str, found: str) -> None:
        if declared != found:
            raise ImageError(f"image {name} is declared as {declared}, but its content is {found}", code="bad_image")

    def _point(self, name: str, entries: dict[str, t.Any]) -> None:
        """Say what a name means; without a meaning there is no name."""
        path = os.path.join(self._names, name + ".json")
        if entries:
            write_json(path, entries, 0o644)
        else:
            os.unlink(path)
            sync_dir(self._names)

    def unname(self, name: str, kind: str) -> None:
        """Let a name no longer mean anything in a format; only inside `importing`."""
        self._point(name, {key: entry for key, entry in self._entries(name).items() if key != kind})

    def contents(self) -> dict[str, str]:
        """sha256 -> format of every image in the cache, named or not."""
        found = {}
        for digest in sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else ():
            for kind in _CONTENT:
                if SHA256.fullmatch(digest) and self.cached(digest, kind):
                    found[digest] = kind
        return found

    def cached(self, digest: str, kind: str) -> bool:
        return os.path.exists(os.path.join(self.folder, digest, _CONTENT[kind]))

    def _make(self, path: str, digest: str, kind: str, move: bool = False) -> None:
        aside = os.path.join(self.folder, f".half-{digest}")
        shutil.rmtree(aside, ignore_errors=True)
        os.makedirs(aside)
        for folder in (self.folder, aside):  # whatever the umask: the emulator has a user of its own
            os.chmod(folder, _PASSABLE)
        target = os.path.join(aside, _CONTENT[kind])
        try:
            if kind == TAR:
                os.mkdir(target, mode=0o755)
                command = ["tar", "--extract", "--numeric-owner", "--xattrs", "--file", path, "--directory", target]
                run(command, UNPACK_TIMEOUT)
            else:
                command = ["mv"] if move else ["cp", "--sparse=always", "--reflink=auto"]
                run([*command, path, target], UNPACK_TIMEOUT)
                os.chmod(target, 0o444)
        except EnsembleError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise ImageError(f"{path} cannot be taken into the cache: {error.msg}", code="bad_image") from error
        os.sync()
        os.rename(aside, os.path.join(self.folder, digest))


def _source(path: str) -> dict[str, t.Any]:
    try:
        stat = os.stat(path)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}. Put the image there, or name another path.") from error
    if not os.path.isfile(path):
        raise ImageError(f"{path} is not a file. Put the image's archive there, or name another path.")
    return {"path": path, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _kind(path: str) -> str:
    """The format of an image, by its content.

    Raises:
        ImageError: a disk that stands on other files: a guest would read them.
    """
    with open(path, "rb") as stream:
        header = stream.read(_QCOW2_HEADER)
    if not header.startswith(_QCOW2_MAGIC):
        return TAR
    backing = header[8:16].strip(b"\0")
    external = len(header) >= 80 and header[4:8] == b"\0\0\0\3" and header[79] & _EXTERNAL_DATA
    if backing or external:
        raise ImageError(
            f"{path} is a qcow2 disk on top of another file. Make one that stands alone: qemu-img convert -O qcow2",
            code="bad_image",
        )
    return QCOW2


def sha256_of(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal."""
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
