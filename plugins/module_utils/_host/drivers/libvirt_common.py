# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What the libvirt drivers share: connection, ownership metadata, states."""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t
import xml.etree.ElementTree as ET

from ..._model.errors import EnsembleError, RefusedError
from ..._model.identity import METADATA_NS

try:
    import libvirt
except ImportError:  # reported by connect(): only a hypervisor needs it
    libvirt = None

__all__ = [
    "age_of",
    "connect",
    "ensure_namespace",
    "libvirt",
    "lookup",
    "metadata_element",
    "ownership_record",
    "reason_of",
    "state_names",
]

_PREFIX = "ensemble"
_RUN_DIR = "/run/libvirt"


class LibvirtError(EnsembleError):
    """libvirt, or its driver of that kind, refused or is not there."""

    code = "libvirt"


def connect(uri: str) -> t.Any:
    """A connection to the hypervisor's own libvirt.

    Raises:
        LibvirtError: the bindings or the daemon are missing.
    """
    if libvirt is None:
        raise LibvirtError("python3-libvirt is not installed here; run playbooks/pool.yml")
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        return libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise LibvirtError(
            f"libvirt at {uri} does not answer: {error}. Is libvirtd running here, with this driver?"
        ) from error


def state_names() -> dict[int, str]:
    """libvirt's domain states as words (virDomainState)."""
    return {
        libvirt.VIR_DOMAIN_NOSTATE: "nostate",
        libvirt.VIR_DOMAIN_RUNNING: "running",
        libvirt.VIR_DOMAIN_BLOCKED: "blocked",
        libvirt.VIR_DOMAIN_PAUSED: "paused",
        libvirt.VIR_DOMAIN_SHUTDOWN: "shutdown",
        libvirt.VIR_DOMAIN_SHUTOFF: "shutoff",
        libvirt.VIR_DOMAIN_CRASHED: "crashed",
        libvirt.VIR_DOMAIN_PMSUSPENDED: "pmsuspended",
    }


#: state -> reason -> its word, from the enumerations virDomain...Reason of libvirt-domain.h
_REASONS: t.Mapping[int, tuple[str, ...]] = {
    1: (
        *("unknown", "booted", "migrated", "restored", "from snapshot", "unpaused", "migration canceled"),
        *("save canceled", "wakeup", "crashed", "postcopy", "postcopy failed"),
    ),
    3: (
        *("unknown", "user", "migration", "save", "dump", "ioerror", "watchdog", "from snapshot", "shutting down"),
        *("snapshot", "crashed", "starting up", "postcopy", "postcopy failed", "api error"),
    ),
    4: ("unknown", "user"),
    5: (
        *("unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from snapshot"),
        "daemon",
    ),
    6: ("unknown", "panicked"),
}


def reason_of(state: int, reason: int) -> str:
    """Why a domain is in its state, as a word of libvirt's; `unknown` where it does not say."""
    words = _REASONS.get(state, ())
    return words[reason] if 0 <= reason < len(words) else "unknown"


def metadata_element(record: t.Mapping[str, t.Any]) -> ET.Element:
    """The ownership record as an element of our namespace; the record itself is JSON text."""
    element = ET.Element(f"{{{METADATA_NS}}}record")
    element.text = json.dumps(record, sort_keys=True)
    return element


def ownership_record(domain: t.Any) -> dict[str, t.Any] | None:
    """The ownership record of a domain, None when it is foreign or what stands there is not ours."""
    text = _metadata(domain)
    try:
        record = json.loads(ET.fromstring(text).text or "")
    except (ET.ParseError, ValueError):
        return None
    return record if isinstance(record, dict) and {"resource", "member"} <= record.keys() else None


def _metadata(domain: t.Any) -> str:
    """The text of our metadata, empty where there is none.

    The definition's comes first: a running machine shows that of its start, although it was defined anew since.
    """
    for where in (libvirt.VIR_DOMAIN_AFFECT_CONFIG, libvirt.VIR_DOMAIN_AFFECT_CURRENT):
        with contextlib.suppress(libvirt.libvirtError):
            return str(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_NS, where))
    return ""


def lookup(connection: t.Any, name: str, resource: str, member: str) -> t.Any:
    """Our domain of that name, None when there is none.

    Raises:
        RefusedError: `foreign`, the domain carries no record of this resource and member.
    """
    try:
        domain = connection.lookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
    record = ownership_record(domain)
    if record is None or (record["resource"], record["member"]) != (resource, member):
        raise RefusedError(
            f"domain {name} carries no record of {resource}: it is not ours and stays untouched", code="foreign"
        )
    return domain


def ensure_namespace() -> None:
    """Give our metadata a readable prefix in the XML."""
    ET.register_namespace(_PREFIX, METADATA_NS)


def age_of(driver: str, name: str) -> float | None:
    """Seconds since a domain was started, by its process; None where it has none, or that cannot be told.

    Source: proc(5), field 22 of stat; libvirt keeps the process of a domain in /run/libvirt.
    """
    try:
        with open(os.path.join(_RUN_DIR, driver, f"{name}.pid"), encoding="ascii") as stream:
            pid = int(stream.read())
        with open(f"/proc/{pid}/stat", "rb") as stream_:
            ticks = int(stream_.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"), 1)
