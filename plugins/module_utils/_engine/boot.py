# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Every hypervisor knows who votes: it asks them after its boot, and tells a controller that has an old list."""

from __future__ import annotations

import typing as t

from .._model.declaration import Hypervisor
from .._model.observed import Observation
from .._pool.pool import in_parallel, raise_together
from .electorate import Electorate


def announce_voters(
    call: t.Callable[[str, str, t.Mapping[str, t.Any]], t.Any],
    pool: t.Sequence[Hypervisor],
    electorate: Electorate,
    observation: Observation,
) -> list[str]:
    """Write it where it differs from what was observed; a pool that knows it all costs no trip.

    Args:
        call: one mutating verb on a hypervisor, as `Applier.call`.
        pool: the hypervisors that may carry members.

    Returns:
        The names of the hypervisors that were told.

    Raises:
        EnsembleError: hypervisors could not be told; the others were.
    """
    known = {seen.name: seen.voters for seen in observation.hypervisors}
    wanted = {hv.name: electorate.config(hv.name) for hv in pool}
    told = [name for name, config in wanted.items() if known.get(name) != config.digest]
    raise_together(in_parallel(lambda name: call(name, "voters_write", wanted[name].as_dict()), told))
    return told
