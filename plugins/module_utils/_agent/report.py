# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What `ensemble-agent status` tells: the voters' word on who leads, and this node's own part."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from .._election.store import Lease, View, node_of
from .._model.errors import EnsembleError
from .journal import read_status, status_path
from .processes import start_of
from .settings import Settings


@dataclass(frozen=True)
class Told:
    """An answer for a program, for a person, and as an exit status."""

    data: dict[str, t.Any]
    text: str
    code: int = 0


def local_status(settings: Settings, folder: str) -> dict[str, t.Any] | None:
    """What the agent of this node wrote; None unless that agent lives."""
    found = read_status(status_path(settings.resource, folder))
    if found is None:
        return None
    pid, start = found.get("pid"), found.get("pid_start")
    return found if isinstance(pid, int) and start is not None and start_of(pid) == start else None


def report(settings: Settings, opener: t.Callable[[], Lease], folder: str, clock: t.Callable[[], float]) -> Told:
    """Who leads, by the voters themselves; without their word an error, and what this node's agent knows."""
    local = local_status(settings, folder)
    node = {"id": settings.node_id, "rank": settings.rank, "candidates": list(settings.candidates)}
    try:
        with contextlib.closing(opener()) as lease:
            view = lease.view()
    except EnsembleError as error:
        data: dict[str, t.Any] = {"resource": settings.resource, "error": error.as_dict(), "node": node, "agent": local}
        words = [f"{settings.resource}: {error.msg}", *_own_lines(settings, local, clock())]
        return Told(data, "\n".join(words), 1)
    now = clock()
    leader: dict[str, t.Any] | None = None
    if view.session:
        leader = {"node": node_of(view.session), "holder": view.holder, "session": view.session}
        leader |= {"expires_in_s": round(view.expires_in, 1), "since_s": _since(view, local, now)}
    data = {
        "resource": settings.resource,
        "leader": leader,
        "token": list(view.token),
        "quorum": view.quorum.as_dict(),
        "wanted": None if view.wanted is None else dict(vars(view.wanted)),
        "node": node,
        "agent": local,
    }
    return Told(data, "\n".join(_lines(settings, view, leader, local, now)), 0 if leader is not None else 3)


def _since(view: View, local: t.Mapping[str, t.Any] | None, now: float) -> float | None:
    """Seconds for which this node's agent has seen that leader in that term."""
    if local is None or local.get("since") is None or local.get("token") != list(view.token):
        return None
    return round(max(0.0, now - float(local["since"])), 1)


def _lines(
    settings: Settings,
    view: View,
    leader: t.Mapping[str, t.Any] | None,
    local: t.Mapping[str, t.Any] | None,
    now: float,
) -> t.Iterator[str]:
    token = ",".join(map(str, view.token))
    if leader is None:
        yield f"{settings.resource}: nobody leads (last token {token})"
    else:
        since = "" if leader["since_s"] is None else f" for {leader['since_s']:.0f} s"
        yield (
            f"{settings.resource}: {leader['node']} leads{since}, token {token}, expires in {view.expires_in:.0f} s "
            f"unless renewed ({view.holder})"
        )
    if view.wanted is not None:
        kind = "a person" if view.wanted.person else "a candidate"
        yield f"wanted by {kind}: {view.wanted.holder}, for {view.wanted.for_s:.0f} s"
    quorum = view.quorum
    yield f"voters: {quorum.acks} of {quorum.acks + len(quorum.silent)} answer, {quorum.needed} needed"
    for name, why in quorum.silent.items():
        yield f"  {name}: {why}"
    yield from _own_lines(settings, local, now)


def _own_lines(settings: Settings, local: t.Mapping[str, t.Any] | None, now: float) -> t.Iterator[str]:
    place = f"candidate {settings.rank + 1} of {len(settings.candidates)}"
    yield f"this node: {settings.node_id}, {place}, " + (f"{local['role']}" if local else "its agent does not run")
    last = (local or {}).get("last_run")
    if (local or {}).get("run"):
        yield f"a run is at work here, started {now - float(local['run']['started']):.0f} s ago"  # type: ignore[index]
    if last:
        ended = f", ended because the lease was {last['ended_by']}" if last.get("ended_by") else ""
        ago = now - float(last["at"])
        yield f"last run here: exit status {last['code']} after {last['seconds']:.1f} s{ended}, {ago:.0f} s ago"
