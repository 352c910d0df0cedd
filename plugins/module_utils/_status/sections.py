# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The parts of the page that are told in tables and lists."""

from __future__ import annotations

import collections
import typing as t

from .._model.health import DOMAIN, HEALTHY, REACH, STOPPED
from .document import Given, leads
from .marks import URGENCY
from .markup import icon, moment, pill, star, table, text
from .picture import anchor, leader_strip
from .text import clock_time, counted, day_and_time, lasting, plain, seconds_of
from .words import BAD, GOOD, say, term, terms, tone, who

#: well members beyond this number are folded away, so that the others are found
_UNFOLDED = 24
_QUIET = (HEALTHY, STOPPED)
_MEMBER_HEAD = ("Member", "Verdict", "Cause and services", "Hypervisor", "Address", "State")
_SHOWN_EVENTS, _SHOWN_JOBS = 60, 60
_NONE = "\N{EN DASH}"


def members(document: Given) -> str:
    """The table of members, the worst first."""
    ordered = sorted(document["members"], key=lambda member: URGENCY.index(member["verdict"]))
    quiet = [member for member in ordered if member["verdict"] in _QUIET]
    if len(quiet) <= _UNFOLDED:
        return _member_table(document, ordered, "Members, the worst first") if ordered else _empty("It has no members.")
    loud = [member for member in ordered if member["verdict"] not in _QUIET]
    first = _member_table(document, loud, "Members that need a look") if loud else ""
    return (
        f'{first}<details id="quiet"><summary>{counted(len(quiet), "member")} as they should be</summary>'
        f"{_member_table(document, quiet, 'Members as they should be')}</details>"
    )


def _member_table(document: Given, those: t.Sequence[Given], caption: str) -> str:
    rows = (_member_row(document, member) for member in those)
    return table("members", caption, _MEMBER_HEAD, rows, (anchor(member) for member in those))


def _member_row(document: Given, member: Given) -> tuple[str, ...]:
    roles = "".join(f'<span class="role">{text(role)}</span>' for role in member["roles"])
    cause = f'<p class="cause">{text(member["cause"])}</p>' if member["cause"] else ""
    return (
        f'<span class="name">{text(member["name"])}{star() if leads(document, member) else ""}</span> {roles}',
        pill(member["verdict"]),
        cause + _signs(member["signs"], str(member["cause"] or "")) or '<span class="dim">nothing was asked</span>',
        text(member["hypervisor"] or _NONE),
        f"<code>{text(member['address'])}</code>" if member["address"] else _NONE,
        text(member["state"]),
    )


def _signs(signs: t.Sequence[Given], cause: str) -> str:
    """Every sign as a chip; what is not well says more, unless the cause said it already."""
    chips = []
    for sign in signs:
        kind = "na" if sign["ok"] is None else "ok" if sign["ok"] else "bad"
        glyph, word = {"ok": ("✓", "well"), "bad": ("✕", "not well"), "na": ("?", "not known")}[kind]
        name = sign["sign"] if sign["sign"] in (DOMAIN, REACH) or not sign["name"] else sign["name"]
        detail = plain(sign["detail"])
        more = f" <small>{text(detail, 160)}</small>" if kind != "ok" and detail and detail not in cause else ""
        hint = f"{detail}, took {lasting(sign['seconds'])}" if detail else f"took {lasting(sign['seconds'])}"
        chips.append(
            f'<li class="{kind}" title="{text(hint)}"><i aria-hidden="true">{glyph}</i><span class="sr">{word}: </span>'
            f"{text(name, 80)}{more}</li>"
        )
    return f'<ul class="signs">{"".join(chips)}</ul>' if chips else ""


def jobs(document: Given) -> str:
    """The jobs of the batch system, where it has one."""
    found = document["jobs"]
    if found is None:
        return ""
    states = collections.Counter(plain(job["state"]) for job in found)
    total = "".join(f"<li><b>{number}</b> {text(state)}</li>" for state, number in states.most_common())
    now = seconds_of(document["at"]) or 0.0
    rows = (
        (
            f"<code>{text(job['id'])}</code> {text(job['name'])}",
            text(job["user"]),
            f'<span class="job">{text(job["state"])}</span>',
            text(job["nodes"] or _NONE),
            _job_time(job, now),
        )
        for job in found[:_SHOWN_JOBS]
    )
    shown = table("jobs", "Jobs", ("Job", "User", "State", "Nodes", "Time"), rows) if found else _empty("No jobs.")
    left_out = document["jobs_total"] - min(len(found), _SHOWN_JOBS)
    more = f'<p class="dim">and {left_out} more</p>' if left_out > 0 else ""
    return f'<section id="jobs"><h2>Jobs</h2><ul class="totals">{total}</ul>{shown}{more}</section>'


