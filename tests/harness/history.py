# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The history checker: what agents and hypervisors wrote down, held against what the election promises.

Checked are the invariants of docs/election.md that a history can show:

- I1: a token belongs to one session.
- I2: leases of different sessions do not overlap.
- I3: no hypervisor accepts a token below one that it has accepted before.
- I6: nothing is accepted from a session that holds no lease, and nothing while no majority could be reached.

All times are CLOCK_BOOTTIME in seconds of one kernel, which all machines of the lab share.
"""

from __future__ import annotations

import itertools
import json
import math
import typing as t
from dataclasses import dataclass

Token = t.Tuple[int, int]
#: what only a session that leads, or led until then, writes; other events may carry a token of somebody else's
_LEADERS = frozenset({"elected", "renewed", "run_started", "run_ended", "released", "lost"})
#: how each line of a token log begins
_LOG_LINE = '{"at"'
#: seconds by which two times that were rounded to milliseconds may seem to be in the wrong order
_ROUNDING = 0.0015


@dataclass(frozen=True)
class Event:
    """A line of an agent's journal.

    Attributes:
        token: by which its session led, None if it did not.
        until: when its lease ends by then, None where it does not say.
    """

    event: str
    node: str
    session: str
    resource: str
    token: Token | None
    at: float
    until: float | None
    line: str


@dataclass(frozen=True)
class Batch:
    """A line of a hypervisor's token log: a batch of verbs that would change something, and what came of it."""

    hypervisor: str
    resource: str
    token: Token
    generation: int
    verdict: str
    at: float
    line: str

    @property
    def accepted(self) -> bool:
        return self.verdict == "accepted"


@dataclass(frozen=True)
class Outage:
    """From `since` to `until` nobody could reach a majority of the voters of a resource, as the test arranged it."""

    resource: str
    since: float
    until: float
    ttl: float


@dataclass(frozen=True)
class Violation:
    """A promise that was broken, and the lines that show it."""

    invariant: str
    what: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n    ".join((f"{self.invariant}: {self.what}", *self.lines))


@dataclass(frozen=True)
class Term:
    """What one session did with one token.

    Attributes:
        begun: when it was elected.
        granted: until when its lease was to last by then, unless renewed.
        believed: until when it took itself for the leader, as far as it wrote that down.
        closed: it wrote down how its lease ended, or each renewal; else it may have led longer, unseen.
    """

    resource: str
    session: str
    token: Token
    begun: float
    granted: float
    believed: float
    closed: bool
    lines: tuple[str, ...]


class UnreadableError(Exception):
    """A line that is none of a journal's or a log's."""


