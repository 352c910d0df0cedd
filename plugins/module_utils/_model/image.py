# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Where a declared image comes from."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

#: formats that a file may have
FORMATS = ("tar", "qcow2")
SHA256 = re.compile(r"[0-9a-f]{64}")
#: http or https, and no user or password: addresses are kept in records and shown in messages
URL = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?(/[!-~]{0,2000})?")
_ENDINGS = re.compile(r"(\.tar)?\.[A-Za-z0-9]{1,5}$")


@dataclass(frozen=True)
class ImageSource:
    """One image and its origin.

    Attributes:
        format: `tar` or `qcow2`; empty while it is that of whichever driver takes the image.
        path: on this controller, absolute.
        url: http or https; each hypervisor downloads it by itself.
        checksum: SHA-256 of the file, in hexadecimal; always there with `url`.
        place: the key of the declaration that says so.
    """

    name: str
    format: str = ""
    path: str | None = None
    url: str | None = None
    checksum: str | None = None
    place: str = field(default="", compare=False)

    @property
    def origin(self) -> str | None:
        """The path or the address; None where the image is only named, and is already where it is needed."""
        return self.path or self.url


def stem_of(origin: str) -> str:
    """A file's name without its folder, its ending and an address's query: `images/node.tar.xz` is `node`."""
    name = re.split(r"[?#]", origin, maxsplit=1)[0] if "://" in origin else origin
    return _ENDINGS.sub("", name.rstrip("/").rsplit("/", 1)[-1])


def shared_image(raw: t.Mapping[str, t.Any]) -> dict[str, t.Any] | str:
    """A declared image without its path, which means nothing on another controller; but never without its name.

    Where nothing but the name is left it is written as one: the same image, whoever has brought it.
    """
    origin = raw.get("path") or raw.get("url") or ""
    shared = {key: value for key, value in raw.items() if key != "path"}
    name = raw.get("name") or stem_of(str(origin))
    return {**shared, "name": name} if shared.keys() - {"name"} else str(name)
