# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The options of the modules that are about the lease itself."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass

from .._election.store import Identity, Lease, Token
from .._engine.heart import Heart, beating
from .._engine.leases import SettlingLease, open_etcd_lease, open_lease, voting
from .._engine.reconfigure import reconfigure
from .._engine.warden import Beside
from .._model.declaration import ETCD, QUORUM, Election, Hypervisor
from .._model.errors import EnsembleError
from .._model.observed import Record
from .._model.parse import parse_election_target
from .._pool import ssh
from .._pool.pool import Connect
from .main import connect_of, target_of

#: which lease a module is about
LEASE: dict[str, dict[str, t.Any]] = {
    "declaration": {"type": "path"},
    "resource": {"type": "str"},
    "backend": {"type": "str", "choices": [QUORUM, ETCD], "default": QUORUM},
    "voters": {"type": "list", "elements": "dict"},
    "known_hosts": {"type": "path"},
    "epoch": {"type": "int", "default": 1},
    "ttl": {"type": "float"},
    "op_timeout": {"type": "float"},
    "endpoints": {"type": "list", "elements": "str"},
    "ca_cert": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path", "no_log": False},
    "user": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "node_id": {"type": "str"},
}

#: how those options go together
LEASE_RULES: dict[str, t.Any] = {
    "required_one_of": [("declaration", "resource")],
    "mutually_exclusive": [
        ("declaration", other) for other in ("resource", "voters", "known_hosts", "endpoints", "user", "password")
    ],
    "required_together": [("user", "password"), ("client_cert", "client_key")],
}


@dataclass(frozen=True)
class LeaseTarget:
    """Which lease, and how to open it.

    Attributes:
        prepare: brings the voters to what is declared, within some seconds for each lease that it takes.
        beside: work beside the renewals of a lease that is kept for a playbook.
    """

    name: str
    election: Election
    hosts: tuple[Hypervisor, ...]
    open: t.Callable[[Identity], Lease]
    warnings: tuple[str, ...] = ()
    prepare: t.Callable[[Identity, float], None] = lambda _identity, _patience: None
    beside: Beside = lambda _lease: contextlib.nullcontext()


def lease_target(params: t.Mapping[str, t.Any]) -> LeaseTarget:
    """From a declaration, or from a resource's name with its voters or etcd endpoints.

    Raises:
        EnsembleError: with every fault; nothing was asked yet.
    """
    if params["declaration"]:
        target = target_of(params)
        resource = target.resource
        if resource is None:
            raise EnsembleError("the declaration holds no resource", code="no_declaration")
        return _of(resource.name, resource.election, resource.pool, connect_of(target), resource.warnings)
    given = {key: params[key] for key in ("resource", "backend", "voters", "ttl", "op_timeout", "endpoints", "preempt")}
    name, election, hosts, warnings = parse_election_target({**given, **_files(params)}, "options")
    if election.backend == ETCD and not hosts:
        return LeaseTarget(name, election, (), _alone(name, election, params), warnings)
    known_hosts = params["known_hosts"]

    def connect(host: Hypervisor) -> t.Any:
        return ssh.connect(host, known_hosts)

    return _of(name, election, hosts, connect, warnings)


def _files(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {key: params[key] for key in ("ca_cert", "client_cert", "client_key") if params[key]}


def _of(
    name: str, election: Election, hosts: tuple[Hypervisor, ...], connect: Connect, warnings: tuple[str, ...]
) -> LeaseTarget:
    def opened(identity: Identity) -> Lease:
        return open_lease(name, hosts, election, identity, connect)

    def prepare(identity: Identity, patience: float) -> None:
        with voting(name, hosts, election, connect) as votes:
            reconfigure(votes, identity, patience)

    def beside(lease: Lease) -> t.ContextManager[None]:
        """Hypervisors that end members when they hear no leader hear this one."""
        record = lease.ledger.record if isinstance(lease, SettlingLease) else Record()
        if not record.member_ttl:
            return contextlib.nullcontext()
        return beating(Heart(name, hosts, connect, lease, record.generation))

    return LeaseTarget(name, election, hosts, opened, warnings, prepare, beside)


def _alone(name: str, election: Election, params: t.Mapping[str, t.Any]) -> t.Callable[[Identity], Lease]:
    """A lease in etcd for something that has no voters of ours."""

    def opened(identity: Identity) -> Lease:
        return open_etcd_lease(name, election, params["epoch"], identity, params["user"], params["password"])

    return opened


def inherited(name: str) -> Token | None:
    """The token of the agent that runs this playbook, if one does."""
    if os.environ.get("ENSEMBLE_RESOURCE") != name:
        return None
    words = os.environ.get("ENSEMBLE_FENCING_TOKEN", "").split(",")
    return (int(words[0]), int(words[1])) if len(words) == 2 and all(word.isdigit() for word in words) else None
