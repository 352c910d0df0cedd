# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Carrying out a plan, wave by wave: one batch per hypervisor and wave, several hypervisors at once."""

from __future__ import annotations

import math
import time
import typing as t

from .._election.store import Lease
from .._model.errors import EnsembleError
from .._model.image import ImageSource
from .._model.protocol import MEMBERS_AT_ONCE
from .._plan.actions import FETCH, Action
from .._pool.pool import Pool, raise_together
from .._pool.session import Session

Sources = t.Mapping[t.Tuple[str, str], ImageSource]

#: seconds for one batch, besides what a stop may take
BATCH_TIMEOUT = 120.0


class Applier:
    """Sends the plan's actions; remembers which of them were done and how long each verb took."""

    def __init__(self, pool: Pool, resource: str, lease: Lease, generation: int, images: Sources | None = None) -> None:
        """`images` tells where images come from that a plan has fetched."""
        self._pool = pool
        self._resource = resource
        self._lease = lease
        self._generation = generation
        self._cover = lease.ttl / 5
        self._images = images or {}
        self.done: list[Action] = []
        self.seconds: dict[str, float] = {}

    def call(self, hypervisor: str, verb: str, fields: t.Mapping[str, t.Any] | None = None) -> t.Any:
        """One mutating verb that concerns the resource as a whole."""
        self._lease.require(self._cover)
        return self._pool.sessions[hypervisor].call(verb, BATCH_TIMEOUT, fields, **self._common())

    def _common(self) -> dict[str, t.Any]:
        return {"resource": self._resource, "generation": self._generation, "token": list(self._lease.token)}

    def wave(
        self, actions: t.Sequence[Action], fields: t.Callable[[Action], t.Mapping[str, t.Any]], stop_timeout: float
    ) -> None:
        """Carry out one wave.

        Args:
            fields: what an action needs besides what the plan says (a seed's keys).
            stop_timeout: seconds that a stop in good order may take.

        Raises:
            EnsembleError: every failure of the wave together; other members' steps are finished all the same.
        """
        self._fetch([action for action in actions if action.verb == FETCH])
        actions = [action for action in actions if action.verb != FETCH]
        per_host: dict[str, list[Action]] = {}
        for action in actions:
            per_host.setdefault(action.hypervisor, []).append(action)
        stops = [sum(action.verb == "stop" for action in here) for here in per_host.values()]
        timeout = BATCH_TIMEOUT + stop_timeout * math.ceil(max(stops, default=0) / MEMBERS_AT_ONCE)
        self._lease.require(self._cover)

        def work(session: Session) -> list[dict[str, t.Any]]:
            verbs = [
                {"verb": action.verb, "member": action.member, **action.args, **fields(action)}
                for action in per_host[session.hypervisor]
            ]
            return session.batch(verbs, timeout, **self._common())

        begun = time.monotonic()
        outcomes = self._pool.each(work, list(per_host))
        elapsed = time.monotonic() - begun
        failures = [outcome for outcome in outcomes.values() if isinstance(outcome, EnsembleError)]
        slowest: dict[str, float] = {}
        for hypervisor, results in outcomes.items():
            if not isinstance(results, EnsembleError):
                for verb, seconds in _shares(per_host[hypervisor], results, elapsed).items():
                    slowest[verb] = max(slowest.get(verb, 0.0), seconds)
                failures += self._note(per_host[hypervisor], results)
        for verb, seconds in slowest.items():
            self.seconds[verb] = self.seconds.get(verb, 0.0) + seconds
        raise_together(failures)

    def _fetch(self, actions: t.Sequence[Action]) -> None:
        """Bring images to all hypervisors that need some, side by side; one after another on each.

        Raises:
            EnsembleError: every failure together. What has arrived so far is kept, and the next run goes on from there.
        """
        per_host: dict[str, list[Action]] = {}
        for action in actions:
            per_host.setdefault(action.hypervisor, []).append(action)

        if not actions:
            return
        from .images import ensure_image  # with much of the host program, which no other run needs here

        def work(session: Session) -> None:
            for action in per_host[session.hypervisor]:
                ensure_image(session, self._images[action.args["name"], action.args["format"]])
                self.done.append(action)

        begun = time.monotonic()
        raise_together(self._pool.each(work, list(per_host)).values())
        self.seconds[FETCH] = self.seconds.get(FETCH, 0.0) + time.monotonic() - begun

    def _note(self, actions: t.Sequence[Action], results: t.Sequence[t.Mapping[str, t.Any]]) -> list[EnsembleError]:
        """Remember what was done; what was not is returned."""
        failures = []
        for action, result in zip(actions, results):
            if result["ok"]:
                self.done.append(action)
            elif result["error"]["code"] != "skipped":
                error = result["error"]
                failures.append(
                    EnsembleError(
                        f"{action.verb} {action.member} on {action.hypervisor}: {error['msg']}",
                        code=error["code"],
                        **{**error.get("details", {}), "member": action.member, "hypervisor": action.hypervisor},
                    )
                )
        return failures


def _shares(
    actions: t.Sequence[Action], results: t.Sequence[t.Mapping[str, t.Any]], elapsed: float
) -> dict[str, float]:
    """The wave's time shared among its verbs by what each took on one hypervisor, in seconds."""
    total = sum(float(result.get("ms", 0.0)) for result in results) or 1.0
    seconds: dict[str, float] = {}
    for action, result in zip(actions, results):
        seconds[action.verb] = seconds.get(action.verb, 0.0) + elapsed * float(result.get("ms", 0.0)) / total
    return seconds
