# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A driver: how a member is realised on its hypervisor. Small verbs, each of which may be repeated safely."""

from __future__ import annotations

import abc
import typing as t
from dataclasses import dataclass, field

from ..._model.declaration import MemberSpec
from ..banner import ssh_banner
from .templates import Template


@dataclass(frozen=True)
class Seed:
    """What makes a clone of the image this very member; private keys never leave it but into the member's disk."""

    host_key: str = field(repr=False)
    host_key_public: str
    authorized_keys: tuple[str, ...]


@dataclass(frozen=True)
class Ownership:
    """The record that marks a domain as ours, kept in its libvirt metadata."""

    resource: str
    member: str
    roles: tuple[str, ...]
    generation: int
    token: tuple[int, int]
    spec: MemberSpec
    image_digest: str
    stateful: bool
    autostart: bool = False
    labels: t.Mapping[str, str] = field(default_factory=dict)
    template: Template | None = None

    def as_dict(self) -> dict[str, t.Any]:
        record = {
            "resource": self.resource,
            "member": self.member,
            "roles": list(self.roles),
            "generation": self.generation,
            "token": list(self.token),
            "spec": self.spec.as_dict(),
            "digest": self.spec.digest,
            "image_digest": self.image_digest,
            "stateful": self.stateful,
            "autostart": self.autostart,
            "labels": dict(self.labels),
        }
        return record if self.template is None else {**record, "template_digest": self.template.digest}


class Driver(abc.ABC):
    """One way to realise members. Every verb leaves a state that observation alone can tell."""

    name: t.ClassVar[str]

    def accelerator(self) -> str | None:
        """How processors are realised here, as far as known; None where the driver has no such question."""
        return None

    def check_template(self, template: Template) -> None:
        """Refuse a template from which no member can be defined, before anything is made for it.

        Raises:
            TemplateError: `bad_template`.
        """
        return

    @abc.abstractmethod
    def domains(self) -> list[dict[str, t.Any]]:
        """Every domain here, ours or not: name, uuid, state, reason, persistent, record, macs, memory_mb, vcpus."""

    @abc.abstractmethod
    def record(self, resource: str, member: str) -> t.Mapping[str, t.Any] | None:
        """The ownership record of a member's domain, None where there is no such domain.

        Raises:
            RefusedError: `foreign`.
        """

    def answers(self, resource: str, member: str, address: str, port: int, timeout: float) -> tuple[bool, str]:
        """Whether a member's SSH server answers this very machine within `timeout` seconds, and what it said."""
        return ssh_banner(address, port, timeout)

    @abc.abstractmethod
    def artefacts(self, resource: str) -> list[dict[str, t.Any]]:
        """What lies on disk for a resource's members: member, driver, prepared, image."""

    @abc.abstractmethod
    def prepare(self, resource: str, member: str, spec: MemberSpec, seed: Seed) -> None:
        """Make the member's disk, a copy-on-write clone of its image; a half-made one is made anew."""

    @abc.abstractmethod
    def define(self, ownership: Ownership) -> None:
        """Define the member's domain, or define it anew; what can change while it runs changes at once."""

    @abc.abstractmethod
    def start(self, resource: str, member: str) -> None:
        """Start the member's domain."""

    @abc.abstractmethod
    def stop(self, resource: str, member: str, timeout: float) -> bool:
        """Stop it in good order within `timeout` seconds, else by force; true when force was needed."""

    @abc.abstractmethod
    def undefine(self, resource: str, member: str) -> None:
        """Remove the definition of a stopped member."""

    @abc.abstractmethod
    def remove(self, resource: str, member: str) -> None:
        """Remove the disk and all else that lies here for a member without a domain."""

    @abc.abstractmethod
    def standing(self) -> set[str]:
        """The sha256 of every image on which a disk here stands, of any resource, half-made ones included."""

    @abc.abstractmethod
    def image_digest(self, resource: str, member: str) -> str:
        """The sha256 of the image on which the member's disk stands."""
