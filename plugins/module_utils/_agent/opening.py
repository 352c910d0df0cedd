# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""From an agent's settings to the lease that they mean, over SSH sessions of its own."""

from __future__ import annotations

import contextlib
import functools

from .._election.store import Identity, Lease
from .._engine.leases import voting
from .._model.declaration import Access, Capacity, Election, Etcd, Hypervisor
from .._pool.ssh import connect
from .settings import Settings, Voter


def opened(settings: Settings, identity: Identity) -> Lease:
    """Find out who votes now, and open the lease; closing it ends the sessions, too.

    Raises:
        LeaseError: `no_quorum`, or `new_epoch` when the voters are others than these settings can reach.
    """
    hosts = [_host(voter, settings) for voter in settings.voters]
    stack = contextlib.ExitStack()
    with contextlib.ExitStack() as failing:
        failing.push(stack)
        found = stack.enter_context(
            voting(
                settings.resource,
                hosts,
                _election(settings),
                functools.partial(connect, known_hosts=settings.known_hosts),
            )
        )
        lease = found.lease(identity, tending=True)
        failing.pop_all()
    return _closing_all(lease, stack)


def _closing_all(lease: Lease, stack: contextlib.ExitStack) -> Lease:
    close = lease.close

    def close_all() -> None:
        close()
        stack.close()

    lease.close = close_all  # type: ignore[method-assign]
    return lease


def _election(settings: Settings) -> Election:
    return Election(
        backend=settings.backend,
        ttl=settings.timings.ttl,
        op_timeout=settings.timings.op_timeout,
        preempt=settings.preempt,
        preempt_delay=settings.preempt_delay,
        voters=tuple(voter.name for voter in settings.voters),
        candidates=settings.candidates,
        etcd=Etcd(**settings.etcd) if settings.etcd else None,
    )


def _host(voter: Voter, settings: Settings) -> Hypervisor:
    access = Access(
        user=voter.user, port=voter.port, private_key=settings.private_key, timeout=settings.timings.op_timeout
    )
    return Hypervisor(
        name=voter.name, address=voter.address, host_key=voter.host_key, access=access, capacity=Capacity()
    )
