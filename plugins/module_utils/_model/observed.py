# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What was seen on the pool in one observation; plain frozen data, the plan's other input."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass, field

from .declaration import MemberSpec
from .drivers import AVAILABLE, EXISTING, IMAGE_FORMATS

#: the state of a machine that somebody else provides and that has none of its roles' services yet
BARE = "no services"


@dataclass(frozen=True)
class Domain:
    """A domain as its hypervisor reports it.

    Attributes:
        record: our ownership record, None when it is foreign.
        reason: why it is in its state, in libvirt's word such as `destroyed`, `crashed`, `failed` or `user`.
        persistent: false when its definition is gone and it will be gone, too, once it ends.
        age: seconds since its start; None where that is not known.
    """

    name: str
    uuid: str
    state: str
    record: t.Mapping[str, t.Any] | None = None
    macs: tuple[str, ...] = ()
    reason: str = "unknown"
    persistent: bool = True
    age: float | None = None

    @property
    def running(self) -> bool:
        return self.state in ("running", "idle", "blocked", BARE)

    @property
    def stopped(self) -> bool:
        """Whether nothing of it is left to be stopped."""
        return self.state in ("shutoff", BARE)


@dataclass(frozen=True)
class Artefact:
    """What lies on a hypervisor's disk for a member; `prepared` is false while it is half made."""

    member: str
    driver: str
    prepared: bool
    image: str | None = None
    image_digest: str | None = None


@dataclass(frozen=True)
class Guard:
    """What a hypervisor does by itself with a resource's members when no leader is heard.

    Attributes:
        ttl: seconds for which they live then; None while nobody armed it.
        heard_s: seconds since a leader was heard there; None where none was since its boot.
        destroyed: members that it has destroyed and that nobody started since.
    """

    armed: bool = False
    ttl: float | None = None
    heard_s: float | None = None
    destroyed: tuple[str, ...] = ()


@dataclass(frozen=True)
class ObservedHypervisor:
    """One trip's answer: capacity in MiB and CPUs, cached images, every domain, the resource's artefacts.

    Attributes:
        images: image name -> format -> sha256.
        drivers: driver -> `ok`, or why it does not work there.
        accelerators: driver -> how it realises processors, `untried` before its first member.
        voters: digest of what it was told of the resource's voters, empty when nobody told it.
        templates: name of a domain template -> sha256 of its file.
    """

    name: str
    memory_mb: int
    vcpus: int
    images: t.Mapping[str, t.Mapping[str, str]] = field(default_factory=dict)
    domains: tuple[Domain, ...] = ()
    artefacts: tuple[Artefact, ...] = ()
    reserved_memory_mb: int = 0
    reserved_vcpus: int = 0
    drivers: t.Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(IMAGE_FORMATS, AVAILABLE))
    accelerators: t.Mapping[str, str] = field(default_factory=dict)
    voters: str = ""
    templates: t.Mapping[str, str] = field(default_factory=dict)
    guard: Guard = Guard()

    def lack(self, spec: MemberSpec, sources: t.Container[tuple[str, str]] = ()) -> str:
        """Why no member of this specification can be made here; empty when it can.

        Args:
            sources: (name, format) of images that can be brought here.
        """
        status = self.drivers.get(spec.driver, "the host program does not know it")
        if status != AVAILABLE:
            return f"driver {spec.driver} is not available there ({status})"
        if spec.template is not None and spec.template not in self.templates:
            return f"template {spec.template} is not there"
        takes = IMAGE_FORMATS[spec.driver]
        if self.has_image(spec) or (spec.image, takes) in sources:
            return ""
        formats = self.images.get(spec.image, {})
        if takes in formats:
            return f"image {spec.image} is there with other content than its checksum {spec.image_checksum} asks for"
        if formats:
            known = ", ".join(sorted(formats))
            return f"image {spec.image} is there as {known} only, driver {spec.driver} takes {takes}"
        return f"image {spec.image} is not there"

    def has_image(self, spec: MemberSpec) -> bool:
        """Whether the image of a specification is in the cache, with the content that it asks for."""
        cached = self.images.get(spec.image, {}).get(IMAGE_FORMATS[spec.driver])
        return cached is not None and spec.image_checksum in (None, cached)


def stamp_of(document: t.Mapping[str, t.Any]) -> tuple[tuple[int, ...], int]:
    """By what documents that voters keep are compared: the token of the leader who wrote it, then its version.

    A later leader's word counts, whatever version an earlier one had written and no majority knew.
    """
    return tuple(document.get("token", (0, 0))), int(document.get("version", 0))


