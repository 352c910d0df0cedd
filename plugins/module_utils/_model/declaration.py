# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The declared resource: frozen, validated, complete. Nothing here does I/O."""

from __future__ import annotations

import functools
import ipaddress
import typing as t
from dataclasses import dataclass, field

from .identity import digest_of, domain_name
from .image import ImageSource
from .monitor import UNIT, Monitor, Probe

QUORUM, ETCD = "quorum", "etcd"
#: voters where the declaration names none: as many of the pool's first hypervisors
_DEFAULT_COUNTS = (5, 3, 1)


@dataclass(frozen=True)
class Capacity:
    """What a hypervisor may carry: memory in MiB and virtual CPUs; None means what is detected there."""

    memory_mb: int | None = None
    vcpus: int | None = None


@dataclass(frozen=True)
class Access:
    """How a controller reaches a machine over SSH; timeout in seconds."""

    user: str = "root"
    port: int = 22
    private_key: str | None = None
    timeout: float = 10.0


@dataclass(frozen=True)
class Hypervisor:
    """A physical machine of the pool; a simulated one is the folder `sim` and has no address."""

    name: str
    address: str
    access: Access = Access()
    host_key: str | None = None
    labels: t.Mapping[str, str] = field(default_factory=dict)
    capacity: Capacity = Capacity()
    sim: str | None = None
    maintenance: bool = False


@dataclass(frozen=True)
class Network:
    """Where members live: the hypervisors' bridge and the fixed addresses on it."""

    bridge: str
    cidr: ipaddress.IPv4Network
    first: ipaddress.IPv4Address
    last: ipaddress.IPv4Address
    gateway: str | None = None
    dns: tuple[str, ...] = ()

    def hosts(self, address: ipaddress.IPv4Address | None) -> bool:
        """Whether a machine may have this address."""
        ends = (self.cidr.network_address, self.cidr.broadcast_address)
        return address is not None and address in self.cidr and address not in ends


@dataclass(frozen=True)
class MemberSpec:
    """All that decides what a member's machine is; its digest tells drift.

    Attributes:
        image_checksum: SHA-256 of the image's file where one is declared; the disk is then made from no other.
    """

    driver: str
    image: str
    vcpus: int
    memory_mb: int
    address: str
    prefix: int
    bridge: str
    gateway: str | None
    dns: tuple[str, ...]
    image_checksum: str | None = None
    template: str | None = None

    def as_dict(self) -> dict[str, t.Any]:
        """Plain data as it travels to the host program and stands in the ownership record."""
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "dns": list(self.dns)}

    @functools.cached_property
    def digest(self) -> str:
        return digest_of(self.as_dict())


@dataclass(frozen=True)
class Member:
    """One machine of the resource; it plays one role or several.

    Attributes:
        hypervisor: where it is pinned to.
        stateful: one of its roles is: its disk holds data.
        autostart: it comes back by itself when its hypervisor has booted.
        labels: of the user's own, kept in the ownership record.
        access, host_key: how a machine is reached that somebody else provides; None for all others.
        image_source: what its own part of the declaration says of the image; `Resource.images` tells of the whole.
    """

    name: str
    roles: tuple[str, ...]
    spec: MemberSpec
    hypervisor: str | None = None
    stateful: bool = False
    autostart: bool = False
    labels: t.Mapping[str, str] = field(default_factory=dict)
    image_source: ImageSource | None = None
    access: Access | None = None
    host_key: str | None = None


@dataclass(frozen=True)
class Role:
    """A part that members play.

    Attributes:
        spread: `hypervisor` or a label by which members are kept apart as far as it goes.
        anti_affinity: roles whose members never share a hypervisor with one of this role.
        min_count: members with which the resource may start when there is no room for more; None asks for all.
        removed: indices that a counted role no longer uses; None when the declaration does not say.
        relocate: its members may be made anew on another hypervisor when theirs is gone.
    """

    name: str
    members: tuple[str, ...]
    after: tuple[str, ...] = ()
    spread: str | None = None
    stateful: bool = False
    counted: bool = False
    anti_affinity: tuple[str, ...] = ()
    min_count: int | None = None
    removed: tuple[int, ...] | None = None
    relocate: bool = False


@dataclass(frozen=True)
class Etcd:
    """How an etcd cluster is reached; the password is read from a file of mode 0600."""

    endpoints: tuple[str, ...]
    user: str | None = None
    password_file: str | None = None
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None


