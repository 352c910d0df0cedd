# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The program ensemble-agent on a lease that is one file: `agent_program.py FOLDER WORD...`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._agent.main import main
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.settings import Settings
from ansible_collections.ensemble.stacks.plugins.module_utils._election.store import (
    Identity,
    Lease,
    Quorum,
    Token,
    View,
    Wanted,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import LeaseError


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class FileLease(Lease):
    def __init__(self, path: str, identity: Identity, ttl: float) -> None:
        super().__init__(identity, ttl, boottime)
        self._path = path

    @contextlib.contextmanager
    def _state(self) -> t.Iterator[dict[str, t.Any]]:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(fd, "r+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            state = json.loads(stream.read() or '{"term": 0, "session": "", "holder": "", "until": 0}')
            if state.get("silent"):
                raise LeaseError("0 of 1 voters answer", code="no_quorum", quorum={"needed": 1, "acks": 0})
            yield state
            stream.seek(0)
            stream.truncate()
            json.dump(state, stream)

    def _wanted(self, state: t.Mapping[str, t.Any]) -> Wanted | None:
        return Wanted(state["wanted"], "ann", True, 1.0) if state.get("wanted") else None

    def acquire(self) -> None:
        with self._state() as state:
            if state["until"] > boottime():
                raise LeaseError("held", code="lease_held")
            state["term"] += 1
            state.update(session=self.identity.session, holder=self.identity.holder)
            self._grant(state)

    def renew(self) -> None:
        with self._state() as state:
            if state["session"] != self.identity.session or state["until"] <= boottime():
                raise LeaseError("lost", code="lease_lost", quorum={"needed": 1, "acks": 1, "silent": {}})
            self._grant(state)

    def _grant(self, state: dict[str, t.Any]) -> None:
        begun = boottime()
        state["until"] = begun + self.ttl
        self.token, self.quorum, self.wanted = (1, state["term"]), Quorum(1, 1), self._wanted(state)
        self._hold(begun, self.ttl)

    def adopt(self, token: Token) -> None:
        raise NotImplementedError

    def release(self) -> None:
        with self._state() as state:
            if state["session"] == self.identity.session:
                state.update(session="", holder="", until=0)

    def view(self) -> View:
        with self._state() as state:
            left = max(0.0, state["until"] - boottime())
            session, holder = (state["session"], state["holder"]) if left else ("", "")
            return View(session, holder, (1, state["term"]), left, Quorum(1, 1), self._wanted(state))

    def wish(self, seconds: float, person: bool) -> None:
        pass

    def close(self) -> None:
        pass


if __name__ == "__main__":
    folder = sys.argv[1]
    # a shell that runs the tests in the background has all that it starts ignore the signal
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def opener(settings: Settings, identity: Identity) -> Lease:
        return FileLease(os.path.join(folder, "lease.json"), identity, settings.timings.ttl)

    sys.exit(main(sys.argv[2:], opener, os.path.join(folder, "run")))
