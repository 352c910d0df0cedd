# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The members of a resource while they are being read, with what must not occur twice among them."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .declaration import Access, Hypervisor, Member, MemberSpec, Network, Role
from .drivers import EXISTING
from .errors import Fault
from .identity import MEMBER_NAME, domain_name
from .reader import Section, label_pattern, shown
from .sections import Settings, as_address, read_access, read_host_key, read_settings

_ACCESS = Access()


class Roster:
    """The members found so far, with what must not occur twice among them."""

    def __init__(
        self,
        faults: list[Fault],
        resource: str,
        network: Network | None,
        pool: t.Sequence[Hypervisor],
        access: Access = _ACCESS,
    ) -> None:
        self.faults = faults
        self.resource = resource
        self.network = network
        self.pool = pool
        self.access = access
        self._members: dict[str, Member] = {}
        self._addresses: dict[str, str] = {hv.address: f"hypervisor {hv.name}" for hv in pool}
        if network and network.gateway:
            self._addresses[network.gateway] = "the gateway"

    def members(self, roles: t.Sequence[Role]) -> tuple[Member, ...]:
        """All members, role by role, so that the order in which named ones are written says nothing."""
        order = dict.fromkeys(name for role in roles for name in role.members)
        return tuple(self._members[name] for name in order if name in self._members)

    def named(
        self, name: str, section: Section, roles: t.Sequence[str], defaults: Settings, stateful: bool = False
    ) -> None:
        """A member under the top-level key `members`, with settings of its own."""
        if not MEMBER_NAME.fullmatch(name):
            section.faults.append(
                Fault(section.path, f"the name {shown(name)}", f"a member's name matching {MEMBER_NAME.pattern}")
            )
        if not roles:
            section.faults.append(Fault(section.path, "a member without a role", "a role whose members name it"))
        own = read_settings(section, defaults)
        existing = own.driver == EXISTING
        address = section.address("address")
        if address and self.network and not existing and not self.network.hosts(as_address(address)):
            section.fault("address", address, f"a host's address in network.cidr {self.network.cidr}")
        hypervisor, access, host_key = None, None, None
        if existing:
            access = read_access(section.section("ssh"), self.access, own.file)
            host_key = read_host_key(section)
        else:
            hypervisor = section.text("hypervisor", None, label_pattern(), "a hypervisor's name")
            if hypervisor is not None and hypervisor not in {hv.name for hv in self.pool}:
                section.fault("hypervisor", hypervisor, "one of " + ", ".join(hv.name for hv in self.pool))
        section.close()
        self.add(section.path, name, tuple(roles), own, address, hypervisor, stateful)
        if existing and name in self._members:
            self._members[name] = replace(self._members[name], access=access, host_key=host_key)

    def add(
        self,
        path: str,
        name: str,
        roles: tuple[str, ...],
        settings: Settings,
        address: str | None,
        hypervisor: str | None,
        stateful: bool = False,
    ) -> None:
        faults = self.faults
        if name in self._members:
            faults.append(Fault(path, f"a second member {name}", "each member's name once"))
            return
        if len(domain_name(self.resource, name)) > 63:
            found = f"the host name {shown(domain_name(self.resource, name))}"
            faults.append(Fault(path, found, "at most 63 characters"))
        if domain_name(self.resource, name) in {hv.name for hv in self.pool}:
            index = [hv.name for hv in self.pool].index(domain_name(self.resource, name))
            found = f"the name {domain_name(self.resource, name)}"
            faults.append(Fault(f"pool[{index}].name", found, f"another name than that of member {name}'s host"))
        if settings.image is None and settings.driver != EXISTING:
            faults.append(Fault(f"{path}.image", "nothing", "an image here or under defaults"))
        if address is not None:
            if address in self._addresses:
                faults.append(
                    Fault(
                        path, f"address {address} for {name}", f"one that is free ({self._addresses[address]} has it)"
                    )
                )
            self._addresses[address] = name
        net = self.network
        spec = MemberSpec(
            driver=settings.driver,
            image=settings.image or "",
            vcpus=settings.vcpus,
            memory_mb=settings.memory_mb,
            address=address or "",
            prefix=net.cidr.prefixlen if net else 0,
            bridge=net.bridge if net else "",
            gateway=net.gateway if net else None,
            dns=net.dns if net else (),
            template=settings.template,
        )
        known = (settings.autostart, dict(settings.labels), settings.source)
        self._members[name] = Member(name, roles, spec, hypervisor, stateful, *known)
