# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""From what is declared of an election to a lease: who votes, how they are reached, which store keeps it."""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t
from dataclasses import dataclass, replace

from .._election.etcd import EtcdLease
from .._election.lease import QuorumLease
from .._election.store import Identity, Lease, Token
from .._model.declaration import ETCD, Election, Etcd, Hypervisor
from .._model.errors import EnsembleError, LeaseError
from .._pool.pool import Connect, Pool
from .electorate import Electorate, cluster_of, find_electorate
from .keeper import boottime, this_run
from .ledger import Ledger
from .links import FIRST_S, Link, Links


class SettlingLease(Lease):
    """A lease that counts as won once the voters agree on what is kept; the other base says what keeps it.

    Attributes:
        ledger: of the same voters.
        tending: voters that lost their memory meanwhile are given it back after a renewal, too.
    """

    ledger: Ledger
    tending = False

    def acquire(self) -> None:
        super().acquire()  # type: ignore[safe-super] # the other base has it
        try:
            self.ledger.settle(self)
        except BaseException:
            self.release()
            raise

    def adopt(self, token: Token) -> None:
        super().adopt(token)  # type: ignore[safe-super] # the other base has it
        self.ledger.settle(self)

    def renew(self) -> None:
        super().renew()  # type: ignore[safe-super] # the other base has it
        if self.tending and len(self.quorum.silent) > 0:
            self.tending = False  # to tend renews, too
            try:
                with contextlib.suppress(EnsembleError):  # the lease is ours all the same; the next renewal tries again
                    self.ledger.tend(self)
            finally:
                self.tending = True


class _QuorumLease(SettlingLease, QuorumLease):
    """On the voters themselves."""


class _EtcdLease(SettlingLease, EtcdLease):
    """In etcd; the voters keep the record only."""


@dataclass(frozen=True)
class Voting:
    """Everything about the lease of one resource.

    Attributes:
        hosts: all that this controller knows how to reach, by name.
        opened: links to any hosts.
    """

    name: str
    election: Election
    electorate: Electorate
    hosts: t.Mapping[str, Hypervisor]
    opened: _Opened

    @property
    def links(self) -> Links:
        return self.opened.links(self.electorate.voters)

    def found_again(self) -> Electorate:
        """The voters that count now, asked anew."""
        pool = [host for name, host in self.hosts.items() if name not in {one.name for one in self.election.witnesses}]
        return find_electorate(self.election, pool, self.hosts, self.opened.links)

    @functools.cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.links, self.electorate)

    def lease(self, identity: Identity, tending: bool = False) -> Lease:
        """A lease that is still to be won, on what keeps it now.

        Raises:
            LeaseError: `other_backend`, what is declared cannot reach what keeps the lease.
        """
        electorate, election = self.electorate, self.election
        lease: SettlingLease
        if electorate.backend == ETCD:
            if election.etcd is None or cluster_of(election.etcd) != electorate.cluster:
                raise LeaseError(
                    f"the lease of {self.name} is kept in etcd at {electorate.cluster}, the declaration names "
                    f"{cluster_of(election.etcd) or 'none'}. Nothing was changed; name the former cluster, or settle "
                    "it by playbooks/recover.yml when that is gone for good.",
                    code="other_backend",
                )
            gateway = open_gateway(election.etcd)
            more = (identity, election.ttl, boottime, election.op_timeout)
            lease = _EtcdLease(gateway, self.name, electorate.epoch, *more)
        else:
            lease = _QuorumLease(
                self.links, electorate.epoch, identity, election.ttl, boottime, electorate.config("").list_digest
            )
        lease.ledger, lease.tending = self.ledger, tending
        return lease


class _Opened:
    """One link to each host, made when it is needed."""

    def __init__(self, name: str, election: Election, connect: Connect, shared: Pool | None) -> None:
        self._name = name
        self._election = election
        self._connect = connect
        self._shared = shared
        self._made: dict[str, Link] = {}

    def links(self, hosts: t.Sequence[Hypervisor]) -> Links:
        for host in hosts:
            if host.name not in self._made:
                self._made[host.name] = self._link(host)
        return Links(self._name, [self._made[host.name] for host in hosts], self._election.op_timeout)

    def _link(self, host: Hypervisor) -> Link:
        """Over the work's session where there is one."""
        shared = self._shared
        timeout = max(FIRST_S, min(host.access.timeout, self._election.op_timeout))
        quick = replace(host, access=replace(host.access, timeout=timeout))
        if shared is None or host.name not in {hv.name for hv in shared.hypervisors}:
            return Link(host.name, lambda: self._connect(quick))
        return Link(host.name, lambda: shared.reconnect(host.name), shared.sessions.get(host.name))

    def close(self) -> None:
        for link in self._made.values():
            link.close()


