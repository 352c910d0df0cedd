# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Events of the agents' journals in words, and who led when, as far as one journal tells."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .text import lasting, plain, seconds_of

GOOD, BAD, NEUTRAL = "good", "bad", "neutral"
#: what every line has, so that it is not told with each
COMMON = frozenset(("event", "at", "wall", "resource", "node", "session", "token", "until"))
_GOOD = frozenset(("elected", "answered", "recovered", "repaired"))
_BAD = frozenset(
    ("lost", "renewal_failed", "duplicate", "stuck", "warning", "no_quorum", "amnesiac", "network", "fenced")
)
_WHY = {
    "stopped": "it was stopped",
    "asked": "somebody asked it to",
    "wanted": "a person wanted it",
    "preempted": "a preferred candidate was there",
    "failing": "its runs failed",
    "lost": "it could not be renewed in time",
}

Event = t.Mapping[str, t.Any]


def say(event: Event) -> str:
    """What happened, without who and when; one line."""
    name = str(event.get("event", ""))
    known = _WORDS.get(name)
    try:
        return plain(known(event)) if known else _other(event)
    except (KeyError, TypeError, ValueError):  # of another version, or no event of ours
        return _other(event)


def who(event: Event) -> str:
    """The node that told of it."""
    return plain(event.get("node", ""))


def term(event: Event) -> str:
    """`epoch,term`, empty where there was none."""
    token = event.get("token")
    return ",".join(plain(part, 20) for part in token) if isinstance(token, (list, tuple)) and any(token) else ""


def tone(event: Event) -> str:
    """Whether it is good or bad news, or neither."""
    name = event.get("event")
    if name == "run_ended":
        return BAD if event.get("code") and not event.get("ended_by") else NEUTRAL
    verdict = event.get("verdict")
    if name in _BAD or verdict in ("failed", "degraded") or event.get("outcome") == "failed":
        return BAD
    return GOOD if name in _GOOD or verdict == "healthy" else NEUTRAL


def node_of(session: t.Any) -> str:
    """The node of a session (`node/boot/run`)."""
    return plain(session).split("/", 1)[0]


def _run_ended(event: Event) -> str:
    ended = f", ended because {_WHY.get(event['ended_by'], event['ended_by'])}" if event.get("ended_by") else ""
    return f"run {event['run']} ended with exit status {event['code']} after {lasting(event['seconds'])}{ended}"


def _over(event: Event) -> str:
    verb = "lost the lease" if event["event"] == "lost" else "gave the lease back"
    why = event.get("why")
    return verb + (f": {_WHY.get(why, why)}" if why and why != event["event"] else "")


def _verdict(event: Event) -> str:
    cause = f": {event['cause']}" if event.get("cause") else ""
    return f"{event.get('member') or event.get('resource')} is {event['verdict']}{cause}"


def _repair(event: Event) -> str:
    parts = [f"{event['action']} of {event['member']}"]
    parts += [f"because {event['reason']}"] if event.get("reason") else []
    parts += [f"outcome {event['outcome']}"] if event.get("outcome") else []
    parts += [f"took {lasting(event['seconds'])}"] if event.get("seconds") is not None else []
    return ", ".join(parts)


_WORDS: t.Mapping[str, t.Callable[[Event], str]] = {
    "started": lambda event: "agent started; candidates " + ", ".join(map(str, event["candidates"])),
    "stopped": lambda event: "agent stopped",
    "follows": lambda event: f"{node_of(event['leader'])} leads ({event['holder']})",
    "free": lambda event: "nobody leads",
    "elected": lambda event: "leads from now on",
    "run_started": lambda event: f"run {event['run']} started",
    "run_ended": _run_ended,
    "renewal_failed": lambda event: f"the lease could not be renewed: {event['msg']}",
    "renewed": lambda event: f"lease renewed in {event['ms']} ms",
    "lost": _over,
    "released": _over,
    "answered": lambda event: "the voters answer again",
    "verdict": _verdict,
    "repair": _repair,
}


def _other(event: Event) -> str:
    """What the line itself says: its message, or its own fields."""
    if event.get("msg"):
        return plain(event["msg"])
    own = [f"{key} {plain(value, 200)}" for key, value in event.items() if key not in COMMON and value is not None]
    return plain(", ".join(own))


@dataclass(frozen=True)
class Term:
    """Who led in a stretch of time; node empty: nobody. Seconds since the epoch."""

    node: str
    begun: float
    ended: float

    @property
    def seconds(self) -> float:
        return max(0.0, self.ended - self.begun)


def terms(events: t.Iterable[Event], now: float) -> list[Term]:
    """Who led when, by the events of one journal, the oldest first; what came before the first of them is not told."""
    marks: list[tuple[float, str]] = []
    for event in events:
        moment, name = seconds_of(event.get("wall")), event.get("event")
        if moment is None or name not in ("elected", "follows", "lost", "released", "free"):
            continue
        node = who(event) if name == "elected" else node_of(event.get("leader")) if name == "follows" else ""
        if not marks or marks[-1][1] != node:
            marks.append((moment, node))
    ends = [moment for moment, node in marks[1:]] + [now]
    return [Term(node, begun, max(begun, end)) for (begun, node), end in zip(marks, ends)]
