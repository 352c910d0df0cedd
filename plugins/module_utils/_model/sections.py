# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The parts of a declaration that stand alone: pool, network, sizes, election, monitoring."""

from __future__ import annotations

import ipaddress
import os
import re
import typing as t

from .addresses import Range, parse_range
from .declaration import Access, Capacity, Hypervisor, Network, Overcommit
from .drivers import DRIVERS, SIM
from .identity import BRIDGE_NAME, IMAGE_NAME, RESERVED_NAMES, RESOURCE_NAME, TEMPLATE_NAME
from .image import FORMATS, SHA256, URL, ImageSource, stem_of
from .reader import REQUIRED, Section, label_pattern, shown

#: printable, and what a file system can store: no surrogates
_FILE_PATH = re.compile("[ -~\u00a0-\ud7ff\ue000-\U0010ffff]+")
_USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_HOST_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+={0,3}")
_ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")


class Settings(t.NamedTuple):
    """A member's settings with the defaults already in them.

    Attributes:
        source: where the image comes from, None when it is only named.
        file: the declaration's own path, to which paths in it are relative.
    """

    driver: str
    image: str | None
    vcpus: int
    memory_mb: int
    autostart: bool = False
    labels: t.Mapping[str, str] = {}
    source: ImageSource | None = None
    file: str = "declaration"
    template: str | None = None


def read_resource_name(top: Section) -> str:
    name = top.text("name", pattern=RESOURCE_NAME, what="a name")
    if name in RESERVED_NAMES:
        top.fault("name", name, "another name: this one is reserved")
    return name or "unnamed"


def read_file_path(section: Section, key: str, source: str) -> str | None:
    value = section.text(key, None, _FILE_PATH, "a file's path")
    if value is None:
        return None
    folder = os.path.dirname(os.path.abspath(source))
    return os.path.normpath(os.path.join(folder, os.path.expanduser(value)))


def read_access(section: Section, base: Access, source: str) -> Access:
    found = Access(
        user=section.text("user", base.user, _USER_NAME, "a user name"),
        port=section.integer("port", base.port, 1, 65535),
        private_key=read_file_path(section, "private_key", source) or base.private_key,
        timeout=section.number("timeout", base.timeout, 1, 60),
    )
    section.close()
    return found


def read_pool(top: Section, base: Access, source: str) -> tuple[Hypervisor, ...]:
    found: list[Hypervisor] = []
    names: dict[str, str] = {}
    addresses: dict[str, str] = {}
    folders: dict[str, str] = {}
    for index, raw in enumerate(top.items("pool", "hypervisors ({name, address})", required=True)):
        section = Section(raw, f"pool[{index}]", top.faults)
        name = section.text("name", pattern=label_pattern(), what="a name")
        sim = read_file_path(section, "sim", source)
        # a folder has no address, no SSH and no host key: with `sim` these are unknown keys
        real = sim is None
        address = read_address(section) if real else ""
        for key, value, seen in (("name", name, names), ("address", address or None, addresses), ("sim", sim, folders)):
            if value in seen:
                section.fault(key, value, f"one that no other hypervisor has ({seen[value]} has it)")
            elif value is not None:
                seen[value] = section.path
        capacity = section.section("capacity")
        found.append(
            Hypervisor(
                name=name or "",
                address=address or "",
                access=read_access(section.section("ssh"), base, source) if real else base,
                host_key=read_host_key(section) if real else None,
                labels=read_labels(section),
                capacity=Capacity(capacity.integer("memory_mb", None, 64), capacity.integer("vcpus", None, 1, 4096)),
                sim=sim,
                maintenance=section.choice("state", ("active", "maintenance"), "active") == "maintenance",
            )
        )
        capacity.close()
        section.close()
    _refuse_mixture(found, top)
    return tuple(found)


def read_address(section: Section) -> str | None:
    return t.cast("str | None", section.text("address", pattern=_ADDRESS, what="an address or a host name"))


def read_host_key(section: Section) -> str | None:
    return t.cast("str | None", section.text("host_key", None, _HOST_KEY, "a public host key"))


def read_labels(section: Section) -> dict[str, str]:
    """Names and values of the user's own."""
    labels = section.section("labels")
    return {key: labels.text(key, "", label_pattern(), "a label") for key in labels.key_names()}


def _refuse_mixture(pool: t.Sequence[Hypervisor], top: Section) -> None:
    """A pool is simulated as a whole or not at all: a member of it must never be taken for a machine."""
    if any(hv.sim is not None for hv in pool):
        for index, hv in enumerate(pool):
            if hv.sim is None:
                top.fault(f"pool[{index}].sim", "nothing", "a folder, as other hypervisors of this pool have")


