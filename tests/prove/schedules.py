# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Courses made by hand: for what chance seldom meets, and for faults of the protocol that simulation once found.

Nothing in them happens by chance: each message takes 10 ms, and the runs do only what a step says. A ttl is 15 s, a
question lasts 3 s. Run 0 is on node n0, run 1 on n1.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .simulation import Plan, Step
from .world import ANY, DRIFT


@dataclass(frozen=True)
class Schedule:
    """A course and what must come of it, besides no violation: otherwise it would prove nothing.

    Attributes:
        wins: the terms that are won.
        refused: operations that targets refuse as stale.
    """

    name: str
    plan: Plan
    wins: int
    refused: int = 0


def _made(name: str, *steps: tuple[t.Any, ...], wins: int, refused: int = 0, **plan: t.Any) -> Schedule:
    listed = tuple(Step(float(at), kind, tuple(args)) for at, kind, *args in steps)
    whole: dict[str, t.Any] = {"voters": 3, "founded": True, **plan}
    return Schedule(name, Plan(0, nodes=2, steps=listed, calm=True, **whole), wins, refused)


def _late(src: str, dst: str, verb: str, seconds: float) -> tuple[t.Any, ...]:
    """For the rest of the course."""
    return ("rule", src, dst, verb, 1e6, {"late": seconds})


