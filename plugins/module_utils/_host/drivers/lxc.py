# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members as system containers of libvirt's LXC driver, with an OverlayFS root."""

from __future__ import annotations

import time
import typing as t
import xml.etree.ElementTree as ET

from ..._model.declaration import MemberSpec
from ..._model.errors import EnsembleError
from ..._model.identity import domain_name, member_mac, member_uuid
from ..announce import announce
from ..settings import Settings
from .base import Driver, Ownership, Seed
from .libvirt_common import connect, ensure_namespace, libvirt, lookup, metadata_element, ownership_record, state_names
from .overlay import Overlay, list_members

URI = "lxc:///system"
#: systemd's SIGRTMIN+4 means power off; libvirt counts real-time signals from VIR_DOMAIN_PROCESS_SIGNAL_RT0 = 32 as
#: the kernel does, glibc's SIGRTMIN is 34. Unlike `shutdown` it needs no initctl socket in the member.
_POWER_OFF_SIGNAL = 38
_POLL = 0.05
#: seconds after which the member is asked once more: its systemd may not have been listening yet
_SIGNAL_AGAIN = 1.0
_PERIOD_US = 100_000


class LxcDriver(Driver):
    """libvirt LXC. A container without id mapping is no security boundary; see docs."""

    name = "lxc"

    def __init__(self, state: str, settings: Settings) -> None:
        self._state = state
        self._settings = settings
        self._connection: t.Any = None

    @property
    def connection(self) -> t.Any:
        """The connection to libvirt, opened when it is first needed and again when it broke."""
        if self._connection is None or not self._connection.isAlive():
            self._connection = connect(URI)
        return self._connection

    def domains(self) -> list[dict[str, t.Any]]:
        connection = self.connection
        words = state_names()
        found = []
        for domain in connection.listAllDomains():
            try:
                found.append(_describe(domain, words))
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:  # it went away while we looked
                    raise
        return sorted(found, key=lambda entry: str(entry["name"]))

    def artefacts(self, resource: str) -> list[dict[str, t.Any]]:
        found = []
        for member in list_members(self._state, resource):
            marker = Overlay(self._state, resource, member).marker()
            found.append({"member": member, "prepared": marker is not None, "image": (marker or {}).get("image")})
        return found

    def image_digest(self, resource: str, member: str) -> str:
        marker = Overlay(self._state, resource, member).marker()
        if marker is None:
            raise EnsembleError(f"member {member} of {resource} has no finished disk here", code="not_prepared")
        return str(marker["image_digest"])

    def prepare(self, resource: str, member: str, spec: MemberSpec, seed: Seed) -> None:
        domain = self._domain(resource, member)
        overlay = Overlay(self._state, resource, member)
        if domain is not None and domain.isActive() and overlay.marker() is None:
            raise EnsembleError(f"member {member} runs on a disk that is half made; stop it first", code="not_prepared")
        overlay.prepare(spec, seed)

    def define(self, ownership: Ownership) -> None:
        self._domain(ownership.resource, ownership.member)  # refuses a foreign one
        overlay = Overlay(self._state, ownership.resource, ownership.member)
        self.connection.defineXML(domain_xml(ownership, overlay.root, self._settings))

    def start(self, resource: str, member: str) -> None:
        domain = self._require(resource, member)
        Overlay(self._state, resource, member).mount()
        state = domain.state()[0]
        if state == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()
        elif not domain.isActive():
            domain.create()
            spec = (ownership_record(domain) or {}).get("spec", {})
            if spec.get("address"):
                announce(spec["bridge"], member_mac(resource, member), spec["address"])

    def stop(self, resource: str, member: str, timeout: float) -> bool:
        domain = self._require(resource, member)
        if not domain.isActive():
            return False
        deadline = time.monotonic() + timeout
        signal_next = 0.0
        while domain.state()[0] != libvirt.VIR_DOMAIN_PAUSED and time.monotonic() < deadline:
            if time.monotonic() >= signal_next:
                _ask_to_power_off(domain)
                signal_next = time.monotonic() + _SIGNAL_AGAIN
            time.sleep(_POLL)
            if not domain.isActive():
                return False
        if not domain.isActive():
            return False
        domain.destroy()
        return True

    def undefine(self, resource: str, member: str) -> None:
        domain = self._domain(resource, member)
        if domain is not None:
            domain.undefine()

    def remove(self, resource: str, member: str) -> None:
        if self._domain(resource, member) is not None:
            raise EnsembleError(f"member {member} of {resource} still has its domain", code="still_defined")
        Overlay(self._state, resource, member).remove()

    def _domain(self, resource: str, member: str) -> t.Any:
        return lookup(self.connection, domain_name(resource, member), resource, member)

    def _require(self, resource: str, member: str) -> t.Any:
        domain = self._domain(resource, member)
        if domain is None:
            raise EnsembleError(f"member {member} of {resource} has no domain here", code="no_domain")
        return domain


def _ask_to_power_off(domain: t.Any) -> None:
    """Signal the member's init; one that was started this moment has none yet, or none that listens."""
    try:
        domain.sendProcessSignal(1, _POWER_OFF_SIGNAL)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise


def _describe(domain: t.Any, words: t.Mapping[int, str]) -> dict[str, t.Any]:
    record = ownership_record(domain)
    _state, max_kib, _kib, vcpus, _time = domain.info()
    macs: list[str] = []
    if record is None:  # of ours it is derived; only a stranger's could clash
        macs = [mac.get("address", "") for mac in ET.fromstring(domain.XMLDesc(0)).findall("devices/interface/mac")]
    return {
        "name": domain.name(),
        "uuid": domain.UUIDString(),
        "state": words.get(domain.state()[0], "nostate"),
        "record": record,
        "macs": macs,
        "memory_mb": max_kib // 1024,
        "vcpus": vcpus,
    }


def domain_xml(ownership: Ownership, root: str, settings: Settings) -> str:
    """The domain's definition. libvirt's autostart is not part of it and is never set."""
    ensure_namespace()
    spec, resource, member = ownership.spec, ownership.resource, ownership.member
    domain = ET.Element("domain", type="lxc")
    _text(domain, "name", domain_name(resource, member))
    _text(domain, "uuid", member_uuid(resource, member))
    ET.SubElement(domain, "metadata").append(metadata_element(ownership.as_dict()))
    _text(domain, "memory", str(spec.memory_mb), unit="MiB")
    _text(domain, "vcpu", str(spec.vcpus))
    # LXC does not enforce vcpus; a quota of that many full CPUs does
    tune = ET.SubElement(domain, "cputune")
    _text(tune, "period", str(_PERIOD_US))
    _text(tune, "quota", str(_PERIOD_US * spec.vcpus))
    if settings.partition:
        _text(ET.SubElement(domain, "resource"), "partition", settings.partition)
    system = ET.SubElement(domain, "os")
    _text(system, "type", "exe")
    _text(system, "init", "/sbin/init")
    ET.SubElement(domain, "clock", offset="utc")
    for event, reaction in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(domain, event, reaction)
    devices = ET.SubElement(domain, "devices")
    filesystem = ET.SubElement(devices, "filesystem", type="mount", accessmode="passthrough")
    ET.SubElement(filesystem, "source", dir=root)
    ET.SubElement(filesystem, "target", dir="/")
    interface = ET.SubElement(devices, "interface", type="bridge")
    ET.SubElement(interface, "mac", address=member_mac(resource, member))
    ET.SubElement(interface, "source", bridge=spec.bridge)
    ET.SubElement(devices, "console", type="pty")
    return ET.tostring(domain, encoding="unicode")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text
