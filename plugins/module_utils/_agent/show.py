# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What the leader has seen last, for people: on its page where a port is declared, and in a file on its node."""

from __future__ import annotations

import json
import os
import time
import typing as t

from .._engine.report import hypervisor_states
from .._host.files import write_file
from .._status.document import MOST_EVENTS, build
from .._status.text import iso
from .events import Tail, events_of
from .journal import RUN_DIR
from .settings import Settings
from .watch import Shown
from .web import Holder, Web

#: looks that may fail before the page says that nobody looks any more
_STALE_LOOKS = 6


class Show:
    """Takes each look; `close` ends the page."""

    def __init__(self, settings: Settings, token: t.Sequence[int], folder: str = RUN_DIR) -> None:
        self._settings = settings
        self._token = list(token)
        self._path = os.path.join(folder, f"{settings.resource}.status.json")
        self._begun = time.monotonic()
        self._holder: Holder | None = None
        self._web: Web | None = None
        self._port: int | None = None

    def __call__(self, shown: Shown) -> None:
        """Show a look.

        Raises:
            EnsembleError: `page_unavailable`, its port cannot be had.
        """
        resource = shown.resource
        document = build(
            shown.health.as_dict(),
            iso(time.time()),
            leader={
                "node": self._settings.node_id,
                "holder": f"ensemble-agent on {self._settings.node_id}",
                "token": self._token,
                "since_s": round(time.monotonic() - self._begun, 1),
            },
            hypervisors=hypervisor_states(resource, shown.observation),
            events=self._events(),
            repairs=shown.repairs,
            repairs_total=shown.totals,
            look_s=shown.seconds,
            interval_s=resource.monitor.interval,
        )
        write_file(self._path, (json.dumps(document) + "\n").encode(), 0o644, durable=False)
        self._serve(resource.monitor.port, resource.monitor.interval)
        if self._holder is not None:
            self._holder.put(document)

    def close(self) -> None:
        """End the page; what was seen last stays in its file."""
        if self._web is not None:
            self._web.close()
        self._web = self._holder = None

    def _serve(self, port: int | None, interval: float) -> None:
        if port == self._port:
            return
        self.close()
        self._port = port
        if port is not None:
            self._holder = Holder(_STALE_LOOKS * interval)
            self._web = Web(self._holder, "", port)
            self._web.start()

    def _events(self) -> list[dict[str, t.Any]]:
        tail = Tail(self._settings.journal)
        try:
            return [event for event, _line in events_of(tail.earlier())][-MOST_EVENTS:]
        except OSError:
            return []
        finally:
            tail.close()
