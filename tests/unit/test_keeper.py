# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""How a run keeps its lease: over the work's session at first, over one of its own as soon as it must renew."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.lease import QuorumLease
from ansible_collections.ensemble.stacks.plugins.module_utils._election.store import (
    Identity,
    Lease,
    Quorum,
    Token,
    View,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._engine import keeper
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.keeper import (
    adopted,
    boottime,
    held,
    this_run,
    win,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.links import Link, Links
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import HypervisorError, LeaseError
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session

TTL = 3.0
ME = Identity("desk/boot/run", "me@desk (pid 1)")


class FakeSession:
    """Grants everything, or is broken; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken = self.closed = False
        self.renewed = threading.Event()

    def batch(
        self, verbs: t.Sequence[t.Mapping[str, t.Any]], timeout: float, **common: t.Any
    ) -> list[dict[str, t.Any]]:
        if self.broken:
            raise HypervisorError("the connection broke")
        [verb] = verbs
        self.asked.append(str(verb["verb"]))
        if self.asked.count("lease_request") > 1:
            self.renewed.set()
        lease = {"config_epoch": 1, "term": verb.get("term", 0), "session": "", "holder": "", "ttl": TTL}
        vote = {"granted": True, "reason": "granted", "expires_in": 0.0, "blank": False, "founding": False}
        return [{"ok": True, "value": {**lease, **vote, "wanted": None, "config": None}}]

    def close(self) -> None:
        self.closed = True


def links_over(work: FakeSession, own: FakeSession, opened: list[FakeSession]) -> Links:
    def beside() -> Session:
        opened.append(own)
        return t.cast(Session, own)

    return Links("demo", [Link("hv1", beside, t.cast(Session, work))], 1.0)


class Kept:
    """A lease on one voter, with the work's session and the one of its own."""

    def __init__(self) -> None:
        self.work, self.own, self.opened = FakeSession(), FakeSession(), list[FakeSession]()
        self.links = links_over(self.work, self.own, self.opened)
        self.lease = QuorumLease(self.links, 1, ME, TTL, boottime)


def test_a_short_run_needs_no_session_for_its_lease() -> None:
    kept = Kept()
    with held(kept.lease, 0.0, part=kept.links.part):
        pass
    kept.links.close()
    assert kept.work.asked == ["lease_read", "lease_request", "lease_release"]
    assert (kept.opened, kept.work.closed) == ([], False)


def test_renewal_does_not_wait_for_the_work() -> None:
    kept = Kept()
    with held(kept.lease, 0.0, part=kept.links.part):
        kept.own.asked.append("lease_request")
        assert kept.own.renewed.wait(10 * TTL)
    kept.links.close()
    assert kept.work.asked == ["lease_read", "lease_request"], "it may be at work for long"
    assert kept.own.asked[-1] == "lease_release"
    assert (kept.opened, kept.own.closed) == ([kept.own], True)


@pytest.mark.parametrize("reconnects", [True, False])
def test_a_lease_is_given_back_although_the_works_session_broke(reconnects: bool) -> None:
    kept = Kept()
    kept.own.broken = not reconnects
    with held(kept.lease, 0.0, part=kept.links.part):
        kept.work.broken = True
    kept.links.close()
    assert kept.own.asked == (["lease_release"] if reconnects else [])
    assert (kept.opened, kept.own.closed) == ([kept.own], True)


def test_what_is_left_when_the_block_ends_is_nothing() -> None:
    kept = Kept()
    with held(kept.lease, 0.0):
        assert 0.9 * TTL < kept.lease.remaining() <= 0.95 * TTL
        assert kept.lease.token == (1, 1)
    assert kept.lease.remaining() == 0.0


class FakeLease(Lease):
    """Free after some attempts, or refused for another reason; remembers what it was asked."""

    def __init__(self, held_for: int = 0, code: str = "lease_held", contested: bool = False) -> None:
        super().__init__(ME, TTL, boottime)
        self.held_for, self.code, self.contested = held_for, code, contested
        self.said: list[t.Any] = []

    def acquire(self) -> None:
        self.said.append("acquire")
        self.held_for -= 1
        if self.held_for >= 0:
            raise LeaseError("somebody is at work", code=self.code, contested=self.contested)

    def renew(self) -> None:
        self.said.append("renew")

    def adopt(self, token: Token) -> None:
        self.said.append(("adopt", token))

    def release(self) -> None:
        self.said.append("release")

    def view(self) -> View:
        return View("", "", (1, 0), 0.0, Quorum(1, 1))

    def wish(self, seconds: float, person: bool) -> None:
        self.said.append(("wish", seconds, person))

    def close(self) -> None:
        self.said.append("close")


@pytest.fixture(autouse=True)
def passing(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What `win` sleeps passes at once on its clock."""
    slept: list[float] = []
    real = time.monotonic
    fake = type("time", (), {"monotonic": lambda: real() + sum(slept), "sleep": slept.append, "time": time.time})
    fake.clock_gettime, fake.CLOCK_BOOTTIME = time.clock_gettime, time.CLOCK_BOOTTIME  # type: ignore[attr-defined]
    monkeypatch.setattr(keeper, "time", fake)
    return slept


def test_a_scheduled_run_waits_without_a_word(passing: list[float]) -> None:
    lease = FakeLease(held_for=3)
    win(lease, 60.0)
    assert lease.said == ["acquire"] * 4
    assert passing == pytest.approx([0.1, 0.15, 0.225])


@pytest.mark.parametrize(("splits", "won"), [(3, True), (4, False)])
def test_split_votes_are_tried_again_by_one_that_does_not_wait_but_not_for_ever(
    passing: list[float], splits: int, won: bool
) -> None:
    lease = FakeLease(held_for=splits, contested=True)
    with contextlib.nullcontext() if won else pytest.raises(LeaseError):
        win(lease, 0.0)
    assert lease.said == ["acquire"] * 4
    assert len(passing) == 3
    assert all(0.1 <= pause <= 1.0 for pause in passing)


def test_a_person_says_so_each_time_it_is_refused() -> None:
    lease = FakeLease(held_for=2)
    win(lease, 60.0, person=True)
    wish = ("wish", 20.0, True)
    assert lease.said == ["acquire", wish, "acquire", wish, "acquire"]


def test_a_person_who_gives_up_takes_it_back(passing: list[float]) -> None:
    lease = FakeLease(held_for=1000)
    with pytest.raises(LeaseError) as caught:
        win(lease, 10.0, person=True)
    assert caught.value.code == "lease_held"
    assert lease.said[-1] == ("wish", 0, True)
    assert lease.said.count(("wish", 0, True)) == 1
    assert 9.0 < sum(passing) <= 10.5
    assert max(passing) == 1.0


@pytest.mark.parametrize("code", ["no_quorum", "amnesiac", "new_epoch"])
def test_what_does_not_pass_is_not_waited_for(passing: list[float], code: str) -> None:
    lease = FakeLease(held_for=1, code=code)
    with pytest.raises(LeaseError):
        win(lease, 60.0, person=True)
    assert (lease.said, passing) == (["acquire"], [])


def test_a_person_who_finds_the_voters_gone_takes_the_wish_back() -> None:
    lease = FakeLease(held_for=2)
    real = lease.acquire

    def acquire() -> None:
        if lease.said.count("acquire") == 1:
            lease.code = "no_quorum"
        real()

    lease.acquire = acquire  # type: ignore[method-assign]
    with pytest.raises(LeaseError):
        win(lease, 60.0, person=True)
    assert lease.said[-1] == ("wish", 0, True)


def test_an_adopted_lease_is_neither_renewed_nor_released() -> None:
    lease = FakeLease()
    with adopted(lease, (1, 7)):
        pass
    assert lease.said == [("adopt", (1, 7))]


def test_a_lease_is_released_however_the_block_ends() -> None:
    lease = FakeLease()
    with pytest.raises(ZeroDivisionError), held(lease, 0.0):
        raise ZeroDivisionError
    assert lease.said[-1] == "release"


def test_every_run_is_a_session_of_its_own() -> None:
    first, second = this_run(), this_run("agent-1")
    assert first.session != this_run().session
    assert second.node == "agent-1"
    assert [len(identity.session.split("/")) for identity in (first, second)] == [3, 3]
    assert f"(pid {os.getpid()})" in first.holder
