# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One voter's decision on a lease: pure, no clock of its own, no I/O.

Rules 5 and 9 of the quorum lease: a voter grants a term iff it is higher than its own and its current lease has
expired or is of the same session; a voter that was rebooted grants nothing for one full ttl.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Grant:
    """What a voter has granted last; times in seconds of CLOCK_BOOTTIME of its boot.

    A session is node + boot + run, never the node alone, so two runs on one machine are two sessions.
    """

    config_epoch: int = 1
    term: int = 0
    session: str = ""
    holder: str = ""
    ttl: float = 0.0
    granted_at: float = 0.0
    boot_id: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: t.Mapping[str, t.Any]) -> Grant:
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


@dataclass(frozen=True)
class Answer:
    """A voter's answer to a request; `grant` is what the voter holds after it."""

    granted: bool
    reason: str
    grant: Grant
    expires_in: float


@dataclass(frozen=True)
class Boot:
    """One boot of a voter: a random id, and when this voter was first asked in it (seconds of CLOCK_BOOTTIME)."""

    boot_id: str
    since: float = 0.0


def remaining(grant: Grant, now: float, boot: Boot) -> float:
    """Seconds for which the lease still binds this voter; 0 when it is free.

    After a reboot the old clock means nothing, so the lease is taken to begin when the voter was first asked again.
    """
    if not grant.session:
        return 0.0
    begun = grant.granted_at if grant.boot_id == boot.boot_id else boot.since
    return max(0.0, begun + grant.ttl - now)


def decide(grant: Grant, term: int, session: str, holder: str, ttl: float, now: float, boot: Boot) -> Answer:
    """Whether to grant a term to a session; renewal is the same term and session again."""
    left = remaining(grant, now, boot)
    if term == grant.term and session == grant.session and left > 0:
        renewed = replace(grant, ttl=ttl, granted_at=now, boot_id=boot.boot_id)
        return Answer(True, "renewed", renewed, ttl)
    if term <= grant.term:
        return Answer(False, "old_term", grant, left)
    if left > 0 and session != grant.session:
        return Answer(False, "held", grant, left)
    return Answer(True, "granted", Grant(grant.config_epoch, term, session, holder, ttl, now, boot.boot_id), ttl)


def release(grant: Grant, session: str) -> Grant:
    """The grant after its own session gave it back; the term stays, so that it can never be granted again."""
    return replace(grant, session="", holder="", ttl=0.0) if grant.session == session else grant