def open_voting(
    name: str,
    pool: t.Sequence[Hypervisor],
    election: Election,
    connect: Connect,
    shared: Pool | None = None,
    strict: bool = True,
) -> Voting:
    """Find the voters that count; the caller closes what was opened.

    Args:
        pool: the hypervisors, without machines that somebody else provides.
        shared: sessions of somebody's work, used until the first renewal.

    Raises:
        LeaseError: `new_epoch`.
    """
    opened = _Opened(name, election, connect, shared)
    try:
        hosts = {host.name: host for host in (*pool, *election.witnesses)}
        return Voting(name, election, find_electorate(election, pool, hosts, opened.links, strict), hosts, opened)
    except BaseException:
        opened.close()
        raise


@contextlib.contextmanager
def voting(
    name: str, pool: t.Sequence[Hypervisor], election: Election, connect: Connect, shared: Pool | None = None
) -> t.Iterator[Voting]:
    """As `open_voting`, until the block ends."""
    votes = open_voting(name, pool, election, connect, shared)
    try:
        yield votes
    finally:
        votes.opened.close()


def confirm_lease(name: str, pool: t.Sequence[Hypervisor], election: Election, connect: Connect, token: Token) -> None:
    """Make sure that a token is that of the lease which holds now.

    Raises:
        LeaseError: `lease_lost`, `no_quorum`.
    """
    with voting(name, pool, election, connect) as votes:
        votes.lease(this_run()).adopt(token)


def open_lease(
    name: str,
    voters: t.Sequence[Hypervisor],
    election: Election,
    identity: Identity,
    connect: Connect,
    strict: bool = True,
) -> Lease:
    """A lease for somebody who lasts, such as an agent: it is renewed for long, and its `close` ends all links.

    Raises:
        EnsembleError: as `open_voting` and `Voting.lease`.
    """
    votes = open_voting(name, voters, election, connect, strict=strict)
    try:
        lease = votes.lease(identity, tending=True)
    except BaseException:
        votes.opened.close()
        raise
    lease.close = _both(lease.close, votes.opened.close)  # type: ignore[method-assign]
    return lease


def open_etcd_lease(
    name: str,
    election: Election,
    epoch: int,
    identity: Identity,
    user: str | None = None,
    password: str | None = None,
) -> Lease:
    """A lease in etcd for something that has no voters of ours.

    Args:
        epoch: raised by a person when the cluster is another one, whose revisions begin elsewhere.
        user: with a password instead of those that the declaration names.

    Raises:
        EnsembleError: as `open_gateway`; `bad_option` where no endpoints are known.
    """
    if election.etcd is None:
        raise EnsembleError("backend etcd needs endpoints. Nothing was changed.", code="bad_option")
    gateway = open_gateway(election.etcd, user, password)
    return EtcdLease(gateway, name, epoch, identity, election.ttl, boottime, election.op_timeout)


def _both(first: t.Callable[[], None], second: t.Callable[[], None]) -> t.Callable[[], None]:
    def close() -> None:
        first()
        second()

    return close


def open_gateway(etcd: Etcd, user: str | None = None, password: str | None = None) -> t.Any:
    """How an etcd cluster is called; the password is read now, unless it is given.

    Raises:
        EnsembleError: a file cannot be read, or others could read the password.
    """
    from .._pool.gateway import Endpoints, HttpGateway  # with Ansible's client, which few need

    if etcd.password_file:
        user, password = etcd.user, read_password(etcd.password_file)
    files = (etcd.ca_cert, etcd.client_cert, etcd.client_key)
    return HttpGateway(Endpoints(etcd.endpoints, user, password, *files))


def read_password(path: str) -> str:
    """The first line of a file that only its owner can read.

    Raises:
        EnsembleError: `bad_password_file`.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            mode = os.fstat(stream.fileno()).st_mode & 0o077
            password = stream.readline().rstrip("\n")
    except OSError as error:
        raise EnsembleError(f"{path}: {error.strerror}. Nothing was changed.", code="bad_password_file") from error
    if mode or not password:
        what = "others may read it; set its mode to 0600" if mode else "its first line is empty"
        raise EnsembleError(f"{path}: {what}. Nothing was changed.", code="bad_password_file")
    return password
