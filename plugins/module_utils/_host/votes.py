# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""This host's votes: what it has granted, on disk before it is answered, and who wants it besides."""

from __future__ import annotations

import functools
import os
import time
import typing as t
import uuid
from dataclasses import replace

from .._election.voter import (
    Answer,
    Ballot,
    Boot,
    Grant,
    Wish,
    decide,
    decide_wish,
    rejoin,
    release,
    remaining,
    wish_left,
)
from .files import RUN_DIR, CorruptStateError, locked, read_json, resource_dir, write_json
from .voters import VotersFile

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
    """What this host has granted for one resource."""

    def __init__(self, root: str, resource: str, run_dir: str = RUN_DIR) -> None:
        self._path = os.path.join(resource_dir(root, resource), "lease.json")
        self._wishes = os.path.join(run_dir, f"wish-{resource}.json")
        self._voters = VotersFile(root, resource)
        self._run_dir = run_dir

    @functools.cached_property
    def _boot(self) -> Boot:
        return this_boot(self._run_dir)

    def _left(self, grant: Grant | None) -> float:
        # who has granted nothing need not note its boot: reading writes nothing
        return remaining(grant, boottime(), self._boot) if grant is not None else 0.0

    def _load(self) -> Grant | None:
        """The grant, None when this voter has no memory.

        A configuration of voters that was written here counts from that moment on, and ends the founding.
        """
        stored = read_json(self._path)
        if stored is None:
            return None
        grant = Grant.from_dict(stored)
        pinned = self._voters.read()
        if pinned is None:
            return grant
        if grant.config_epoch > pinned.epoch:  # it has granted to a later list, which is still to be written here
            return replace(grant, founding=False)
        return replace(grant, config_epoch=pinned.epoch, founding=False, config=pinned.list_digest)

    def read(self) -> dict[str, t.Any]:
        """The grant, how long it still binds, who wants it and the voters as far as they are known; writes nothing."""
        grant = self._load()
        pinned = self._voters.read()
        shown = self._shown(Answer(False, "read", grant, self._left(grant)))
        return {**shown, "config": pinned.as_dict() if pinned is not None else None}

    def request(self, ballot: Ballot) -> dict[str, t.Any]:
        """Grant, renew or refuse; a grant is on disk before it is answered."""
        with locked(self._path + ".lock", LOCK_TIMEOUT):
            answer = decide(self._load(), ballot, boottime(), self._boot)
            if answer.granted and answer.grant is not None:
                write_json(self._path, answer.grant.as_dict())
                if answer.reason == "granted" and os.path.exists(self._wishes):
                    self.wish(ballot.session, ballot.holder, True, 0)
            return self._shown(answer)

    def release(self, session: str, term: int) -> dict[str, t.Any]:
        """Give a lease back, and with it the session's own wish; harmless for any session but the holder's."""
        if os.path.exists(self._wishes):  # one that this voter did not grant would hold up everybody else
            self.wish(session, "", True, 0)
        if not os.path.exists(self._path):
            return self._shown(Answer(False, "released", None, 0.0))
        with locked(self._path + ".lock", LOCK_TIMEOUT):
            grant = self._load()
            freed = release(grant, session, term)
            if freed is not None and freed != grant:
                write_json(self._path, freed.as_dict())
            return self._shown(Answer(False, "released", freed, 0.0))

    def join(self, epoch: int, term: int, ttl: float, founding: bool = False) -> dict[str, t.Any]:
        """Take over what a majority of the others knows, where there is no memory or a corrupt one (rule 9)."""
        with locked(self._path + ".lock", LOCK_TIMEOUT):
            try:
                grant = self._load()
            except CorruptStateError:
                grant = None
            if grant is None:
                grant = rejoin(epoch, term, ttl, boottime(), self._boot, founding)
                write_json(self._path, grant.as_dict())
            return self._shown(Answer(False, "joined", grant, self._left(grant)))

    def unpin(self) -> None:
        """The resource is gone: what is started under its name later may have other voters, with higher terms."""
        with locked(self._path + ".lock", LOCK_TIMEOUT):
            stored = self._load()
            self._voters.forget()
            if stored is not None:
                write_json(self._path, replace(stored, founding=True, config="").as_dict())

    def wish(self, session: str, holder: str, person: bool, seconds: float) -> dict[str, t.Any]:
        """Note that somebody wants the lease, for whoever asks next; no seconds: it is not wanted any more."""
        os.makedirs(self._run_dir, mode=0o755, exist_ok=True)
        with locked(self._wishes + ".lock", LOCK_TIMEOUT):
            kept = self._wish()
            wish = decide_wish(kept, session, holder, person, seconds, boottime(), self._boot)
            if wish != kept:
                write_json(self._wishes, wish.as_dict() if wish is not None else None, durable=False)
        return {"wanted": self._wanted()}

    def _wish(self) -> Wish | None:
        try:
            stored = read_json(self._wishes)
        except CorruptStateError:  # it binds nobody
            stored = None
        return Wish(**stored) if stored else None

    def _wanted(self) -> dict[str, t.Any] | None:
        wish, now = self._wish(), boottime()
        if wish is None or wish_left(wish, now, self._boot) <= 0:
            return None
        said = {"session": wish.session, "holder": wish.holder, "person": wish.person}
        return {**said, "for_s": now - wish.since}

    def _shown(self, answer: Answer) -> dict[str, t.Any]:
        grant = answer.grant or Grant(config_epoch=0)
        return {
            "granted": answer.granted,
            "reason": answer.reason,
            "expires_in": answer.expires_in,
            "blank": answer.grant is None,
            "founding": grant.founding,
            "config_epoch": grant.config_epoch,
            "term": grant.term,
            "session": grant.session,
            "holder": grant.holder,
            "ttl": grant.ttl,
            "wanted": self._wanted(),
        }
