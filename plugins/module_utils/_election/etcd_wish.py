# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Who wants a lease that is kept in etcd (rule 11): a key of its own, which ends with a lease of its own."""

from __future__ import annotations

import contextlib
import math
import typing as t

from .._model.errors import EnsembleError
from .etcd_api import Api, Entry, Unanswered, bound_to, created_at, delete, modified_at, put, ranged
from .store import Identity, Wanted

#: somebody else writes the key between the look at it and the write; more often than that in a row it does not
_ATTEMPTS = 5


class Wishes:
    """The wish of one resource. No clock is shared: how long it lasts is what its owner wrote, or what was seen.

    Args:
        key: of the wish.
        lease_id: makes an id for a lease that nobody else has.
    """

    def __init__(self, api: Api, key: str, lease_id: t.Callable[[], int]) -> None:
        self._api = api
        self.key = key
        self._lease_id = lease_id
        self._seen: tuple[str, float] = ("", 0.0)
        self._first_said: float | None = None

    def noticed(self, entry: Entry | None) -> Wanted | None:
        """What a look at the key says; it keeps for how long that wish has been known."""
        if entry is None or not entry.session:
            self._seen = ("", 0.0)
            return None
        now = self._api.clock()
        since = now - entry.seconds("for_s")
        if self._seen[0] == entry.session:
            since = min(since, self._seen[1])
        self._seen = (entry.session, since)
        return Wanted(entry.session, entry.holder, bool(entry.value.get("person")), now - since)

    def voice(self, identity: Identity, seconds: float, person: bool, by: float) -> None:
        """Say it, say it again, or take it back with no seconds.

        The first person's wish lasts, and a candidate's gives way to a person's.

        Raises:
            Unanswered, Refused: it may not have been heard.
        """
        if seconds <= 0:
            self._first_said = None
            self._take_back(identity, by)
            return
        if self._first_said is None:
            self._first_said = self._api.clock()
        value = {
            "session": identity.session,
            "holder": identity.holder,
            "person": person,
            "for_s": self._api.clock() - self._first_said,
        }
        lease = self._lease_id()
        written = False
        try:
            self._api.grant(lease, math.ceil(seconds), by)
            written = self._write(value, lease, by)
        finally:
            if not written:
                self._forget(lease, by)

    def _write(self, value: t.Mapping[str, t.Any], lease: int, by: float) -> bool:
        """Whether the wish stands now; an earlier one of the same session ends."""
        known: Entry | None = None
        for _attempt in range(_ATTEMPTS):
            guard = created_at(self.key, 0) if known is None else modified_at(self.key, known.modified)
            outcome = self._api.transact([guard], [put(self.key, value, lease)], [ranged(self.key)], by)
            if outcome.succeeded:
                if known is not None:
                    self._forget(known.lease, by)
                return True
            known = outcome.entries.get(self.key)
            if known is None:
                continue
            if known.lease == lease:
                return True  # written by a try of this call whose answer was lost
            if known.session != value["session"] and (known.value.get("person") or not value["person"]):
                return False
        raise Unanswered(f"the key {self.key} was written by others {_ATTEMPTS} times in a row")

    def _take_back(self, identity: Identity, by: float) -> None:
        look = self._api.transact([created_at(self.key, 0)], [delete(self.key)], [ranged(self.key)], by)
        mine = look.entries.get(self.key)
        if mine is None or mine.session != identity.session:
            return
        self._api.transact([bound_to(self.key, mine.lease)], [delete(self.key)], [], by)
        self._forget(mine.lease, by)

    def _forget(self, lease: int, by: float) -> None:
        """End a lease that has no key any more. When nobody answers it ends by itself."""
        if lease:
            with contextlib.suppress(EnsembleError):
                self._api.revoke(lease, by)
