# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The part of a domain's definition that is the same for every driver, on the built-in base or on a template."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from ..._model.identity import domain_name, member_mac, member_uuid
from ..settings import Settings
from .base import Ownership
from .libvirt_common import ensure_namespace, metadata_element
from .templates import Rules

#: an XML namespace of libvirt's own that templates use: it keeps its usual prefix
_QEMU_NS = "http://libvirt.org/schemas/domain/qemu/1.0"


def builtin_base(kind: str) -> tuple[ET.Element, ET.Element]:
    """What every built-in definition begins with, and its element of devices.

    libvirt's autostart is not part of a definition and is never set.

    Args:
        kind: libvirt's word for the kind of virtualisation.
    """
    domain = ET.Element("domain", type=kind)
    ET.SubElement(domain, "clock", offset="utc")
    for event, reaction in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        add_text(domain, event, reaction)
    devices = ET.SubElement(domain, "devices")
    ET.SubElement(devices, "interface", type="bridge")
    return domain, devices


def member_domain(
    builtin: ET.Element,
    rules: Rules,
    ownership: Ownership,
    settings: Settings,
    own_devices: t.Sequence[ET.Element],
    facts: t.Mapping[str, t.Any] | None = None,
) -> ET.Element:
    """The definition: the built-in base or the member's template, and over it what makes it this very member.

    Args:
        own_devices: the member's disks or file systems; they come first, since the first disk is booted from.
        facts: what the record shall say besides the ownership.

    Raises:
        TemplateError: `bad_template`.
    """
    domain = builtin
    if ownership.template is not None:
        domain = ownership.template.domain(rules)
        _fill(domain, builtin)
    ensure_namespace()
    ET.register_namespace("qemu", _QEMU_NS)
    spec, resource, member = ownership.spec, ownership.resource, ownership.member
    add_text(domain, "name", domain_name(resource, member))
    add_text(domain, "uuid", member_uuid(resource, member))
    child_of(domain, "metadata").append(metadata_element({**ownership.as_dict(), **(facts or {})}))
    add_text(domain, "memory", str(spec.memory_mb), unit="MiB")
    add_text(domain, "vcpu", str(spec.vcpus))
    if settings.partition:
        add_text(child_of(domain, "resource"), "partition", settings.partition)
    devices = child_of(domain, "devices")
    _connect(devices, ownership)
    for index, device in enumerate(own_devices):
        devices.insert(index, device)
    return domain


def _fill(domain: ET.Element, builtin: ET.Element) -> None:
    """Where the template is silent, the built-in definition speaks; devices are the template's alone."""
    domain.set("type", domain.get("type") or str(builtin.get("type")))
    for element in builtin:
        if element.tag != "devices" and domain.find(element.tag) is None:
            domain.append(element)
    # what is started, and not how it boots: a template may order that by device
    for tag in ("type", "init"):
        ours, system = builtin.find(f"os/{tag}"), child_of(domain, "os")
        if ours is not None and system.find(tag) is None:
            system.append(ours)


def _connect(devices: ET.Element, ownership: Ownership) -> None:
    """The member's card, which is the first bridge interface, and hardware addresses that stay for all others."""
    resource, member = ownership.resource, ownership.member
    card = devices.find("interface[@type='bridge']")
    if card is None:
        card = ET.SubElement(devices, "interface", type="bridge")
    ET.SubElement(card, "mac", address=member_mac(resource, member))
    ET.SubElement(card, "source", bridge=ownership.spec.bridge)
    others = [found for found in devices.findall("interface") if found is not card]
    for index, other in enumerate(others, 1):
        ET.SubElement(other, "mac", address=member_mac(resource, f"{member}/{index}"))


def child_of(parent: ET.Element, tag: str) -> ET.Element:
    """The first child with that tag, made where there is none."""
    found = parent.find(tag)
    return found if found is not None else ET.SubElement(parent, tag)


def add_text(parent: ET.Element, tag: str, text: str, **attributes: str) -> ET.Element:
    """A new element with a text in it."""
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element