ALL = (
    _made(
        "a minority is asked by a run that reaches nobody else",
        (1, "acquire", 0),
        (2, "cut", ("n0",), ("v2",), 100, True),
        (2, "cut", ("n1",), ("v0", "v1"), 100, True),
        *((at, "renew", 0) for at in (6, 11, 16, 21)),
        (20, "acquire", 1),
        (22, "operate", 0, "t0"),
        wins=1,
    ),
    _made(
        "two runs on one node",
        (1, "acquire", 0),
        (2, "begin", "n0"),
        (3, "acquire", 2),
        (4, "operate", 0, "t0"),
        wins=1,
    ),
    _made(
        "a lease is asked for while it is held",
        (1, "acquire", 0),
        (3, "acquire", 1),
        (4, "operate", 0, "t0"),
        wins=1,
    ),
    _made(
        "a term that was won and given back is asked for late",
        (0.5, *_late("n1", ANY, "lease_request", 0.5)),
        (1.0, "acquire", 1),
        (1.1, "acquire", 0),
        (1.3, "release", 0),
        wins=1,
    ),
    _made(
        "the answers of a campaign take almost as long as they may",
        (0.5, *_late(ANY, "n0", "re:lease_request", 2.5)),
        (1, "acquire", 0),
        (16.1, "acquire", 1),
        (17, "operate", 1, "t0"),
        wins=2,
    ),
    _made(
        "a slow clock believes while fast clocks expire",
        (1, "acquire", 0),
        (15.7, "acquire", 1),
        wins=2,
        drifts={"n0": -DRIFT, "v0": DRIFT, "v1": DRIFT, "v2": DRIFT},
    ),
    _made(
        "a voter that lost its memory is all that two majorities share",
        (1, "acquire", 0),
        (2, "release", 0),
        (3, "cut", ("n0",), ("v2",), 100, True),
        (3, "cut", ("n1",), ("v0",), 100, True),
        (4, "acquire", 0),
        (8, "lose", 1),
        (9, "acquire", 1),
        wins=2,
    ),
    _made(
        "the voters reboot and their clocks begin at zero",
        (1, "acquire", 0),
        *((2, "reboot", index, 0.5, True) for index in range(3)),
        (4, "acquire", 1),
        (5, "operate", 0, "t0"),
        wins=1,
    ),
    _made(
        "the voters reboot and their clocks run on",
        (1, "acquire", 0),
        *((14.5, "reboot", index, 0.5, False) for index in range(3)),
        (15.1, "renew", 0),
        (16.5, "acquire", 1),
        wins=1,
    ),
    _made(
        "a release of an earlier term comes late",
        (0.5, *_late("n0", ANY, "lease_release", 5.0)),
        (1, "acquire", 0),
        (2, "release", 0),
        (3, "acquire", 0),
        (8, "acquire", 1),
        wins=2,
    ),
    _made(
        "a campaign that failed is given back after the next one has won",
        (0.9, "rule", "n0", ANY, "lease_request", 10, {"lost": 1.0}),
        (0.9, *_late("n0", ANY, "lease_release", 30.0)),
        (0.8, "begin", "n1"),
        (0.5, "acquire", 1),
        (0.7, "release", 1),
        (1, "acquire", 0),
        (33, "acquire", 0),
        (34.2, "acquire", 1),
        (35, "operate", 0, "t0"),
        wins=2,
    ),
    _made(
        "a lease is given back while it is renewed",
        (1, "acquire", 0),
        (5.5, *_late(ANY, "n0", "re:lease_request", 1.0)),
        (6, "renew", 0),
        (6.2, "release", 0),
        (6.5, "acquire", 1),
        (8, "operate", 0, "t0"),
        wins=2,
    ),
    _made(
        "a leader campaigns anew and fails",
        (1, "acquire", 0),
        (1.9, "rule", ANY, "n0", "re:lease_request", 3.5, {"lost": 1.0}),
        (2, "acquire", 0),
        (5.5, "acquire", 1),
        (6, "operate", 0, "t0"),
        wins=2,
    ),
    _made(
        "a leader is stopped for longer than its lease",
        (1, "acquire", 0),
        (2, "pause", 0, 20),
        (3, "operate", 0, "t0"),
        (17, "acquire", 1),
        (18, "operate", 1, "t0"),
        wins=2,
    ),
    _made(
        "an operation of a former leader comes late",
        (0.5, *_late("n0", "t0", "operate", 20.0)),
        (1, "acquire", 0),
        (2, "operate", 0, "t0"),
        (17, "acquire", 1),
        (18, "operate", 1, "t0"),
        wins=2,
        refused=1,
    ),
    _made(
        "requests arrive twice, the second time after the lease was given back",
        (0.5, "rule", ANY, ANY, "lease_request", 3, {"again": 3.0}),
        (1, "acquire", 0),
        (2, "release", 0),
        (4.5, "acquire", 1),
        (5, "operate", 1, "t0"),
        wins=2,
    ),
    _made(
        "a voter that lost its memory is told by the leader and abstains",
        (1, "acquire", 0),
        (2, "lose", 2),
        (6, "renew", 0),
        (11, "renew", 0),
        (12, "join", 0),
        (12.5, "cut", ("v0",), ("n0", "n1"), 100, True),
        (16, "acquire", 1),
        (30, "acquire", 1),
        wins=2,
    ),
    _made(
        "a leader that reaches no majority stops",
        (1, "acquire", 0),
        (2, "cut", ("n0",), ("v0", "v1", "v2"), 100, False),
        *((at, "renew", 0) for at in (6, 11, 16)),
        *((at, "operate", 0, "t0") for at in (3, 10, 13, 16, 20)),
        (18, "acquire", 1),
        wins=2,
    ),
    _made(
        "the only voter crashes between keeping and answering",
        (0.5, "crash", 0),
        (1, "acquire", 0),
        (1.045, "kill", 0),
        (5, "acquire", 1),
        (19.9, "acquire", 1),
        (20.5, "acquire", 1),
        wins=1,
        voters=1,
    ),
    _made(
        "a first start is killed when one voter has granted, and is done again",
        (0.9, "rule", "n0", "v1", "lease_request", 1, {"lost": 1.0}),
        (0.9, "rule", "n0", "v2", "lease_request", 1, {"lost": 1.0}),
        (1, "acquire", 0),
        (1.045, "kill", 0),
        (2, "acquire", 1),
        (17, "acquire", 1),
        wins=1,
        founded=False,
    ),
    _made(
        "two first starts at once",
        (1, "acquire", 0),
        (1.005, "acquire", 1),
        (2, "operate", 0, "t0"),
        wins=1,
        founded=False,
    ),
    _made(
        "a first start that comes late finds voters that are pinned",
        (0.9, "rule", "n1", ANY, "lease_request", 1, {"late": 20.0}),
        (1, "acquire", 1),
        (1.005, "acquire", 0),
        (5, "kill", 0),
        (19, "acquire", 1),
        wins=2,
        founded=False,
    ),
    _made(
        "a first start does without no voter",
        (0.5, "cut", ("n0", "n1"), ("v2",), 10, True),
        (1, "acquire", 0),
        (6, "acquire", 1),
        (11, "acquire", 1),
        wins=1,
        founded=False,
    ),
)
