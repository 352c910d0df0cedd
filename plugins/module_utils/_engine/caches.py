# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The image caches of a whole pool: what they lack, filling several at once, removing what nobody uses."""

from __future__ import annotations

import time
import typing as t

from .._host.images import UNPACK_TIMEOUT
from .._model.errors import EnsembleError, HypervisorError
from .._model.image import ImageSource
from .._pool.pool import Pool, in_parallel, raise_together
from .._pool.session import Session
from .images import STATUS_TIMEOUT, TIMEOUT, Transfer, digest_of_source, ensure_image, local_file

#: hypervisors that are filled at the same time
WIDTH = 4
#: how often a broken connection is opened anew for one image
_RECONNECTS = 2


def survey(session: Session, sources: t.Sequence[ImageSource]) -> list[Transfer]:
    """What one hypervisor lacks of some images; changes nothing.

    Raises:
        EnsembleError: it does not answer, or a file is not there.
    """
    digests = [digest_of_source(source) for source in sources]
    fields = [
        {"verb": "image_status", "name": source.name, "format": source.format, "checksum": digest}
        for source, digest in zip(sources, digests)
    ]
    found = []
    for source, digest, result in zip(sources, digests, session.batch(fields, STATUS_TIMEOUT) if fields else ()):
        if not result["ok"]:
            raise EnsembleError(f"{session.hypervisor}: {result['error']['msg']}", code=result["error"]["code"])
        status = result["value"]
        size: int | None = 0
        if not status["cached"]:
            size = None if source.path is None else local_file(source)[0] - int(status["have"])
        found.append(
            Transfer(session.hypervisor, source.name, source.format, digest, status["now"], not status["named"], size)
        )
    return found


def survey_all(pool: Pool, sources: t.Sequence[ImageSource]) -> list[Transfer]:
    """What the whole pool lacks.

    Raises:
        EnsembleError: every fault together.
    """
    answers = pool.each(lambda session: survey(session, sources))
    raise_together(answers.values())
    return [transfer for found in answers.values() for transfer in t.cast("list[Transfer]", found)]


def fill(
    pool: Pool,
    sources: t.Sequence[ImageSource],
    needed: t.Sequence[Transfer],
    timeout: float = TIMEOUT,
    width: int = WIDTH,
) -> list[Transfer]:
    """Bring what a survey found to be lacking; a hypervisor whose connection breaks is connected to again.

    Args:
        timeout: seconds for one image on one hypervisor.
        width: hypervisors at the same time; on each, one image after the other.

    Raises:
        EnsembleError: every fault together; the other hypervisors were filled all the same.
    """
    wanted: dict[str, list[ImageSource]] = {}
    by_key = {(source.name, source.format): source for source in sources}
    for transfer in needed:
        wanted.setdefault(transfer.hypervisor, []).append(by_key[transfer.image, transfer.format])

    def work(hypervisor: str) -> list[Transfer]:
        return [_persistently(pool, hypervisor, source, timeout) for source in wanted[hypervisor]]

    outcomes = in_parallel(work, list(wanted), width)
    raise_together(outcomes)
    return [transfer for done in outcomes for transfer in t.cast("list[Transfer]", done)]


def _persistently(pool: Pool, hypervisor: str, source: ImageSource, timeout: float) -> Transfer:
    begun = time.monotonic()
    for left in reversed(range(_RECONNECTS + 1)):
        try:
            return ensure_image(pool.sessions[hypervisor], source, timeout - (time.monotonic() - begun))
        except HypervisorError:
            if not left:
                raise
            pool.sessions[hypervisor].close()
            pool.sessions[hypervisor] = pool.reconnect(hypervisor)
    raise AssertionError("the last attempt returns or raises")


def prune(pool: Pool, keep: t.Sequence[str], check: bool) -> dict[str, list[dict[str, t.Any]]]:
    """Remove from every cache the images on which no member stands, except some names; only tell in check mode.

    Returns:
        Hypervisor -> what was removed: names, format, sha256, bytes.

    Raises:
        EnsembleError: every fault together.
    """
    fields = {"keep": sorted(set(keep)), "check": check}
    answers = pool.each(lambda session: session.call("image_prune", 2 * UNPACK_TIMEOUT, fields)["removed"])
    raise_together(answers.values())
    return t.cast("dict[str, list[dict[str, t.Any]]]", answers)
