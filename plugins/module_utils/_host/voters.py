# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Where a resource's record is kept, as a hypervisor must know it to decide after its boot, without a controller."""

from __future__ import annotations

import contextlib
import os
import re
import typing as t
from dataclasses import dataclass

from .._model.declaration import ETCD, QUORUM
from .._model.errors import RefusedError
from .._model.identity import digest_of
from .._model.reader import Section, label_pattern
from .files import CorruptStateError, read_json, resource_dir, write_json

_ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
_CLUSTER = re.compile(r"[ -~]{1,200}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


@dataclass(frozen=True)
class VoterAddress:
    """A voter of the pool and how SSH reaches it."""

    name: str
    address: str
    port: int
    user: str


@dataclass(frozen=True)
class Voters:
    """The configuration of voters of one resource.

    Attributes:
        me: the name that the pool has for this hypervisor, which may be one of the voters itself.
        epoch: raised by one with each change of the voters, or of what keeps the lease.
        backend, cluster: what keeps the lease, and which etcd cluster.
    """

    me: str
    voters: tuple[VoterAddress, ...]
    epoch: int = 1
    backend: str = QUORUM
    cluster: str = ""

    @property
    def majority(self) -> int:
        return len(self.voters) // 2 + 1

    def as_dict(self) -> dict[str, t.Any]:
        """Plain data as it travels and is stored."""
        known = {"epoch": self.epoch, "backend": self.backend, "cluster": self.cluster}
        return {"self": self.me, "voters": [dict(vars(voter)) for voter in self.voters], **known}

    @property
    def digest(self) -> str:
        return digest_of(self.as_dict())

    @property
    def list_digest(self) -> str:
        """Of what makes it this list and no other: candidates and voters must agree on it."""
        names = sorted(voter.name for voter in self.voters)
        return digest_of([self.epoch, names, self.backend, self.cluster])


def read_voters(section: Section) -> Voters:
    """The typed fields of a request; faults are noted in the section."""
    me = section.text("self", pattern=label_pattern(), what="a hypervisor's name")
    found: list[VoterAddress] = []
    for index, raw in enumerate(section.items("voters", "voters ({name, address, port, user})", required=True)):
        entry = Section(raw, section.at(f"voters[{index}]"), section.faults)
        name = entry.text("name", pattern=label_pattern(), what="a hypervisor's name")
        if name in [voter.name for voter in found]:
            entry.fault("name", name, "each voter once")
        address = entry.text("address", pattern=_ADDRESS, what="an address or a host name")
        port = entry.integer("port", minimum=1, maximum=65535)
        found.append(VoterAddress(name, address, port, entry.text("user", pattern=_USER, what="a user name")))
        entry.close()
    return Voters(
        me,
        tuple(found),
        section.integer("epoch"),
        section.choice("backend", (QUORUM, ETCD)),
        section.text("cluster", "", _CLUSTER, "a cluster's id") if section.raw("cluster") else "",
    )


def voters_from(data: t.Mapping[str, t.Any]) -> Voters:
    """From what `Voters.as_dict` gave."""
    known = (int(data["epoch"]), str(data["backend"]), str(data["cluster"]))
    return Voters(data["self"], tuple(VoterAddress(**voter) for voter in data["voters"]), *known)


class VotersFile:
    """The file of one resource. Writing is allowed only inside `fence.fenced`."""

    def __init__(self, root: str, resource: str) -> None:
        self._path = os.path.join(resource_dir(root, resource), "voters.json")

    def read(self) -> Voters | None:
        """The voters, None when nobody ever told them.

        Raises:
            CorruptStateError: the file is not what was written.
        """
        stored = read_json(self._path)
        if stored is None:
            return None
        return voters_from(stored)

    def digest(self) -> str:
        """The digest of what stands there, empty when it must be written again."""
        try:
            voters = self.read()
        except CorruptStateError:
            return ""
        return voters.digest if voters is not None else ""

    def write(self, voters: Voters) -> None:
        """Replace what stands there by a configuration of the same epoch or a later one.

        Raises:
            RefusedError: `old_epoch`.
        """
        with contextlib.suppress(CorruptStateError):
            stored = self.read()
            if stored is not None and voters.epoch < stored.epoch:
                raise RefusedError(
                    f"epoch {voters.epoch} of the voters is older than {stored.epoch}, which stands here. Nothing was "
                    "changed; run again, so that the newer one is read.",
                    code="old_epoch",
                    epoch=voters.epoch,
                    stored=stored.epoch,
                )
        write_json(self._path, voters.as_dict())

    def forget(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
