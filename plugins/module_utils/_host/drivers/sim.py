# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members that are entries of one JSON file: for tests and rehearsals. It claims nothing about real hypervisors."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
import typing as t

from ..._model.declaration import MemberSpec
from ..._model.drivers import IMAGE_FORMATS, SIM
from ..._model.errors import EnsembleError, RefusedError
from ..._model.identity import domain_name, member_uuid
from ..._model.image import FORMATS
from ..files import locked, read_json, write_json
from ..images import Images
from .base import Driver, Ownership, Seed

#: seconds to wait while another process works on the same hypervisor
LOCK_TIMEOUT = 30.0
_Entry = t.Dict[str, t.Any]


class SimImages(Images):
    """Images that are only names, beside those that were really imported."""

    def __init__(self, root: str, names: t.Iterable[str]) -> None:
        super().__init__(root)
        self._only_names = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}

    def names(self) -> dict[str, dict[str, str]]:
        brought = {
            name: {SIM: digest, **formats} for name, formats in super().names().items() for digest in formats.values()
        }
        return {**brought, **{name: {SIM: digest} for name, digest in self._only_names.items()}}

    def digest(self, name: str, kind: str) -> str:
        return self._only_names.get(name) or self.names().get(name, {}).get(kind) or super().digest(name, kind)

    def chosen(self, name: str, kind: str, checksum: str | None) -> str:
        if checksum is not None and (name in self._only_names or self.cached(checksum, kind)):
            return checksum
        return super().chosen(name, kind, checksum)

    def named(self, name: str, kind: str, digest: str) -> bool:
        return name in self._only_names or self.names().get(name, {}).get(kind) == digest

    def cached(self, digest: str, kind: str) -> bool:
        """Any file will do as the image of a machine that is none."""
        kinds = FORMATS if kind == SIM else (kind,)
        return any(super(SimImages, self).cached(digest, each) for each in kinds)

    def _refuse_other(self, name: str, declared: str, found: str) -> None:
        if declared != SIM:
            super()._refuse_other(name, declared, found)


