# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What must hold before anything is planned: nothing foreign in the way, no living address moved."""

from __future__ import annotations

import ipaddress
import typing as t

from .._model.declaration import Member, Resource
from .._model.drivers import AVAILABLE
from .._model.errors import PlanError
from .._model.identity import domain_name, member_mac, member_uuid
from .._model.observed import Artefact, Domain, Observation, ObservedHypervisor, Record


def refuse_foreign(resource: str, members: t.Iterable[str], observation: Observation) -> None:
    """Refuse names, UUIDs and MAC addresses of ours that a machine of somebody else carries.

    Raises:
        PlanError: `name_taken`, naming each foreign domain and its hypervisor.
    """
    if len(observation.ours) == sum(len(hv.domains) for hv in observation.hypervisors):
        return
    own = {id(domain) for _member, _hv, domain in observation.ours}
    strangers = [(hv, domain) for hv in observation.hypervisors for domain in hv.domains if id(domain) not in own]
    names = {domain_name(resource, member): member for member in members}
    uuids = {member_uuid(resource, member) for member in names.values()}
    macs = {member_mac(resource, member) for member in names.values()}
    taken = []
    for hv, domain in strangers:
        for what, clash in (
            ("name", domain.name in names),
            ("UUID", domain.uuid in uuids),
            ("MAC address", bool(macs & set(domain.macs))),
        ):
            if clash:
                taken.append(f"{domain.name} on {hv.name} (same {what})")
                break
    if taken:
        raise PlanError(
            f"these domains belong to somebody else and stand where members of {resource} would: {', '.join(taken)}. "
            "Nothing was changed. Rename the resource, or remove them yourself if nobody needs them.",
            code="name_taken",
            domains=taken,
        )


def refuse_doubles(observation: Observation) -> None:
    """Refuse to act while a member has domains on two hypervisors, and the record does not tell which one it is.

    Raises:
        PlanError: `double`, naming both places.
    """
    counted = [entry for entry in observation.ours if (entry[0], entry[1].name) not in observation.stale]
    if len({member for member, _hv, _domain in counted}) < len(counted):
        places: dict[str, list[str]] = {}
        for member, hv, domain in counted:
            places.setdefault(member, []).append(f"{domain.name} on {hv.name} ({domain.state})")
        doubles = {member: found for member, found in places.items() if len(found) > 1}
        raise PlanError(
            "more than one domain carries the record of one member: "
            + "; ".join(f"{member}: {', '.join(found)}" for member, found in doubles.items())
            + ". Nothing was changed. Stop and undefine, by hand, the one that is a copy.",
            code="double",
            members=doubles,
        )


def refuse_blind(observation: Observation) -> None:
    """Refuse to act where disks of a driver lie that does not answer: whether their members run is not known.

    Raises:
        PlanError: `driver_unavailable`, with each hypervisor's reason.
    """
    blind = []
    for hv in observation.hypervisors:
        for driver in sorted({artefact.driver for artefact in hv.artefacts}):
            reason = hv.drivers.get(driver, "the host program does not know it")
            if reason != AVAILABLE:
                blind.append(f"{hv.name}, driver {driver}: {reason}")
    if blind:
        raise PlanError(
            f"members of {observation.resource} cannot be observed: {'; '.join(blind)}. Nothing was changed. "
            "Bring the driver back (playbooks/pool.yml installs and starts it), then run again.",
            code="driver_unavailable",
        )


def refuse_other_driver(
    resource: Resource,
    owned: t.Mapping[str, tuple[ObservedHypervisor, Domain]],
    artefacts: t.Mapping[str, t.Mapping[str, Artefact]],
) -> None:
    """Refuse to make a container of a virtual machine, or the other way round: its disk would be lost.

    Raises:
        PlanError: `driver_changed`, naming each member.
    """
    changed = {}
    for member in resource.members:
        lived = {disk.driver for disk in artefacts.get(member.name, {}).values()}
        if member.name in owned:
            lived.add(driver_of(owned[member.name][1]) or member.spec.driver)
        others = sorted(lived - {member.spec.driver})
        if others:
            changed[member.name] = f"{others[0]} -> {member.spec.driver}"
    if changed:
        raise PlanError(
            "the declaration changes the driver of members that exist: "
            + ", ".join(f"{member} {words}" for member, words in changed.items())
            + ". Nothing was changed. Declare the former driver, or remove the resource first.",
            code="driver_changed",
            members=changed,
        )


def driver_of(domain: Domain | None) -> str | None:
    """The driver that a domain's ownership record names."""
    driver = ((domain.record if domain is not None else None) or {}).get("spec", {}).get("driver")
    return str(driver) if driver else None


def refuse_smaller_pool(resource: Resource, record: Record) -> None:
    """Refuse a pool without a hypervisor that carries members: they would be made a second time elsewhere.

    Raises:
        PlanError: `pool_shrunk`.
    """
    if record.desired == "absent":
        return
    pool = {hv.name for hv in resource.pool}
    # a machine that somebody else provides carries only itself, and goes with its member
    places = [*record.placement.items(), *record.moving.items()]
    left = {member: name for member, name in places if name not in pool and name != resource.domain(member)}
    if left:
        raise PlanError(
            "the declaration's pool lacks hypervisors that carry members: "
            + ", ".join(f"{member} on {name}" for member, name in sorted(left.items()))
            + ". Nothing was changed. Put them back into the pool, under the names that they had.",
            code="pool_shrunk",
            members=left,
        )


def refuse_moved_addresses(resource: Resource, owned: t.Mapping[str, tuple[ObservedHypervisor, Domain]]) -> None:
    """Refuse a declaration that would move a living member's address, and name the ranges that keep it.

    Raises:
        PlanError: `address_moved`.
    """
    moved = []
    for member in resource.members:
        lived = _lived_address(owned, member)
        if lived is not None and lived != member.spec.address:
            moved.append((member, lived))
    if not moved:
        return
    pins = _pins(resource, owned)
    raise PlanError(
        "the declaration moves addresses of members that exist: "
        + ", ".join(f"{member.name} {lived} -> {member.spec.address}" for member, lived in moved)
        + ". Nothing was changed. To keep them, pin: "
        + "; ".join(pins)
        + ".",
        code="address_moved",
        pins=pins,
    )


def _lived_address(owned: t.Mapping[str, tuple[ObservedHypervisor, Domain]], member: Member) -> str | None:
    if member.name not in owned:
        return None
    record = owned[member.name][1].record or {}
    address = record.get("spec", {}).get("address")
    return str(address) if address else None


def _pins(resource: Resource, owned: t.Mapping[str, tuple[ObservedHypervisor, Domain]]) -> list[str]:
    """The lines to write into the declaration: a range per counted role, an address per named member."""
    pins = []
    for role in resource.roles:
        if not role.counted:
            continue
        for member in role.members:
            lived = _lived_address(owned, _member(resource, member))
            if lived is not None:
                index = int(member.rsplit("-", 1)[1])
                pins.append(f"roles.{role.name}.range beginning with {_minus(lived, index)}")
                break
    for member_ in resource.members:
        if not any(role.counted for role in map(resource.role, member_.roles)):
            lived = _lived_address(owned, member_)
            if lived is not None and lived != member_.spec.address:
                pins.append(f"members.{member_.name}.address: {lived}")
    return pins


def _member(resource: Resource, name: str) -> Member:
    return next(member for member in resource.members if member.name == name)


def _minus(address: str, offset: int) -> str:
    return str(ipaddress.IPv4Address(address) - offset)
