# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The lease in an existing etcd: a key that is bound to a lease of etcd, and whose create revision is the token.

Whatever is decided is decided by a transaction that may write, since only those pass through etcd's consensus for
sure: a plain read may come from a member that has lost touch. A transaction that could write, and does not, leaves no
revision behind, so this holds for looking on, too. The rules are numbered in docs/election.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import threading
import typing as t

from .._model.errors import EnsembleError, LeaseError
from .etcd_api import Api, Entry, Gateway, Outcome, Refused, Unanswered, bound_to, created_at, delete, put, ranged
from .etcd_versions import version_warning
from .etcd_wish import Wishes
from .quorum import held_error
from .store import SAFE_SHARE, Identity, Lease, Quorum, Token, View

#: how often a step is tried again whose outcome is not known
_ATTEMPTS = 3


class EtcdLease(Lease):
    """A lease in etcd; safe to share between the thread that works and the one that renews.

    Args:
        resource: its keys are `/ensemble/<resource>/leader` and `/ensemble/<resource>/wish`.
        epoch: raised when the resource moves to another etcd cluster, whose revisions are others.
        op_timeout: seconds for one step of the protocol, a renewal for example; a fifth of the ttl unless said.
    """

    def __init__(
        self,
        gateway: Gateway,
        resource: str,
        epoch: int,
        identity: Identity,
        ttl: float,
        clock: t.Callable[[], float],
        op_timeout: float | None = None,
    ) -> None:
        super().__init__(identity, ttl, clock)
        self.resource = resource
        self.epoch = epoch
        self.op_timeout = ttl / 5 if op_timeout is None else op_timeout
        self._gateway = gateway
        self._api = Api(gateway, clock)
        self._key = f"/ensemble/{resource}/leader"
        # never written: a request to remove it makes a transaction one that may write
        self._vacant = f"/ensemble/{resource}/vacant"
        self._wishes = Wishes(self._api, f"/ensemble/{resource}/wish", self._lease_id)
        self._lease = 0
        self._made = 0
        self._guard = threading.Lock()

    # -- the interface

    def acquire(self) -> None:
        with self._explained("Nothing was changed"):
            seen = self._look(self._soon()).entries
            leader = seen.get(self._key)
            if leader is not None and leader.session != self.identity.session:
                raise self._held(leader)
            begun = self.clock()
            last = begun + SAFE_SHARE * self.ttl
            lease = self._lease_id()
            won = False
            try:
                granted = self._api.grant(lease, math.ceil(self.ttl), min(self._soon(), last))
                entry = self._campaign(lease, last)
                if self.clock() > last:
                    raise Unanswered("the answers came too late to hold the lease safely", self._gateway.silent)
                won = True
            finally:
                if not won:
                    self._end(lease)
            with self._guard:
                self.token, self._lease = (self.epoch, entry.created), lease
            self._keep(lease, begun, granted, seen)

    def renew(self) -> None:
        with self._guard:
            token, lease = self.token, self._lease
        if not lease:
            raise LeaseError("there is no lease to renew", code="lease_lost")
        by = self._soon()
        try:
            for _attempt in range(_ATTEMPTS):
                begun = self.clock()
                seconds, term = self._api.keep_alive(lease, by)
                outcome = self._confirm(token, lease, by)
                if not outcome.succeeded:
                    raise self._lost(outcome)
                # A leader of etcd that was deposed may renew a lease without anybody else knowing. The transaction
                # went through the present one: in the same term, it is the one that renewed.
                if seconds and term == outcome.term:
                    self._keep(lease, begun, seconds, outcome.entries)
                    return
        except LeaseError as error:
            if error.code == "lease_lost":
                raise
            raise self._unrenewed(error) from error
        except (Unanswered, Refused) as error:
            raise self._unrenewed(error) from error
        raise self._unrenewed(Unanswered("etcd changed its leader meanwhile"))

    def adopt(self, token: Token) -> None:
        with self._explained("Nothing was changed"):
            by = self._soon()
            conditions = [created_at(self._key, token[1])]
            outcome = self._api.transact(conditions, self._both(), [delete(self._vacant)], by)
            leader = outcome.entries.get(self._key)
        if token[0] != self.epoch or not outcome.succeeded or leader is None or not (leader.session and leader.lease):
            raise LeaseError(
                f"the fencing token {list(token)} is not that of the lease on {self.resource} in etcd. "
                "Nothing was changed; acquire the lease again.",
                code="lease_lost",
                token=list(token),
            )
        self.identity = Identity(leader.session, self.identity.holder)
        self.ttl = leader.seconds("ttl") or self.ttl
        with self._guard:
            self.token, self._lease = token, leader.lease
        try:
            self.renew()
        except LeaseError:
            with self._guard:
                self.token, self._lease = (0, 0), 0
            raise

    def release(self) -> None:
        with self._guard:
            revision, lease = self.token[1], self._lease
            self._until, self._lease = 0.0, 0
        by = self._soon()
        with contextlib.suppress(EnsembleError):  # where nobody answers it ends by itself
            if not lease:
                leader = self._look(by).entries.get(self._key)
                if leader is None or leader.session != self.identity.session:
                    return
                revision, lease = leader.created, leader.lease
            self._remove(revision, by)
        self._end(lease)

    def view(self) -> View:
        with self._explained("Nothing was changed"):
            by = self._soon()
            entries = self._look(by).entries
            self.quorum = self._quorum()
            self.wanted = self._wishes.noticed(entries.get(self._wishes.key))
            leader = entries.get(self._key)
            if leader is None:
                return View("", "", (self.epoch, 0), 0.0, self.quorum, self.wanted)
            left = float(self._api.time_left(leader.lease, by)) if leader.lease else 0.0
            token = (self.epoch, leader.created)
            return View(leader.session, leader.holder, token, left, self.quorum, self.wanted)

    def wish(self, seconds: float, person: bool) -> None:
        with self._explained("The wish may not have been heard"):
            self._wishes.voice(self.identity, seconds, person, self._soon())

    def close(self) -> None:
        self._gateway.close()

    def warning(self) -> str | None:
        """What to know of this etcd before a lease is trusted to it; None also when nobody tells its version."""
        try:
            return version_warning(self._api.version(self._soon()))
        except EnsembleError:
            return None

    # -- steps

    def _campaign(self, lease: int, last: float) -> Entry:
        """The key, written by this session and bound to that lease.

        A try whose answer was lost may have been carried out: the next one finds what it wrote.
        """
        value = {"session": self.identity.session, "holder": self.identity.holder, "ttl": self.ttl}
        doubt = Unanswered("the key of the lease was written by others again and again")
        for _attempt in range(_ATTEMPTS):
            then = [put(self._key, value, lease), ranged(self._key)]
            by = min(self._soon(), last)
            try:
                outcome = self._api.transact([created_at(self._key, 0)], then, [ranged(self._key)], by)
            except Unanswered as error:
                doubt = error
                continue
            entry = outcome.entries[self._key]
            if outcome.succeeded or entry.lease == lease:
                return entry
            if entry.session != self.identity.session:
                raise self._held(entry)
            with self._guard:  # an earlier lease of this session: from here on anybody may win
                self._until, self._lease = 0.0, 0
            self._remove(entry.created, by)
            self._end(entry.lease)
        raise doubt

    def _confirm(self, token: Token, lease: int, by: float) -> Outcome:
        """Whether the key is still the one that was won; and who wants it."""
        ours = [created_at(self._key, token[1]), bound_to(self._key, lease)]
        return self._api.transact(ours, self._both(), [ranged(self._key), delete(self._vacant)], by)

    def _look(self, by: float) -> Outcome:
        return self._api.transact([], self._both(), [delete(self._vacant)], by)

    def _both(self) -> list[dict[str, t.Any]]:
        return [ranged(self._key), ranged(self._wishes.key)]

    def _remove(self, revision: int, by: float) -> None:
        self._api.transact([created_at(self._key, revision)], [delete(self._key)], [], by)

    def _end(self, lease: int) -> None:
        """End a lease of ours with what is bound to it; where nobody answers it ends by itself."""
        with contextlib.suppress(EnsembleError):
            self._api.revoke(lease, self._soon())

    def _keep(self, lease: int, begun: float, granted: float, entries: t.Mapping[str, Entry]) -> None:
        with self._guard:
            if self._lease == lease:  # else it was released meanwhile
                self.quorum = self._quorum()
                self.wanted = self._wishes.noticed(entries.get(self._wishes.key))
                self._hold(begun, min(self.ttl, granted))

    def _soon(self) -> float:
        return self.clock() + self.op_timeout

    def _lease_id(self) -> int:
        """An id that nobody else makes, so that a lease can be ended whose grant was never answered.

        The holder tells apart the processes of a session, and the clock what one did before it was started again.
        """
        self._made += 1
        mine = (self.resource, self.identity.session, self.identity.holder, repr(self.clock()), str(self._made))
        text = "\0".join(mine)
        return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1) or 1

    # -- words

    def _quorum(self) -> Quorum:
        """As far as it is known: a transaction that was carried out has a majority, whoever is silent to us."""
        count = len(self._gateway.endpoints)
        silent = dict(self._gateway.silent)
        needed = count // 2 + 1
        return Quorum(needed, max(needed, count - len(silent)), silent)

    def _held(self, leader: Entry) -> LeaseError:
        left = leader.seconds("ttl")
        with contextlib.suppress(EnsembleError):
            left = float(self._api.time_left(leader.lease, self._soon()))
        return held_error({"session": leader.session, "holder": leader.holder, "expires_in": left})

    def _lost(self, outcome: Outcome) -> LeaseError:
        """It is gone for sure, so nothing is left of it."""
        with self._guard:
            self._until, lease, self._lease = 0.0, self._lease, 0
        self._end(lease)
        leader = outcome.entries.get(self._key)
        why = f"{leader.holder} holds it" if leader is not None else "it expired, or somebody revoked it in etcd"
        return LeaseError(f"the lease was lost: {why}", code="lease_lost")

    def _unrenewed(self, error: EnsembleError) -> LeaseError:
        details = self._silence(error) if isinstance(error, Unanswered) else {}
        return LeaseError(f"the lease could not be renewed: {error.msg}", code="lease_lost", **details)

    def _silence(self, error: Unanswered) -> dict[str, t.Any]:
        count = len(self._gateway.endpoints)
        silent = error.silent or dict(self._gateway.silent)
        self.quorum = Quorum(count // 2 + 1, min(count - len(silent), count // 2), silent)
        return {"quorum": self.quorum.as_dict()}

    @contextlib.contextmanager
    def _explained(self, changed: str) -> t.Iterator[None]:
        """Turn what the calls raise into what a lease raises."""
        try:
            yield
        except Unanswered as error:
            details = self._silence(error)
            why = "".join(f"\n  - {name}: {words}" for name, words in error.silent.items())
            raise LeaseError(
                f"etcd gives no verdict on the lease of {self.resource}: {error.msg}. {changed}; look after the "
                f"members of the etcd cluster.{why}",
                code="no_quorum",
                **details,
            ) from error
        except Refused as error:
            raise LeaseError(
                f"etcd refuses to work on the lease of {self.resource}: {error.msg}. {changed}; its own log says more.",
                code="etcd_refused",
            ) from error
