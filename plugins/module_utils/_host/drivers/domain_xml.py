# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The part of a domain's definition that is the same for every driver."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from ..._model.identity import domain_name, member_mac, member_uuid
from ..settings import Settings
from .base import Ownership
from .libvirt_common import ensure_namespace, metadata_element


def begin_domain(
    kind: str, ownership: Ownership, settings: Settings, facts: t.Mapping[str, t.Any] | None = None
) -> tuple[ET.Element, ET.Element]:
    """The domain with name, record, size and network card, and its element of devices.

    libvirt's autostart is not part of a definition and is never set.

    Args:
        kind: libvirt's word for the kind of virtualisation.
        facts: what the record shall say besides the ownership.
    """
    ensure_namespace()
    spec, resource, member = ownership.spec, ownership.resource, ownership.member
    domain = ET.Element("domain", type=kind)
    add_text(domain, "name", domain_name(resource, member))
    add_text(domain, "uuid", member_uuid(resource, member))
    ET.SubElement(domain, "metadata").append(metadata_element({**ownership.as_dict(), **(facts or {})}))
    add_text(domain, "memory", str(spec.memory_mb), unit="MiB")
    add_text(domain, "vcpu", str(spec.vcpus))
    if settings.partition:
        add_text(ET.SubElement(domain, "resource"), "partition", settings.partition)
    ET.SubElement(domain, "clock", offset="utc")
    for event, reaction in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        add_text(domain, event, reaction)
    devices = ET.SubElement(domain, "devices")
    interface = ET.SubElement(devices, "interface", type="bridge")
    ET.SubElement(interface, "mac", address=member_mac(resource, member))
    ET.SubElement(interface, "source", bridge=spec.bridge)
    return domain, devices


def add_text(parent: ET.Element, tag: str, text: str, **attributes: str) -> ET.Element:
    """A new element with a text in it."""
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element