def _job_time(job: Given, now: float) -> str:
    if job["started"]:
        return f"runs for {lasting(max(0.0, now - job['started']))}"
    return f"waits for {lasting(max(0.0, now - job['submitted']))}" if job["submitted"] else _NONE


def repairs(document: Given) -> str:
    """What was tried, and what came of it, the latest first."""
    rows = (
        (
            moment(repair["at"], clock_time(repair["at"])),
            text(repair["member"]),
            text(repair["action"]),
            _outcome(repair["outcome"]),
            text(repair["reason"]),
            _NONE if repair["seconds"] is None else text(lasting(repair["seconds"])),
        )
        for repair in reversed(document["repairs"])
    )
    if not document["repairs"]:
        return '<section id="repairs"><h2>Repairs</h2>' + _empty("Nothing had to be repaired.") + "</section>"
    head = ("At (UTC)", "Member", "Action", "Outcome", "Reason", "Took")
    return (
        f'<section id="repairs"><h2>Repairs</h2>{table("repairs", "Repairs, the latest first", head, rows)}</section>'
    )


def _outcome(word: t.Any) -> str:
    known = {"failed": "bad", "refused": "bad", "done": "ok", "healed": "ok", "ok": "ok"}.get(str(word), "na")
    return f'<span class="outcome {known}">{text(word)}</span>'


def timeline(document: Given) -> str:
    """Who led when, and what happened, the latest first."""
    now = seconds_of(document["at"])
    strip = leader_strip(terms(document["events"], now)) if now is not None else ""
    items, day = [], ""
    for event in list(reversed(document["events"]))[:_SHOWN_EVENTS]:
        today = day_and_time(event.get("wall"))[:10]
        if today != day:
            items.append(f'<li class="day">{text(today)}</li>')
            day = today
        items.append(_event(event))
    told = f'<ol class="events" reversed>{"".join(items)}</ol>' if items else _empty("Nothing happened yet.")
    return f'<section id="events"><h2>Timeline</h2>{strip}{told}</section>'


def _event(event: Given) -> str:
    kind = {GOOD: "ok", BAD: "bad"}.get(tone(event), "na")
    number = term(event)
    more = f' <span class="dim">term {text(number)}</span>' if number else ""
    return (
        f'<li class="{kind}">{moment(event.get("wall"), clock_time(event.get("wall")))} '
        f"<b>{text(event.get('event'))}</b> "
        f'<span class="node">{text(who(event))}</span>{more}<p>{text(say(event))}</p></li>'
    )


def banner(document: Given) -> str:
    """The resource's verdict and its cause."""
    verdict = document["verdict"]
    cause = document["cause"] or "All is as it was asked for."
    return (
        f'<section class="banner v-{verdict}" id="verdict" aria-label="Verdict">{icon(verdict)}<div><h2>'
        f"{text(verdict)}</h2><p>{text(cause)}</p></div></section>"
    )


def facts(document: Given, age_s: float) -> str:
    """What fits into a line of figures."""
    leader, found = document["leader"], document["hypervisors"]
    up = sum(each["state"] == "answers" for each in found)
    healthy = document["counts"][HEALTHY]
    led = "nobody" if leader is None else text(leader["node"])
    since = "" if leader is None or leader["since_s"] is None else f"for {text(lasting(leader['since_s']))}, "
    number = "" if leader is None else f"{since}term {text(term(leader) or _NONE)}"
    took = "" if document["look_s"] is None else f", took {text(lasting(document['look_s']))}"
    entries = (
        ("Leader", (star() if leader else "") + led, number or "no one converges it"),
        ("Members", f"{healthy} of {len(document['members'])}", "healthy"),
        ("Hypervisors", f"{up} of {len(found)}", "answer"),
        ("Asked for", text(document["desired"]), f"generation {text(document['generation'])}"),
        (
            "Looked at",
            f'<span id="age" data-age="{max(0.0, age_s):.0f}">{lasting(round(max(0.0, age_s)))} ago</span>',
            f"{moment(document['at'], day_and_time(document['at']))}{took}",
        ),
    )
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>" for name, value, more in entries)
    return f'<dl class="figures">{cells}</dl>'


def _empty(words: str) -> str:
    return f'<p class="empty">{words}</p>'
