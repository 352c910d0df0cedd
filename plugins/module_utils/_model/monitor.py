# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The part of a declaration that says what is looked at, how often, and how much may be repaired."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .errors import Fault
from .reader import Section, shown
from .stacks import STACKS

UNIT, TCP, HTTP, COMMAND, SCHEDULER = "unit", "tcp", "http", "command", "scheduler"
#: what may be asked of a member besides its units
PROBES = (TCP, HTTP, COMMAND, SCHEDULER)
SCHEDULERS = ("slurm", "torque", "openpbs")
#: shortest time after which a hypervisor that nobody leads any more may destroy members: a leader must be able to miss
#: a few looks, and its successor must be found
MIN_MEMBER_TTL = 30.0
_UNIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@-]{0,100}")
_PATH = re.compile(r"/[!-~]*")


@dataclass(frozen=True)
class Probe:
    """One question to a member, asked on the member itself.

    Attributes:
        kind: `unit`, `tcp`, `http`, `command` or `scheduler`.
        unit: name of a systemd unit, which must be active.
        port: TCP port that must accept a connection at the member's own address.
        path, status, body, tls: of a GET request: one of these statuses, and a text that the answer must contain.
        command: argument list that must exit with 0.
        scheduler: engine whose nodes and jobs this member can tell.
        timeout: seconds.
    """

    kind: str
    unit: str = ""
    port: int = 0
    path: str = "/"
    status: tuple[int, ...] = (200,)
    body: str = ""
    tls: bool = False
    command: tuple[str, ...] = ()
    scheduler: str = ""
    timeout: float = 5.0

    @property
    def name(self) -> str:
        """How people know it."""
        if self.kind == HTTP:
            return f"http{'s' if self.tls else ''}:{self.port}{self.path}"
        return {
            UNIT: self.unit,
            TCP: f"tcp:{self.port}",
            COMMAND: " ".join(self.command),
            SCHEDULER: self.scheduler,
        }[self.kind]

    def as_dict(self) -> dict[str, t.Any]:
        """Plain data as it travels to the member."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class Budget:
    """How many repairs may be tried within a window of seconds; `resource` None means as many as there are members."""

    member: int = 3
    resource: int | None = None
    window: float = 600.0


@dataclass(frozen=True)
class Monitor:
    """What is looked at. Times in seconds.

    Attributes:
        interval: between the end of a look and the next one.
        starting: how long a member may take from its start until its probes are green.
        converge: between two whole runs of the stack's playbook by a leader among the members.
        member_ttl: how long members that may be relocated live on a hypervisor of which no leader hears.
        port: where a leader among the members shows the resource's state; None: nowhere.
        services: role -> systemd units.
        probes: role -> what else is asked.
    """

    interval: float = 10.0
    starting: float = 120.0
    converge: float = 600.0
    member_ttl: float = 120.0
    port: int | None = None
    budget: Budget = Budget()
    services: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    probes: t.Mapping[str, tuple[Probe, ...]] = field(default_factory=dict)


def read_monitor(section: Section, stack: str | None, role_names: t.Collection[str]) -> Monitor:
    """The section `monitor`; faults are noted in it."""
    timeout = section.number("timeout", 5, 0.5, 60)
    found = Monitor(
        interval=section.number("interval", 10, 1, 86400),
        starting=section.number("starting", 120, 1, 3600),
        converge=section.number("converge", 600, 10, 86400),
        member_ttl=section.number("member_ttl", 120, MIN_MEMBER_TTL, 86400),
        port=section.integer("port", None, 1, 65535),
        budget=_read_budget(section.section("repair")),
        services=_read_services(section.section("services"), role_names),
        probes={**_of_stack(stack, role_names), **_read_probes(section.section("probes"), role_names, timeout)},
    )
    section.close()
    return found


def _of_stack(stack: str | None, role_names: t.Collection[str]) -> dict[str, tuple[Probe, ...]]:
    """What a stack asks where the declaration names no probes of a role."""
    known = STACKS[stack].schedulers if stack in STACKS else ()
    return {role: (Probe(SCHEDULER, scheduler=engine),) for role, engine in known if role in role_names}


def _read_budget(section: Section) -> Budget:
    found = Budget(
        section.integer("member", 3, 0, 1000),
        section.integer("resource", None, 0, 100_000),
        section.number("window", 600, 10, 86400),
    )
    section.close()
    return found


def _read_services(section: Section, role_names: t.Collection[str]) -> dict[str, tuple[str, ...]]:
    found = {}
    for key in section.key_names():
        if key not in role_names:
            section.fault(key, "an unknown role", "a declared role")
        found[key] = section.names(key, _UNIT_NAME, "a systemd unit's name")
    return found


def _read_probes(section: Section, role_names: t.Collection[str], timeout: float) -> dict[str, tuple[Probe, ...]]:
    found = {}
    for key in section.key_names():
        if key not in role_names:
            section.fault(key, "an unknown role", "a declared role")
        entries = section.items(key, "probes ({tcp: 80}, {http: 80, path: /}, {command: [...]}, {scheduler: slurm})")
        found[key] = tuple(
            _read_probe(raw, Section(raw, section.at(f"{key}[{index}]"), section.faults), timeout)
            for index, raw in enumerate(entries)
        )
    return found


def _read_probe(raw: t.Any, entry: Section, timeout: float) -> Probe:
    if not isinstance(raw, dict):
        return Probe(TCP)
    kinds = [kind for kind in PROBES if kind in entry]
    if len(kinds) != 1:
        entry.faults.append(_fault_of_kinds(entry, kinds))
        return Probe(TCP)
    kind = kinds[0]
    seconds = entry.number("timeout", timeout, 0.5, 60)
    if kind == TCP:
        probe = Probe(TCP, port=entry.integer(TCP, 1, 1, 65535), timeout=seconds)
    elif kind == COMMAND:
        probe = Probe(COMMAND, command=_words(entry), timeout=seconds)
    elif kind == SCHEDULER:
        probe = Probe(SCHEDULER, scheduler=entry.choice(SCHEDULER, SCHEDULERS) or "", timeout=seconds)
    else:
        probe = Probe(
            HTTP,
            port=entry.integer(HTTP, 1, 1, 65535),
            path=entry.text("path", "/", _PATH, "a path"),
            status=_statuses(entry),
            body=entry.text("body", ""),
            tls=entry.flag("tls"),
            timeout=seconds,
        )
    entry.close()
    return probe


def _fault_of_kinds(entry: Section, kinds: t.Sequence[str]) -> Fault:
    found = " and ".join(kinds) or shown(entry.key_names())
    return Fault(entry.path, found, "one of " + ", ".join(PROBES))


def _words(entry: Section) -> tuple[str, ...]:
    words = entry.items(COMMAND, "words", required=True)
    for index, word in enumerate(words):
        if not isinstance(word, str) or not word or "\0" in word:
            entry.fault(f"{COMMAND}[{index}]", word, "text")
    return tuple(str(word) for word in words)


def _statuses(entry: Section) -> tuple[int, ...]:
    raw = entry.raw("status")
    values = raw if isinstance(raw, list) else [200 if raw is None else raw]
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 100 <= value <= 599:
            entry.fault("status", value, "a status of HTTP such as 200, or a list of them")
    return tuple(value for value in values if isinstance(value, int)) or (200,)