@dataclass(frozen=True)
class Record:
    """The resource's one versioned record, as the voters keep it; version 0 means none was written yet.

    Attributes:
        placement: member -> hypervisor; of one that moves, the one that it leaves.
        moving: member -> hypervisor to which it moves, until all is over.
        removed: members that were taken out by name and had been declared one by one.
        repairs: that were tried of late, so that a budget outlives the leader who used it up.
        member_ttl: seconds after which hypervisors that hear no leader end what may be made elsewhere; 0: never.
    """

    version: int = 0
    generation: int = 0
    digest: str = ""
    desired: str = "absent"
    stack: str = ""
    declaration: t.Mapping[str, t.Any] = field(default_factory=dict)
    placement: t.Mapping[str, str] = field(default_factory=dict)
    stateful: tuple[str, ...] = ()
    moving: t.Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    repairs: tuple[t.Mapping[str, t.Any], ...] = ()
    member_ttl: float = 0.0

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "version": self.version,
            "generation": self.generation,
            "digest": self.digest,
            "desired": self.desired,
            "stack": self.stack,
            "declaration": dict(self.declaration),
            "placement": dict(self.placement),
            "stateful": list(self.stateful),
            "moving": dict(self.moving),
            "removed": list(self.removed),
            "repairs": [dict(repair) for repair in self.repairs],
            "member_ttl": self.member_ttl,
        }

    def places(self, member: str) -> set[str]:
        """The hypervisors on which a member may be as far as the record can tell."""
        found = {self.placement.get(member), self.moving.get(member)}
        return {place for place in found if place is not None}

    @classmethod
    def from_dict(cls, data: t.Mapping[str, t.Any]) -> Record:
        """From stored data; keys of newer versions are ignored."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        for name in ("stateful", "removed", "repairs"):
            known[name] = tuple(known.get(name, ()))
        return cls(**known)


@dataclass(frozen=True)
class Observation:
    """The whole pool as observed for one resource.

    Attributes:
        silent: hypervisor -> why it was not observed: what is on it is unknown, never taken for gone.
    """

    resource: str
    hypervisors: tuple[ObservedHypervisor, ...]
    record: Record = Record()
    silent: t.Mapping[str, str] = field(default_factory=dict)

    def owned(self) -> dict[str, tuple[ObservedHypervisor, Domain]]:
        """Member name -> (hypervisor, domain) for every domain that carries our ownership record; no stale copies."""
        return {member: (hv, domain) for member, hv, domain in self.ours if (member, hv.name) not in self.stale}

    @functools.cached_property
    def ours(self) -> tuple[tuple[str, ObservedHypervisor, Domain], ...]:
        """(member, hypervisor, domain) of every domain that carries our ownership record, doubles and copies too."""
        return tuple(
            (str(domain.record["member"]), hv, domain)
            for hv in self.hypervisors
            for domain in hv.domains
            if domain.record is not None and domain.record.get("resource") == self.resource
        )

    def artefacts(self) -> dict[str, dict[str, Artefact]]:
        """Member name -> hypervisor name -> artefact; more than one hypervisor only where something went wrong."""
        return dict(self._artefacts)

    @functools.cached_property
    def _artefacts(self) -> dict[str, dict[str, Artefact]]:
        found: dict[str, dict[str, Artefact]] = {}
        for hv in self.hypervisors:
            for artefact in hv.artefacts:
                if (artefact.member, hv.name) not in self.stale:
                    found.setdefault(artefact.member, {})[hv.name] = artefact
        return found

    @functools.cached_property
    def stale(self) -> frozenset[tuple[str, str]]:
        """(member, hypervisor) of what is left of members that the record places elsewhere.

        They were made anew there while this hypervisor was away. What has data is never taken for such a copy, and
        neither is anything while the record names a hypervisor that the pool does not have.
        """
        known = {hv.name for hv in self.hypervisors} | set(self.silent)
        data = {member for member, _hv, domain in self.ours if (domain.record or {}).get("stateful")}
        data.update(self.record.stateful)
        there = {(member, hv.name) for member, hv, domain in self.ours if not _provided(domain)}
        there.update((artefact.member, hv.name) for hv in self.hypervisors for artefact in hv.artefacts)
        found = set()
        for member, hypervisor in there:
            places = self.record.places(member)
            if places and places <= known and hypervisor not in places and member not in data:
                found.add((member, hypervisor))
        return frozenset(found)


def _provided(domain: Domain) -> bool:
    """Whether somebody else provides the machine."""
    return bool((domain.record or {}).get("spec", {}).get("driver") == EXISTING)
