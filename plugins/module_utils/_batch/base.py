# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What a batch system is asked for: its nodes and its jobs, each by one command that prints for machines.

The commands run where the scheduler's clients are (a probe does that); what they print is read here, without I/O.
"""

from __future__ import annotations

import abc
import typing as t
from dataclasses import dataclass

from .._model.health import Job


@dataclass(frozen=True)
class NodeState:
    """One node as its scheduler knows it.

    Attributes:
        name: as the scheduler spells it; on members it is their host name.
        state: the base state in capitals, e.g. `IDLE`, `MIXED`, `ALLOCATED`, `DOWN`.
        flags: what is said beside it, e.g. `DRAIN`, `COMPLETING`, `NOT_RESPONDING`.
        reason: why it is down or drained, in the words of whoever set it; empty when there is none.
        reason_by: account that set the reason; empty where that is not told.
        responding: whether the scheduler hears from it.
        drained_by_wish: it gets no jobs because somebody wants that, and not because it fell silent.
        by_mistake: the scheduler took it out of service over an error of its own; nothing is wrong with the node.
    """

    name: str
    state: str
    flags: frozenset[str] = frozenset()
    reason: str = ""
    reason_by: str = ""
    responding: bool = True
    drained_by_wish: bool = False
    by_mistake: bool = False


class Batch(abc.ABC):
    """One engine."""

    #: how declarations call it
    engine: str

    @property
    @abc.abstractmethod
    def nodes_command(self) -> tuple[str, ...]:
        """Argument list that prints all nodes."""

    @property
    @abc.abstractmethod
    def jobs_command(self) -> tuple[str, ...]:
        """Argument list that prints all jobs, those that wait and those that ended lately too."""

    @abc.abstractmethod
    def nodes(self, text: str) -> dict[str, NodeState]:
        """Node name -> its state.

        Raises:
            EnsembleError: `bad_answer`; that is not what the command prints.
        """

    @abc.abstractmethod
    def jobs(self, text: str) -> list[Job]:
        """All jobs in the order of the text.

        Raises:
            EnsembleError: as `nodes`.
        """

    def commands(self) -> dict[str, t.Sequence[str]]:
        """What a probe of this engine runs: `nodes` and `jobs`."""
        return {"nodes": self.nodes_command, "jobs": self.jobs_command}
