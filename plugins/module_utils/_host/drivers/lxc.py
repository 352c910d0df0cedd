# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members as system containers of libvirt's LXC driver, with an OverlayFS root."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from ..._model.declaration import MemberSpec
from ..settings import Settings
from .base import Ownership
from .domain_xml import add_text, builtin_base, child_of, member_domain
from .libvirt_common import libvirt
from .libvirt_driver import LibvirtDriver
from .overlay import Overlay
from .templates import Rules

#: systemd's SIGRTMIN+4 means power off; libvirt counts real-time signals from VIR_DOMAIN_PROCESS_SIGNAL_RT0 = 32 as
#: the kernel does, glibc's SIGRTMIN is 34. Unlike `shutdown` it needs no initctl socket in the member.
_POWER_OFF_SIGNAL = 38
_PERIOD_US = 100_000
_QUOTA = "nothing: it holds the member to its vcpus"
_RULES = Rules(("lxc",), {"cputune/period": _QUOTA, "cputune/quota": _QUOTA}, frozenset({"/"}))


class LxcDriver(LibvirtDriver):
    """libvirt LXC. A container without id mapping is no security boundary; see docs."""

    name = "lxc"
    uri = "lxc:///system"
    rules = _RULES

    def _disk(self, resource: str, member: str) -> Overlay:
        return Overlay(self._state, resource, member)

    def _xml(self, ownership: Ownership) -> str:
        return domain_xml(ownership, self._disk(ownership.resource, ownership.member).root, self._settings)

    def _adjust(self, domain: t.Any, spec: MemberSpec) -> None:
        live = libvirt.VIR_DOMAIN_AFFECT_LIVE
        domain.setMemoryParameters({"hard_limit": spec.memory_mb * 1024}, live)
        quota = {"vcpu_period": _PERIOD_US, "vcpu_quota": _PERIOD_US * spec.vcpus}
        domain.setSchedulerParametersFlags(quota, live)

    def _power_off(self, domain: t.Any) -> None:
        domain.sendProcessSignal(1, _POWER_OFF_SIGNAL)


def domain_xml(ownership: Ownership, root: str, settings: Settings) -> str:
    """The domain's definition."""
    domain, _devices = builtin_base("lxc")
    system = ET.SubElement(domain, "os")
    add_text(system, "type", "exe")
    add_text(system, "init", "/sbin/init")
    filesystem = ET.Element("filesystem", type="mount", accessmode="passthrough")
    ET.SubElement(filesystem, "source", dir=root)
    ET.SubElement(filesystem, "target", dir="/")
    domain = member_domain(domain, _RULES, ownership, settings, [filesystem])
    devices = child_of(domain, "devices")
    if devices.find("console[@type='pty']") is None:  # no container starts without one
        ET.SubElement(devices, "console", type="pty")
    # LXC does not enforce vcpus; a quota of that many full CPUs does
    tune = child_of(domain, "cputune")
    add_text(tune, "period", str(_PERIOD_US))
    add_text(tune, "quota", str(_PERIOD_US * ownership.spec.vcpus))
    return ET.tostring(domain, encoding="unicode")
