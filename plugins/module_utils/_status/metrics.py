# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The status document as metrics, in Prometheus' text format 0.0.4.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/; names after
https://prometheus.io/docs/practices/naming/: a prefix, base units, `_total` on what only grows, `_info` on what only
has labels. A verdict is a state set: one series for each verdict, of which exactly one is 1.
"""

from __future__ import annotations

import collections
import typing as t

from .._model.health import VERDICTS
from .document import ANSWERS, Given
from .text import plain, seconds_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GAUGE, COUNTER = "gauge", "counter"

Sample = t.Tuple[t.Mapping[str, t.Any], float]


def metrics(document: Given) -> str:
    """All families, each with its HELP and TYPE; one without samples is left out."""
    return "".join(_family(name, *family) for name, family in _families(document) if family[2])


def _families(document: Given) -> t.Iterator[tuple[str, tuple[str, str, list[Sample]]]]:
    of = {"resource": document["resource"]}
    members = document["members"]
    yield (
        "ensemble_resource_verdict",
        (GAUGE, "Verdict of the resource: 1 for the one that it has.", _states(of, document["verdict"])),
    )
    yield (
        "ensemble_members",
        (
            GAUGE,
            "Members by verdict.",
            [({**of, "verdict": key}, number) for key, number in document["counts"].items()],
        ),
    )
    labels = [{**of, "member": each["member"], "role": ",".join(each["roles"])} for each in members]
    states = [sample for label, each in zip(labels, members) for sample in _states(label, each["verdict"])]
    yield "ensemble_member_verdict", (GAUGE, "Verdict of a member: 1 for the one that it has.", states)
    yield "ensemble_member_info", (GAUGE, "Where a member is.", [(_info(of, each), 1) for each in members])
    yield (
        "ensemble_leader",
        (GAUGE, "1 for the node that leads; 0 with an empty node when nobody does.", _leader(document)),
    )
    yield "ensemble_leader_term", (GAUGE, "Term of the leader's fencing token.", _leader_term(document))
    yield (
        "ensemble_hypervisor_up",
        (
            GAUGE,
            "Whether a hypervisor of the pool answered the last look.",
            [({**of, "hypervisor": each["name"]}, each["state"] == ANSWERS) for each in document["hypervisors"]],
        ),
    )
    yield "ensemble_jobs", (GAUGE, "Jobs of the batch system by state.", _jobs(document))
    yield (
        "ensemble_repairs_total",
        (
            COUNTER,
            "Repairs by action and outcome since this leader was elected.",
            [
                ({**of, "action": action, "outcome": outcome}, number)
                for action, outcomes in document["repairs_total"].items()
                for outcome, number in outcomes.items()
            ],
        ),
    )
    at, took = seconds_of(document["at"]), document["look_s"]
    yield (
        "ensemble_last_look_timestamp_seconds",
        (GAUGE, "Wall time of the last look.", [] if at is None else [(of, at)]),
    )
    yield "ensemble_look_seconds", (GAUGE, "How long the last look took.", [] if took is None else [(of, took)])


def _states(labels: Given, verdict: str) -> list[Sample]:
    return [({**labels, "verdict": each}, each == verdict) for each in VERDICTS]


def _info(of: Given, member: Given) -> Given:
    named = {key: member[key] for key in ("member", "name", "hypervisor", "address", "state")}
    return {**of, **named, "role": ",".join(member["roles"])}


def _leader(document: Given) -> list[Sample]:
    leader = document["leader"]
    return [({"resource": document["resource"], "node": leader["node"] if leader else ""}, bool(leader))]


def _leader_term(document: Given) -> list[Sample]:
    token = (document["leader"] or {}).get("token")
    return [({"resource": document["resource"]}, token[1])] if token else []


def _jobs(document: Given) -> list[Sample]:
    states = collections.Counter(str(job["state"]).lower() for job in document["jobs"] or ())
    return [({"resource": document["resource"], "state": state}, number) for state, number in sorted(states.items())]


def _family(name: str, kind: str, words: str, samples: t.Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        shown = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        lines.append(f"{name}{{{shown}}} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(label: t.Any) -> str:
    return plain(label).replace("\\", "\\\\").replace('"', '\\"')


def _number(value: float) -> str:
    return repr(float(value)) if isinstance(value, float) and not value.is_integer() else str(int(value))
