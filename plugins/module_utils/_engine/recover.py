# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""After a majority of the voters was lost for good: a new list, by a person's word, from what is left.

Nothing of this is ever done by itself: only a person can know that a host which does not answer will never vote again.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .._election.store import Lease, Quorum, View
from .._model.declaration import Hypervisor
from .._model.errors import EnsembleError, Fault, LeaseError
from .keeper import boottime, this_run
from .leases import Voting
from .ledger import Kept, Ledger

#: what a majority of voters would have guaranteed
_WARNINGS = (
    "If a lost voter still runs somewhere, a leader that only the lost ones know is told to stop by its first request "
    "to a hypervisor that has seen the new epoch, not before.",
    "What was written to the lost voters only is gone: a declaration, a placement, or a secret made in the last runs.",
)


@dataclass(frozen=True)
class Recovery:
    """What is to be done, or was.

    Attributes:
        generation, version: of the record that is left, which counts from then on.
        warnings: what may be lost, in words.
    """

    voters: tuple[Hypervisor, ...]
    epoch: int
    generation: int
    version: int
    warnings: tuple[str, ...]


class _Decree(Lease):
    """Stands for the lease that no majority can grant any more."""

    def acquire(self) -> None:
        raise NotImplementedError

    def renew(self) -> None:
        """There is nobody who could."""

    def remaining(self) -> float:
        """It does not end."""
        return self.ttl

    def require(self, seconds: float) -> None:
        """The person's word is enough."""

    def adopt(self, token: tuple[int, int]) -> None:
        raise NotImplementedError

    def release(self) -> None:
        """Nothing is held."""

    def view(self) -> View:
        return View("", "", self.token, 0.0, Quorum(0, 0))

    def wish(self, seconds: float, person: bool) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""


def recover(votes: Voting, lost: t.Sequence[str], check: bool) -> Recovery:
    """Make a new configuration of voters from those that are left.

    Raises:
        EnsembleError: with every fault; nothing was changed.
    """
    electorate = votes.electorate
    if electorate.pinned is None:
        raise EnsembleError(f"{votes.name} has no voters yet, so none can be lost.", code="never_started")
    ledger = votes.ledger
    kept = ledger.survey()
    _refuse(electorate.names, kept, lost)
    left = tuple(voter for voter in electorate.voters if voter.name not in lost)
    voters = _chosen(votes, left, lost)
    target = replace(electorate, voters=voters, epoch=electorate.epoch + 1)
    found = Recovery(voters, target.epoch, ledger.record.generation, ledger.record.version, _WARNINGS)
    if check:
        return found
    decree = _Decree(this_run(), votes.election.ttl, boottime)
    decree.token = (target.epoch, 1 + max(one.term for one in kept.values()))
    new = Ledger(votes.opened.links(voters), target)
    new.record, new.secrets, new.secrets_version = ledger.record, ledger.secrets, ledger.secrets_version
    new.generation = ledger.generation
    new.join([voter.name for voter in voters], decree)
    new.pin(decree, target, need=len(voters))
    return found


def _refuse(names: t.Sequence[str], kept: t.Mapping[str, Kept], lost: t.Sequence[str]) -> None:
    """What a person says must agree with what is seen."""
    faults = [Fault("lost", name, f"one of the voters: {', '.join(names)}") for name in lost if name not in names]
    for name in names:
        remembers = name in kept and not kept[name].blank
        if name in lost and remembers:
            faults.append(Fault("lost", f"{name}, which answers and has its memory", "voters that are gone for good"))
        if name not in lost and not remembers:
            what = "has lost its memory" if name in kept else "does not answer"
            faults.append(Fault("lost", f"nothing of {name}, which {what}", "every voter that is lost, or it back"))
    needed = len(names) // 2 + 1
    if not faults and len(names) - len(lost) >= needed:
        faults.append(
            Fault(
                "lost",
                f"{len(lost)} of {len(names)} voters",
                "a majority: with fewer lost, name other voters in election.voters and start the resource",
            )
        )
    if not faults and len(lost) == len(names):
        faults.append(Fault("lost", "all voters", "at least one that is left"))
    if faults:
        raise LeaseError(
            "nothing was changed:" + "".join(f"\n  - {fault}" for fault in faults),
            code="not_lost",
            faults=[vars(fault) for fault in faults],
        )


def _chosen(votes: Voting, left: t.Sequence[Hypervisor], lost: t.Sequence[str]) -> tuple[Hypervisor, ...]:
    """The new voters: those that are declared, else what is left and as many other hosts as make the old number."""
    declared = [votes.hosts[name] for name in votes.election.voters if name in votes.hosts and name not in lost]
    if declared:
        return tuple(declared)
    others = [host for name, host in votes.hosts.items() if name not in lost and host not in left]
    wanted = len(left) + len(lost)
    voters = (*left, *others[: wanted - len(left)])
    return voters if len(voters) % 2 else voters[:-1]
