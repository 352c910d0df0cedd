# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The part of a declaration that says who may lead, and who keeps the lease."""

from __future__ import annotations

import re
import typing as t

from .declaration import ETCD, QUORUM, Access, Election, Etcd, Hypervisor
from .identity import MEMBER_NAME
from .reader import Section, label_pattern
from .sections import read_access, read_address, read_file_path, read_host_key
from .timings import MIN_TTL, Timings, voter_warnings

MAX_TTL = 3600.0
MAX_VOTERS = 9
_URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+/?")


def read_election(section: Section, pool: t.Sequence[Hypervisor], base: Access, source: str) -> Election:
    """The section `election`; faults are noted in it."""
    backend = section.choice("backend", (QUORUM, ETCD), QUORUM) or QUORUM
    witnesses = _read_witnesses(section, pool, base, source)
    voters = section.names("voters", label_pattern(), "a hypervisor's or witness's name")
    known = {host.name for host in (*pool, *witnesses)}
    for name in voters:
        if name not in known:
            section.fault("voters", name, f"a hypervisor of the pool or a witness ({', '.join(sorted(known))})")
    if len(voters) > MAX_VOTERS:
        section.fault("voters", f"{len(voters)} voters", f"at most {MAX_VOTERS}")
    ttl = section.number("ttl", 15, MIN_TTL, MAX_TTL)
    found = Election(
        backend,
        ttl,
        section.number("op_timeout", Timings.of(ttl).op_timeout, 0.2, MAX_TTL),
        section.flag("preempt"),
        section.number("preempt_delay", 60, 0, MAX_TTL),
        voters,
        witnesses,
        section.names("candidates", MEMBER_NAME, "a member's name"),
        read_etcd(section, source) if backend == ETCD else None,
    )
    faults = Timings(found.ttl, found.op_timeout).faults()
    faults += voter_warnings(len(found.voters_of(pool)), found.preempt)[0] if backend == QUORUM else []
    for fault in faults:
        section.fault(fault.path, fault.found, fault.expected)
    section.close()
    return found


def _read_witnesses(
    section: Section, pool: t.Sequence[Hypervisor], base: Access, source: str
) -> tuple[Hypervisor, ...]:
    found: list[Hypervisor] = []
    for index, raw in enumerate(section.items("witnesses", "hosts ({name, address})")):
        entry = Section(raw, section.at(f"witnesses[{index}]"), section.faults)
        name = entry.text("name", pattern=label_pattern(), what="a name")
        if name in {host.name for host in (*pool, *found)}:
            entry.fault("name", name, "one that no hypervisor and no other witness has")
        sim = read_file_path(entry, "sim", source)
        real = sim is None
        address = (read_address(entry) or "") if real else ""
        # one machine under two names would vote twice
        for key, value, seen in (
            ("address", address, {host.address for host in (*pool, *found)}),
            ("sim", sim, {host.sim for host in (*pool, *found)}),
        ):
            if value and value in seen:
                entry.fault(key, value, "one that no hypervisor and no other witness has")
        found.append(
            Hypervisor(
                name or "",
                address,
                read_access(entry.section("ssh"), base, source) if real else base,
                read_host_key(entry) if real else None,
                sim=sim,
            )
        )
        entry.close()
    return tuple(found)


def read_etcd(section: Section, source: str) -> Etcd:
    """How an etcd cluster is reached; faults are noted in the section, files are relative to the source."""
    urls = section.items("endpoints", "addresses such as https://etcd1:2379", required=True)
    for index, url in enumerate(urls):
        if not isinstance(url, str) or not _URL.fullmatch(url):
            section.fault(f"endpoints[{index}]", url, "http(s)://host:port, with nothing after it")
    found = Etcd(
        tuple(str(url).rstrip("/") for url in urls),
        section.text("user", None, what="a user name"),
        *(read_file_path(section, key, source) for key in ("password_file", "ca_cert", "client_cert", "client_key")),
    )
    if (found.user is None) != (found.password_file is None):
        section.fault("user", "user or password_file alone", "both or none")
    if (found.client_cert is None) != (found.client_key is None):
        section.fault("client_cert", "client_cert or client_key alone", "both or none")
    return found
