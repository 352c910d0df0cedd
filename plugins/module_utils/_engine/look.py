# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Looking at a resource without a lease; nothing is changed."""

from __future__ import annotations

import typing as t

from .._model.declaration import Election, Hypervisor, Resource
from .._model.observed import Observation
from .._pool.pool import Connect, Pool
from .leases import voting
from .observe import observe


def look(name: str, machines: t.Sequence[Hypervisor], resource: Resource | None, connect: Connect) -> Observation:
    """What is there, and the record as a majority of the voters keeps it.

    Args:
        machines: the hypervisors, and behind them machines that somebody else provides.

    Raises:
        EnsembleError: hypervisors that do not answer, each named; `no_quorum`.
    """
    election = resource.election if resource is not None else Election()
    hosts = [hv for hv in machines if resource is None or hv.name not in resource.machines]
    with Pool(machines, connect) as pool, voting(name, hosts, election, connect, pool) as votes:
        votes.ledger.read()
        return observe(pool, name, votes.ledger.record)
