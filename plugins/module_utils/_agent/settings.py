# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The settings file of one resource's agent: everything is checked at once, unknown keys are refused."""

from __future__ import annotations

import glob
import json
import os
import re
import stat
import typing as t
from dataclasses import dataclass

from .._election.policy import Timings, rank_of, voter_warnings
from .._model.declaration import Etcd
from .._model.election import read_etcd
from .._model.errors import Fault
from .._model.identity import RESOURCE_NAME
from .._model.reader import REQUIRED, Section, label_pattern
from .errors import SettingsError

SETTINGS_DIR = "/etc/ensemble/agents"
STATE_DIR = "/var/lib/ensemble/agent"
BACKENDS = ("quorum", "etcd")
#: shares of the ttl that a command has to end after TERM, and that all of its processes need to go after KILL
_GRACE_SHARE, _KILL_SHARE = 1 / 10, 1 / 15
#: what a majority's answer must come within, and with it all that happens while the lease is held
_SAFE_SHARE = 0.95
_PATH = re.compile(r"/[^\0\n]+")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,250}[A-Za-z0-9])?")
_HOST_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+={0,3}")


@dataclass(frozen=True)
class Voter:
    """A host that votes and how SSH reaches it; without `host_key` the file known_hosts must hold its key."""

    name: str
    address: str
    port: int
    user: str
    host_key: str | None


@dataclass(frozen=True)
class Settings:
    """What one agent goes by; seconds.

    Attributes:
        node_id: this node's name among the candidates.
        candidates: in order of preference.
        preempt_delay: how long a preferred candidate must have wanted the lease before the holder gives way.
        interval: between the end of a run and the next one.
        command: what the leader runs, an argument list; empty to elect only.
        yield_s: how long a run may go on when somebody wants the lease.
        term_grace: how long a command has after TERM until it is killed.
        voters: with etcd they keep the resource's record; without any the lease is all that there is.
        variables: file with what the controller's inventory says of the hosts besides the declaration, if there is one.
        hosts: all of the pool and the witnesses, as the watch reaches them.
        epoch: of the tokens where no voters tell it.
        etcd: how that backend is reached, where there is one.
        journal: file of events.
        debug: renewals are events, too.
    """

    resource: str
    node_id: str
    candidates: tuple[str, ...]
    backend: str
    timings: Timings
    preempt: bool
    preempt_delay: float
    interval: float
    command: tuple[str, ...]
    yield_s: float
    term_grace: float
    voters: tuple[Voter, ...]
    hosts: tuple[Voter, ...]
    variables: str | None
    private_key: str
    known_hosts: str | None
    epoch: int
    etcd: Etcd | None
    journal: str
    debug: bool

    @property
    def rank(self) -> int:
        return rank_of(self.node_id, self.candidates)

    @property
    def kill_time(self) -> float:
        """Seconds within which every process of a command is gone after KILL."""
        return self.timings.ttl * _KILL_SHARE

    @property
    def reserve(self) -> float:
        """What must be left of the lease when the command is told to end."""
        return self.term_grace + self.kill_time


def parse(raw: t.Any, source: str) -> tuple[Settings, list[str]]:
    """The settings, and warnings for whoever reads them.

    Raises:
        SettingsError: with every fault.
    """
    faults: list[Fault] = []
    warnings: list[str] = []
    section = Section(raw, "", faults)
    label = label_pattern()
    timings = _timings(section)
    backend = section.choice("backend", BACKENDS, "quorum")
    candidates = section.names("candidates", label, "a node's name", required=True)
    node_id = section.text("node_id", pattern=label, what="a node's name")
    if node_id and candidates and node_id not in candidates:
        section.fault("node_id", node_id, "one of the candidates " + ", ".join(candidates))
    preempt = section.flag("preempt")
    voters = _voters(section, "voters", backend == "quorum")
    if voters and backend == "quorum":
        more, warnings = voter_warnings(len(voters), preempt)
        faults.extend(more)
    needs_key = REQUIRED if voters or backend == "quorum" else ""
    known_hosts = section.text("known_hosts", None, _PATH, "an absolute path")
    settings = Settings(
        resource=section.text("resource", pattern=RESOURCE_NAME, what="a resource's name"),
        node_id=node_id,
        candidates=candidates,
        backend=backend,
        timings=timings,
        preempt=preempt,
        preempt_delay=section.number("preempt_delay", 2 * timings.ttl, 0, 86400),
        interval=section.number("interval", 60, 1, 86400),
        command=_command(section),
        yield_s=section.number("yield_s", 45, 0, 86400),
        term_grace=section.number("term_grace", timings.ttl * _GRACE_SHARE, 0, 3600),
        voters=voters,
        hosts=_voters(section, "hosts", False),
        variables=section.text("variables", None, _PATH, "an absolute path"),
        private_key=section.text("private_key", needs_key, _PATH, "an absolute path"),
        known_hosts=known_hosts,
        epoch=section.integer("epoch", 1),
        etcd=_etcd(section, backend == "etcd", source),
        journal=section.text("journal", "-", _PATH, "an absolute path"),
        debug=section.flag("debug"),
    )
    section.close()
    faults.extend(timings.faults())
    for voter in voters if known_hosts is None else ():
        if voter.host_key is None:
            section.fault("known_hosts", "nothing", f"a file with the host key of {voter.name}, or its host_key")
    if not timings.faults():
        faults.extend(_grace_faults(settings))
    if faults:
        raise _error(source, faults)
    return (settings if settings.journal != "-" else _with_journal(settings)), warnings


