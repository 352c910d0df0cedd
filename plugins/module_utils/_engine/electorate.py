# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Who votes for a resource: what the declaration says at the first start, and what was pinned from then on."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .._election.quorum import Ask
from .._host.voters import VoterAddress, Voters, voters_from
from .._model.declaration import QUORUM, Access, Election, Etcd, Hypervisor
from .._model.errors import EnsembleError, LeaseError
from .._pool.pool import raise_together
from .links import FIRST_S, Links

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
    strict: bool = True,
) -> Electorate:
    """Ask the declared voters, and whoever they name, which configuration counts.

    Before a first start is believed in, all hosts of the pool are asked: they know the voters, too, or the epoch under
    which the resource was removed; and whoever is slow is waited for.

    Args:
        election: what is declared, which counts as long as nothing is pinned.
        hosts: all that this controller knows how to reach, by name.
        links: opens links to some hosts; they stay the caller's to close.
        strict: a host that is not trusted is an error, and not merely silent.

    Raises:
        EnsembleError: with the hosts that are not trusted.
        LeaseError: `new_epoch`, the voters change faster than they can be read.
    """
    declared = election.voters_of(pool)
    seen = _Seen(links(declared))
    asked: set[str] = set()
    everybody = False
    for _round in range(_ROUNDS):
        if not seen.live and not everybody:
            everybody = True
            others = [host for name, host in hosts.items() if name not in seen.pinned]
            seen.ask(links(others) if others else None, patient=True)
        if strict and not asked:  # whom only a list names need not be known here
            raise_together(seen.untrusted.values())
        for config in list(seen.configs.values()):
            if config.list_digest not in asked:
                asked.add(config.list_digest)
                seen.ask(links([_host(address, hosts) for address in config.voters]))
        if asked >= set(seen.configs) and (seen.live or everybody):
            if seen.live:
                return _newest(seen, hosts)
            return Electorate(declared, seen.epoch, election.backend, cluster_of(election.etcd))
    raise LeaseError("the list of voters changes while it is read. Nothing was changed; run again.", code="new_epoch")


class _Seen:
    """The lists of voters that some hosts know.

    Attributes:
        epoch: the latest under which any of them has voted.
        configs: by digest.
        pinned: host -> digest of its list.
        untrusted: hosts that are not trusted, or do not trust us -> what a person has to settle.
    """

    def __init__(self, links: Links) -> None:
        self.epoch = 1
        self.untrusted: dict[str, EnsembleError] = {}
        self.configs: dict[str, Voters] = {}
        self.pinned: dict[str, str] = {}
        self.ask(links)

    def ask(self, links: Links | None, patient: bool = False) -> None:
        """Ask more hosts; those that are slower than a majority are waited for only by who is patient."""
        if links is None or set(links.names) <= set(self.pinned):
            return
        needed = len(links.names) if patient else links.needed
        question = Ask("lease_read", {}, nearly=lambda found: len(_given(found.values())) >= needed)
        answers = links.ask(question, max(FIRST_S, links.timeout))  # nothing is held yet, and sessions are to be opened
        self.untrusted.update(links.untrusted)
        for name, one in answers.items():
            if isinstance(one, str):
                continue
            self.epoch = max(self.epoch, int(one["config_epoch"]))
            self.pinned[name] = ""
            if one.get("config"):
                config = voters_from(one["config"])
                self.pinned[name] = config.list_digest
                self.configs.setdefault(config.list_digest, config)

    @property
    def live(self) -> list[Voters]:
        """Lists that may count. One from before the epoch of the resource's removal stands where a voter was away then:
        whoever has voted since refuses it."""
        return [config for config in self.configs.values() if config.epoch >= self.epoch]

    def has_majority(self, config: Voters) -> bool:
        """Whether a majority of a list's own voters have this list, so that it may win a lease."""
        told = [voter for voter in config.voters if self.pinned.get(voter.name) == config.list_digest]
        return len(told) >= config.majority


def _newest(seen: _Seen, hosts: t.Mapping[str, Hypervisor]) -> Electorate:
    """The latest list, since each differs by one voter from the one before; of two of an epoch that on a majority."""
    config = max(seen.live, key=lambda one: (one.epoch, seen.has_majority(one)))
    voters = tuple(_host(address, hosts) for address in config.voters)
    return Electorate(voters, config.epoch, config.backend, config.cluster, config)


def _given(answers: t.Iterable[t.Mapping[str, t.Any] | str]) -> list[t.Mapping[str, t.Any]]:
    return [one for one in answers if not isinstance(one, str)]


def _host(voter: VoterAddress, hosts: t.Mapping[str, Hypervisor]) -> Hypervisor:
    """How a pinned voter is reached: as declared, else as it was, with the key that serves for the others."""
    if voter.name in hosts:
        return hosts[voter.name]
    base = next((host.access for host in hosts.values()), Access())
    return Hypervisor(voter.name, voter.address, replace(base, user=voter.user, port=voter.port))
