# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Bringing one declared image into one hypervisor's cache: resumed where a transfer was cut, verified before use."""

from __future__ import annotations

import base64
import functools
import os
import threading
import time
import typing as t
from dataclasses import dataclass

from .._host.image_verbs import MAX_DOWNLOAD_S
from .._host.images import UNPACK_TIMEOUT, sha256_of
from .._host.incoming import MAX_CHUNK
from .._model.errors import EnsembleError
from .._model.image import ImageSource
from .._pool.session import Session

#: seconds for bringing one image to one hypervisor
TIMEOUT = 3600.0
STATUS_TIMEOUT = 30.0
PIECE_TIMEOUT = 60.0
#: seconds for one call of a download, which tells how far it is; besides them the server may be silent
DOWNLOAD_S = 10.0
_SLACK = 60.0
#: calls in a row without a new byte after which a download has come to a halt
_HALTED = 3
_hashing = threading.Lock()


@dataclass(frozen=True)
class Transfer:
    """What has to be done, or was done, for one image on one hypervisor.

    Attributes:
        before: sha256 that the name means there before, None when it means nothing.
        changed: whether the name means another image afterwards than before, or one that is there again.
        bytes: brought to the hypervisor, or still to be brought; None where only its web server knows.
    """

    hypervisor: str
    image: str
    format: str
    sha256: str
    before: str | None
    changed: bool
    bytes: int | None = 0
    seconds: float = 0.0


def digest_of_source(source: ImageSource) -> str:
    """The SHA-256 of an image: the declared one, else that of its file.

    Raises:
        EnsembleError: `no_image_file`.
    """
    return source.checksum or local_file(source)[1]


def ensure_image(session: Session, source: ImageSource, timeout: float = TIMEOUT) -> Transfer:
    """See to it that one hypervisor has an image in its cache, under its name.

    Args:
        source: with its format and a path or an address.
        timeout: seconds for bringing it; verifying and unpacking have deadlines of their own.

    Raises:
        EnsembleError: `image_checksum`, `no_space`, `bad_image`, `image_download`, `image_timeout`, `no_image_file`,
            `no_source`; under the image's name is what was there before.
        HypervisorError: the connection broke; the next call goes on from there.
    """
    begun = time.monotonic()
    digest = digest_of_source(source)
    what = {"name": source.name, "format": source.format, "checksum": digest}
    status = session.call("image_status", STATUS_TIMEOUT, what)
    moved = 0
    if not status["named"]:
        if not status["cached"]:
            moved = _bring_verified(session, source, what, int(status["have"]), begun + timeout)
        else:
            session.call("image_take", 2 * UNPACK_TIMEOUT, what)
    return Transfer(
        session.hypervisor,
        source.name,
        source.format,
        digest,
        status["now"],
        not status["named"],
        moved,
        time.monotonic() - begun,
    )


def _bring_verified(
    session: Session, source: ImageSource, what: t.Mapping[str, t.Any], have: int, deadline: float
) -> int:
    """Bring a file and have it taken; bytes that were brought.

    What was begun by another run may be of no use (a power cut leaves holes): then it is brought once more as a whole.
    """
    moved = _bring(session, source, what, have, deadline)
    try:
        session.call("image_take", 3 * UNPACK_TIMEOUT, what)
    except EnsembleError as error:
        if error.code != "image_checksum" or not have:
            raise EnsembleError(
                f"image {source.name} from {source.origin}: {error.msg}", code=error.code, **error.details
            ) from error
        return moved + _bring_verified(session, source, what, 0, deadline)
    return moved


def _bring(session: Session, source: ImageSource, what: t.Mapping[str, t.Any], have: int, deadline: float) -> int:
    fields = {key: what[key] for key in ("format", "checksum")}
    if source.path is not None:
        return _upload(session, source, fields, have, deadline)
    if source.url is not None:
        return _download(session, source, fields, have, deadline)
    raise EnsembleError(
        f"image {source.name} is not on {session.hypervisor}, and the declaration names neither path nor url for it",
        code="no_source",
    )


def _upload(session: Session, source: ImageSource, fields: t.Mapping[str, t.Any], have: int, deadline: float) -> int:
    path, moved = str(source.path), 0
    size, digest = local_file(source)
    if digest != fields["checksum"]:
        raise EnsembleError(
            f"image {source.name}: {path} has sha256 {digest}, declared is {fields['checksum']}. Nothing was brought; "
            f"correct checksum at {source.place or 'its place'}, or the file.",
            code="image_checksum",
            found=digest,
            expected=fields["checksum"],
        )
    with open(path, "rb") as stream:
        while have != size:
            _require_time(session, source, have, size, deadline)
            stream.seek(have if have < size else 0)
            data = stream.read(MAX_CHUNK)
            piece = {
                **fields,
                "size": size,
                "offset": stream.tell() - len(data),
                "data": base64.b64encode(data).decode(),
            }
            have = int(session.call("image_upload", PIECE_TIMEOUT, piece)["have"])
            moved += len(data) if have == stream.tell() else 0
    return moved


def _download(session: Session, source: ImageSource, fields: t.Mapping[str, t.Any], have: int, deadline: float) -> int:
    begun_at, idle, seconds = have, 0, DOWNLOAD_S
    while True:
        _require_time(session, source, have, None, deadline)
        call = {**fields, "url": source.url, "seconds": seconds}
        answer = session.call("image_download", seconds + _SLACK, call)
        if answer["done"]:
            return max(0, int(answer["have"]) - begun_at)
        if not answer["resumable"] and seconds == MAX_DOWNLOAD_S:
            raise EnsembleError(
                f"{session.hypervisor}: {source.url} cannot be had in {seconds:g} s, and its server cannot go on where "
                "it stopped. Use one that knows ranges, or declare path instead of url.",
                code="image_download",
            )
        if not answer["resumable"]:
            seconds = MAX_DOWNLOAD_S
        idle = idle + 1 if answer["have"] <= have else 0
        if idle == _HALTED and answer["resumable"]:
            raise EnsembleError(
                f"{session.hypervisor}: {source.url} came to a halt after {have} bytes; run again to go on from there",
                code="image_download",
            )
        have = int(answer["have"])


def _require_time(session: Session, source: ImageSource, have: int, size: int | None, deadline: float) -> None:
    if time.monotonic() >= deadline:
        of = f" of {size}" if size is not None else ""
        raise EnsembleError(
            f"{session.hypervisor}: image {source.name}: {have}{of} bytes were there when its time was over. "
            "Run again to go on from there.",
            code="image_timeout",
        )


def local_file(source: ImageSource) -> tuple[int, str]:
    """Size and SHA-256 of an image's file on this controller.

    Raises:
        EnsembleError: `no_image_file`.
    """
    path = str(source.path)
    try:
        stat = os.stat(path)
        if not os.path.isfile(path) or not stat.st_size:
            raise EnsembleError(f"image {source.name}: {path} is no file with content", code="no_image_file")
        with _hashing:  # once, however many hypervisors shall have it
            return stat.st_size, _hashed(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise EnsembleError(
            f"image {source.name}: {path}: {error.strerror}. Put the file there, or correct "
            f"{source.place or 'its'}.path; a url would do for controllers that have no copy.",
            code="no_image_file",
        ) from error


@functools.lru_cache(maxsize=64)
def _hashed(path: str, _size: int, _mtime_ns: int) -> str:
    return sha256_of(path)
