# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The picture: hypervisors as boxes with their members in them, which flow into whatever room there is."""

from __future__ import annotations

import re
import typing as t

from .document import ANSWERS, Given, leads, places
from .marks import MARKS, URGENCY, mark_of
from .markup import icon, star, text
from .text import counted, lasting

#: most members on one hypervisor -> how large the tiles of the picture are
_SIZES = ((6, "large"), (20, "medium"), (48, "small"))
#: of the bar, for a verdict that any member has
_LEAST_SHARE = 0.015
_LAST_NUMBER = re.compile(r"(\d+)$")


def picture(document: Given) -> str:
    """All hypervisors, and what is on none of them."""
    found = places(document)
    most = max((len(members) for each, members in found), default=0)
    size = next((name for most_of_it, name in _SIZES if most <= most_of_it), "tiny")
    boxes = "".join(_box(document, each, members, size) for each, members in found)
    return f'<div class="pool {size} n{min(len(found), 4)}">{boxes}</div>'


def shares(document: Given) -> str:
    """A bar of the members' verdicts, and the legend with their numbers."""
    numbers = document["counts"]
    # one of five hundred must be seen, too
    least = len(document["members"]) * _LEAST_SHARE
    widths = {verdict: max(numbers[verdict], least) for verdict in reversed(URGENCY) if numbers[verdict]}
    parts, begun = [], 0.0
    for verdict, share in widths.items():
        width = 1000.0 * share / sum(widths.values())
        parts.append(f'<rect class="v-{verdict}" x="{begun:.2f}" y="0" width="{width:.2f}" height="12"/>')
        begun += width
    said = ", ".join(f"{numbers[verdict]} {mark_of(verdict).word}" for verdict in URGENCY if numbers[verdict])
    strip = (
        '<svg class="bar" viewBox="0 0 1000 12" preserveAspectRatio="none" role="img"><title>Members by verdict</title>'
        f"<desc>{said or 'no members'}</desc>{''.join(parts)}</svg>"
    )
    legend = "".join(
        f'<li class="{"has" if numbers[verdict] else "none"}">{icon(verdict)}<b>{numbers[verdict]}</b> '
        f"{MARKS[verdict].word}</li>"
        for verdict in reversed(URGENCY)
    )
    return f'{strip}<ul class="legend" aria-label="Members by verdict">{legend}</ul>'


def anchor(member: Given) -> str:
    """Where the table tells of a member."""
    return "m-" + re.sub(r"[^A-Za-z0-9_-]", "_", str(member["member"]))


def _box(document: Given, hypervisor: Given | None, members: t.Sequence[Given], size: str) -> str:
    if hypervisor is None:
        facts = '<p class="facts">not placed yet, or provided by somebody else</p>'
        head = f"<header><h3>on no hypervisor</h3>{facts}</header>"
        return f'<section class="box nowhere">{head}{_groups(document, members, size)}</section>'
    silent = hypervisor["state"] != ANSWERS
    word = "silent" if silent else "maintenance" if hypervisor["maintenance"] else "answers"
    worst = next((each for each in URGENCY if any(member["verdict"] == each for member in members)), None)
    desc = f"{word}; {counted(len(members), 'member')}" + (f", the worst one {mark_of(worst).word}" if worst else "")
    rack = (
        f'<svg class="rack-icon" viewBox="0 0 24 24" role="img"><title>hypervisor {text(hypervisor["name"])}</title>'
        f'<desc>{desc}</desc><use href="#rack"/></svg>'
    )
    why = f'<p class="why">{text(hypervisor["why"] or "it does not answer")}</p>' if silent else ""
    return (
        f'<section class="box {word}"><header>{rack}<div><h3>{text(hypervisor["name"])}</h3>'
        f'<p class="facts">{_facts(hypervisor, len(members))}</p>{why}</div><span class="state {word}">{word}</span>'
        f"</header>{_groups(document, members, size)}</section>"
    )


