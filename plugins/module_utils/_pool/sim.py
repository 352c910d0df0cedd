# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Sessions to simulated hypervisors: the real host program in this process, over a folder instead of a machine."""

from __future__ import annotations

import json
import os
import time
import typing as t
from dataclasses import dataclass

from .._host.drivers.sim import SimDriver, SimImages
from .._host.drivers.templates import Templates
from .._host.fields import Batch
from .._host.serve import handle
from .._host.verbs import Host
from .._model.declaration import Capacity, Hypervisor
from .._model.errors import EnsembleError, HypervisorError
from .._model.identity import IMAGE_NAME
from .._model.reader import Section, label_pattern
from .session import Session, Transport
from .sim_faults import MAX_MS, SimFaults, read_mapping, refuse_bad

#: what a simulated hypervisor has unless its sim.json says otherwise
CAPACITY = Capacity(memory_mb=262_144, vcpus=64)
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class SimSettings:
    """The file `sim.json`; times in seconds, sizes in MiB. Without `images` every declared image is there."""

    capacity: Capacity = CAPACITY
    images: tuple[str, ...] | None = None
    foreign: tuple[dict[str, t.Any], ...] = ()
    boot_s: float = 0.0


def read_sim_settings(path: str) -> SimSettings:
    """The settings of a simulated hypervisor, or the defaults where there is no file.

    Raises:
        EnsembleError: `bad_settings`, naming every fault.
    """
    top = read_mapping(path)
    capacity = top.section("capacity")
    found = SimSettings(
        Capacity(
            capacity.integer("memory_mb", CAPACITY.memory_mb, 64),
            capacity.integer("vcpus", CAPACITY.vcpus, 1, 4096),
        ),
        top.names("images", IMAGE_NAME, "an image's name") if "images" in top else None,
        tuple(_foreign(raw, f"foreign[{index}]", top) for index, raw in enumerate(top.items("foreign", "domains"))),
        top.number("boot_ms", 0.0, 0.0, MAX_MS) / 1000,
    )
    top.raw("images")
    capacity.close()
    top.close()
    refuse_bad(path, top.faults)
    return found


def _foreign(raw: t.Any, path: str, top: Section) -> dict[str, t.Any]:
    """A domain of somebody else."""
    section = Section(raw, path, top.faults)
    found = {
        "name": section.text("name", pattern=label_pattern(), what="a domain's name"),
        "uuid": section.text("uuid", "", what="a UUID"),
        "state": section.text("state", "running", what="a domain's state"),
        "macs": list(section.items("macs", "MAC addresses")),
        "memory_mb": section.integer("memory_mb", 0, 0),
        "vcpus": section.integer("vcpus", 0, 0, 4096),
        "record": section.raw("record"),
    }
    section.close()
    return found


class SimHost(Host):
    """The host program of a folder, whose verbs can be made to fail."""

    def __init__(self, hv: Hypervisor, images: t.Iterable[str]) -> None:
        folder = str(hv.sim)
        settings = read_sim_settings(os.path.join(folder, "sim.json"))
        state = os.path.join(folder, "state")
        cache = SimImages(state, images if settings.images is None else settings.images)
        self.faults = SimFaults(folder)
        super().__init__(
            {SimDriver.name: SimDriver(folder, cache, settings.foreign, settings.boot_s)},
            state,
            hv.name,
            # leases are told in seconds since boot and must not outlive the boot of the machine that simulates
            os.path.join(folder, "run", _boot_id()),
            settings.capacity,
            cache,
            templates=Templates(os.path.join(folder, "templates")),
            authorized_keys=os.path.join(folder, "authorized_keys"),
        )

    def act(self, batch: Batch, fields: t.Mapping[str, t.Any]) -> t.Any:
        verb = str(fields.get("verb"))
        if self.faults.failing(verb, str(fields.get("member", ""))):
            raise EnsembleError(f"{verb} is made to fail here by faults.json", code="simulated_fault")
        return super().act(batch, fields)


class SimTransport(Transport):
    """A host program in this process. `sleep` passes the time that a slow hypervisor takes."""

    def __init__(self, host: SimHost, sleep: t.Callable[[float], None] = time.sleep) -> None:
        self._host = host
        self._sleep = sleep
        self._closed = False

    def exchange(self, line: bytes, timeout: float) -> bytes:
        name = self._host.name
        faults = {} if self._closed else self._host.faults.trip()
        if self._closed or "down" in faults:
            self.close()
            raise HypervisorError(f"{name}: the connection broke: it is down")
        answer = json.dumps(handle(self._host, line), separators=(",", ":")).encode()
        takes = faults["slow"].ms / 1000 if "slow" in faults else 0.0
        if takes:
            self._sleep(min(takes, timeout))
        if takes > timeout:  # it acted all the same, as a real one would
            self.close()
            raise HypervisorError(f"{name} did not answer within {timeout:g} s", code="hypervisor_timeout")
        if "lost_reply" in faults:
            self.close()
            raise HypervisorError(f"{name}: the connection broke: its answer was lost")
        return answer

    def close(self) -> None:
        self._closed = True


def connect(hv: Hypervisor, images: t.Iterable[str] = (), sleep: t.Callable[[float], None] = time.sleep) -> Session:
    """Open a session to a simulated hypervisor.

    Args:
        images: what is in its cache unless its sim.json says otherwise.

    Raises:
        HypervisorError: it is made to be down.
        EnsembleError: `bad_settings`.
    """
    host = SimHost(hv, images)
    if host.faults.connecting():
        raise HypervisorError(f"{hv.name} ({hv.sim}) does not answer: it is made to be down by faults.json")
    return Session(hv.name, SimTransport(host, sleep))


class SimDoors:
    """Whether simulated members could be logged in to, were they real: they run and have had their time to boot."""

    def __init__(self, pool: t.Sequence[Hypervisor]) -> None:
        folders = [hv.sim for hv in pool if hv.sim is not None]
        self._drivers = [SimDriver(folder, SimImages(folder, ())) for folder in folders]

    def is_open(self, domain: str) -> bool:
        return any(driver.reachable(domain) for driver in self._drivers)


def _boot_id() -> str:
    with open(_BOOT_ID, encoding="ascii") as stream:
        return stream.read().strip()
