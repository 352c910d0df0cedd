# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Telling every hypervisor who keeps the resource's record, so that it can decide after a boot of its own."""

from __future__ import annotations

import typing as t

from .._host.voters import VoterAddress, Voters
from .._model.declaration import Hypervisor
from .._model.observed import Observation


def voters_for(hypervisor: Hypervisor, voters: t.Sequence[Hypervisor]) -> Voters:
    """What one hypervisor must know."""
    return Voters(
        hypervisor.name,
        tuple(VoterAddress(hv.name, hv.address, hv.access.port, hv.access.user) for hv in voters),
    )


def announce_voters(
    call: t.Callable[[str, str, t.Mapping[str, t.Any]], t.Any],
    pool: t.Sequence[Hypervisor],
    voters: t.Sequence[Hypervisor],
    observation: Observation,
) -> list[str]:
    """Write it where it differs from what was observed; a pool that knows it all costs no trip.

    Args:
        call: one mutating verb on a hypervisor, as `Applier.call`.
        pool: the hypervisors that may carry members; simulated ones never boot and are left out.
        voters: those that keep the record.

    Returns:
        The names of the hypervisors that were told.

    Raises:
        EnsembleError: a hypervisor could not be told; those before it were.
    """
    known = {seen.name: seen.voters for seen in observation.hypervisors}
    told = []
    for hypervisor in pool:
        wanted = voters_for(hypervisor, voters)
        if hypervisor.sim is None and known.get(hypervisor.name) != wanted.digest:
            call(hypervisor.name, "voters_write", wanted.as_dict())
            told.append(hypervisor.name)
    return told
