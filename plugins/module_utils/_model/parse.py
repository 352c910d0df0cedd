# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""From the data of a declaration to a `Resource`: everything is checked, every fault is reported."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .declaration import QUORUM, Access, Election, Hypervisor, Resource
from .drivers import SIM
from .election import read_election
from .errors import DeclarationError, Fault
from .image import shared_image
from .monitor import read_monitor
from .reader import Section
from .roles import read_roles, refuse_missing_roles
from .sections import (
    Settings,
    read_access,
    read_file_path,
    read_network,
    read_overcommit,
    read_pool,
    read_resource_name,
    read_settings,
)
from .sources import resolve_images
from .stacks import STACKS
from .timings import voter_warnings

PLUGIN_NAME = "ensemble.stacks.distributed_resource"

#: what only concerns the controller that reads the file
_LOCAL_KEYS = ("plugin", "known_hosts", "ssh")
#: what of the election only concerns one controller
_LOCAL_FILES = ("password_file", "ca_cert", "client_cert", "client_key")
_DEFAULTS = Settings(driver="lxc", image=None, vcpus=1, memory_mb=512)


def parse_declaration(raw: t.Any, source: str = "declaration", extra_faults: t.Sequence[Fault] = ()) -> Resource:
    """Validate a declaration.

    Args:
        raw: what the YAML file holds.
        source: where it came from; file paths in it are relative to its folder.
        extra_faults: found before, while the file was read.

    Raises:
        DeclarationError: with every fault found.
    """
    faults = list(extra_faults)
    top = Section(raw, "", faults)
    top.choice("plugin", [PLUGIN_NAME])
    name = read_resource_name(top)
    stack = top.choice("stack", sorted(STACKS), default="custom")
    access = read_access(top.section("ssh"), Access(), source)
    known_hosts = read_file_path(top, "known_hosts", source)
    pool = read_pool(top, access, source)
    network, whole = read_network(top.section("network", "a mapping with bridge, cidr and range"))
    base = _DEFAULTS._replace(file=source)
    if pool and pool[0].sim is not None:
        base = base._replace(driver=SIM)
    defaults = read_settings(top.section("defaults"), base, close=True)
    roles, members = read_roles(top, name, defaults, network, whole, pool, access)
    members, images = resolve_images(members, faults)
    refuse_missing_roles(stack, roles, faults)
    overcommit = read_overcommit(top.section("overcommit"))
    election = read_election(top.section("election"), pool, access, source)
    monitor = read_monitor(top.section("monitor"), stack, [role.name for role in roles])
    top.close()
    if faults or network is None:
        raise DeclarationError(source, faults)
    return Resource(
        name=name,
        stack=stack,
        pool=pool,
        network=network,
        roles=roles,
        members=members,
        overcommit=overcommit,
        election=election,
        monitor=monitor,
        content=_content(raw),
        known_hosts=known_hosts,
        images=images,
        warnings=_warnings(election, pool),
    )


def parse_target(name: t.Any, pool: t.Any, source: str = "options") -> tuple[str, tuple[Hypervisor, ...]]:
    """Validate a resource's name and a list of hypervisors: `stopped` and `absent` need no more.

    Raises:
        DeclarationError: with every fault found.
    """
    faults: list[Fault] = []
    top = Section({"name": name, "pool": pool}, "", faults)
    found = read_resource_name(top), read_pool(top, Access(), source)
    if faults:
        raise DeclarationError(source, faults)
    return found


def parse_election_target(
    raw: t.Mapping[str, t.Any], source: str
) -> tuple[str, Election, tuple[Hypervisor, ...], tuple[str, ...]]:
    """Validate a lease's options where there is no declaration: name, election, hosts that vote, warnings.

    Raises:
        DeclarationError: with every fault.
    """
    faults: list[Fault] = []
    given = {key: value for key, value in raw.items() if value is not None}
    top = Section({"name": given.pop("resource", None), "pool": given.pop("voters", None)}, "", faults)
    name = read_resource_name(top)
    hosts = read_pool(top, Access(), source) if "pool" in top or given.get("backend") == QUORUM else ()
    election = read_election(Section(given, "", faults), hosts, Access(), source)
    if hosts:
        election = replace(election, voters=tuple(host.name for host in hosts))
        more, warnings = voter_warnings(len(hosts), election.preempt)
        faults += more if election.backend == QUORUM else []
    if faults:
        raise DeclarationError(source, faults)
    return name, election, hosts, tuple(warnings) if hosts and election.backend == QUORUM else ()


def _warnings(election: Election, pool: t.Sequence[Hypervisor]) -> tuple[str, ...]:
    if election.backend != QUORUM:
        return ()
    return tuple(voter_warnings(len(election.voters_of(pool)), election.preempt)[1])


def _content(raw: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The declaration without what only concerns one controller; roles as a list, since their order counts."""
    content = {key: value for key, value in raw.items() if key not in _LOCAL_KEYS}
    content["roles"] = [[name, _shared(role)] for name, role in raw["roles"].items()]
    if raw.get("defaults"):
        content["defaults"] = _shared(raw["defaults"])
    if raw.get("members"):
        content["members"] = {name: _shared(member) for name, member in raw["members"].items()}
    if raw.get("election"):
        kept = {key: value for key, value in raw["election"].items() if key not in _LOCAL_FILES}
        content["election"] = kept
        if kept.get("witnesses"):
            kept["witnesses"] = [
                {key: value for key, value in host.items() if key != "ssh"} for host in kept["witnesses"]
            ]
    content["pool"] = [{key: value for key, value in hv.items() if key != "ssh"} for hv in raw["pool"]]
    return content


def _without_ssh(host: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {key: value for key, value in host.items() if key != "ssh"}


def _shared(settings: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Settings without the path of their image, and without how one controller reaches a machine."""
    found = _without_ssh(settings)
    image = found.get("image")
    return {**found, "image": shared_image(image)} if isinstance(image, dict) else found
