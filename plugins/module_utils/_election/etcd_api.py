# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The calls of etcd's JSON gateway (version 3 of its API) that a lease needs, over whatever carries them.

The gateway writes 64-bit integers as strings, leaves out what is zero or false, and encodes keys and values in base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import typing as t
from dataclasses import dataclass, field

from .._model.errors import EnsembleError

#: gRPC status codes after which nothing was done; all others leave open whether it was
_DEFINITE = {3, 5, 6, 7, 8, 9, 11, 12, 16}
INVALID, DENIED, PRECONDITION, UNAUTHENTICATED = 3, 7, 9, 16


class Unanswered(EnsembleError):
    """No endpoint gave a verdict, so whether it was done is unknown.

    Attributes:
        silent: endpoint -> why.
    """

    code = "no_quorum"

    def __init__(self, msg: str, silent: t.Mapping[str, str] | None = None) -> None:
        super().__init__(msg, silent=dict(silent or {}))
        self.silent = dict(silent or {})


class Refused(EnsembleError):
    """etcd said no, and did nothing.

    Attributes:
        status: the gRPC status code.
    """

    code = "etcd_refused"

    def __init__(self, msg: str, status: int) -> None:
        super().__init__(msg, status=status)
        self.status = status


def refusal(answer: t.Mapping[str, t.Any]) -> Refused | Unanswered | None:
    """The error in an answer, in any of the forms that gateways of 3.4 to 3.6 give it; None when there is none."""
    error = answer.get("error", answer if "message" in answer else None)
    if error is None:
        return None
    inner = error if isinstance(error, t.Mapping) else answer
    msg = str(inner.get("message") or error)
    status = number(inner.get("grpc_code", inner.get("code")))
    return Refused(msg, status) if status in _DEFINITE else Unanswered(msg)


class Gateway(t.Protocol):
    """What carries the calls: several endpoints of one cluster."""

    @property
    def endpoints(self) -> t.Sequence[str]: ...

    @property
    def silent(self) -> t.Mapping[str, str]:
        """Endpoints that gave no answer when asked last -> why."""

    def call(self, path: str, body: t.Mapping[str, t.Any], timeout: float) -> dict[str, t.Any]:
        """The answer of one endpoint; others are asked while none answers, so a call may be carried out twice.

        Args:
            path: such as `/v3/kv/txn`.
            timeout: seconds for all endpoints together.

        Raises:
            Unanswered: no verdict within that time.
            Refused: nothing was done.
            LeaseError: credentials that are not accepted.
        """

    def close(self) -> None: ...


def number(value: t.Any) -> int:
    """An integer as the gateway writes it, where a missing one is zero."""
    try:
        return int(value or 0)
    except (TypeError, ValueError):
        return 0


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _document(coded: str) -> dict[str, t.Any]:
    """The JSON object in a value; empty when it is something else, since others may write to the same key."""
    try:
        found = json.loads(base64.b64decode(coded))
    except (ValueError, binascii.Error):
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Entry:
    """A key that exists. `value` is empty when it was not written by this collection."""

    key: str
    value: t.Mapping[str, t.Any]
    created: int
    modified: int
    lease: int

    @property
    def session(self) -> str:
        return str(self.value.get("session") or "")

    @property
    def holder(self) -> str:
        return str(self.value.get("holder") or f"something that wrote the key {self.key} of etcd in another form")

    def seconds(self, name: str) -> float:
        """A duration in the value; 0 when there is none."""
        found = self.value.get(name)
        return float(found) if isinstance(found, (int, float)) else 0.0


@dataclass(frozen=True)
class Outcome:
    """What a transaction did.

    Attributes:
        term: that of the consensus protocol at the endpoint which carried it out.
        entries: key -> what its ranges found.
    """

    succeeded: bool
    term: int
    entries: t.Mapping[str, Entry] = field(default_factory=dict)


def created_at(key: str, revision: int) -> dict[str, t.Any]:
    """Holds while a key is the one of that create revision; 0 while there is none."""
    return {"key": _coded(key), "target": "CREATE", "result": "EQUAL", "create_revision": str(revision)}


