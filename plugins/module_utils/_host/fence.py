# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Fencing: the highest (token, generation) that this hypervisor has seen for a resource; lower is refused.

The comparison and the write happen under the resource's lock and before anything is touched. The lock is held
until the batch is done, so that no batch of a former leader overlaps one of its successor.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._model.errors import RefusedError
from .files import locked, read_json, resource_dir, write_json

Token = t.Tuple[int, int]


@contextlib.contextmanager
def alone(root: str, resource: str, timeout: float) -> t.Iterator[None]:
    """Hold the resource on this hypervisor without a token: no batch overlaps, and none is refused for it later.

    Raises:
        BusyError: another batch did not end in time.
    """
    with locked(os.path.join(resource_dir(root, resource), "fence.lock"), timeout):
        yield


@contextlib.contextmanager
def fenced(root: str, resource: str, token: Token, generation: int, timeout: float) -> t.Iterator[None]:
    """Hold the resource on this hypervisor for one batch.

    Args:
        token: (config epoch, term), compared in that order.
        generation: of the declaration that the batch carries out.
        timeout: seconds to wait for a batch that is at work.

    Raises:
        RefusedError: `stale_token` or `stale_generation`; nothing was changed.
        BusyError: another batch did not end in time.
    """
    with alone(root, resource, timeout):
        path = os.path.join(resource_dir(root, resource), "fence.json")
        highest = read_json(path) or {"token": [0, 0], "generation": 0}
        seen: Token = (highest["token"][0], highest["token"][1])
        if token < seen:
            raise RefusedError(
                f"token {list(token)} for {resource} is lower than {list(seen)}, which this hypervisor has seen: "
                "another controller leads now. Nothing was changed; run again.",
                code="stale_token",
                token=list(token),
                highest=list(seen),
            )
        if generation < highest["generation"]:
            raise RefusedError(
                f"generation {generation} of {resource} is older than {highest['generation']}, which this hypervisor "
                "has carried out. Nothing was changed; run again with the newer declaration.",
                code="stale_generation",
                generation=generation,
                highest=highest["generation"],
            )
        if (token, generation) != (seen, highest["generation"]):
            write_json(path, {"token": list(token), "generation": generation})
        yield
