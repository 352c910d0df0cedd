# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The host program's verbs: typed fields in, plain data out. XML or paths for members are never taken."""

from __future__ import annotations

import os
import re
import socket
import sys
import typing as t

from .._model.declaration import Capacity, MemberSpec
from .._model.drivers import AVAILABLE
from .._model.errors import EnsembleError, Fault
from .._model.identity import MEMBER_NAME, ROLE_NAME
from .._model.protocol import COMMAND, PROTOCOL, VERSION
from .._model.reader import Section
from .._model.sections import read_labels
from .agent_keys import AgentKeys
from .drivers.base import Driver, Ownership, Seed
from .drivers.templates import Template, Templates
from .fields import Batch, checked, invalid, read_spec
from .files import RUN_DIR, STATE_DIR
from .guard_verbs import GuardVerbs
from .image_verbs import ImageVerbs
from .images import Images
from .machine import cpu_count, memory_mb
from .rights import ALL, Rights
from .vote_verbs import VoteVerbs
from .voters import VotersFile

_KEY_LINE = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+={0,3}( [ -~]{0,200})?")
_KEY_TEXT = re.compile(
    r"-----BEGIN OPENSSH PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{1,8000}-----END OPENSSH PRIVATE KEY-----\n"
)
MAX_STOP_S = 300
_DETECTED = Capacity()


