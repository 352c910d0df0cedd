# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The keeper of a playbook's lease: a process that wins it, renews it while the playbook lives, and gives it back.

However the playbook ends, killed too, its lease is free a moment later; when the lease is lost, the playbook is ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
import typing as t

from .._election.policy import RENEWALS
from .._election.store import Lease
from .._model.errors import EnsembleError, LeaseError
from .credentials import cache_dir, write_private
from .keeper import win
from .process import Process, Watch, detached, process

#: seconds that connecting may take besides what the caller is patient for
_SLACK_S = 30.0
_NOTE = "lease.json"


#: work beside the renewals, for as long as the lease is kept
Beside = t.Callable[[Lease], t.ContextManager[None]]


def keep(
    open_lease: t.Callable[[], Lease],
    resource: str,
    controller: Process,
    patience: float,
    person: bool,
    beside: Beside = lambda _lease: contextlib.nullcontext(),
) -> t.Any:
    """Win a lease in a process of its own that keeps it for as long as another process lives.

    Args:
        open_lease: called there; nothing of this process is connected yet.

    Returns:
        What `facts` says of the lease.

    Raises:
        EnsembleError: whatever winning it was refused with; `no_keeper` when it gave no answer.
    """

    def work(answer: t.BinaryIO) -> None:
        _Keeper(resource, controller, answer).run(open_lease, patience, person, beside)

    stream = detached(work)
    with stream:
        ready, _none, _none = select.select([stream], [], [], patience + _SLACK_S)
        line = stream.readline() if ready else b""
    if not line:
        raise EnsembleError(
            "the process that shall keep the lease gave no answer. Nothing was changed; run again.", code="no_keeper"
        )
    said = json.loads(line)
    if "error" in said:
        error = said["error"]
        raise LeaseError(error["msg"], code=error["code"], **error["details"])
    return said


def facts(lease: Lease) -> dict[str, t.Any]:
    """A lease as modules return it."""
    return {
        "session": lease.identity.session,
        "holder": lease.identity.holder,
        "token": list(lease.token),
        "expires_in_s": round(lease.remaining(), 3),
        "quorum": lease.quorum.as_dict(),
    }


def noted(resource: str, controller: Process) -> dict[str, t.Any] | None:
    """What this playbook's keeper has noted of its lease; None when it has none."""
    try:
        with open(os.path.join(cache_dir(resource), _NOTE), encoding="utf-8") as stream:
            note = json.load(stream)
        keeper = Process(*note["keeper"])
        mine = Process(*note["controller"]) == controller and process(keeper.pid) == keeper
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(note) if mine else None


class _Keeper:
    """The detached process."""

    def __init__(self, resource: str, controller: Process, answer: t.BinaryIO) -> None:
        self._path = os.path.join(cache_dir(resource), _NOTE)
        self._controller = controller
        self._answer = answer

    def run(self, open_lease: t.Callable[[], Lease], patience: float, person: bool, beside: Beside) -> None:
        try:
            watch = Watch(self._controller)
        except ProcessLookupError:
            return None
        try:
            lease = open_lease()
            win(lease, patience, person, watch.ended)
        except EnsembleError as error:
            return self._say({"error": error.as_dict()})
        try:
            self._note(lease)
            self._say(facts(lease))
            with beside(lease):
                self._keep(lease, watch)
        finally:
            self._forget()
            lease.release()
            lease.close()
        return None

    def _keep(self, lease: Lease, watch: Watch) -> None:
        """Renew until the playbook ends; end it when what is left covers no further request."""
        least = lease.ttl / 5
        while not watch.ended(min(lease.ttl / RENEWALS, max(0.0, lease.remaining() - least))):
            begun = time.monotonic()
            try:
                lease.renew()
            except LeaseError:
                if lease.remaining() <= least:
                    watch.terminate()
                    return
                watch.ended(max(0.0, min(1.0, lease.ttl / 10) - (time.monotonic() - begun)))

    def _say(self, words: dict[str, t.Any]) -> None:
        self._answer.write(json.dumps(words).encode() + b"\n")
        self._answer.flush()

    def _note(self, lease: Lease) -> None:
        me = process(os.getpid())
        note = {**facts(lease), "controller": [self._controller.pid, self._controller.started]}
        note["keeper"] = [me.pid, me.started] if me is not None else [0, 0]
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        write_private(self._path, json.dumps(note).encode())

    def _forget(self) -> None:
        try:
            with open(self._path, encoding="utf-8") as stream:
                if json.load(stream)["keeper"][0] == os.getpid():
                    os.unlink(self._path)
        except (OSError, ValueError, KeyError, TypeError):
            pass
