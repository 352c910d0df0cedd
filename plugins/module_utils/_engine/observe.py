# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One trip to each hypervisor tells all that the plan needs to know."""

from __future__ import annotations

import typing as t

from .._model.observed import Artefact, Domain, Guard, Observation, ObservedHypervisor, Record
from .._pool.pool import Pool, raise_together
from .._pool.session import Session

OBSERVE_TIMEOUT = 30.0


def observe(pool: Pool, resource: str, record: Record, timeout: float = OBSERVE_TIMEOUT) -> Observation:
    """What is there for a resource on the whole pool.

    Args:
        record: as a majority of the voters keeps it.
        timeout: seconds for each hypervisor.

    Raises:
        EnsembleError: a hypervisor could not look, or did not answer and the pool does not tolerate that; naming each.
    """

    def look(session: Session) -> ObservedHypervisor:
        found = session.call("observe", timeout, resource=resource)
        return hypervisor_from(session.hypervisor, resource, found)

    answers = pool.without_silent(pool.each(look))
    raise_together(answers.values())
    hypervisors = tuple(t.cast("t.Iterable[ObservedHypervisor]", answers.values()))
    return Observation(resource, hypervisors, record, dict(pool.silent))


def hypervisor_from(name: str, resource: str, data: t.Mapping[str, t.Any]) -> ObservedHypervisor:
    """The answer to `observe` as typed data."""
    domains, memory, vcpus = [], 0, 0
    for entry in data["domains"]:
        record = entry["record"]
        more = (entry.get("reason", "unknown"), entry.get("persistent", True), entry.get("age_s"))
        domains.append(Domain(entry["name"], entry["uuid"], entry["state"], record, tuple(entry["macs"]), *more))
        if record is None or record.get("resource") != resource:
            memory += int(entry["memory_mb"])
            vcpus += int(entry["vcpus"])
    artefacts = tuple(
        Artefact(entry["member"], entry["driver"], entry["prepared"], entry["image"], entry.get("image_digest"))
        for entry in data["artefacts"]
    )
    return ObservedHypervisor(
        name=name,
        memory_mb=data["memory_mb"],
        vcpus=data["vcpus"],
        images=data["images"],
        domains=tuple(domains),
        artefacts=artefacts,
        reserved_memory_mb=memory,
        reserved_vcpus=vcpus,
        drivers=data["drivers"],
        accelerators=data["accelerators"],
        voters=data.get("voters", ""),
        templates=data.get("templates", {}),  # a host program that knows none says nothing of them
        guard=_guard(data.get("guard", {})),
    )


def _guard(data: t.Mapping[str, t.Any]) -> Guard:
    """A machine that somebody else provides has none."""
    known = (bool(data.get("armed")), data.get("ttl"), data.get("heard_s"))
    return Guard(*known, tuple(data.get("destroyed", ())))
