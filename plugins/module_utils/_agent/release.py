# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""`ensemble-agent release`: the agent of this node ends its run in good order and lets another candidate lead."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import typing as t

from .._election.store import Lease, node_of
from .._model.errors import EnsembleError
from .processes import start_of
from .report import Told, local_status
from .settings import Settings

_POLL = 0.1


def release(settings: Settings, opener: t.Callable[[], Lease], folder: str, monotonic: t.Callable[[], float]) -> Told:
    """Ask the agent, and wait until it leads no longer.

    Args:
        opener: opens the lease, where the voters must be asked.
        folder: of the status files.

    Raises:
        EnsembleError: `not_released`, it did not within its time; `no_quorum` on a node that does not lead.
    """
    local = local_status(settings, folder)
    if local is None or local.get("role") != "leader":
        return _elsewhere(settings, opener)
    term = (local.get("token"), local.get("since"))
    _ask(int(local["pid"]), local["pid_start"])
    patience = settings.yield_s + settings.reserve + 2 * settings.timings.ttl
    deadline = monotonic() + patience
    while True:
        now = local_status(settings, folder)
        if now is None or now.get("role") != "leader" or (now.get("token"), now.get("since")) != term:
            break
        if monotonic() >= deadline:
            raise EnsembleError(
                f"the agent of {settings.resource} has not given the lease back within {patience:.0f} s. See "
                f"journalctl -u ensemble-agent@{settings.resource}; systemctl stop ends it with its run.",
                code="not_released",
            )
        time.sleep(_POLL)
    data = {"resource": settings.resource, "released": True, "token": term[0]}
    return Told(data, f"{settings.resource}: released; other candidates may lead now")


def _elsewhere(settings: Settings, opener: t.Callable[[], Lease]) -> Told:
    with contextlib.closing(opener()) as lease:
        view = lease.view()
    leader = node_of(view.session) or None
    data = {"resource": settings.resource, "released": False, "leader": leader}
    words = f"{leader} leads, run this there ({view.holder})" if leader else "nobody leads"
    return Told(data, f"{settings.resource}: this node does not lead, so nothing was released; {words}")


def _ask(pid: int, start: str) -> None:
    """Signal exactly this process, not another one that got its number."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if start_of(pid) == start:
            signal.pidfd_send_signal(fd, signal.SIGUSR1)
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)
