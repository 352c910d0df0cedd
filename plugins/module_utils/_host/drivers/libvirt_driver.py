# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What all drivers of libvirt do alike; each says only how its disks, its XML and its power button differ."""

from __future__ import annotations

import abc
import contextlib
import errno
import threading
import time
import typing as t
import xml.etree.ElementTree as ET

from ..._model.declaration import MemberSpec
from ..._model.errors import EnsembleError
from ..._model.identity import domain_name, member_mac
from ..announce import announce
from ..settings import Settings
from .base import Driver, Ownership, Seed
from .folder import Disk, artefacts_of, standing_in
from .libvirt_common import age_of, connect, libvirt, lookup, ownership_record, reason_of, state_names
from .templates import Rules, Template

_POLL = 0.05
#: seconds after which a member that still runs is asked once more: its systemd may not have been listening yet
_ASK_AGAIN = 1.0
#: seconds after which a machine that sleeps and was woken is started anew instead
_WAKES = 5.0


class LibvirtDriver(Driver):
    """Members as domains of one of libvirt's drivers."""

    uri: t.ClassVar[str]
    rules: t.ClassVar[Rules]

    def __init__(self, state: str, settings: Settings) -> None:
        self._state = state
        self._settings = settings
        self._connection: t.Any = None
        self._connecting = threading.Lock()

    # -- what differs

    @abc.abstractmethod
    def _disk(self, resource: str, member: str) -> Disk:
        """The member's disk, whether or not there is one."""

    @abc.abstractmethod
    def _xml(self, ownership: Ownership) -> str:
        """The domain's definition."""

    @abc.abstractmethod
    def _power_off(self, domain: t.Any) -> None:
        """Ask the member to power off; may be repeated."""

    def _adjust(self, domain: t.Any, spec: MemberSpec) -> None:
        """Bring a member that runs in line with what can change meanwhile; by default that is nothing."""

    def _undefine(self, domain: t.Any) -> None:
        """Remove a definition and what libvirt itself keeps beside it."""
        domain.undefine()

    # -- what does not

    @property
    def connection(self) -> t.Any:
        """The connection to libvirt, opened when it is first needed and again when it broke."""
        with self._connecting:
            if self._connection is None or not self._connection.isAlive():
                self._connection = connect(self.uri)
            return self._connection

    def domains(self) -> list[dict[str, t.Any]]:
        connection = self.connection
        words = state_names()
        found = []
        for domain in connection.listAllDomains():
            try:
                found.append(_describe(domain, words, self.name))
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:  # it went away while we looked
                    raise
        return sorted(found, key=lambda entry: str(entry["name"]))

    def record(self, resource: str, member: str) -> t.Mapping[str, t.Any] | None:
        domain = self._domain(resource, member)
        return ownership_record(domain) if domain is not None else None

    def artefacts(self, resource: str) -> list[dict[str, t.Any]]:
        return artefacts_of(self._state, resource, self.name)

    def standing(self) -> set[str]:
        return standing_in(self._state)

    def image_digest(self, resource: str, member: str) -> str:
        marker = self._disk(resource, member).marker()
        if marker is None:
            raise EnsembleError(f"member {member} of {resource} has no finished disk here", code="not_prepared")
        return str(marker["image_digest"])

    def check_template(self, template: Template) -> None:
        template.domain(self.rules)

    def prepare(self, resource: str, member: str, spec: MemberSpec, seed: Seed) -> None:
        domain = self._domain(resource, member)
        disk = self._disk(resource, member)
        if domain is not None and domain.isActive() and disk.marker() is None:
            raise EnsembleError(f"member {member} runs on a disk that is half made; stop it first", code="not_prepared")
        disk.prepare(spec, seed)

    def define(self, ownership: Ownership) -> None:
        domain = self._domain(ownership.resource, ownership.member)
        if domain is not None and domain.isActive():
            self._adjust(domain, ownership.spec)  # before the record says that it is done
        self.connection.defineXML(self._xml(ownership))

    def start(self, resource: str, member: str) -> None:
        domain = self._require(resource, member)
        self._disk(resource, member).attach()
        state = domain.state()[0]
        if state == libvirt.VIR_DOMAIN_CRASHED and domain.isActive():
            domain.destroy()  # what is left of it is there to be looked at, and in the way
        if state == libvirt.VIR_DOMAIN_PMSUSPENDED and not _woken(domain):
            domain.destroy()
        if state == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()
        elif not domain.isActive():
            domain.create()
            spec = (ownership_record(domain) or {}).get("spec", {})
            if spec.get("address"):
                with _unless_ended(domain):
                    announce(spec["bridge"], _port_of(domain), member_mac(resource, member), spec["address"])

    def stop(self, resource: str, member: str, timeout: float) -> bool:
        domain = self._require(resource, member)
        if not _active(domain):
            return False
        # one that is paused or sleeps would never answer
        deaf = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PMSUSPENDED)
        if domain.state()[0] not in deaf and self._powered_off(domain, timeout):
            return False
        with _unless_ended(domain):
            domain.destroy()
        return True

    def _powered_off(self, domain: t.Any, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        ask_at = 0.0
        while time.monotonic() < deadline:
            if time.monotonic() >= ask_at:
                ask_at = time.monotonic() + _ASK_AGAIN
                with _unless_too_early():
                    self._power_off(domain)
            if not _active(domain):
                return True
            time.sleep(_POLL)
        return False

    def undefine(self, resource: str, member: str) -> None:
        domain = self._domain(resource, member)
        if domain is not None:
            self._undefine(domain)

    def remove(self, resource: str, member: str) -> None:
        if self._domain(resource, member) is not None:
            raise EnsembleError(f"member {member} of {resource} still has its domain", code="still_defined")
        self._disk(resource, member).remove()

    def _domain(self, resource: str, member: str) -> t.Any:
        return lookup(self.connection, domain_name(resource, member), resource, member)

    def _require(self, resource: str, member: str) -> t.Any:
        domain = self._domain(resource, member)
        if domain is None:
            raise EnsembleError(f"member {member} of {resource} has no domain here", code="no_domain")
        return domain


@contextlib.contextmanager
def _unless_too_early() -> t.Iterator[None]:
    """Let the error pass of a member that was started this moment and has no init yet, or that ended meanwhile."""
    try:
        yield
    except libvirt.libvirtError as error:
        code = error.get_error_code()
        gone = code == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_int1() == errno.ESRCH  # its init has ended by now
        if not gone and code not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            raise


@contextlib.contextmanager
def _unless_ended(domain: t.Any) -> t.Iterator[None]:
    """Let an error pass that only says that the domain ended meanwhile."""
    try:
        yield
    except libvirt.libvirtError:
        if _active(domain):
            raise


def _active(domain: t.Any) -> bool:
    """Whether it runs; one without a definition is unknown once it has ended."""
    try:
        return bool(domain.isActive())
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return False
        raise


def _port_of(domain: t.Any) -> str:
    """The device by which a domain that runs is on its bridge."""
    target = ET.fromstring(domain.XMLDesc(0)).find("devices/interface/target")
    return "" if target is None else target.get("dev", "")


def _woken(domain: t.Any) -> bool:
    """Wake a machine that sleeps; false when it cannot be, or does not within its time."""
    try:
        domain.pMWakeup(0)
    except libvirt.libvirtError:
        return False
    deadline = time.monotonic() + _WAKES
    while domain.state()[0] == libvirt.VIR_DOMAIN_PMSUSPENDED:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True


def _describe(domain: t.Any, words: t.Mapping[int, str], driver: str) -> dict[str, t.Any]:
    record = ownership_record(domain)
    _state, max_kib, _kib, vcpus, _time = domain.info()
    state, reason = domain.state()[:2]
    macs: list[str] = []
    if record is None:  # of ours it is derived; only a stranger's could clash
        macs = [mac.get("address", "") for mac in ET.fromstring(domain.XMLDesc(0)).findall("devices/interface/mac")]
    return {
        "name": domain.name(),
        "uuid": domain.UUIDString(),
        "state": words.get(state, "nostate"),
        "reason": reason_of(state, reason),
        "persistent": bool(domain.isPersistent()),
        "age_s": age_of(driver, domain.name()) if record is not None else None,
        "record": record,
        "macs": macs,
        "memory_mb": max_kib // 1024,
        "vcpus": vcpus,
    }