def read_network(section: Section) -> tuple[Network | None, Range | None]:
    bridge = section.text("bridge", pattern=BRIDGE_NAME, what="a bridge's name")
    text = section.text("cidr", what="a network such as 172.30.0.0/24")
    whole = None
    cidr = None
    try:
        cidr = ipaddress.IPv4Network(text) if text else None
    except ValueError:
        section.fault("cidr", text, "an IPv4 network with no host bits set, such as 172.30.0.0/24")
    range_text = section.text("range", default=None, what="a range such as 172.30.0.50-172.30.0.250")
    if range_text is not None:
        whole = read_range(section, "range", range_text, cidr)
    gateway = section.address("gateway", None)
    dns = tuple(str(value) for value in section.items("dns", "IPv4 addresses"))
    for index, value in enumerate(dns):
        if as_address(value) is None:
            section.fault(f"dns[{index}]", value, "an IPv4 address")
    section.close()
    if gateway and cidr and as_address(gateway) not in cidr:
        section.fault("gateway", gateway, f"an address of {cidr}")
    if not bridge or cidr is None:
        return None, whole
    first, last = whole or (cidr.network_address, cidr.network_address)
    return Network(bridge, cidr, first, last, gateway, dns), whole


def read_range(section: Section, key: str, text: str, cidr: ipaddress.IPv4Network | None) -> Range | None:
    found = parse_range(text)
    if found is None:
        section.fault(key, text, "first-last, two IPv4 addresses in ascending order")
    elif cidr is not None and not (found[0] in cidr and found[1] in cidr):
        section.fault(key, text, f"addresses of network.cidr {cidr}")
    elif cidr is not None and (found[0] == cidr.network_address or found[1] == cidr.broadcast_address):
        section.fault(key, text, f"host addresses: not {cidr.network_address} and not {cidr.broadcast_address}")
    else:
        return found
    return None


def read_settings(section: Section, base: Settings, close: bool = False) -> Settings:
    # the driver `sim` is the default of a simulated pool, where there is no other one
    image, origin = _read_image(section, base)
    found = Settings(
        section.choice("driver", DRIVERS if base.driver != SIM else (SIM,), base.driver),
        image,
        section.integer("vcpus", base.vcpus, 1, 512),
        section.integer("memory_mb", base.memory_mb, 64, 2**24),
        section.flag("autostart", base.autostart),
        {**base.labels, **read_labels(section)},
        origin,
        base.file,
        section.text("template", base.template, TEMPLATE_NAME, "a template's name"),
    )
    if close:
        section.close()
    return found


def _read_image(section: Section, base: Settings) -> tuple[str | None, ImageSource | None]:
    """An image's name and, where it is a mapping, its source."""
    if "image" not in section:
        return section.text("image", base.image), base.source
    if not isinstance(section.raw("image"), dict):
        return section.text("image", base.image, IMAGE_NAME, "a mapping, or an image's name"), None
    found = section.section("image")
    path = read_file_path(found, "path", base.file)
    url = found.text("url", None, URL, "an http or https address without a user,")
    if "path" in found and "url" in found:
        found.fault("url", "both path and url", "one of them")
    checksum = found.text("checksum", REQUIRED if "url" in found else None, SHA256, "a SHA-256 in hexadecimal")
    kind = found.choice("format", FORMATS, "")
    name = _image_name(found, path or url)
    found.close()
    return name, ImageSource(name, kind, path, url, checksum, found.path)


def _image_name(section: Section, origin: str | None) -> str:
    """The image's own name, else its file's."""
    if "name" in section or not ("path" in section or "url" in section):
        return section.text("name", pattern=IMAGE_NAME, what="an image's name") or "unnamed"
    stem = stem_of(origin or "unnamed")
    section.raw("name")
    if not IMAGE_NAME.fullmatch(stem):
        section.fault(
            "name", f"nothing, and the file's name gives {shown(stem)}", f"a name matching {IMAGE_NAME.pattern}"
        )
    return stem


def read_overcommit(section: Section) -> Overcommit:
    found = Overcommit(section.number("memory", 1.0, 0.1, 100), section.number("vcpus", 4.0, 0.1, 1000))
    section.close()
    return found


def as_address(text: str) -> ipaddress.IPv4Address | None:
    """The address, or None when the text is none."""
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        return None
