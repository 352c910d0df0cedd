# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The status document, and what is made of it for terminals and for Prometheus."""

from __future__ import annotations

import json
import re
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.health import VERDICTS
from ansible_collections.ensemble.stacks.plugins.module_utils._status import document as documents
from ansible_collections.ensemble.stacks.plugins.module_utils._status import text, words
from ansible_collections.ensemble.stacks.plugins.module_utils._status.metrics import metrics
from ansible_collections.ensemble.stacks.plugins.module_utils._status.table import lines
from harness.documents import AT, HOSTILE, NOW, event, failing, healthy, hostile, many

#: a line of the text format: a name, labels whose values have only known escapes, and a number
SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (-?[0-9.]+(?:e[+-]?[0-9]+)?)')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')


def samples(document: dict[str, t.Any]) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Metrics by name, read as strictly as Prometheus does; every family has its HELP and TYPE first, once."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    announced: list[str] = []
    told = metrics(document)
    assert told.endswith("\n")
    for line in told[:-1].split("\n"):
        if line.startswith("# "):
            announced.append(" ".join(line.split(" ")[1:3]))
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        assert announced[-2:] == [f"HELP {match[1]}", f"TYPE {match[1]}"]
        found.setdefault(match[1], []).append((dict(LABEL.findall(match[2])), float(match[3])))
    assert len(announced) == len(set(announced)) == 2 * len(found)
    return found


def test_the_document_is_plain_data_that_says_all() -> None:
    found = failing()
    assert json.loads(json.dumps(found)) == found
    assert (found["format"], found["at"], found["resource"], found["verdict"]) == (1, AT, "mytorque", "failed")
    assert found["counts"] == {**dict.fromkeys(VERDICTS, 0), "healthy": 2, "failed": 1, "unknown": 1, "starting": 1}
    assert found["repairs_total"] == {
        "restart_unit": {"done": 1},
        "restart": {"failed": 1},
        "recreate": {"refused": 1},
        "start": {"done": 1},
    }
    assert found["jobs_total"] == 3


def test_hypervisors_that_nobody_listed_are_there() -> None:
    health = {key: value for key, value in many(3, 3, {}).items() if key in ("resource", "desired", "generation")}
    members = many(3, 3, {})["members"]
    given = {**health, "verdict": "unknown", "cause": "", "members": members, "silent": {"hv3": "why", "hv9": "gone"}}
    found = documents.build(given, AT, hypervisors=[{"name": "hv3", "address": "a", "state": "answers"}])
    states = [(each["name"], each["state"], each["why"]) for each in found["hypervisors"]]
    assert states == [
        ("hv3", "silent", "why"),
        ("hv1", "answers", None),
        ("hv2", "answers", None),
        ("hv9", "silent", "gone"),
    ]
    assert found["leader"] is None
    assert found["jobs"] is None


def test_members_without_a_hypervisor_come_last() -> None:
    found = failing()
    found["members"][0]["hypervisor"] = None
    places = documents.places(found)
    assert [each and each["name"] for each, members in places] == ["hv1", "hv2", "hv3", None]
    assert [member["member"] for member in places[-1][1]] == ["head-0"]
    assert sum(len(members) for each, members in places) == 5


def test_the_document_is_bounded() -> None:
    base = failing()
    health = {**base, "silent": {}, "jobs": base["jobs"] * 400}
    found = documents.build(
        health, AT, events=[event(1, "free", number=n) for n in range(999)], repairs=base["repairs"] * 99
    )
    assert (len(found["events"]), found["events"][-1]["number"]) == (documents.MOST_EVENTS, 998)
    assert len(found["repairs"]) == documents.MOST_REPAIRS
    assert (len(found["jobs"]), found["jobs_total"]) == (documents.MOST_JOBS, 1200)
    assert found["repairs_total"]["start"]["done"] == 99


