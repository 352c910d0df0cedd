# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What is known of a resource's health: signs as they were seen, verdicts as they were drawn from them."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

#: all is as declared
HEALTHY = "healthy"
#: it was started a moment ago, and may still come
STARTING = "starting"
#: it works in part, or nothing certain can be said against it
DEGRADED = "degraded"
#: it does not do its work
FAILED = "failed"
#: nobody can tell; never taken for dead
UNKNOWN = "unknown"
#: it is being let go of by somebody's wish
DRAINING = "draining"
#: it does not run, as it shall be
STOPPED = "stopped"
#: from best to worst, as far as they can be compared
VERDICTS = (HEALTHY, STOPPED, DRAINING, STARTING, DEGRADED, UNKNOWN, FAILED)

#: kinds of signs besides those of probes (`monitor.PROBES` and units)
DOMAIN, REACH, HYPERVISOR = "domain", "reach", "hypervisor"


@dataclass(frozen=True)
class Sign:
    """One thing that was looked at.

    Attributes:
        kind: `domain` (its hypervisor's word), `reach` (SSH from here), `hypervisor` (whether the member answers its
            own hypervisor), `unit`, `tcp`, `http`, `command`, `scheduler`.
        name: which one, e.g. a unit's name.
        ok: None when it could not be asked.
        detail: in words, one line, without secrets.
        seconds: how long the answer took.
        age: seconds for which it has been so, where that is known.
    """

    kind: str
    name: str
    ok: bool | None
    detail: str
    seconds: float = 0.0
    age: float | None = None

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "sign": self.kind,
            "name": self.name,
            "ok": self.ok,
            "detail": self.detail,
            "seconds": round(self.seconds, 3),
            "age_s": None if self.age is None else round(self.age, 1),
        }


@dataclass(frozen=True)
class MemberHealth:
    """One member's verdict, its cause in words, and the signs behind it.

    Attributes:
        resume: engine of its scheduler, which took it out of service by a mistake of its own; else empty.
    """

    member: str
    name: str
    roles: tuple[str, ...]
    hypervisor: str | None
    address: str
    state: str
    verdict: str
    cause: str
    signs: tuple[Sign, ...] = ()
    resume: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "member": self.member,
            "name": self.name,
            "roles": list(self.roles),
            "hypervisor": self.hypervisor,
            "address": self.address,
            "state": self.state,
            "verdict": self.verdict,
            "cause": self.cause,
            "signs": [sign.as_dict() for sign in self.signs],
        }


@dataclass(frozen=True)
class Job:
    """A job as its scheduler knows it; times in seconds since the epoch, 0 where unknown."""

    ident: str
    name: str
    user: str
    state: str
    nodes: str = ""
    submitted: float = 0.0
    started: float = 0.0

    def as_dict(self) -> dict[str, t.Any]:
        return {"id": self.ident, **{name: getattr(self, name) for name in list(self.__dataclass_fields__)[1:]}}


@dataclass(frozen=True)
class Health:
    """One look at a resource.

    Attributes:
        desired: what the record asks for.
        silent: hypervisor -> why it did not answer.
        jobs: of its batch system, where it has one that answered.
    """

    resource: str
    desired: str
    generation: int
    verdict: str
    cause: str
    members: tuple[MemberHealth, ...]
    silent: t.Mapping[str, str] = field(default_factory=dict)
    jobs: tuple[Job, ...] | None = None

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "resource": self.resource,
            "desired": self.desired,
            "generation": self.generation,
            "verdict": self.verdict,
            "cause": self.cause,
            "members": [member.as_dict() for member in self.members],
            "silent": dict(self.silent),
            "jobs": None if self.jobs is None else [job.as_dict() for job in self.jobs],
        }
