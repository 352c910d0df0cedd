# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The status document as a table for terminals."""

from __future__ import annotations

import collections
import typing as t

from .._model.health import DOMAIN, REACH
from .document import SILENT, Given, leads
from .text import counted, day_and_time, lasting, plain
from .words import say, term, who

_HEAD = ("MEMBER", "ROLE", "HYPERVISOR", "ADDRESS", "STATE", "VERDICT", "SERVICES")
#: a column gets no wider, except for the last one
_WIDEST = 40
_LAST_EVENTS = 5


def lines(document: Given) -> t.Iterator[str]:
    """The lines of the table, without line ends."""
    name = plain(document["resource"])
    yield f"{name}: {document['verdict']}" + (f", {plain(document['cause'])}" if document["cause"] else "")
    yield (
        f"asked for {plain(document['desired'])}, generation {plain(document['generation'])}, looked at "
        f"{day_and_time(document['at'])}"
    )
    yield _leader(document["leader"])
    for each in document["hypervisors"]:
        if each["state"] == SILENT:
            yield f"hypervisor {plain(each['name'])} is silent: {plain(each['why'] or 'it does not answer')}"
        elif each["maintenance"]:
            yield f"hypervisor {plain(each['name'])} is in maintenance"
    yield ""
    yield from _table([_HEAD, *(_row(document, member) for member in document["members"])])
    yield from _jobs(document)
    yield from _latest(document)


def _leader(leader: Given | None) -> str:
    if leader is None:
        return "nobody leads"
    since = f" for {lasting(leader['since_s'])}" if leader["since_s"] is not None else ""
    number = term(leader)
    return f"{plain(leader['node'])} leads{since}" + (f", token {number}" if number else "")


def _row(document: Given, member: Given) -> tuple[str, ...]:
    return (
        plain(member["name"]) + ("*" if leads(document, member) else ""),
        ",".join(map(plain, member["roles"])),
        plain(member["hypervisor"] or "-"),
        plain(member["address"] or "-"),
        plain(member["state"]),
        plain(member["verdict"]),
        services(member),
    )


def services(member: Given) -> str:
    """The signs in a line: names that are well, and in words what is not."""
    said = []
    for sign in member["signs"]:
        name = plain(sign["name"] or sign["sign"])
        if sign["ok"] is None:
            said.append(f"{name}?")
        elif not sign["ok"]:
            said.append(f"{name}: {plain(sign['detail'])}")
        elif sign["sign"] not in (DOMAIN, REACH):  # the columns before say it
            said.append(f"{name} ok")
    if not said and member["cause"]:
        return plain(member["cause"])
    return ", ".join(said) or "-"


def _table(rows: t.Sequence[t.Sequence[str]]) -> t.Iterator[str]:
    widths = [min(_WIDEST, max(len(row[column]) for row in rows)) for column in range(len(_HEAD) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        yield " ".join([*cells, row[-1]]).rstrip()


def _jobs(document: Given) -> t.Iterator[str]:
    if document["jobs"] is None:
        return
    states = collections.Counter(plain(job["state"]) for job in document["jobs"])
    words = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    left_out = document["jobs_total"] - len(document["jobs"])
    yield ""
    yield "jobs: " + (words or "none") + (f", and {left_out} more" if left_out else "")


def _latest(document: Given) -> t.Iterator[str]:
    if document["repairs"]:
        yield ""
        yield counted(len(document["repairs"]), "repair") + ", the latest ones:"
        for repair in document["repairs"][-_LAST_EVENTS:]:
            # one of an earlier leader's has no outcome that is known
            ended = f": {plain(repair['outcome'])}" if repair["outcome"] else ""
            what = f"{plain(repair['action'])} of {plain(repair['member'])}{ended}"
            yield f"  {day_and_time(repair['at'])}  {what}, because {plain(repair['reason'])}"
    if document["events"]:
        yield ""
        yield "latest events:"
        for event in document["events"][-_LAST_EVENTS:]:
            words = (day_and_time(event.get("wall")), plain(event.get("event")), who(event), say(event))
            yield "  " + "  ".join(word for word in words if word)
