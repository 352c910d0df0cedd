# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Other voters, or another store of the lease: each step a new epoch, made by whoever leads under the old one.

One voter comes or goes at a time: then any majority of the old list and any of the new one share a voter, and it grants
one lease only. The new list is on a majority of both before it counts, and whoever goes by the old one is refused by
the voters that have it.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._election.store import Identity, Lease
from .._model.declaration import ETCD, Election, Hypervisor
from .._model.errors import LeaseError
from .electorate import Electorate, cluster_of
from .keeper import win
from .leases import Voting
from .ledger import Ledger


def steps(electorate: Electorate, election: Election, hosts: t.Mapping[str, Hypervisor]) -> list[Electorate]:
    """The configurations from the one that counts to the one that is declared, each an epoch later.

    Raises:
        LeaseError: `too_many_changes`.
    """
    found = []
    at = replace(electorate, pinned=None)
    wanted = election.voters or electorate.names
    added = [name for name in wanted if name not in electorate.names]
    removed = [name for name in electorate.names if name not in wanted]
    if len(added) > 1 or len(removed) > 1:
        raise LeaseError(
            f"election.voters: found {', '.join(wanted)}; the voters are {', '.join(electorate.names)} now, and a run "
            "adds at most one and takes away at most one. Nothing was changed; change one, run, then the next.",
            code="too_many_changes",
        )
    if added:
        at = replace(at, voters=(*at.voters, hosts[added[0]]), epoch=at.epoch + 1)
        found.append(at)
    if removed:
        voters = tuple(voter for voter in at.voters if voter.name not in removed)
        at = replace(at, voters=voters, epoch=at.epoch + 1)
        found.append(at)
    store = (election.backend, cluster_of(election.etcd) if election.backend == ETCD else "")
    if store != (electorate.backend, electorate.cluster):
        found.append(replace(at, backend=store[0], cluster=store[1], epoch=at.epoch + 1))
    return found


def reconfigure(votes: Voting, identity: Identity, patience: float) -> Voting:
    """Bring the voters to what is declared; what is returned counts from then on.

    Args:
        patience: seconds for each lease; a voter that is new abstains for one ttl.

    Raises:
        EnsembleError: no majority of the old or the new voters; the next run goes on from there.
    """
    todo = steps(votes.electorate, votes.election, votes.hosts) if votes.electorate.pinned is not None else []
    if not todo:
        return votes
    lease = votes.lease(identity)
    win(lease, patience, person=True)
    try:
        for target in todo:
            new = replace(votes, electorate=target)
            _hand_over(votes.ledger, new, lease)
            lease.release()
            votes = replace(new, electorate=replace(target, pinned=target.config("")))
            lease = votes.lease(identity)
            win(lease, patience + votes.election.ttl, person=True)
    finally:
        lease.release()
    return votes


def _hand_over(old: Ledger, new: Voting, lease: Lease) -> None:
    """Give what is kept to the voters of the new list, and then the list to those of both."""
    # whoever began another change and was cut off is refused from now on; what it has brought about counts
    old.pin(lease, old.electorate)
    if new.found_again().config("") != old.electorate.config(""):
        raise LeaseError("the voters were changed by another run. Nothing was changed; run again.", code="new_epoch")
    ledger = new.ledger
    ledger.record, ledger.generation = old.record, old.generation
    ledger.secrets, ledger.secrets_version = old.secrets, old.secrets_version
    strangers = [name for name in new.links.names if name not in old.links.names]
    if strangers:
        ledger.join(strangers, lease)
    old.pin(lease, new.electorate)
    ledger.pin(lease, new.electorate)
