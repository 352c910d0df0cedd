# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The key with which a resource's agents reach the hosts of its pool: one for the resource, forced to its verbs."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, replace

from .._election.quorum import Ask
from .._election.store import Lease, Token
from .._model.declaration import Hypervisor, Resource
from .._model.errors import EnsembleError, HypervisorError
from .._pool.keys import generate_key_pair, known_lines, public_line
from .._pool.pool import Connect
from .credentials import cache_dir, write_private
from .keeper import adopted, held, this_run
from .leases import Voting, voting

#: name of the secret that is the agents' private key, and of its file in a controller's cache
AGENT_KEY = "agent_key"


@dataclass(frozen=True)
class Access:
    """What was changed, and what an agent must know.

    Attributes:
        changed: hosts whose list of keys changes.
        known_hosts: lines of known_hosts(5) for all hosts.
    """

    changed: tuple[str, ...]
    voters: tuple[Hypervisor, ...]
    epoch: int
    known_hosts: str


def give_access(
    resource: Resource, connect: Connect, present: bool, token: Token | None, patience: float, check: bool
) -> Access:
    """Let the resource's agents in on every host of its pool and every witness, or nobody any more.

    Args:
        token: of the lease that the caller's leader holds; without one it is taken.
        patience: seconds to wait for the lease.

    Raises:
        EnsembleError: a host does not answer or its key is not known; the next run goes on from there.
    """
    hosts = (*resource.pool, *resource.election.witnesses)
    lines = [line for host in hosts if host.sim is None for line in known_lines(host, resource.known_hosts)]
    with voting(resource.name, resource.pool, resource.election, connect) as votes:
        votes.ledger.read()
        if check:
            changed = _differing(votes, hosts, votes.ledger.secrets.get(AGENT_KEY) if present else None, present)
            return Access(changed, votes.electorate.voters, votes.electorate.epoch, "".join(lines))
        lease = votes.lease(this_run())
        with adopted(lease, token) if token is not None else held(lease, patience):
            key = _key(votes, lease) if present else None
            changed = _differing(votes, hosts, key, present)
            line = public_line(key) if key is not None else None
            lease.require(lease.ttl / 5)
            chosen = votes.opened.links([host for host in hosts if host.name in changed])
            verb = {"verb": "agent_key_write", "key": line}
            batches = chosen.batch([verb], generation=votes.ledger.generation, token=list(lease.token))
            _raise_faults(batches)
            if not present:
                _disarm(resource, votes, lease)
            _cache(resource.name, key)
        return Access(changed, votes.electorate.voters, votes.electorate.epoch, "".join(lines))


def _disarm(resource: Resource, votes: Voting, lease: Lease) -> None:
    """Nobody among the members leads any more: no hypervisor ends what it carries for that."""
    ledger = votes.ledger
    if not ledger.record.member_ttl:
        return
    hosts = votes.opened.links(resource.pool)
    verb = {"verb": "keepalive", "member_ttl": 0}
    _raise_faults(hosts.batch([verb], generation=ledger.generation, token=list(lease.token)))
    ledger.write_record(replace(ledger.record, version=ledger.record.version + 1, member_ttl=0.0), lease)


def _key(votes: Voting, lease: Lease) -> str:
    """The private key, made now if there is none yet."""
    ledger = votes.ledger
    if AGENT_KEY not in ledger.secrets:
        ledger.write_secrets({**ledger.secrets, AGENT_KEY: generate_key_pair().private}, lease)
    return ledger.secrets[AGENT_KEY]


def _differing(votes: Voting, hosts: t.Sequence[Hypervisor], key: str | None, present: bool) -> tuple[str, ...]:
    """Hosts that let in another key than this one; all of them where it is still to be made."""
    answers = votes.opened.links(hosts).ask(Ask("lease_read", {}))
    silent = {name: why for name, why in answers.items() if isinstance(why, str)}
    if silent:
        words = "".join(f"\n  - {name}: {why}" for name, why in silent.items())
        raise HypervisorError(f"{len(silent)} of {len(hosts)} hosts do not answer. Nothing was changed.{words}")
    wanted = public_line(key) if key is not None else ""
    known = {name: one["agent_key"] for name, one in answers.items() if not isinstance(one, str)}
    return tuple(name for name, line in known.items() if line != wanted or (present and not wanted))


def _raise_faults(batches: t.Mapping[str, t.Any]) -> None:
    faults = []
    for name, batch in batches.items():
        if isinstance(batch, EnsembleError):
            faults.append(f"{name}: {batch.msg}")
        elif not batch[0]["ok"]:
            faults.append(f"{name}: {batch[0]['error']['msg']}")
    if faults:
        raise EnsembleError("; ".join(faults), code="no_access")


def _cache(resource: str, key: str | None) -> None:
    """Where role convergence finds the key."""
    path = os.path.join(cache_dir(resource), "secrets", AGENT_KEY)
    if key is not None:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        write_private(path, key.encode())
    elif os.path.exists(path):
        os.unlink(path)