def _with_journal(settings: Settings) -> Settings:
    return Settings(**{**vars(settings), "journal": f"{STATE_DIR}/{settings.resource}.events.jsonl"})


def _timings(section: Section) -> Timings:
    ttl = section.number("ttl", 15, 0, 86400)
    return Timings.of(ttl, section.number("op_timeout", ttl / 5, 0.05, 86400))


def _grace_faults(settings: Settings) -> list[Fault]:
    """A renewal and its repetition may fail, and still the command must be gone in time."""
    timings = settings.timings
    most = _SAFE_SHARE * timings.ttl - timings.renew - 2 * timings.op_timeout - timings.jitter - settings.kill_time
    if settings.term_grace <= most + 1e-9:
        return []
    return [
        Fault(
            "term_grace",
            f"{settings.term_grace:g}",
            f"at most {max(0.0, most):.1f} s with a ttl of {timings.ttl:g} s and an op_timeout of "
            f"{timings.op_timeout:g} s, or a longer ttl: the command must be gone before the lease is, although two "
            "renewals in a row failed",
        )
    ]


def _voters(section: Section, key: str, required: bool) -> tuple[Voter, ...]:
    found: list[Voter] = []
    for index, raw in enumerate(section.items(key, "hosts ({name, address, port, user, host_key})", required)):
        entry = Section(raw, section.at(f"{key}[{index}]"), section.faults)
        name = entry.text("name", pattern=label_pattern(), what="a host's name")
        if name in [voter.name for voter in found]:
            entry.fault("name", name, "each host once")
        found.append(
            Voter(
                name,
                entry.text("address", pattern=_ADDRESS, what="an address or a host name"),
                entry.integer("port", 22, maximum=65535),
                entry.text("user", "root", _USER, "a user name"),
                entry.text("host_key", None, _HOST_KEY, "a public host key"),
            )
        )
        entry.close()
    return tuple(found)


def _command(section: Section) -> tuple[str, ...]:
    words = section.items("command", "words")
    for index, word in enumerate(words):
        if not isinstance(word, str) or "\0" in word or (index == 0 and not word):
            section.fault(f"command[{index}]", word, "text")
    return tuple(str(word) for word in words)


def _etcd(section: Section, required: bool, source: str) -> Etcd | None:
    raw = section.raw("etcd")
    if raw in (None, {}):
        if required:
            section.fault("etcd", "nothing", "a mapping with the endpoints of the etcd cluster")
        return None
    inner = section.section("etcd")
    found = read_etcd(inner, source)
    inner.close()
    return found


def _error(source: str, faults: t.Sequence[Fault]) -> SettingsError:
    lines = "".join(f"\n  - {fault}" for fault in faults)
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return SettingsError(
        f"{source}: {count} in the settings; nothing was started.{lines}",
        source=source,
        faults=[vars(fault) for fault in faults],
    )


def load(path: str) -> tuple[Settings, list[str]]:
    """Read and check a settings file and the files that it names.

    Raises:
        SettingsError: with every fault.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            raw = json.load(stream)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}. Role convergence writes this file, for root only.") from error
    except ValueError as error:
        raise SettingsError(f"{path} is no JSON: {error}. Apply role convergence again.") from error
    settings, warnings = parse(raw, path)
    faults = _etcd_faults(settings.etcd) if settings.etcd is not None else []
    if settings.voters:
        faults += [*_private_faults("private_key", settings.private_key), *_known_hosts_faults(settings.known_hosts)]
    if faults:
        raise _error(path, faults)
    return settings, warnings


def _private_faults(key: str, path: str) -> list[Fault]:
    try:
        with open(path, "rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
    except OSError as error:
        return [Fault(key, f"{path}: {error.strerror}", "a file that this user can read")]
    if stat.S_IMODE(mode) & 0o077:
        return [Fault(key, f"{path} of mode {stat.S_IMODE(mode):04o}", "0600: nobody else may read it")]
    return []


def _etcd_faults(etcd: Etcd) -> list[Fault]:
    private = {"etcd.password_file": etcd.password_file, "etcd.client_key": etcd.client_key}
    faults = [fault for key, path in private.items() if path for fault in _private_faults(key, path)]
    public = {"etcd.ca_cert": etcd.ca_cert, "etcd.client_cert": etcd.client_cert}
    unread = {key: path for key, path in public.items() if path and not os.access(path, os.R_OK)}
    return faults + [Fault(key, f"{path}, which cannot be read", "a file in PEM form") for key, path in unread.items()]


def _known_hosts_faults(path: str | None) -> list[Fault]:
    if path is None or os.access(path, os.R_OK):
        return []
    return [Fault("known_hosts", f"{path}, which cannot be read", "the file that role convergence writes")]


def find(settings: str | None, resource: str | None, folder: str = SETTINGS_DIR) -> str:
    """The settings file that a command line means.

    Raises:
        SettingsError: it names none, and there is not exactly one.
    """
    if settings is not None:
        return settings
    if resource is not None:
        return os.path.join(folder, f"{os.path.basename(resource)}.json")
    found = sorted(glob.glob(os.path.join(glob.escape(folder), "*.json")))
    if len(found) == 1:
        return found[0]
    names = ", ".join(os.path.basename(path)[: -len(".json")] for path in found)
    raise SettingsError(
        f"{folder} holds the agents of several resources: {names}. Name one with --resource."
        if found
        else f"{folder} holds no settings: this node is no candidate. Role convergence makes it one."
    )
