# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members as virtual machines of libvirt's QEMU driver, with qcow2 overlays and cloud-init seeds."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from ..settings import Settings
from .accelerator import KVM, TCG, accelerator, known_accelerator
from .base import Ownership
from .domain_xml import add_text, builtin_base, child_of, member_domain
from .libvirt_common import libvirt
from .libvirt_driver import LibvirtDriver
from .qcow import QcowDisk
from .templates import Rules

#: libvirt's words for the two kinds
_KINDS = {KVM: "kvm", TCG: "qemu"}
_FOUND = {word: found for found, word in _KINDS.items()}
_ROOT, _SEED = "vda", "vdb"
_RULES = Rules(tuple(_FOUND), targets=frozenset({_ROOT, _SEED}))


class QemuDriver(LibvirtDriver):
    """libvirt QEMU, with KVM where that really runs a guest."""

    name = "qemu"
    uri = "qemu:///system"
    rules = _RULES

    def accelerator(self) -> str | None:
        return known_accelerator()

    def _disk(self, resource: str, member: str) -> QcowDisk:
        return QcowDisk(self._state, resource, member)

    def _xml(self, ownership: Ownership) -> str:
        template = ownership.template
        fixed = _FOUND.get(template.domain(_RULES).get("type", "")) if template is not None else None
        found = fixed or accelerator(self.connection, self._settings.partition)
        return domain_xml(ownership, self._disk(ownership.resource, ownership.member), self._settings, found)

    def _power_off(self, domain: t.Any) -> None:
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

    def _undefine(self, domain: t.Any) -> None:
        domain.undefineFlags(
            libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
            | getattr(libvirt, "VIR_DOMAIN_UNDEFINE_TPM", 0)  # from libvirt 8.9 on
        )


def domain_xml(ownership: Ownership, disk: QcowDisk, settings: Settings, found: str) -> str:
    """The domain's definition."""
    root = _disk(disk.path, "qcow2", _ROOT)
    backing = ET.SubElement(root, "backingStore", type="file")
    ET.SubElement(backing, "format", type="qcow2")
    ET.SubElement(backing, "source", file=disk.base(ownership.image_digest))
    ET.SubElement(backing, "backingStore")
    seed = _disk(disk.seed, "raw", _SEED)
    ET.SubElement(seed, "readonly")
    base = _builtin(found, disk.console)
    domain = member_domain(base, _RULES, ownership, settings, [root, seed], {"accelerator": found})
    return ET.tostring(domain, encoding="unicode")


def _builtin(found: str, console: str) -> ET.Element:
    """The built-in base. Few devices: an emulated guest pays for looking at each."""
    domain, devices = builtin_base(_KINDS[found])
    system = ET.SubElement(domain, "os")
    add_text(system, "type", "hvm", machine="pc")
    ET.SubElement(system, "boot", dev="hd")
    features = ET.SubElement(domain, "features")
    for feature in ("acpi", "apic"):
        ET.SubElement(features, feature)
    _processor(domain, found)
    ET.SubElement(child_of(devices, "interface"), "model", type="virtio")
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "log", file=console, append="on")  # virtlogd bounds and rotates it
    random = ET.SubElement(devices, "rng", model="virtio")
    add_text(random, "backend", "/dev/urandom", model="random")
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(devices, "memballoon", model="none")
    ET.SubElement(ET.SubElement(devices, "video"), "model", type="none")
    return domain


def _processor(domain: ET.Element, found: str) -> None:
    if found == KVM:
        ET.SubElement(domain, "cpu", mode="host-passthrough")
        return
    # QEMU 7.2 emulates CMPXCHG16B with wrong flags, on which Linux 6.12 dies in its memory allocator: do not offer it
    cpu = ET.SubElement(domain, "cpu", mode="custom", match="exact", check="none")
    add_text(cpu, "model", "qemu64")
    ET.SubElement(cpu, "feature", policy="disable", name="cx16")


def _disk(path: str, kind: str, target: str) -> ET.Element:
    disk = ET.Element("disk", type="file", device="disk")
    ET.SubElement(disk, "driver", name="qemu", type=kind)
    ET.SubElement(disk, "source", file=path)
    ET.SubElement(disk, "target", dev=target, bus="virtio")
    return disk
