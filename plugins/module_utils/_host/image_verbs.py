# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The verbs of the image cache. They concern no resource: an image may serve members of several."""

from __future__ import annotations

import base64
import binascii
import re
import typing as t

from .._model.drivers import IMAGE_FORMATS
from .._model.identity import IMAGE_NAME
from .._model.image import SHA256, URL
from .._model.reader import Section
from .download import Progress, download
from .images import ImageError, Images
from .incoming import MAX_CHUNK, Incoming
from .prune import prune

#: seconds that one call of `image_download` may take
MAX_DOWNLOAD_S = 600
MAX_SIZE = 2**50
_PATH = re.compile(r"/[A-Za-z0-9_.,+/-]{1,1000}")
_KINDS = sorted(set(IMAGE_FORMATS.values()))

Check = t.Callable[[Section], None]
Verb = t.Callable[[t.Any, Section], t.Any]


class ImageVerbs:
    """The cache, as a controller works on it.

    Args:
        standing: the sha256 of every image on which a disk stands.
        checked: refuses a request whose fields are wrong.
    """

    def __init__(self, images: Images, standing: t.Callable[[], set[str]], checked: Check) -> None:
        self._images = images
        self._incoming = Incoming(images.folder)
        self._standing = standing
        self._checked = checked

    def verbs(self) -> dict[str, Verb]:
        """Name -> what to do."""
        return {
            "image_import": self._import,
            "image_status": self._status,
            "image_upload": self._upload,
            "image_download": self._download,
            "image_take": self._take,
            "image_prune": self._prune,
        }

    def _import(self, _batch: t.Any, section: Section) -> t.Any:
        name = _name(section)
        path = section.text("path", pattern=_PATH, what="an absolute path")
        checksum = section.text("checksum", None, SHA256, "a SHA-256 in hexadecimal")
        self._checked(section)
        return {"changed": self._images.import_file(name, path, checksum)}

    def _status(self, _batch: t.Any, section: Section) -> t.Any:
        name, kind, checksum = _name(section), _kind(section), _checksum(section)
        self._checked(section)
        return {
            "named": self._images.named(name, kind, checksum),
            "cached": self._images.cached(checksum, kind),
            "now": self._images.names().get(name, {}).get(kind),
            "have": self._incoming.have(checksum),
        }

    def _upload(self, _batch: t.Any, section: Section) -> t.Any:
        kind, checksum = _kind(section), _checksum(section)
        size = section.integer("size", maximum=MAX_SIZE)
        offset = section.integer("offset", minimum=0, maximum=MAX_SIZE)
        data = _data(section)
        self._checked(section)
        if self._images.cached(checksum, kind):  # another one was faster
            return {"have": size}
        return {"have": self._incoming.append(checksum, kind, size, offset, data)}

    def _download(self, _batch: t.Any, section: Section) -> t.Any:
        kind, checksum = _kind(section), _checksum(section)
        url = section.text("url", pattern=URL, what="an http or https address without a user,")
        seconds = section.number("seconds", 20, 0.1, MAX_DOWNLOAD_S)
        self._checked(section)
        if self._images.cached(checksum, kind):
            return Progress(0, None, True, True)._asdict()
        return download(self._incoming, checksum, kind, url, seconds)._asdict()

    def _take(self, _batch: t.Any, section: Section) -> t.Any:
        name, kind, checksum = _name(section), _kind(section), _checksum(section)
        self._checked(section)
        if self._images.cached(checksum, kind):
            self._images.take(name, kind, checksum, None)
            self._incoming.remove(checksum)
        else:
            with self._incoming.whole(checksum, kind) as path:
                if path is None and not self._images.cached(checksum, kind):
                    raise ImageError(f"nothing of image {name} with sha256 {checksum} has arrived here")
                self._images.take(name, kind, checksum, path)
        return {}

    def _prune(self, _batch: t.Any, section: Section) -> t.Any:
        keep = section.names("keep", IMAGE_NAME, "an image's name")
        check = section.flag("check")
        self._checked(section)
        found = prune(self._images, self._standing, keep, check)
        return {"removed": [{**unused._asdict(), "names": list(unused.names)} for unused in found]}


def _name(section: Section) -> str:
    return t.cast(str, section.text("name", pattern=IMAGE_NAME, what="an image's name"))


def _kind(section: Section) -> str:
    return t.cast(str, section.choice("format", _KINDS))


def _checksum(section: Section) -> str:
    return t.cast(str, section.text("checksum", pattern=SHA256, what="a SHA-256 in hexadecimal"))


def _data(section: Section) -> bytes:
    expected = f"1 to {MAX_CHUNK} bytes in base64"
    text = section.text("data", what=expected)
    try:
        data = base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        section.fault("data", text, expected)
        return b""
    if text and not 0 < len(data) <= MAX_CHUNK:
        section.fault("data", f"{len(data)} bytes", expected)
    return data
