# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Where everything of a lab lies, and the values that follow from its name."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemble_lab.system import LabError

STATE = Path("/var/lib/ensemble-lab")
# another cache keeps the images of a checkout that changes recipes apart from everybody else's
CACHE = Path(os.environ.get("ENSEMBLE_LAB_CACHE", "/var/cache/ensemble-lab"))
EXPORT = CACHE / "export"  # what hypervisors see as /srv/ensemble-images
WORK = CACHE / "work"
CHECKOUT = Path(__file__).resolve().parents[3]
RECIPES = Path(__file__).resolve().parents[1] / "images"
DEFAULT_NAME = "ensemble"
DEFAULT_SUBNET = "172.30.0.0/24"
IMAGES_IN_HYPERVISOR = "/srv/ensemble-images"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_LONGEST_INTERFACE = 15  # IFNAMSIZ - 1


@dataclass(frozen=True)
class Hypervisor:
    """One system container of a lab."""

    name: str
    container: str
    address: str
    partition: str
    directory: Path  # on the machine; mounted into the container in parts
    witness: bool = False  # it votes only: no libvirtd runs in it


@dataclass(frozen=True)
class Lab:
    """One lab: a name, a subnet, so many hypervisors, and so many witnesses beside them."""

    name: str
    subnet: ipaddress.IPv4Network
    count: int
    witness_count: int = 0

    @property
    def directory(self) -> Path:
        """State on the machine."""
        return directory_of(self.name)

    @property
    def checkout_directory(self) -> Path:
        """State for the controller: key, known_hosts, lab.json."""
        return CHECKOUT / ".lab" / self.name

    @property
    def gateway(self) -> str:
        """The machine's own address in the subnet."""
        return str(self.subnet.network_address + 1)

    @property
    def hypervisors(self) -> list[Hypervisor]:
        """hv1 at .2, hv2 at .3, and so on."""
        return [self._container(f"hv{index}", 1 + index) for index in range(1, self.count + 1)]

    @property
    def witnesses(self) -> list[Hypervisor]:
        """wit1 at the last address of the subnet, wit2 before it: far from hypervisors and members."""
        broadcast = self.subnet.num_addresses - 1
        numbers = range(1, self.witness_count + 1)
        return [self._container(f"wit{index}", broadcast - index, witness=True) for index in numbers]

    @property
    def machines(self) -> list[Hypervisor]:
        """All containers."""
        return [*self.hypervisors, *self.witnesses]

    def _container(self, name: str, offset: int, *, witness: bool = False) -> Hypervisor:
        container = f"{self.name}-{name}"
        return Hypervisor(
            name=name,
            container=container,
            address=str(self.subnet.network_address + offset),
            partition=partition_of(container),
            directory=self.directory / name,
            witness=witness,
        )


def directory_of(name: str) -> Path:
    """Return the machine's state directory of a lab."""
    return STATE / name


def container_pattern(name: str) -> re.Pattern[str]:
    """Return what matches the names of a lab's containers, and no other lab's."""
    return re.compile(rf"{re.escape(name)}-(?:hv|wit)\d+")


def partition_of(container: str) -> str:
    """Return libvirt's name of a hypervisor's resource partition: the directory adds ``.partition``."""
    return f"ensemble-{container}"


def bridge_of(name: str) -> str:
    """Return the name of a lab's Linux bridge: it says the lab's name when that fits."""
    plain = f"el-{name}"
    if len(plain) <= _LONGEST_INTERFACE:
        return plain
    return f"el-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def checked_name(text: str) -> str:
    """Return a lab's name; raises LabError when containers, files and interfaces could not carry it."""
    if not _NAME.fullmatch(text):
        raise LabError(f"--name {text}: expected a lower-case letter, then up to 30 letters, digits or hyphens")
    return text


def checked_subnet(text: str, count: int) -> ipaddress.IPv4Network:
    """Return a subnet; raises LabError when it is none or has no room for the hypervisors."""
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise LabError(f"--subnet {text}: expected an IPv4 network such as {DEFAULT_SUBNET} ({error})") from error
    if subnet.num_addresses < count + 4:
        raise LabError(f"--subnet {text}: too small for {count} hypervisors and witnesses")
    return subnet


def recorded(name: str) -> dict[str, Any] | None:
    """Return what `up` recorded about a lab, or None."""
    try:
        content = json.loads((directory_of(name) / "lab.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def known_labs() -> list[str]:
    """Return the names of all labs that have state on this machine, whole or not."""
    if not STATE.is_dir():
        return []
    return sorted(entry.name for entry in STATE.iterdir() if entry.is_dir())