@dataclass(frozen=True)
class Election:
    """Times in seconds.

    Attributes:
        voters: names of hypervisors and witnesses; empty means the default.
        witnesses: hosts that vote and carry no members.
        candidates: members that may lead; empty means the first five.
    """

    backend: str = QUORUM
    ttl: float = 15.0
    op_timeout: float = 3.0
    preempt: bool = False
    preempt_delay: float = 60.0
    voters: tuple[str, ...] = ()
    witnesses: tuple[Hypervisor, ...] = ()
    candidates: tuple[str, ...] = ()
    etcd: Etcd | None = None

    def voters_of(self, pool: t.Sequence[Hypervisor]) -> tuple[Hypervisor, ...]:
        """The hosts that vote for a resource on this pool, as long as none are pinned."""
        hosts = {host.name: host for host in (*pool, *self.witnesses)}
        if self.voters:
            return tuple(hosts[name] for name in self.voters if name in hosts)
        return default_voters(pool, self.witnesses)


def default_voters(pool: t.Sequence[Hypervisor], witnesses: t.Sequence[Hypervisor] = ()) -> tuple[Hypervisor, ...]:
    """The first 5, or 3, or 1 hypervisors; with witnesses as many more as make an odd number of at most 5."""
    total = len(pool) + len(witnesses)
    count = next(count for count in _DEFAULT_COUNTS if count <= max(1, total))
    extra = tuple(witnesses)[: max(0, count - 1)]
    return (*tuple(pool)[: count - len(extra)], *extra)


@dataclass(frozen=True)
class Overcommit:
    """How far declared sizes may exceed a hypervisor's capacity, per kind."""

    memory: float = 1.0
    vcpus: float = 4.0


@dataclass(frozen=True)
class Resource:
    """The whole declared cluster.

    `content` is the declaration as plain data without what only concerns one controller (its file paths); its
    digest decides whether two controllers declare the same.

    Attributes:
        images: (name, format) -> where it comes from, for each image that has a path or an address.
    """

    name: str
    stack: str
    pool: tuple[Hypervisor, ...]
    network: Network
    roles: tuple[Role, ...]
    members: tuple[Member, ...]
    overcommit: Overcommit
    election: Election
    monitor: Monitor
    content: t.Mapping[str, t.Any]
    known_hosts: str | None = None
    images: t.Mapping[tuple[str, str], ImageSource] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @functools.cached_property
    def digest(self) -> str:
        return digest_of(self.content)

    def domain(self, member: str) -> str:
        """Domain name and host name of a member."""
        return domain_name(self.name, member)

    @property
    def voters(self) -> tuple[Hypervisor, ...]:
        """The hosts that vote, as long as none are pinned."""
        return self.election.voters_of(self.pool)

    @functools.cached_property
    def machines(self) -> dict[str, tuple[Member, Hypervisor]]:
        """Members on machines that somebody else provides, by domain name; each with how its machine is reached."""
        return {
            self.domain(member.name): (
                member,
                Hypervisor(self.domain(member.name), member.spec.address, member.access, member.host_key),
            )
            for member in self.members
            if member.access is not None
        }

    def units(self, member: Member) -> tuple[str, ...]:
        """The systemd units of a member's roles, each once."""
        return tuple(dict.fromkeys(unit for role in member.roles for unit in self.monitor.services.get(role, ())))

    def probes(self, member: Member) -> tuple[Probe, ...]:
        """All that is asked of a member: its units first."""
        asked = dict.fromkeys(probe for role in member.roles for probe in self.asked(role))
        return tuple(sorted(asked, key=lambda probe: probe.kind != UNIT))

    def asked(self, role: str) -> tuple[Probe, ...]:
        """What is asked of each member of a role: its units, and the declared probes."""
        units = (Probe(UNIT, unit=unit) for unit in self.monitor.services.get(role, ()))
        return (*units, *self.monitor.probes.get(role, ()))

    def relocatable(self, member: Member) -> bool:
        """Whether a member may be made anew on another hypervisor by itself: all its roles say so, none has data."""
        own = member.access is None and not member.stateful and member.hypervisor is None
        return own and all(self.role(name).relocate for name in member.roles)

    def role(self, name: str) -> Role:
        """The role of that name; KeyError when there is none."""
        for role in self.roles:
            if role.name == name:
                return role
        raise KeyError(name)
