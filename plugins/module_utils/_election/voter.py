# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One voter's decisions on a lease: pure, no clock of its own, no I/O. The rules are numbered in docs/election.md.

A voter grants a term iff it is higher than its own and its current lease has expired or is of the same session
(rule 5); one that was rebooted counts the lease from the boot (rule 9); one without a memory abstains.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Grant:
    """What a voter has granted last; times in seconds of CLOCK_BOOTTIME of its boot.

    A session is node + boot + run, never the node alone, so two runs on one machine are two sessions. A lease of no
    session binds all the same: so a voter that was given back its memory abstains for one ttl.

    Attributes:
        founding: of a first lease that may not have been granted by all, which the first start needs; until the voter
            is told who votes.
        config: digest of the list of voters that this one was told, with its epoch; empty before.
    """

    config_epoch: int = 1
    term: int = 0
    session: str = ""
    holder: str = ""
    ttl: float = 0.0
    granted_at: float = 0.0
    boot_id: str = ""
    founding: bool = False
    config: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: t.Mapping[str, t.Any]) -> Grant:
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


@dataclass(frozen=True)
class Ballot:
    """What a candidate asks for.

    Attributes:
        epoch: of the configuration of voters that the candidate goes by.
        founding: every configured voter has told it that it knows of no lease that all had granted: this is the first.
        config: digest of the list of voters that the candidate goes by, with its epoch.
    """

    epoch: int
    term: int
    session: str
    holder: str
    ttl: float
    founding: bool = False
    config: str = ""


@dataclass(frozen=True)
class Answer:
    """A voter's answer; `grant` is what it holds after it, None while it has no memory."""

    granted: bool
    reason: str
    grant: Grant | None
    expires_in: float


@dataclass(frozen=True)
class Boot:
    """One boot of a voter: a random id, and when this voter was first asked in it (seconds of CLOCK_BOOTTIME)."""

    boot_id: str
    since: float = 0.0


def remaining(grant: Grant | None, now: float, boot: Boot) -> float:
    """Seconds for which the lease still binds this voter; 0 when it is free.

    After a reboot the old clock means nothing, so the lease is taken to begin when the voter was first asked again.
    """
    if grant is None or grant.ttl <= 0:
        return 0.0
    begun = grant.granted_at if grant.boot_id == boot.boot_id else boot.since
    return max(0.0, begun + grant.ttl - now)


def decide(grant: Grant | None, ballot: Ballot, now: float, boot: Boot) -> Answer:
    """Whether to grant a term to a session; renewal is the same term and session again."""
    kept = grant or Grant(config_epoch=ballot.epoch, founding=True)
    left = remaining(kept, now, boot)
    current = not _other_list(kept, ballot)
    if left > 0 and current and (ballot.term, ballot.session) == (kept.term, kept.session):
        extended = replace(kept, ttl=ballot.ttl, granted_at=now, boot_id=boot.boot_id)
        renewed = replace(extended, config_epoch=ballot.epoch, config=_list_of(kept, ballot))
        return Answer(True, "renewed", renewed, ballot.ttl)
    refused = _why_not(grant, kept, ballot, left)
    if refused:
        return Answer(False, refused, grant, left)
    mine = (ballot.session, ballot.holder, ballot.ttl)
    new = Grant(ballot.epoch, ballot.term, *mine, now, boot.boot_id, kept.founding, _list_of(kept, ballot))
    return Answer(True, "granted", new, ballot.ttl)


def _list_of(kept: Grant, ballot: Ballot) -> str:
    """The list that a voter goes by once it has granted: no other one of the same epoch can win here afterwards."""
    return ballot.config if ballot.epoch > kept.config_epoch else kept.config


def _other_list(kept: Grant, ballot: Ballot) -> bool:
    """Whether the candidate goes by another list of voters than this voter was told: of two lists only one may win."""
    if kept.config and ballot.config and ballot.epoch == kept.config_epoch:
        return ballot.config != kept.config
    # a later list may win here before it is written here: else a change that ended half way could never be finished
    return ballot.epoch < kept.config_epoch


def _why_not(grant: Grant | None, kept: Grant, ballot: Ballot, left: float) -> str:
    """Why a new term is not granted; empty when it is."""
    reasons = {
        "amnesiac": grant is None and not ballot.founding,
        "old_epoch": _other_list(kept, ballot),
        "founded": ballot.founding and not kept.founding,
        "old_term": ballot.term <= kept.term,
        "held" if kept.session else "abstains": left > 0 and ballot.session != kept.session,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def release(grant: Grant | None, session: str, term: int) -> Grant | None:
    """The grant after its own session gave it back; the term stays, so that it can never be granted again.

    A release that comes late frees nothing of a later term, which the session may have won meanwhile.
    """
    if grant is None or grant.session != session or grant.term > term:
        return grant
    return replace(grant, session="", holder="", ttl=0.0)


def rejoin(epoch: int, term: int, ttl: float, now: float, boot: Boot, founding: bool = False) -> Grant:
    """The memory of a voter that had lost it, as a majority of the others tells it: it abstains for one ttl."""
    return Grant(epoch, term, "", "", ttl, now, boot.boot_id, founding)


@dataclass(frozen=True)
class Wish:
    """That somebody wants the lease which another one holds: a person's run, or a preferred candidate (rule 11).

    It binds no voter; whoever holds the lease, or thinks of a campaign, is told of it. Times as in `Grant`.
    """

    session: str
    holder: str
    person: bool
    since: float
    until: float
    boot_id: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)


def wish_left(wish: Wish | None, now: float, boot: Boot) -> float:
    """Seconds for which a wish still counts; 0 when there is none. It does not outlive a boot."""
    return max(0.0, wish.until - now) if wish is not None and wish.boot_id == boot.boot_id else 0.0


def decide_wish(
    kept: Wish | None, session: str, holder: str, person: bool, seconds: float, now: float, boot: Boot
) -> Wish | None:
    """The wish that counts after somebody voiced one, or took it back with no seconds.

    The first person's comes first and lasts; a candidate's gives way to any person's.
    """
    alive = kept if wish_left(kept, now, boot) > 0 else None
    if alive is not None and alive.session != session and (alive.person or not person):
        return alive
    if seconds <= 0:
        return alive if alive is not None and alive.session != session else None
    since = alive.since if alive is not None and alive.session == session else now
    return Wish(session, holder, person, since, now + seconds, boot.boot_id)