class SimDriver(Driver):
    """All domains and disks of one simulated hypervisor.

    The file is read again only when it changed, and several processes may work on it: every change happens under a
    lock. It is replaced atomically between any two steps, so that a run which is killed leaves what a real one would.
    """

    name = "sim"

    def __init__(self, folder: str, images: Images, foreign: t.Sequence[_Entry] = (), boot_s: float = 0.0) -> None:
        self._path = os.path.join(folder, "domains.json")
        self._images = images
        self._foreign = {entry["name"]: entry for entry in foreign}
        self._boot_s = boot_s
        self._guard = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._state: dict[str, t.Any] = {}

    # -- reading

    def domains(self) -> list[_Entry]:
        with self._guard:
            found = {**self._load()["domains"], **self._foreign}
            return [{**_SHOWN, **_without_clock(found[name]), "name": name} for name in sorted(found)]

    def artefacts(self, resource: str) -> list[_Entry]:
        with self._guard:
            disks = self._load()["disks"].get(resource, {})
            return [
                {
                    "member": member,
                    "driver": self.name,
                    "prepared": disk["prepared"],
                    "image": disk["image"],
                    "image_digest": disk.get("digest"),
                }
                for member, disk in sorted(disks.items())
            ]

    def standing(self) -> set[str]:
        with self._guard:
            disks = self._load()["disks"].values()
            return {str(disk["digest"]) for members in disks for disk in members.values() if "digest" in disk}

    def image_digest(self, resource: str, member: str) -> str:
        with self._guard:
            disk = self._load()["disks"].get(resource, {}).get(member, {})
        if not disk.get("prepared"):
            raise EnsembleError(f"member {member} of {resource} has no finished disk here", code="not_prepared")
        return str(disk["digest"])

    def reachable(self, domain: str) -> bool:
        """Whether a domain runs here and has had its time to boot."""
        with self._guard:
            entry = self._load()["domains"].get(domain, {})
            return bool(entry.get("state") == "running" and _now() >= entry.get("up_at", 0.0))

    def record(self, resource: str, member: str) -> t.Mapping[str, t.Any] | None:
        with self._guard:
            domain = self._ours(self._load(), resource, member)
        return domain["record"] if domain is not None else None

    def answers(self, resource: str, member: str, address: str, port: int, timeout: float) -> tuple[bool, str]:
        if self.reachable(domain_name(resource, member)):
            return True, "SSH-2.0-simulated"
        return False, f"{address}:{port}: no SSH server answered within {timeout:g} s"

    # -- changing

    def prepare(self, resource: str, member: str, spec: MemberSpec, seed: Seed) -> None:
        with self._images.choosing(), self._changing() as state:
            disks = state["disks"].setdefault(resource, {})
            if disks.get(member, {}).get("prepared"):
                return
            digest = self._images.chosen(spec.image, IMAGE_FORMATS[self.name], spec.image_checksum)
            disks[member] = {"prepared": False, "image": None, "digest": digest}
            self._save(state)
            disks[member] = {"prepared": True, "image": spec.image, "digest": digest}
            self._save(state)

    def define(self, ownership: Ownership) -> None:
        with self._changing() as state:
            old = self._ours(state, ownership.resource, ownership.member) or {}
            state["domains"][domain_name(ownership.resource, ownership.member)] = {
                "uuid": member_uuid(ownership.resource, ownership.member),
                "state": old.get("state", "shutoff"),
                "reason": old.get("reason", "unknown"),
                "up_at": old.get("up_at", 0.0),
                "record": ownership.as_dict(),
                "memory_mb": ownership.spec.memory_mb,
                "vcpus": ownership.spec.vcpus,
            }
            self._save(state)

    def start(self, resource: str, member: str) -> None:
        self._turn(resource, member, "running", "booted")

    def stop(self, resource: str, member: str, timeout: float) -> bool:
        self._turn(resource, member, "shutoff", "shutdown" if timeout > 0 else "destroyed")
        return timeout <= 0

    def undefine(self, resource: str, member: str) -> None:
        with self._changing() as state:
            if self._ours(state, resource, member) is not None:
                del state["domains"][domain_name(resource, member)]
                self._save(state)

    def remove(self, resource: str, member: str) -> None:
        with self._changing() as state:
            if self._ours(state, resource, member) is not None:
                raise EnsembleError(f"member {member} of {resource} still has its domain", code="still_defined")
            disks = state["disks"].get(resource, {})
            if member in disks:
                disks[member]["prepared"] = False
                self._save(state)
                del disks[member]
                self._save(state)

    def _turn(self, resource: str, member: str, state_name: str, reason: str) -> None:
        with self._changing() as state:
            domain = self._ours(state, resource, member)
            if domain is None:
                raise EnsembleError(f"member {member} of {resource} has no domain here", code="no_domain")
            if domain["state"] != state_name:
                domain["state"], domain["reason"] = state_name, reason
                domain["up_at"] = _now() + self._boot_s
                self._save(state)

    def _ours(self, state: _Entry, resource: str, member: str) -> _Entry | None:
        """Our domain of that name, None when there is none.

        Raises:
            RefusedError: `foreign`.
        """
        name = domain_name(resource, member)
        domain: _Entry | None = self._foreign.get(name) or state["domains"].get(name)
        record = (domain or {}).get("record") or {}
        if domain is not None and (record.get("resource"), record.get("member")) != (resource, member):
            raise RefusedError(
                f"domain {name} carries no record of {resource}: it is not ours and stays untouched", code="foreign"
            )
        return domain

    # -- the file

    @contextlib.contextmanager
    def _changing(self) -> t.Iterator[_Entry]:
        """The state, alone among all threads and processes."""
        with self._guard, locked(self._path + ".lock", LOCK_TIMEOUT):
            try:
                yield self._load()
            except BaseException:
                self._stamp = ()  # what was changed in memory only is forgotten
                raise

    def _load(self) -> _Entry:
        stamp = self._stamp_of_file()
        if stamp != self._stamp or not stamp:
            self._state = read_json(self._path) or {"domains": {}, "disks": {}}
            self._stamp = stamp
        return self._state

    def _save(self, state: _Entry) -> None:
        write_json(self._path, state, durable=False)
        self._stamp = self._stamp_of_file()

    def _stamp_of_file(self) -> tuple[int, ...]:
        try:
            stat = os.stat(self._path)
        except FileNotFoundError:
            return ()
        return stat.st_ino, stat.st_mtime_ns, stat.st_size


#: what a domain is unless its entry says otherwise
_SHOWN: _Entry = {
    **{"uuid": "", "state": "running", "reason": "unknown", "persistent": True, "record": None},
    **{"macs": [], "memory_mb": 0, "vcpus": 0},
}


def _without_clock(entry: _Entry) -> _Entry:
    return {key: value for key, value in entry.items() if key != "up_at"}


def _now() -> float:
    """Seconds that no one can turn back while the simulated machines run."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
