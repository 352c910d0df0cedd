# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Who votes for a resource: what the declaration says at the first start, and what was pinned from then on."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .._election.quorum import Ask
from .._host.voters import VoterAddress, Voters, voters_from
from .._model.declaration import QUORUM, Access, Election, Etcd, Hypervisor
from .._model.errors import LeaseError
from .links import Links

#: a list that changes while it is read is read again, this often
_ROUNDS = 3


@dataclass(frozen=True)
class Electorate:
    """The configuration that counts.

    Attributes:
        epoch: of the configuration; tokens begin with it.
        backend, cluster: what keeps the lease, and which etcd cluster.
        pinned: what is kept on the voters; None before the first start, when all is as declared.
    """

    voters: tuple[Hypervisor, ...]
    epoch: int
    backend: str = QUORUM
    cluster: str = ""
    pinned: Voters | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(voter.name for voter in self.voters)

    def config(self, me: str) -> Voters:
        """What one host is to know."""
        return Voters(me, addresses(self.voters), self.epoch, self.backend, self.cluster)


def addresses(voters: t.Iterable[Hypervisor]) -> tuple[VoterAddress, ...]:
    """Voters as every host of the pool knows them; simulated ones have a name only."""
    return tuple(VoterAddress(hv.name, hv.address or "simulated", hv.access.port, hv.access.user) for hv in voters)


def cluster_of(etcd: Etcd | None) -> str:
    """What tells one etcd cluster from another: its addresses, in any order."""
    return ",".join(sorted(etcd.endpoints)) if etcd is not None else ""


def find_electorate(
    election: Election,
    pool: t.Sequence[Hypervisor],
    hosts: t.Mapping[str, Hypervisor],
    links: t.Callable[[t.Sequence[Hypervisor]], Links],
) -> Electorate:
    """Ask the declared voters, and whoever they name, which configuration counts.

    Before a first start is believed in, all hosts of the pool are asked: they know the voters, too.

    Args:
        election: what is declared, which counts as long as nothing is pinned.
        hosts: all that this controller knows how to reach, by name.
        links: opens links to some hosts; they stay the caller's to close.

    Raises:
        LeaseError: `new_epoch`, the voters change faster than they can be read.
    """
    declared = election.voters_of(pool)
    pinned, epoch = _newest(links(declared))
    if pinned is None:
        named = {host.name for host in declared}
        others = [host for name, host in hosts.items() if name not in named]
        pinned, more = _newest(links(others)) if others else (None, 1)
        epoch = max(epoch, more)
    for _round in range(_ROUNDS):
        if pinned is None:
            return Electorate(declared, epoch, election.backend, cluster_of(election.etcd))
        voters = tuple(_host(address, hosts) for address in pinned.voters)
        if {host.name for host in voters} == {host.name for host in declared}:
            return Electorate(voters, max(epoch, pinned.epoch), pinned.backend, pinned.cluster, pinned)
        declared = voters
        newer, seen = _newest(links(voters))
        epoch = max(epoch, seen)
        pinned = newer if newer is not None and newer.epoch > pinned.epoch else pinned
    raise LeaseError("the list of voters changes while it is read. Nothing was changed; run again.", code="new_epoch")


def _newest(links: Links) -> tuple[Voters | None, int]:
    """The latest configuration that some hosts know, and the latest epoch under which they have voted."""
    answers = links.ask(Ask("lease_read", {}, nearly=lambda found: len(_given(found.values())) >= links.needed))
    given = _given(answers.values())
    configs = [voters_from(one["config"]) for one in given if one.get("config")]
    epochs = [int(one["config_epoch"]) for one in given]
    return max(configs, key=lambda voters: voters.epoch, default=None), max(1, *epochs, 1)


def _given(answers: t.Iterable[t.Mapping[str, t.Any] | str]) -> list[t.Mapping[str, t.Any]]:
    return [one for one in answers if not isinstance(one, str)]


def _host(voter: VoterAddress, hosts: t.Mapping[str, Hypervisor]) -> Hypervisor:
    """How a pinned voter is reached: as declared, else as it was, with the key that serves for the others."""
    if voter.name in hosts:
        return hosts[voter.name]
    base = next((host.access for host in hosts.values()), Access())
    return Hypervisor(voter.name, voter.address, replace(base, user=voter.user, port=voter.port))
