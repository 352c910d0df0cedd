# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""From an agent's settings to the lease that they mean, over SSH sessions of its own and etcd's gateway."""

from __future__ import annotations

import functools

from .._election.store import Identity, Lease
from .._engine.leases import open_etcd_lease, open_lease
from .._model.declaration import ETCD, Access, Capacity, Election, Hypervisor
from .._pool.ssh import connect
from .settings import Settings, Voter


def opened(settings: Settings, identity: Identity) -> Lease:
    """Find out who votes now, and open the lease; closing it ends the sessions, too.

    In etcd the epoch of the tokens comes from the voters; only without any the settings' own is taken.

    Raises:
        LeaseError: `no_quorum`; `new_epoch` when the voters are others than these settings can reach; `other_backend`.
    """
    election = election_of(settings)
    if settings.backend == ETCD and not settings.voters:
        return open_etcd_lease(settings.resource, election, settings.epoch, identity)
    hosts = [host_of(voter, settings) for voter in settings.voters]
    known = functools.partial(connect, known_hosts=settings.known_hosts)
    # a voter that is new, and not trusted here yet, must not keep this node from the others
    return open_lease(settings.resource, hosts, election, identity, known, strict=False)


def election_of(settings: Settings) -> Election:
    return Election(
        backend=settings.backend,
        ttl=settings.timings.ttl,
        op_timeout=settings.timings.op_timeout,
        preempt=settings.preempt,
        preempt_delay=settings.preempt_delay,
        voters=tuple(voter.name for voter in settings.voters),
        candidates=settings.candidates,
        etcd=settings.etcd,
    )


def host_of(voter: Voter, settings: Settings) -> Hypervisor:
    access = Access(
        user=voter.user, port=voter.port, private_key=settings.private_key, timeout=settings.timings.op_timeout
    )
    return Hypervisor(
        name=voter.name, address=voter.address, host_key=voter.host_key, access=access, capacity=Capacity()
    )
