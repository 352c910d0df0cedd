# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The engines that can be asked. A new one is a new row here."""

from __future__ import annotations

from .._model.errors import EnsembleError
from .base import Batch
from .slurm import Slurm

_ENGINES: dict[str, Batch] = {batch.engine: batch for batch in (Slurm(),)}


def batch_of(engine: str) -> Batch:
    """How an engine is asked.

    Raises:
        EnsembleError: `unknown_scheduler`.
    """
    if engine not in _ENGINES:
        raise EnsembleError(
            f"The scheduler {engine!r} cannot be asked; {', '.join(sorted(_ENGINES))} can. Take its probe out of "
            "monitor.probes, or ask by a command.",
            code="unknown_scheduler",
            scheduler=engine,
        )
    return _ENGINES[engine]