def read_journal(text: str, source: str) -> list[Event]:
    """The events of one agent, in order. Lines that are no JSON are of other programs and passed over.

    Raises:
        UnreadableError: an event of a leader lacks what every such event has.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        data = _object(line)
        if data is None or "event" not in data:
            continue
        shown = f"{source}:{number}: {line.strip()}"
        name = str(data["event"])
        try:
            if name not in _LEADERS:  # nothing is concluded from it, whatever it says
                data = {"node": "", "session": "", "resource": "", "at": 0.0, **data, "token": None, "until": None}
            node, session, resource = (str(data[key]) for key in ("node", "session", "resource"))
            until = None if data.get("until") is None else float(data["until"])
            token = _token(data.get("token"))
            found.append(Event(name, node, session, resource, token, float(data["at"]), until, shown))
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableError(f"{shown} ({error!r})") from error
    return found


def read_token_log(texts: t.Iterable[str], hypervisor: str, resource: str) -> list[Batch]:
    """The batches of one hypervisor, in order.

    Args:
        texts: its files, the oldest first.

    Raises:
        UnreadableError: a line is none of the log's, nor cut off when the machine died or its disk was full.
    """
    found = []
    for text in texts:
        lines = text.splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            shown = f"{hypervisor}:{number}: {line.strip()}"
            # what was written after a line that was cut off stands in the same one
            data = _object(line) or _object(line[max(0, line.rfind(_LOG_LINE)) :])
            try:
                if data is None:
                    raise ValueError("no JSON object")
                token = _token(data["token"])
                if token is None:
                    raise ValueError("no token")
                verdict, at = str(data["verdict"]), float(data["at"])
                found.append(Batch(hypervisor, resource, token, int(data["generation"]), verdict, at, shown))
            except (KeyError, TypeError, ValueError) as error:
                if number == len(lines) and not line.endswith("\n"):
                    continue  # the machine died while it wrote, and so before it acted
                raise UnreadableError(f"{shown} ({error!r})") from error
    return found


def _object(line: str) -> dict[str, t.Any] | None:
    try:
        data = json.loads(line)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def _token(data: t.Any) -> Token | None:
    """A token; one of term 0 means that there is none."""
    if data is None:
        return None
    epoch, term = data
    return (int(epoch), int(term)) if term else None


def terms(events: t.Iterable[Event]) -> list[Term]:
    """What each session did with each token that it led by, in the order of their beginnings."""
    grouped: dict[tuple[str, str, Token], list[Event]] = {}
    for event in events:
        if event.token is not None:
            grouped.setdefault((event.resource, event.session, event.token), []).append(event)
    found = [_term(*key, sorted(group, key=lambda one: one.at)) for key, group in grouped.items()]
    return sorted(found, key=lambda one: one.begun)


def _term(resource: str, session: str, token: Token, events: t.Sequence[Event]) -> Term:
    until = max((one.until for one in events if one.until is not None), default=events[-1].at)
    ends = [one.at for one in events if one.event in ("released", "lost")]
    # who was stopped says late that the lease is lost, and who loses it early believes in it no more
    believed = min([until, *ends])
    closed = bool(ends) or any(one.event == "renewed" for one in events)
    first = events[0]
    granted = first.at if first.until is None else first.until
    return Term(resource, session, token, first.at, granted, believed, closed, tuple(one.line for one in events))


def check(
    events: t.Sequence[Event],
    batches: t.Sequence[Batch],
    *,
    slack: float,
    ttl: float = 0.0,
    outages: t.Sequence[Outage] = (),
    foreign: t.Collection[Token] = (),
) -> list[Violation]:
    """Every violation that the history shows.

    Args:
        events: of all agents.
        batches: of all hypervisors, those of each in the order of its log.
        slack: seconds for which a batch that was sent within the lease may be on its way: op_timeout.
        ttl: seconds of a lease. It begins before its session says so: what it gives back to voters that have lost
            their memory is sent in between.
        outages: when no majority could be reached.
        foreign: tokens of runs that keep no journal, such as a person's.
    """
    led = terms(events)
    return [
        *_one_session_per_token(led),
        *_no_overlap(led),
        *_no_lower_token(batches),
        *_within_a_lease(led, batches, slack, ttl, frozenset(foreign)),
        *_none_without_majority(batches, outages, slack),
    ]


def _one_session_per_token(led: t.Sequence[Term]) -> t.Iterator[Violation]:
    """I1."""
    for one, other in itertools.combinations(led, 2):
        if (one.resource, one.token) == (other.resource, other.token):
            what = f"{one.resource}: token {list(one.token)} is of {one.session} and of {other.session}"
            yield Violation("I1", what, (*one.lines, *other.lines))


def _no_overlap(led: t.Sequence[Term]) -> t.Iterator[Violation]:
    """I2; for a session that was killed its lease counts as far as it is known to reach."""
    for one, other in itertools.combinations(led, 2):
        if one.resource != other.resource or one.session == other.session:
            continue
        both = min(one.believed, other.believed) - max(one.begun, other.begun)
        if both > _ROUNDING:
            what = f"{one.resource}: {one.session} and {other.session} both led for {both:.3f} s"
            yield Violation("I2", what, (*one.lines, *other.lines))


def _no_lower_token(batches: t.Sequence[Batch]) -> t.Iterator[Violation]:
    """I3."""
    highest: dict[tuple[str, str], Batch] = {}
    for batch in batches:
        if not batch.accepted:
            continue
        before = highest.setdefault((batch.hypervisor, batch.resource), batch)
        if batch.token < before.token:
            what = f"{batch.hypervisor} accepted {list(batch.token)} for {batch.resource} after {list(before.token)}"
            yield Violation("I3", what, (before.line, batch.line))
        else:
            highest[batch.hypervisor, batch.resource] = batch


def _within_a_lease(
    led: t.Sequence[Term], batches: t.Sequence[Batch], slack: float, ttl: float, foreign: t.Collection[Token]
) -> t.Iterator[Violation]:
    """I6, first half."""
    known: dict[tuple[str, Token], list[Term]] = {}
    for term in led:
        known.setdefault((term.resource, term.token), []).append(term)
    for batch in batches:
        if not batch.accepted or batch.token in foreign:
            continue
        where = f"{batch.hypervisor} accepted {list(batch.token)} for {batch.resource}"
        holders = known.get((batch.resource, batch.token))
        if holders is None:
            yield Violation("I6", f"{where}, and nobody says to have held it", (batch.line,))
            continue
        late, nearest = min(
            ((_outside(led, term, batch.at, slack, ttl), term) for term in holders), key=lambda pair: pair[0]
        )
        if late > _ROUNDING:
            yield Violation("I6", f"{where} {late:.3f} s outside the lease", (*nearest.lines, batch.line))


def _outside(led: t.Sequence[Term], term: Term, at: float, slack: float, ttl: float) -> float:
    """Seconds by which a moment is too early or too late for a term; not above 0 within it."""
    end = term.believed if term.closed else _next_begin(led, term)
    return max((min(term.begun, term.granted - ttl) if ttl else term.begun) - at, at - end - slack)


def _next_begin(led: t.Sequence[Term], term: Term) -> float:
    """Until when at most a session led that was killed before it could write down the end."""
    after = (one.begun for one in led if one.resource == term.resource and one.token > term.token)
    return max(term.believed, min(after, default=math.inf))


def _none_without_majority(
    batches: t.Sequence[Batch], outages: t.Sequence[Outage], slack: float
) -> t.Iterator[Violation]:
    """I6, second half: a lease from before the outage lasts for one ttl of it."""
    for outage, batch in itertools.product(outages, batches):
        if batch.accepted and batch.resource == outage.resource:
            begun = outage.since + outage.ttl + slack
            if begun < batch.at <= outage.until:
                what = f"{batch.hypervisor} accepted {list(batch.token)} for {batch.resource} without a majority"
                yield Violation("I6", f"{what} since {batch.at - outage.since:.3f} s", (batch.line,))
