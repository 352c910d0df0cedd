# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What asks the members: one abstract class, so that simulated members can be asked as real ones are."""

from __future__ import annotations

import abc
import typing as t
from dataclasses import dataclass, field

from .._model.declaration import Member
from .._model.health import REACH, Sign
from .._model.monitor import Probe

#: members that are asked side by side
WIDTH = 32


@dataclass(frozen=True)
class Answer:
    """What one member said, or why it said nothing.

    Attributes:
        reach: whether it could be asked from here; its detail says why not.
        up_s: seconds since its own boot; None where it could not be asked.
        signs: one for each probe of the member, in their order; those of a member that could not be asked are None.
        raw: engine of a batch system -> what its commands printed, by `nodes` and `jobs`.
        strange: why whoever answers at its address is not the member, or does not take us for its resource.
    """

    reach: Sign
    up_s: float | None = None
    signs: tuple[Sign, ...] = ()
    raw: t.Mapping[str, t.Mapping[str, str]] = field(default_factory=dict)
    strange: str = ""


def unreachable(
    name: str, probes: t.Sequence[Probe], why: str, seconds: float = 0.0, ok: bool | None = False, strange: bool = False
) -> Answer:
    """The answer of a member that could not be asked. `ok` None: nothing is said against it."""
    unasked = tuple(Sign(probe.kind, probe.name, None, "could not be asked") for probe in probes)
    return Answer(Sign(REACH, name, ok, why, seconds), None, unasked, strange=why if strange else "")


class Prober(abc.ABC):
    """Asks members, and mends what can be mended without their machines. Sessions stay open between two looks."""

    @abc.abstractmethod
    def look(self, members: t.Sequence[Member], deadline: float) -> dict[str, Answer]:
        """Member name -> its answer; a member that cannot be asked is no error.

        Args:
            deadline: on the monotonic clock; whoever has not answered then could not be asked.
        """

    @abc.abstractmethod
    def restart_unit(self, member: Member, unit: str, token: tuple[int, int], timeout: float) -> Sign:
        """Start a unit anew and wait until it is active or failed; the sign says which.

        Args:
            token: of the lease; a member that has seen a higher one refuses.
            timeout: seconds.

        Raises:
            EnsembleError: `stale_token`, `busy`, or the member cannot be reached; its code says which.
        """

    @abc.abstractmethod
    def resume_node(self, member: Member, engine: str, node: str, token: tuple[int, int], timeout: float) -> None:
        """Have a scheduler take a node of it back into service.

        Args:
            member: that has the scheduler's commands.
            node: as the scheduler calls it.
            token, timeout: as above.

        Raises:
            EnsembleError: `refused` by the scheduler, or as above.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """End all sessions; may be repeated."""

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
