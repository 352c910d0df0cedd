# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The history checker finds each broken promise, and none in a history that keeps them."""

from __future__ import annotations

import json
import typing as t

import pytest
from harness.history import Outage, UnreadableError, Violation, check, read_journal, read_token_log

TTL = 6.0
SLACK = 1.2


def journal(node: str, *events: tuple[t.Any, ...]) -> str:
    """Lines of an agent: event, run, term, at, until."""
    lines = [
        {
            "event": event,
            "node": node,
            "session": f"{node}/boot/{run}",
            "resource": "web",
            "token": [1, term],
            "at": at,
            "until": until,
            "priority": "info",
        }
        for event, run, term, at, until in events
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def log(*batches: tuple[float, int, str]) -> str:
    """Lines of a hypervisor: at, term, verdict."""
    lines = [{"at": at, "token": [1, term], "generation": 1, "verdict": verdict} for at, term, verdict in batches]
    return "".join(json.dumps(line) + "\n" for line in lines)


# The first agent leads and is stopped beyond its lease; the second takes over and is killed; the first leads again.
FIRST = journal(
    "n0",
    ("started", "a", 0, 99.0, None),
    ("elected", "a", 1, 100.0, 105.7),
    ("run_started", "a", 1, 102.0, 107.7),
    ("lost", "a", 1, 120.0, 109.7),
    ("follows", "b", 2, 121.0, 124.0),
    ("elected", "b", 3, 130.0, 135.7),
    ("run_ended", "b", 3, 140.0, 143.7),
    ("released", "b", 3, 141.0, 143.7),
    ("something_new", "b", 2, 142.0, None),
)
SECOND = journal("n1", ("follows", "c", 1, 101.0, 105.0), ("elected", "c", 2, 111.0, 116.7))
LOGS = {
    "hv1": log(
        (101.0, 1, "accepted"),
        (110.5, 1, "accepted"),  # on its way when the lease ended
        (112.0, 2, "accepted"),
        (119.0, 2, "accepted"),  # after a renewal that the killed agent has told nobody
        (122.0, 1, "stale_token"),
        (131.0, 3, "accepted"),
        (141.5, 3, "accepted"),
    ),
    "hv2": log((103.0, 1, "accepted"), (132.0, 3, "accepted")),
}


def found(first: str = "", second: str = "", logs: t.Mapping[str, str] | None = None, **more: t.Any) -> list[Violation]:
    events = read_journal(FIRST + first, "n0") + read_journal(SECOND + second, "n1")
    batches = [
        batch
        for name, text in LOGS.items()
        for batch in read_token_log([text, (logs or {}).get(name, "")], name, "web")
    ]
    return check(events, batches, slack=SLACK, **more)


def invariants(violations: list[Violation]) -> list[str]:
    return [violation.invariant for violation in violations]


def test_a_history_that_keeps_all_promises() -> None:
    assert found(outages=[Outage("web", 103.0, 131.0, 100.0)]) == []


def test_two_sessions_with_one_token() -> None:
    violations = found(second=journal("n1", ("elected", "d", 3, 150.0, 155.0)))
    assert invariants(violations) == ["I1"]
    assert "n0/boot/b and of n1/boot/d" in violations[0].what
    assert [line.split(":")[0] for line in violations[0].lines] == ["n0", "n0", "n0", "n1"]


@pytest.mark.parametrize(
    ("at", "until", "overlaps"),
    [
        (141.0, 146.0, False),  # at the very moment of the release
        (140.999, 146.0, False),  # no more than rounding makes of it
        (140.998, 146.0, True),
        (105.0, 105.1, True),  # within the lease of one that was stopped
        (109.7, 110.0, False),  # after its lease, before it noticed
        (111.5, 112.0, True),
        (116.6, 118.0, True),  # a killed one's lease lasts on
        (116.7, 118.0, False),
    ],
)
def test_two_leases_at_once(at: float, until: float, overlaps: bool) -> None:
    violations = found(second=journal("n2", ("elected", "e", 4, at, until)))
    assert ("I2" in invariants(violations)) == overlaps


def test_leases_of_other_resources_have_nothing_to_do_with_it() -> None:
    other = journal("n1", ("elected", "f", 9, 100.0, 150.0)).replace('"web"', '"mail"')
    assert found(second=other) == []


def test_a_session_may_win_again_before_its_lease_is_over() -> None:
    assert found(first=journal("n0", ("elected", "b", 4, 140.5, 145.0))) == []


def test_a_lower_token_that_is_accepted() -> None:
    late = log((142.0, 2, "stale_token"), (135.0, 2, "accepted"))
    violations = found(logs={"hv2": late}, foreign=[(1, 2)])
    assert invariants(violations) == ["I3"]
    assert "hv2 accepted [1, 2] for web after [1, 3]" in violations[0].what
    assert len(violations[0].lines) == 2


def test_the_epoch_comes_before_the_term() -> None:
    newer = '{"at": 150, "token": [2, 1], "generation": 1, "verdict": "accepted"}\n'
    older = '{"at": 151, "token": [1, 7], "generation": 1, "verdict": "accepted"}\n'
    assert found(logs={"hv1": newer}, foreign=[(2, 1), (1, 7)]) == []
    assert invariants(found(logs={"hv1": newer + older}, foreign=[(2, 1), (1, 7)])) == ["I3"]


@pytest.mark.parametrize(
    ("at", "term", "outside"),
    [
        (142.1, 3, False),
        (142.3, 3, True),  # later than the release and the slack
        (129.9, 3, True),  # before it was elected
        (150.0, 9, True),  # of nobody
    ],
)
def test_a_batch_outside_the_lease(at: float, term: int, outside: bool) -> None:
    violations = found(logs={"hv2": log((at, term, "accepted"))})
    assert invariants(violations) == (["I6"] if outside else [])


@pytest.mark.parametrize(("at", "outside"), [(129.8, False), (129.6, True)])
def test_a_batch_between_the_lease_and_its_announcement(at: float, outside: bool) -> None:
    """By 130.0 it was to last until 135.7, so it began at 129.7 or later."""
    violations = found(logs={"hv2": log((at, 3, "accepted"))}, ttl=TTL)
    assert invariants(violations) == (["I6"] if outside else [])


def test_one_that_was_stopped_led_no_longer_than_its_lease() -> None:
    events = read_journal(FIRST, "n0")
    batches = read_token_log([log((111.0, 1, "accepted"))], "hv3", "web")
    assert invariants(check(events, batches, slack=SLACK)) == ["I6"]


def test_one_that_was_killed_led_until_the_next_at_most() -> None:
    events = read_journal(FIRST, "n0") + read_journal(SECOND, "n1")
    batches = read_token_log([log((131.1, 2, "accepted"), (131.3, 2, "accepted"))], "hv3", "web")
    violations = check(events, batches, slack=SLACK)
    assert invariants(violations) == ["I6"]
    assert "131.3" in violations[0].lines[-1]


def test_one_that_tells_each_renewal_led_no_longer_than_it_says() -> None:
    renewed = read_journal(journal("n1", ("renewed", "c", 2, 113.0, 118.0)), "n1")
    events = read_journal(FIRST, "n0") + read_journal(SECOND, "n1") + renewed
    batches = read_token_log([LOGS["hv1"], log((119.3, 2, "accepted"))], "hv1", "web")[-1:]
    assert invariants(check(events, batches, slack=SLACK)) == ["I6"]


def test_a_batch_while_no_majority_can_be_reached() -> None:
    assert found(outages=[Outage("web", 120.0, 131.0, TTL)])[0].lines[0].startswith("hv1:6: ")
    assert invariants(found(outages=[Outage("web", 120.0, 131.0, TTL)])) == ["I6"]
    assert found(outages=[Outage("mail", 120.0, 131.0, TTL)]) == []
    assert found(outages=[Outage("web", 120.0, 130.5, TTL)]) == []


def test_a_violation_shows_its_lines() -> None:
    text = str(found(logs={"hv2": log((150.0, 9, "accepted"))})[0])
    assert text.startswith("I6: hv2 accepted [1, 9] for web, and nobody")
    assert '"at": 150.0' in text.splitlines()[1]


def test_lines_of_other_programs_are_passed_over() -> None:
    text = 'Started ensemble-agent.\n[1, 2]\n{"level": "info"}\n' + SECOND
    assert len(read_journal(text, "n1")) == 2


def test_events_that_nobody_knows_may_lack_anything() -> None:
    text = '{"event": "journal_unwritable", "token": "odd", "why": "a full disk"}\n'
    assert [event.event for event in read_journal(text, "n1")] == ["journal_unwritable"]
    assert found(first=text) == []


@pytest.mark.parametrize("line", ['{"event": "elected", "node": "n0"}', FIRST.splitlines()[1].replace("100.0", '"x"')])
def test_an_event_that_cannot_be_used_is_no_silence(line: str) -> None:
    with pytest.raises(UnreadableError, match="n0:1: "):
        read_journal(line, "n0")


def test_a_line_of_a_token_log_is_lost_where_it_was_cut_off_only() -> None:
    whole = log((1.0, 1, "accepted"), (2.0, 1, "accepted"))
    assert len(read_token_log([whole[:-9], whole], "hv1", "web")) == 3
    glued = whole[:-9] + log((3.0, 2, "accepted"))
    assert [batch.at for batch in read_token_log([glued], "hv1", "web")] == [1.0, 3.0]
    with pytest.raises(UnreadableError, match="hv1:2: "):
        read_token_log([whole[:-9] + "\n"], "hv1", "web")
    with pytest.raises(UnreadableError, match="hv1:1: "):
        read_token_log(["garbage\n" + whole], "hv1", "web")
