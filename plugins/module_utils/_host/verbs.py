# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The host program's verbs: typed fields in, plain data out. XML or paths for members are never taken."""

from __future__ import annotations

import re
import socket
import typing as t
from dataclasses import dataclass

from .._model.declaration import Capacity, MemberSpec
from .._model.drivers import AVAILABLE
from .._model.errors import EnsembleError, Fault
from .._model.identity import MEMBER_NAME, ROLE_NAME
from .._model.protocol import PROTOCOL, VERSION
from .._model.reader import Section
from .._model.sections import read_labels
from .drivers.base import Driver, Ownership, Seed
from .drivers.templates import Template, Templates
from .fields import read_spec
from .files import RUN_DIR, STATE_DIR
from .image_verbs import ImageVerbs
from .images import Images
from .machine import cpu_count, memory_mb
from .records import Records
from .voters import VotersFile, read_voters
from .votes import Voter

_SESSION = re.compile(r"[A-Za-z0-9_.:@/-]{1,200}")
_HOLDER = re.compile(r"[ -~]{1,200}")
_KEY_LINE = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+={0,3}( [ -~]{0,200})?")
_KEY_TEXT = re.compile(
    r"-----BEGIN OPENSSH PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{1,8000}-----END OPENSSH PRIVATE KEY-----\n"
)
_SECRET_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,120}")
MAX_STOP_S = 300
_DETECTED = Capacity()


@dataclass(frozen=True)
class Batch:
    """What all verbs of one request share."""

    resource: str
    generation: int
    token: tuple[int, int]


