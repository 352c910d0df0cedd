# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A voter's lease record on disk. The decision itself is pure and lives in `_election.voter`."""

from __future__ import annotations

import os
import time
import typing as t
import uuid

from .._election.voter import Answer, Boot, Grant, decide, release, remaining
from .files import RUN_DIR, locked, read_json, resource_dir, write_json

LOCK_TIMEOUT = 5.0


def this_boot(run_dir: str = RUN_DIR) -> Boot:
    """What was noted when a voter was first asked after this boot.

    The id is random and of our own, since hypervisors may share a kernel; the folder is empty after each boot.
    """
    path = os.path.join(run_dir, "boot.json")
    os.makedirs(run_dir, mode=0o755, exist_ok=True)
    with locked(path + ".lock", LOCK_TIMEOUT):
        noted = read_json(path)
        if noted is None:
            noted = {"boot_id": str(uuid.uuid4()), "since": boottime()}
            write_json(path, noted, 0o644)
        return Boot(**noted)


def boottime() -> float:
    """Seconds since boot, counting suspension; no wall clock can move it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Voter:
    """The lease record of one resource on this hypervisor."""

    def __init__(self, root: str, resource: str, run_dir: str = RUN_DIR) -> None:
        self._folder = resource_dir(root, resource)
        self._path = os.path.join(self._folder, "lease.json")
        self._boot = this_boot(run_dir)

    def _load(self) -> Grant:
        return Grant.from_dict(read_json(self._path) or {})

    def read(self) -> dict[str, t.Any]:
        """The grant and how long it still binds; writes nothing."""
        grant = self._load()
        return _shown(Answer(False, "read", grant, remaining(grant, boottime(), self._boot)))

    def request(self, term: int, session: str, holder: str, ttl: float) -> dict[str, t.Any]:
        """Grant, renew or refuse; a grant is on disk before it is answered."""
        with locked(self._path + ".lock", LOCK_TIMEOUT):
            grant = self._load()
            answer = decide(grant, term, session, holder, ttl, boottime(), self._boot)
            if answer.granted:
                write_json(self._path, answer.grant.as_dict())
            return _shown(answer)

    def release(self, session: str) -> dict[str, t.Any]:
        """Give a lease back; harmless for any session but the holder's."""
        if not os.path.exists(self._path):
            return _shown(Answer(False, "released", Grant(), 0.0))
        with locked(self._path + ".lock", LOCK_TIMEOUT):
            grant = self._load()
            freed = release(grant, session)
            if freed != grant:
                write_json(self._path, freed.as_dict())
            return _shown(Answer(False, "released", freed, 0.0))


def _shown(answer: Answer) -> dict[str, t.Any]:
    return {
        "granted": answer.granted,
        "reason": answer.reason,
        "expires_in": answer.expires_in,
        "config_epoch": answer.grant.config_epoch,
        "term": answer.grant.term,
        "session": answer.grant.session,
        "holder": answer.grant.holder,
    }
