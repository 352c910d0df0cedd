# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The heartbeat: what a leader calls lost was ended before, whatever became of its messages."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.heart import Heart
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Hypervisor
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import HypervisorError, LeaseError
from hypothesis import given, settings
from hypothesis import strategies as st

TTL = 120.0
#: what may become of a beat: it arrives, it does not, its answer does not, or it arrives much later
DONE, LOST, MUTE, LATE = "done", "lost", "mute", "late"
#: something that nobody thought of
ODD = "odd"


class World:
    """A leader and one hypervisor whose clock runs a little slower or faster, and began elsewhere."""

    def __init__(self, rate: float = 1.0, fates: t.Sequence[str] = (), late: float = 0.0) -> None:
        self.now = 1000.0
        self.rate = rate
        self.fates = list(fates)
        self.late = late
        self.post: list[tuple[float, dict[str, t.Any]]] = []
        self.heard: float | None = None
        self.armed = 0.0
        self.lives = True
        self.opened = 0
        self.calls: list[str] = []

    @property
    def theirs(self) -> float:
        """The hypervisor's clock."""
        return 77.0 + self.rate * self.now

    def pass_time(self, seconds: float) -> None:
        """The hypervisor looks at its guard every second."""
        until = self.now + seconds
        while self.now < until:
            self.now += min(1.0, until - self.now)
            for when, fields in [entry for entry in self.post if entry[0] <= self.now]:
                self.post.remove((when, fields))
                self.keepalive(fields)
            if self.armed and self.heard is not None and self.theirs - self.heard >= self.armed:
                self.lives = False

    def keepalive(self, fields: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        if fields.get("clock") is not None:
            sent = min(self.theirs, fields["clock"] + fields["elapsed"])
            self.heard = max(self.heard or 0.0, sent)
        self.armed = fields["member_ttl"]
        self.heard = self.theirs if self.heard is None else self.heard
        return {"clock": self.theirs}

    # -- what the heart is given

    def connect(self, _hypervisor: Hypervisor) -> t.Any:
        self.opened += 1
        return self

    def close(self) -> None:
        pass

    def call(self, verb: str, _timeout: float, fields: t.Any = None, **_common: t.Any) -> t.Any:
        self.calls.append(verb)
        fate = self.fates.pop(0) if self.fates else DONE
        if fate == DONE:
            self.now += 0.05
            return self.keepalive(fields) if verb == "keepalive" else {}
        if verb == "keepalive" and fate == MUTE:
            self.keepalive(fields)
        if verb == "keepalive" and fate == LATE:
            self.post.append((self.now + self.late, dict(fields)))
        self.now += 5.0
        if fate == ODD:
            raise KeyError(verb)
        raise HypervisorError("no answer")

    # -- a lease that is held

    token = (1, 1)
    ttl = 25.0

    def clock(self) -> float:
        return self.now

    def require(self, seconds: float) -> None:
        if seconds > 100:
            raise LeaseError("lost")


def heart(world: World) -> Heart:
    beating = Heart("demo", [Hypervisor("hv1", "10.0.0.1")], world.connect, t.cast(t.Any, world), 1)
    beating.arm(TTL, ["compute-0"], 1)
    return beating


def run(world: World, beating: Heart, seconds: float) -> None:
    until = world.now + seconds
    while world.now < until:
        world.pass_time(beating.step())


def test_a_hypervisor_that_hears_the_leader_ends_nothing() -> None:
    world = World(rate=1.02)
    beating = heart(world)
    run(world, beating, 1000.0)
    assert world.lives
    assert world.opened == 1
    assert beating.lost() == frozenset()


def test_one_that_hears_nothing_is_lost_a_little_later() -> None:
    world = World(fates=[DONE, DONE, *[LOST] * 60])
    beating = heart(world)
    begun = world.now
    while not beating.lost():
        world.pass_time(beating.step())
    assert not world.lives
    assert 1.05 * TTL < world.now - begun < 1.05 * TTL + 40
    assert world.calls.count("keepalive") == 3, "one without an answer, and none since"


@pytest.mark.parametrize("fate", [LOST, ODD])
def test_beats_go_on_when_it_answers_again(fate: str) -> None:
    world = World(fates=[DONE, DONE, fate, fate, fate])
    beating = heart(world)
    run(world, beating, 60.0)
    assert world.opened == 4
    assert beating.lost() == frozenset()
    run(world, beating, 600.0)
    assert world.lives


def test_what_arrives_late_counts_from_when_it_was_sent() -> None:
    world = World(fates=[DONE, DONE, LATE, *[LOST] * 60], late=110.0)
    beating = heart(world)
    run(world, beating, 1.05 * TTL + 15.0)
    assert not world.post
    assert not world.lives


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([DONE, DONE, DONE, LOST, MUTE, LATE]), max_size=80),
    st.floats(0.975, 1.025),
    st.floats(0.0, 400.0),
)
def test_what_is_lost_was_ended_before(fates: list[str], rate: float, late: float) -> None:
    world = World(rate, fates, late)
    beating = heart(world)
    for _round in range(70):
        if world.heard is None:  # nothing is there that could live: it was never armed
            world.lives = world.lives and not beating.lost()
        assert not (world.lives and world.armed and "hv1" in beating.lost())
        world.pass_time(beating.step())