def test_a_verdict_of_a_later_version_is_shown_as_unknown() -> None:
    base = failing()
    health = {**base, "silent": {}, "verdict": "brilliant", "members": [{**base["members"][0], "verdict": "brilliant"}]}
    found = documents.build(health, AT)
    assert (found["verdict"], found["members"][0]["verdict"], found["counts"]["unknown"]) == ("unknown", "unknown", 1)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (AT, NOW),
        ("2026-05-04T15:07:12.250+02:00", NOW),
        ("2026-05-04T13:07:12.250", NOW),
        (NOW, NOW),
        ("yesterday", None),
        (None, None),
        (True, None),
    ],
)
def test_moments(given: t.Any, seconds: float | None) -> None:
    assert text.seconds_of(given) == seconds
    if seconds is not None:
        assert text.iso(seconds) == AT
        assert text.day_and_time(given) == "2026-05-04 13:07:12 UTC"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.44, "0.4 s"),
        (9.0, "9 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (7500, "2 h 5 min"),
        (273600, "3 d 4 h"),
        (-3, "0 s"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert text.lasting(seconds) == shown


def test_no_text_steers_a_terminal() -> None:
    shown = text.plain(HOSTILE)
    assert shown.isprintable()
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert len(text.plain("a" * 9999)) == text.LONGEST
    for line in lines(hostile()):
        assert line.isprintable()
        line.encode()


def test_the_table() -> None:
    found = list(lines(failing()))
    assert found[0].startswith("mytorque: failed, compute-1 failed: slurmd is not active")
    assert found[1] == "asked for started, generation 7, looked at 2026-05-04 13:07:12 UTC"
    assert found[2] == "mytorque-head-0 leads for 18 min, token 1,4"
    assert "hypervisor hv3 is silent: no answer from 172.30.0.4 port 22" in found
    rows = {line.split(" ")[0]: line for line in found if line.startswith("mytorque-")}
    assert rows["mytorque-head-0*"].endswith("running healthy  munge ok, slurmctld ok, slurm ok")
    assert rows["mytorque-compute-1"].endswith(
        "munge ok, slurmd: failed (Result: exit-code), tcp:6818: connection refused"
    )
    assert "jobs: 1 PENDING, 2 RUNNING" in found
    assert any("restart of compute-1: failed, because slurmd failed again" in line for line in found)
    document = failing()
    earlier = [{**repair, "outcome": ""} for repair in document["repairs"]]
    assert any("restart of compute-1, because slurmd" in line for line in lines({**document, "repairs": earlier}))
    assert list(lines({**healthy(), "leader": None}))[2] == "nobody leads"


def test_metrics_are_state_sets() -> None:
    found = samples(failing())
    states = {labels["verdict"]: value for labels, value in found["ensemble_resource_verdict"]}
    assert states == {**dict.fromkeys(VERDICTS, 0.0), "failed": 1.0}
    assert {labels["resource"] for family in found.values() for labels, value in family} == {"mytorque"}
    one = {
        labels["verdict"]: value
        for labels, value in found["ensemble_member_verdict"]
        if labels["member"] == "compute-2"
    }
    assert one == {**dict.fromkeys(VERDICTS, 0.0), "unknown": 1.0}
    assert len(found["ensemble_member_verdict"]) == 5 * len(VERDICTS)
    assert {labels["verdict"]: value for labels, value in found["ensemble_members"]}["healthy"] == 2
    assert [(labels["hypervisor"], value) for labels, value in found["ensemble_hypervisor_up"]] == [
        ("hv1", 1),
        ("hv2", 1),
        ("hv3", 0),
    ]
    assert found["ensemble_leader"] == [({"resource": "mytorque", "node": "mytorque-head-0"}, 1)]
    assert found["ensemble_leader_term"] == [({"resource": "mytorque"}, 4)]
    assert ({"resource": "mytorque", "action": "restart", "outcome": "failed"}, 1) in found["ensemble_repairs_total"]
    assert found["ensemble_last_look_timestamp_seconds"] == [({"resource": "mytorque"}, NOW)]
    assert found["ensemble_look_seconds"] == [({"resource": "mytorque"}, 0.84)]
    assert ({"resource": "mytorque", "state": "running"}, 2) in found["ensemble_jobs"]


def test_metrics_without_a_leader_say_so() -> None:
    found = samples({**healthy(), "leader": None, "look_s": None})
    assert found["ensemble_leader"] == [({"resource": "mytorque", "node": ""}, 0)]
    assert not {"ensemble_leader_term", "ensemble_look_seconds", "ensemble_repairs_total"} & set(found)


def test_labels_are_escaped() -> None:
    found = samples(hostile())
    labels = found["ensemble_member_info"][0][0]
    assert labels["member"].startswith("\\\"'><script>")
    assert labels["member"].endswith("\\\\")


@pytest.mark.parametrize(
    ("told", "said", "tone"),
    [
        (event(1, "elected"), "leads from now on", "good"),
        (event(1, "free"), "nobody leads", "neutral"),
        (event(1, "follows", leader="b/1/2", holder="h"), "b leads (h)", "neutral"),
        (event(1, "lost", why="lost"), "lost the lease", "bad"),
        (event(1, "released", why="wanted"), "gave the lease back: a person wanted it", "neutral"),
        (
            event(1, "run_ended", run=2, code=0, seconds=2.5, ended_by=None),
            "run 2 ended with exit status 0 after 2.5 s",
            "neutral",
        ),
        (
            event(1, "run_ended", run=2, code=1, seconds=2, ended_by=None),
            "run 2 ended with exit status 1 after 2 s",
            "bad",
        ),
        (event(1, "verdict", member="m", verdict="failed", cause="c"), "m is failed: c", "bad"),
        (event(1, "verdict", member="m", verdict="healthy", cause=""), "m is healthy", "good"),
        (event(1, "no_quorum", msg="1 of 3"), "1 of 3", "bad"),
        (event(1, "run_ended"), "", "neutral"),
        (event(1, "what_comes", depth=3), "depth 3", "neutral"),
        ({}, "", "neutral"),
    ],
)
def test_events_in_words(told: dict[str, t.Any], said: str, tone: str) -> None:
    assert (words.say(told), words.tone(told)) == (said, tone)


def test_who_led_when() -> None:
    found = words.terms(failing()["events"], NOW)
    assert [(term.node, round(term.seconds)) for term in found] == [
        ("mytorque-compute-2", 2438),
        ("", 30),
        ("mytorque-head-0", 1130),
    ]
    assert words.terms([{"event": "elected", "node": "a"}], NOW) == []
    again = [event(90, "elected", "a"), event(50, "released", "a"), event(40, "lost", "a"), event(30, "elected", "a")]
    again.append(event(20, "follows", "b", leader="a/1/2", holder="h"))
    assert [(term.node, round(term.seconds)) for term in words.terms(again, NOW)] == [("a", 40), ("", 20), ("a", 30)]