def modified_at(key: str, revision: int) -> dict[str, t.Any]:
    """Holds while nobody has written a key since that revision."""
    return {"key": _coded(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def bound_to(key: str, lease: int) -> dict[str, t.Any]:
    """Holds while a key ends with that lease."""
    return {"key": _coded(key), "target": "LEASE", "result": "EQUAL", "lease": str(lease)}


def put(key: str, value: t.Mapping[str, t.Any], lease: int) -> dict[str, t.Any]:
    """Write a key that ends with a lease."""
    text = json.dumps(value, sort_keys=True)
    return {"request_put": {"key": _coded(key), "value": _coded(text), "lease": str(lease)}}


def ranged(key: str) -> dict[str, t.Any]:
    """Read a key."""
    return {"request_range": {"key": _coded(key)}}


def delete(key: str) -> dict[str, t.Any]:
    """Remove a key."""
    return {"request_delete_range": {"key": _coded(key)}}


class Api:
    """The calls. `by` is always the moment on `clock` at which the caller stops waiting.

    Raises:
        Unanswered, Refused: by every call.
    """

    def __init__(self, gateway: Gateway, clock: t.Callable[[], float]) -> None:
        self.gateway = gateway
        self.clock = clock

    def grant(self, lease: int, seconds: int, by: float) -> int:
        """Make a lease of that id; the seconds that it lasts, which may be more than was asked for."""
        try:
            answer = self._call("/v3/lease/grant", {"ID": str(lease), "TTL": str(seconds)}, by)
        except Refused as error:
            if error.status != PRECONDITION or "already exists" not in error.msg:
                raise
            return seconds  # the first try of this call got through, and its answer did not
        return number(answer.get("TTL"))

    def keep_alive(self, lease: int, by: float) -> tuple[int, int]:
        """Seconds that the lease lasts from now, 0 when it is gone; and the term in which the endpoint was asked."""
        answer = self._call("/v3/lease/keepalive", {"ID": str(lease)}, by)
        found = answer.get("result", answer)
        return max(0, number(found.get("TTL"))), _term(found)

    def time_left(self, lease: int, by: float) -> int:
        """Seconds until a lease ends; 0 when it is gone. For people only, since the leader alone is asked."""
        answer = self._call("/v3/lease/timetolive", {"ID": str(lease)}, by)
        return max(0, number(answer.get("TTL")))

    def revoke(self, lease: int, by: float) -> None:
        """End a lease and remove its keys; `Refused` when it is gone already."""
        self._call("/v3/lease/revoke", {"ID": str(lease)}, by)

    def transact(
        self,
        conditions: t.Sequence[t.Mapping[str, t.Any]],
        then: t.Sequence[t.Mapping[str, t.Any]],
        otherwise: t.Sequence[t.Mapping[str, t.Any]],
        by: float,
    ) -> Outcome:
        """Carry out one list of requests or the other, by whether all conditions hold."""
        body = {"compare": list(conditions), "success": list(then), "failure": list(otherwise)}
        answer = self._call("/v3/kv/txn", body, by)
        entries = {}
        for part in answer.get("responses") or ():
            for pair in (part.get("response_range") or {}).get("kvs") or ():
                entry = _entry(pair)
                entries[entry.key] = entry
        return Outcome(bool(answer.get("succeeded")), _term(answer), entries)

    def version(self, by: float) -> str:
        """The release of the endpoint that answers."""
        return str(self._call("/v3/maintenance/status", {}, by).get("version") or "")

    def _call(self, path: str, body: t.Mapping[str, t.Any], by: float) -> dict[str, t.Any]:
        left = by - self.clock()
        if left <= 0:
            raise Unanswered("no time was left to ask", self.gateway.silent)
        return self.gateway.call(path, body, left)


def _term(answer: t.Mapping[str, t.Any]) -> int:
    return number((answer.get("header") or {}).get("raft_term"))


def _entry(pair: t.Mapping[str, t.Any]) -> Entry:
    return Entry(
        key=base64.b64decode(pair.get("key", "")).decode(errors="replace"),
        value=_document(pair.get("value", "")),
        created=number(pair.get("create_revision")),
        modified=number(pair.get("mod_revision")),
        lease=number(pair.get("lease")),
    )
