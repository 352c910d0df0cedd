# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The status document: one look at a resource and what led to it, as plain data for pages, programs and archives."""

from __future__ import annotations

import collections
import typing as t

from .._model.health import UNKNOWN, VERDICTS

#: of the document's own shape; a field that goes or changes its meaning raises it, one more does not
FORMAT = 1
#: the latest ones are kept
MOST_EVENTS, MOST_REPAIRS, MOST_JOBS = 200, 100, 500
ANSWERS, SILENT = "answers", "silent"
_HYPERVISOR = ("name", "address", "state", "why", "maintenance", "memory_mb", "vcpus")
_REPAIR = ("at", "member", "action", "reason", "outcome", "seconds")
_LEADER = ("node", "holder", "token", "since_s")

Plain = t.Dict[str, t.Any]
Given = t.Mapping[str, t.Any]


def build(
    health: Given,
    at: str,
    leader: Given | None = None,
    hypervisors: t.Iterable[Given] = (),
    events: t.Sequence[Given] = (),
    repairs: t.Sequence[Given] = (),
    repairs_total: t.Mapping[str, t.Mapping[str, int]] | None = None,
    look_s: float | None = None,
    interval_s: float | None = None,
) -> Plain:
    """The document.

    Args:
        health: `Health.as_dict()`.
        at: wall time of the look, ISO 8601.
        leader: node, holder, token, since_s; None: nobody leads.
        hypervisors: name, address, state (`answers`, `silent`), why, maintenance, memory_mb, vcpus.
        events: lines of the agent's journal, the oldest first.
        repairs: at, member, action, reason, outcome, seconds; the oldest first.
        repairs_total: action -> outcome -> how many there were in this term; by default those of `repairs`, which is
            right as long as none of them was left out.
        look_s: how long the look took.
        interval_s: seconds between two looks.
    """
    members = [{**member, "verdict": _verdict(member["verdict"])} for member in health["members"]]
    jobs = health.get("jobs")
    kept = [{key: repair.get(key) for key in _REPAIR} for repair in repairs]
    return {
        "format": FORMAT,
        "at": at,
        "look_s": None if look_s is None else round(look_s, 3),
        "interval_s": interval_s,
        "resource": health["resource"],
        "desired": health["desired"],
        "generation": health["generation"],
        "verdict": _verdict(health["verdict"]),
        "cause": health["cause"],
        "counts": counts(members),
        "leader": None if not leader else {key: leader.get(key) for key in _LEADER},
        "hypervisors": _hypervisors(hypervisors, members, health.get("silent") or {}),
        "members": members,
        "jobs": None if jobs is None else [dict(job) for job in jobs[:MOST_JOBS]],
        "jobs_total": None if jobs is None else len(jobs),
        "repairs": kept[-MOST_REPAIRS:],
        "repairs_total": _totals(kept)
        if repairs_total is None
        else {key: dict(of) for key, of in repairs_total.items()},
        "events": [dict(event) for event in list(events)[-MOST_EVENTS:]],
    }


def counts(members: t.Iterable[Given]) -> dict[str, int]:
    """Verdict -> how many members have it; every verdict is there."""
    found = collections.Counter(member["verdict"] for member in members)
    return {verdict: found[verdict] for verdict in VERDICTS}


def leads(document: Given, member: Given) -> bool:
    """Whether this member is the leader."""
    leader = document["leader"]
    return bool(leader) and leader["node"] in (member["name"], member["member"])


def places(document: Given) -> list[tuple[Plain | None, list[Plain]]]:
    """Every hypervisor with its members, and at last, under None, the members that are on none."""
    on: dict[str | None, list[Plain]] = {}
    for member in document["members"]:
        on.setdefault(member.get("hypervisor") or None, []).append(member)
    found: list[tuple[Plain | None, list[Plain]]] = [
        (each, on.pop(each["name"], [])) for each in document["hypervisors"]
    ]
    rest = [member for members in on.values() for member in members]
    return found + ([(None, rest)] if rest else [])


def _verdict(word: t.Any) -> str:
    """One of ours: a document of a later version must not break a page."""
    return word if word in VERDICTS else UNKNOWN


def _hypervisors(given: t.Iterable[Given], members: t.Iterable[Given], silent: t.Mapping[str, str]) -> list[Plain]:
    """All that are known of; one that a member is on or that was silent is shown even if nobody listed it."""
    found = {each["name"]: {key: each.get(key) for key in _HYPERVISOR} for each in given}
    named = {member["hypervisor"] for member in members if member.get("hypervisor")} | set(silent)
    for name in sorted(named - set(found)):
        found[name] = {**dict.fromkeys(_HYPERVISOR), "name": name}
    for name, each in found.items():
        if name in silent:
            each.update(state=SILENT, why=each["why"] or silent[name])
        each["state"] = SILENT if each["state"] == SILENT else ANSWERS
        each["maintenance"] = bool(each["maintenance"])
    return list(found.values())


def _totals(repairs: t.Iterable[Given]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for repair in repairs:
        outcomes = found.setdefault(str(repair["action"]), {})
        outcomes[str(repair["outcome"])] = outcomes.get(str(repair["outcome"]), 0) + 1
    return found