def _facts(hypervisor: Given, number: int) -> str:
    facts = [text(hypervisor["address"])] if hypervisor["address"] else []
    facts += [f"{text(hypervisor['vcpus'])} CPUs"] if hypervisor["vcpus"] else []
    memory = hypervisor["memory_mb"]
    if isinstance(memory, (int, float)) and memory:
        facts.append(f"{memory / 1024:.3g} GiB" if memory >= 1024 else f"{memory:.0f} MiB")
    return " · ".join(f"<span>{fact}</span>" for fact in [*facts, counted(number, "member")])


def _groups(document: Given, members: t.Sequence[Given], size: str) -> str:
    """The tiles; small ones, which show no more than a number, are grouped by role."""
    if not members:
        return '<p class="empty">no members here</p>'
    if size in ("large", "medium"):
        return _tiles(document, members, size)
    roles: dict[str, list[Given]] = {}
    for member in members:
        roles.setdefault(", ".join(member["roles"]), []).append(member)
    return "".join(
        f'<div class="group"><h4>{text(role)} <span>{len(those)}</span></h4>{_tiles(document, those, size)}</div>'
        for role, those in roles.items()
    )


def _tiles(document: Given, members: t.Sequence[Given], size: str) -> str:
    return '<ul class="tiles">' + "".join(_tile(document, member, size) for member in members) + "</ul>"


def _tile(document: Given, member: Given, size: str) -> str:
    leader, mark = leads(document, member), mark_of(member["verdict"])
    title = f"{member['member']}: {mark.word}" + (", leader" if leader else "")
    if size == "large":
        shown = (
            f'<span class="name">{text(member["member"])}</span><span class="word">{mark.word}</span>'
            f'<span class="more">{text(", ".join(member["roles"]))}{_address(member)}</span>'
        )
    elif size == "medium":
        shown = f'<span class="name">{text(member["member"])}</span>'
    else:
        number = _LAST_NUMBER.search(str(member["member"]))
        shown = f'<span class="name" aria-hidden="true">{text(number[1] if number else member["member"])}</span>'
    return (
        f'<li><a class="tile v-{mark.verdict}{" leads" if leader else ""}" id="t-{anchor(member)[2:]}" '
        f'href="#{anchor(member)}" title="{text(title + _because(member))}">'
        f"{icon(member['verdict'], title, str(member['cause'] or ''))}{shown}{star() if leader else ''}</a></li>"
    )


def _address(member: Given) -> str:
    return f" · {text(member['address'])}" if member["address"] else ""


def _because(member: Given) -> str:
    return f" ({member['cause']})" if member["cause"] else ""


def leader_strip(terms: t.Sequence[t.Any]) -> str:
    """Who led when, as a strip of time; nobody is a gap."""
    total = sum(term.seconds for term in terms)
    if not total:
        return ""
    nodes = list(dict.fromkeys(term.node for term in terms if term.node))
    parts, begun = [], 0.0
    for term in terms:
        width = 1000.0 * term.seconds / total
        kind = f"l{nodes.index(term.node) % 5}" if term.node else "nobody"
        words = f"{term.node or 'nobody'} for {lasting(term.seconds)}"
        parts.append(
            f'<rect class="{kind}" x="{begun:.2f}" y="0" width="{max(width, 1.5):.2f}" height="18"><title>{text(words)}'
            "</title></rect>"
        )
        begun += width
    told = "; ".join(f"{term.node or 'nobody'} for {lasting(term.seconds)}" for term in terms[-20:])
    led = {node: sum(term.seconds for term in terms if term.node == node) for node in [*nodes, ""]}
    names = "".join(
        f'<li><i class="{f"l{nodes.index(node) % 5}" if node else "nobody"}"></i>{text(node or "nobody")} '
        f"<span>{lasting(seconds)}</span></li>"
        for node, seconds in led.items()
        if seconds
    )
    return (
        '<svg class="strip" viewBox="0 0 1000 18" preserveAspectRatio="none" role="img"><title>Who led when</title>'
        f'<desc>{text(told, 2000)}</desc>{"".join(parts)}</svg><ul class="leaders">{names}</ul>'
    )
