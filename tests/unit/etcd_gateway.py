# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""An etcd in memory, as its JSON gateway shows it, with a clock and faults that a test makes."""

from __future__ import annotations

import base64
import json
import typing as t
from dataclasses import dataclass

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.etcd import EtcdLease
from ansible_collections.ensemble.stacks.plugins.module_utils._election.etcd_api import Unanswered, refusal
from ansible_collections.ensemble.stacks.plugins.module_utils._election.store import Identity
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import LeaseError
from voters import Clock

Json = t.Dict[str, t.Any]
LEADER = "/ensemble/shared/leader"
WISH = "/ensemble/shared/wish"
SHORTEST_LEASE = 2


@dataclass
class Pair:
    value: str
    created: int
    modified: int
    version: int
    lease: int


@dataclass
class Granted:
    ttl: int
    until: float


class MemoryEtcd:
    """One cluster.

    Attributes:
        term: of its consensus; a new leader gives every lease its whole ttl again.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.revision = 1
        self.term = 2
        self.pairs: dict[str, Pair] = {}
        self.leases: dict[int, Granted] = {}

    def expire(self) -> None:
        for lease in [lease for lease, granted in self.leases.items() if granted.until <= self.clock.now]:
            self._drop(lease)

    def _drop(self, lease: int) -> None:
        del self.leases[lease]
        bound = [key for key, pair in self.pairs.items() if pair.lease == lease]
        for key in bound:
            del self.pairs[key]
        self.revision += bool(bound)

    def elect(self) -> None:
        """Another leader."""
        self.term += 1
        for granted in self.leases.values():
            granted.until = self.clock.now + granted.ttl

    def entry(self, key: str) -> Json | None:
        """The value of a key, as JSON."""
        self.expire()
        pair = self.pairs.get(key)
        return None if pair is None else json.loads(base64.b64decode(pair.value))

    def answer(self, path: str, body: Json) -> Json:
        """What the gateway says; zeros are left out, and integers are strings."""
        self.expire()
        verbs = {
            "/v3/lease/grant": self._grant,
            "/v3/lease/keepalive": self._keep_alive,
            "/v3/lease/timetolive": self._time_to_live,
            "/v3/lease/revoke": self._revoke,
            "/v3/kv/txn": self._transact,
            "/v3/maintenance/status": lambda _body: {"version": "3.4.23"},
        }
        found = verbs[path](body)
        header = {"raft_term": str(self.term), "revision": str(self.revision)}
        return found if "error" in found else {"header": header, **found}

    def _grant(self, body: Json) -> Json:
        lease, ttl = int(body["ID"]), max(SHORTEST_LEASE, int(body["TTL"]))
        if lease in self.leases:
            return _error("etcdserver: lease already exists", 9)
        self.leases[lease] = Granted(ttl, self.clock.now + ttl)
        return {"ID": str(lease), "TTL": str(ttl)}

    def _keep_alive(self, body: Json) -> Json:
        granted = self.leases.get(int(body["ID"]))
        result = {"header": {"raft_term": str(self.term)}, "ID": body["ID"]}
        if granted is not None:
            granted.until = self.clock.now + granted.ttl
            result["TTL"] = str(granted.ttl)
        return {"result": result}

    def _time_to_live(self, body: Json) -> Json:
        granted = self.leases.get(int(body["ID"]))
        return {"ID": body["ID"], "TTL": "-1" if granted is None else str(int(granted.until - self.clock.now))}

    def _revoke(self, body: Json) -> Json:
        if int(body["ID"]) not in self.leases:
            return _error("etcdserver: requested lease not found", 5)
        self._drop(int(body["ID"]))
        return {}

    def _transact(self, body: Json) -> Json:
        succeeded = all(self._holds(condition) for condition in body["compare"])
        requests = body["success" if succeeded else "failure"]
        puts = [request["request_put"] for request in requests if "request_put" in request]
        if any(int(one["lease"]) and int(one["lease"]) not in self.leases for one in puts):
            return _error("etcdserver: requested lease not found", 5)
        at = self.revision + 1
        responses = [self._carry_out(request, at) for request in requests]
        return {**({"succeeded": True} if succeeded else {}), **({"responses": responses} if responses else {})}

    def _holds(self, condition: Json) -> bool:
        assert condition["result"] == "EQUAL"
        pair = self.pairs.get(_plain(condition["key"]))
        found = {
            "CREATE": ("create_revision", pair.created if pair else 0),
            "MOD": ("mod_revision", pair.modified if pair else 0),
            "LEASE": ("lease", pair.lease if pair else 0),
        }
        name, value = found[condition["target"]]
        return int(condition[name]) == value

    def _carry_out(self, request: Json, at: int) -> Json:
        if "request_put" in request:
            body = request["request_put"]
            key, before = _plain(body["key"]), self.pairs.get(_plain(body["key"]))
            version = before.version + 1 if before else 1
            created = before.created if before else at
            self.pairs[key] = Pair(body["value"], created, at, version, int(body["lease"]))
            self.revision = at
            return {"response_put": {"header": {"revision": str(at)}}}
        if "request_delete_range" in request:
            gone = self.pairs.pop(_plain(request["request_delete_range"]["key"]), None)
            self.revision = at if gone else self.revision
            return {"response_delete_range": {"deleted": "1"} if gone else {}}
        key = _plain(request["request_range"]["key"])
        return {"response_range": {"kvs": [_shown(key, self.pairs[key])], "count": "1"} if key in self.pairs else {}}


def _plain(coded: str) -> str:
    return base64.b64decode(coded).decode()


def _shown(key: str, pair: Pair) -> Json:
    numbers = {
        "create_revision": pair.created,
        "mod_revision": pair.modified,
        "version": pair.version,
        "lease": pair.lease,
    }
    shown = {name: str(value) for name, value in numbers.items() if value}
    return {"key": base64.b64encode(key.encode()).decode(), "value": pair.value, **shown}


def _error(words: str, code: int) -> Json:
    return {"error": words, "message": words, "code": code}


class MemoryGateway:
    """One session's way to the cluster.

    Attributes:
        faults: what happens to its next calls, one each: `up`; `lost`, it is not carried out; `deaf`, it is, and the
            answer is lost; `late`, the answer is lost and it is carried out at `arrive`; `changed`, a 503 of an
            election; `deposed`, a renewal is answered by a leader that was voted out, and by none else.
        latency: seconds that pass before a call is carried out, and again before its answer is there.
        asked: paths of its calls.
    """

    def __init__(self, etcd: MemoryEtcd) -> None:
        self.etcd = etcd
        self.faults: list[str] = []
        self.latency = 0.0
        self.asked: list[str] = []
        self.late: list[tuple[str, Json]] = []
        self.endpoints = ("http://e1", "http://e2", "http://e3")
        self.silent: dict[str, str] = {}
        self.closed = False

    def call(self, path: str, body: t.Mapping[str, t.Any], timeout: float) -> Json:
        assert timeout > 0
        sent = json.loads(json.dumps(body))
        self.asked.append(path)
        fault = self.faults.pop(0) if self.faults else "up"
        self.etcd.clock.now += self.latency
        if fault == "late":
            self.late.append((path, sent))
        if fault in ("lost", "late"):
            self.silent = dict.fromkeys(self.endpoints, "no answer in time")
            raise Unanswered("no endpoint gave an answer", self.silent)
        answer = self._deposed(path, sent) if fault == "deposed" else self.etcd.answer(path, sent)
        if fault == "changed":
            answer = _error("etcdserver: leader changed", 14)
        self.etcd.clock.now += self.latency
        if fault == "deaf":
            raise Unanswered("no endpoint gave an answer")
        error = refusal(answer)
        if error is not None:
            raise error
        self.silent = {}
        return t.cast("Json", json.loads(json.dumps(answer)))

    def _deposed(self, path: str, body: Json) -> Json:
        if path != "/v3/lease/keepalive":
            return self.etcd.answer(path, body)
        return {"result": {"header": {"raft_term": str(self.etcd.term - 1)}, "ID": body["ID"], "TTL": "10"}}

    def arrive(self) -> None:
        """What was under way is carried out."""
        for path, body in self.late:
            self.etcd.answer(path, body)
        self.late = []

    def close(self) -> None:
        self.closed = True


def lease_of(etcd: MemoryEtcd, name: str, ttl: float = 10.0, op_timeout: float | None = None) -> EtcdLease:
    """A session's lease; its gateway is `lease._gateway`."""
    identity = Identity(f"{name}/boot/run", f"{name}@desk")
    return EtcdLease(MemoryGateway(etcd), "shared", 1, identity, ttl, etcd.clock, op_timeout)


def way(lease: EtcdLease) -> MemoryGateway:
    """How a lease reaches its etcd."""
    return t.cast("MemoryGateway", lease._gateway)


def refused(work: t.Callable[[], object]) -> LeaseError:
    """What some work was refused with."""
    with pytest.raises(LeaseError) as caught:
        work()
    return caught.value


def won(etcd: MemoryEtcd, name: str = "a") -> EtcdLease:
    """The lease of a session that has just won it."""
    lease = lease_of(etcd, name)
    lease.acquire()
    return lease
