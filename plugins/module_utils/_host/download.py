# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""An image from a web server, brought by the hypervisor itself; each call takes bounded time and goes on from the last.

Resuming is by ranges (RFC 9110, section 14): a server that does not know them sends the whole file again.
"""

from __future__ import annotations

import http.client
import os
import re
import time
import typing as t
import urllib.error
import urllib.request

from .files import BusyError
from .images import ImageError
from .incoming import Incoming

#: seconds that the server may be silent
_SILENCE = 10.0
_CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
#: a range that begins at the file's end
_PAST_THE_END = 416


class Progress(t.NamedTuple):
    """Attributes: have, size: bytes, size None where the server does not say; resumable: the next call goes on."""

    have: int
    size: int | None
    done: bool
    resumable: bool


def download(incoming: Incoming, digest: str, kind: str, url: str, seconds: float) -> Progress:
    """Bring more of a file, for at most so many seconds (and a server's silence).

    Raises:
        ImageError: `image_download`: the server refuses or is not there; `no_space`.
    """
    deadline = time.monotonic() + seconds
    try:
        with incoming.part(digest, seconds) as path:
            return _more(incoming, path, digest, kind, url, deadline)
    except BusyError:  # another one brings it
        return Progress(incoming.have(digest), None, False, True)


def _more(incoming: Incoming, path: str, digest: str, kind: str, url: str, deadline: float) -> Progress:
    have = os.stat(path).st_size if os.path.exists(path) else 0
    try:
        with _open(url, have) as response:
            begin, size = _extent(response, have)
            resumable = response.status == 206 or response.headers.get("Accept-Ranges") == "bytes"
            if size is not None:
                incoming.require_room(digest, kind, size, begin)
            have, ended = _copy(response, path, begin, deadline, lambda at: incoming.require_room(digest, kind, at, at))
    except urllib.error.HTTPError as error:
        if error.code == _PAST_THE_END and have:
            return Progress(have, have, True, True)
        raise ImageError(f"{url}: the server answers {error.code} {error.reason}", code="image_download") from error
    except (OSError, http.client.HTTPException) as error:
        now = os.stat(path).st_size if os.path.exists(path) else 0
        if now > have:  # the next call tells whether it is over
            return Progress(now, None, False, True)
        reason = getattr(error, "reason", error)
        raise ImageError(f"{url}: {reason or type(error).__name__}", code="image_download") from error
    return Progress(have, size, ended if size is None else have >= size, resumable)


def _open(url: str, have: int) -> t.Any:
    """The answer to a request for all that is missing; nothing but http and https is spoken, wherever it leads."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    return opener.open(urllib.request.Request(url, headers=headers), timeout=_SILENCE)  # noqa: S310  # handlers above


def _extent(response: t.Any, have: int) -> tuple[int, int | None]:
    """Where in the file the answer begins, and the file's size where it is told."""
    if response.status == 206:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != have:
            raise http.client.HTTPException("the server sends another part of the file than it was asked for")
        return have, int(found[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _copy(response: t.Any, path: str, begin: int, deadline: float, check: t.Callable[[int], None]) -> tuple[int, bool]:
    """Write what comes, until the deadline; the length then, and whether the answer ended."""
    with open(path, "ab" if begin else "wb") as stream:
        while time.monotonic() < deadline:
            chunk = response.read1(_CHUNK)  # what is there: `read` would wait for all of it, beyond the deadline
            if not chunk:
                return stream.tell(), True
            check(stream.tell())
            stream.write(chunk)
        return stream.tell(), False