class Host:
    """The verbs, bound to a machine: its folders, its drivers, what it has to give.

    Attributes:
        run_dir: what is forgotten with every boot.
        rights: what this session may ask.
        guard: of the members that may be made anew elsewhere.
        capacity: None in it means what is detected here.
    """

    def __init__(
        self,
        drivers: t.Mapping[str, Driver],
        state: str = STATE_DIR,
        name: str | None = None,
        run_dir: str = RUN_DIR,
        capacity: Capacity = _DETECTED,
        images: Images | None = None,
        rights: Rights = ALL,
        templates: Templates | None = None,
        authorized_keys: str = "~/.ssh/authorized_keys",
    ) -> None:
        self.drivers = drivers
        self.state = state
        self.run_dir = run_dir
        self.capacity = capacity
        self.rights = rights
        self.name = name or socket.gethostname()
        self.images = images or Images(state)
        self.templates = templates or Templates()
        self.agent_keys = AgentKeys(os.path.expanduser(authorized_keys), _program())
        self.guard = GuardVerbs(state, run_dir, drivers)
        self._verbs: dict[str, t.Callable[[Batch, Section], t.Any]] = {
            "hello": self._hello,
            "observe": self._observe,
            "prepare": self._prepare,
            "define": self._define,
            "start": self._start,
            "stop": self._stop,
            "undefine": self._undefine,
            "remove": self._remove,
            **VoteVerbs(state, run_dir, self.agent_keys).verbs(),
            **ImageVerbs(self.images, self._standing, checked).verbs(),
            **self.guard.verbs(),
        }

    @property
    def verbs(self) -> frozenset[str]:
        return frozenset(self._verbs)

    def act(self, batch: Batch, fields: t.Mapping[str, t.Any]) -> t.Any:
        """Carry out one verb.

        Raises:
            EnsembleError: `invalid_request` when a field is wrong, else whatever the verb found.
        """
        faults: list[Fault] = []
        section = Section(dict(fields), "", faults)
        verb = section.choice("verb", sorted(self._verbs))
        if verb is None:
            raise invalid(faults)
        return self._verbs[verb](batch, section)

    # -- reading

    def _hello(self, _batch: Batch, section: Section) -> t.Any:
        checked(section)
        return {"version": VERSION, "protocol": PROTOCOL, "hostname": self.name}

    def _observe(self, batch: Batch, section: Section) -> t.Any:
        checked(section)
        domains, artefacts = [], []
        status: dict[str, str] = {}
        failures = []
        for name, driver in self.drivers.items():
            artefacts += driver.artefacts(batch.resource)
            try:
                domains += driver.domains()
                status[name] = AVAILABLE
            except EnsembleError as error:
                status[name] = error.msg
                failures.append(error)
        if len(failures) == len(self.drivers):  # libvirt itself is away: nothing could be told from this
            raise failures[0]
        return {
            "hostname": self.name,
            "memory_mb": self.capacity.memory_mb or memory_mb(),
            "vcpus": self.capacity.vcpus or cpu_count(),
            "images": self.images.names(),
            "templates": self.templates.digests(),
            "drivers": status,
            "accelerators": self._accelerators(),
            "domains": domains,
            "artefacts": artefacts,
            "voters": VotersFile(self.state, batch.resource).digest(),
            "guard": self.guard.of(batch.resource).shown(_up(domains, batch.resource)),
        }

    def _accelerators(self) -> dict[str, str]:
        found = {name: driver.accelerator() for name, driver in self.drivers.items()}
        return {name: value for name, value in found.items() if value is not None}

    # -- members

    def _prepare(self, batch: Batch, section: Section) -> t.Any:
        member = _member(section)
        spec = read_spec(section, self.drivers)
        seed = section.section("seed", "the seed")
        key = seed.text("host_key", pattern=_KEY_TEXT, what="an OpenSSH private key")
        public = seed.text("host_key_public", pattern=_KEY_LINE, what="a public key")
        accepted = seed.items("authorized_keys", "public keys", required=True)
        for index, line in enumerate(accepted):
            if not isinstance(line, str) or not _KEY_LINE.fullmatch(line):
                seed.fault(f"authorized_keys[{index}]", line, "a public key")
        seed.close()
        checked(section)
        self._template(spec)
        self.drivers[spec.driver].prepare(batch.resource, member, spec, Seed(key, public, tuple(accepted)))
        return {}

    def _define(self, batch: Batch, section: Section) -> t.Any:
        member = _member(section)
        spec = read_spec(section, self.drivers)
        roles = section.names("roles", ROLE_NAME, "a role's name")
        stateful, autostart = section.flag("stateful"), section.flag("autostart")
        labels = read_labels(section)
        checked(section)
        driver = self.drivers[spec.driver]
        digest = driver.image_digest(batch.resource, member)
        template = self._template(spec)
        owner = (batch.resource, member, roles, batch.generation, batch.token, spec, digest)
        driver.define(Ownership(*owner, stateful, autostart, labels, template))
        return {}

    def _start(self, batch: Batch, section: Section) -> t.Any:
        member = _member(section)
        driver = self._driver_named(section)
        checked(section)
        self.guard.of(batch.resource).forgive(member)
        driver.start(batch.resource, member)
        return {}

    def _stop(self, batch: Batch, section: Section) -> t.Any:
        member = _member(section)
        driver = self._driver_named(section)
        timeout = section.number("timeout", 60, 0, MAX_STOP_S)
        checked(section)
        return {"forced": driver.stop(batch.resource, member, timeout)}

    def _undefine(self, batch: Batch, section: Section) -> t.Any:
        member = _member(section)
        driver = self._driver_named(section)
        checked(section)
        driver.undefine(batch.resource, member)
        self.guard.of(batch.resource).forgive(member)
        return {}

    def _remove(self, batch: Batch, section: Section) -> t.Any:
        member = _member(section)
        driver = self._driver_named(section)
        checked(section)
        driver.remove(batch.resource, member)
        return {}

    def _standing(self) -> set[str]:
        """The sha256 of every image on which a disk here stands."""
        return set().union(*(driver.standing() for driver in self.drivers.values()))

    # -- fields

    def _template(self, spec: MemberSpec) -> Template | None:
        """The template that a member names, read and found good.

        Raises:
            TemplateError: `no_template`, `bad_template`.
        """
        if spec.template is None:
            return None
        template = self.templates.read(spec.template)
        self.drivers[spec.driver].check_template(template)
        return template

    def _driver_named(self, section: Section) -> Driver:
        name = section.choice("driver", sorted(self.drivers))
        if name is None:
            raise invalid(section.faults)
        return self.drivers[name]


def _member(section: Section) -> str:
    return t.cast(str, section.text("member", pattern=MEMBER_NAME, what="a member's name"))


def _up(domains: t.Iterable[t.Mapping[str, t.Any]], resource: str) -> set[str]:
    """The resource's members that are not down."""
    ours = [(entry, entry["record"] or {}) for entry in domains if entry["state"] != "shutoff"]
    return {str(record["member"]) for _entry, record in ours if record.get("resource") == resource}


def _program() -> str:
    """The host program as it was called, which is how sshd must call it."""
    path = os.path.abspath(sys.argv[0])
    return path if os.path.basename(path) == COMMAND else COMMAND