class Host:
    """The verbs, bound to a machine: its folders, its drivers, what it has to give.

    Attributes:
        run_dir: what is forgotten with every boot.
        read_only: only what the boot key of another hypervisor may ask is answered.
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
        read_only: bool = False,
        templates: Templates | None = None,
    ) -> None:
        self.drivers = drivers
        self.state = state
        self.run_dir = run_dir
        self.capacity = capacity
        self.read_only = read_only
        self.name = name or socket.gethostname()
        self.images = images or Images(state)
        self.templates = templates or Templates()
        self._verbs: dict[str, t.Callable[[Batch, Section], t.Any]] = {
            "hello": self._hello,
            "observe": self._observe,
            "lease_read": self._lease_read,
            "lease_request": self._lease_request,
            "lease_release": self._lease_release,
            "record_read": self._record_read,
            "record_write": self._record_write,
            "secrets_read": self._secrets_read,
            "secrets_add": self._secrets_add,
            "voters_write": self._voters_write,
            "forget": self._forget,
            "prepare": self._prepare,
            "define": self._define,
            "start": self._start,
            "stop": self._stop,
            "undefine": self._undefine,
            "remove": self._remove,
            **ImageVerbs(self.images, self._standing, _checked).verbs(),
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
            raise _invalid(faults)
        return self._verbs[verb](batch, section)

    # -- reading

    def _hello(self, _batch: Batch, section: Section) -> t.Any:
        _checked(section)
        return {"version": VERSION, "protocol": PROTOCOL, "hostname": self.name}

    def _observe(self, batch: Batch, section: Section) -> t.Any:
        _checked(section)
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
        }

    def _accelerators(self) -> dict[str, str]:
        found = {name: driver.accelerator() for name, driver in self.drivers.items()}
        return {name: value for name, value in found.items() if value is not None}

    def _record_read(self, batch: Batch, section: Section) -> t.Any:
        _checked(section)
        return Records(self.state, batch.resource).read()

    # -- voting

    def _voter(self, batch: Batch) -> Voter:
        return Voter(self.state, batch.resource, self.run_dir)

    def _lease_read(self, batch: Batch, section: Section) -> t.Any:
        _checked(section)
        return self._voter(batch).read()

    def _lease_request(self, batch: Batch, section: Section) -> t.Any:
        term = section.integer("term", minimum=1)
        session = section.text("session", pattern=_SESSION, what="a session's id")
        holder = section.text("holder", pattern=_HOLDER, what="printable text")
        ttl = section.number("ttl", 15, 3, 3600)
        _checked(section)
        return self._voter(batch).request(term, session, holder, ttl)

    def _lease_release(self, batch: Batch, section: Section) -> t.Any:
        session = section.text("session", pattern=_SESSION, what="a session's id")
        _checked(section)
        return self._voter(batch).release(session)

    # -- the record

    def _record_write(self, batch: Batch, section: Section) -> t.Any:
        record = section.section("record", "the record")
        data = {key: record.raw(key) for key in record.key_names()}
        _checked(section)
        Records(self.state, batch.resource).write(data)
        return {}

    def _secrets_read(self, batch: Batch, section: Section) -> t.Any:
        _checked(section)
        return {"secrets": Records(self.state, batch.resource).secrets()}

    def _secrets_add(self, batch: Batch, section: Section) -> t.Any:
        offered = section.section("secrets")
        secrets = {}
        for name in offered.key_names():
            if not _SECRET_NAME.fullmatch(name):
                offered.fault(name, "a bad name", f"a name matching {_SECRET_NAME.pattern}")
            secrets[name] = offered.text(name)
        _checked(section)
        return {"secrets": Records(self.state, batch.resource).add_secrets(secrets)}

    def _voters_write(self, batch: Batch, section: Section) -> t.Any:
        voters = read_voters(section)
        _checked(section)
        VotersFile(self.state, batch.resource).write(voters)
        return {}

    def _forget(self, batch: Batch, section: Section) -> t.Any:
        _checked(section)
        VotersFile(self.state, batch.resource).forget()
        Records(self.state, batch.resource).forget()
        return {}

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
        _checked(section)
        self._template(spec)
        self.drivers[spec.driver].prepare(batch.resource, member, spec, Seed(key, public, tuple(accepted)))
        return {}

    def _define(self, batch: Batch, section: Section) -> t.Any:
        member = _member(section)
        spec = read_spec(section, self.drivers)
        roles = section.names("roles", ROLE_NAME, "a role's name")
        stateful, autostart = section.flag("stateful"), section.flag("autostart")
        labels = read_labels(section)
        _checked(section)
        driver = self.drivers[spec.driver]
        digest = driver.image_digest(batch.resource, member)
        template = self._template(spec)
        owner = (batch.resource, member, roles, batch.generation, batch.token, spec, digest)
        driver.define(Ownership(*owner, stateful, autostart, labels, template))
        return {}

    def _start(self, batch: Batch, section: Section) -> t.Any:
        member = _member(section)
        driver = self._driver_named(section)
        _checked(section)
        driver.start(batch.resource, member)
        return {}

    def _stop(self, batch: Batch, section: Section) -> t.Any:
        member = _member(section)
        driver = self._driver_named(section)
        timeout = section.number("timeout", 60, 0, MAX_STOP_S)
        _checked(section)
        return {"forced": driver.stop(batch.resource, member, timeout)}

    def _undefine(self, batch: Batch, section: Section) -> t.Any:
        member = _member(section)
        driver = self._driver_named(section)
        _checked(section)
        driver.undefine(batch.resource, member)
        return {}

    def _remove(self, batch: Batch, section: Section) -> t.Any:
        member = _member(section)
        driver = self._driver_named(section)
        _checked(section)
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
            raise _invalid(section.faults)
        return self.drivers[name]


def _member(section: Section) -> str:
    return t.cast(str, section.text("member", pattern=MEMBER_NAME, what="a member's name"))


def _checked(section: Section) -> None:
    """Refuse the request when any field was wrong or unknown."""
    section.close("verb")
    if section.faults:
        raise _invalid(section.faults)


def _invalid(faults: t.Sequence[Fault]) -> EnsembleError:
    return EnsembleError("; ".join(map(str, faults)), code="invalid_request")
