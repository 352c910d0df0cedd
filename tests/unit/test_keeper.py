# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The session over which a run keeps its lease: that of the work at first, one of its own as soon as it must renew."""

from __future__ import annotations

import threading
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.keeper import SessionVoter, held
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import HypervisorError
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session

TTL = 3.0


class FakeSession:
    """Grants everything, or is broken; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken = self.closed = False
        self.renewed = threading.Event()

    def call(self, verb: str, timeout: float, fields: t.Any = None, **common: t.Any) -> dict[str, t.Any]:
        if self.broken:
            raise HypervisorError("the connection broke")
        self.asked.append(verb)
        if verb == "lease_request" and self.asked.count(verb) > 1:
            self.renewed.set()
        return {"granted": True, "expires_in": 0.0, "session": "", "holder": "", "term": 1, "config_epoch": 0}

    def close(self) -> None:
        self.closed = True


def voter_of(work: FakeSession, opened: list[FakeSession]) -> SessionVoter:
    def beside() -> Session:
        opened.append(FakeSession())
        return t.cast(Session, opened[-1])

    return SessionVoter(t.cast(Session, work), "demo", beside)


def test_a_short_run_needs_no_session_for_its_lease() -> None:
    work = FakeSession()
    opened: list[FakeSession] = []
    with held([voter_of(work, opened)], TTL, 0.0):
        pass
    assert work.asked == ["lease_read", "lease_request", "lease_release"]
    assert (opened, work.closed) == ([], False)


def test_renewal_does_not_wait_for_the_work() -> None:
    work, own = FakeSession(), FakeSession()
    with held([SessionVoter(t.cast(Session, work), "demo", lambda: t.cast(Session, own))], TTL, 0.0):
        work.broken = True  # or at work: nobody asks it any more
        own.asked.append("lease_request")
        assert own.renewed.wait(30)
    assert own.asked[-1] == "lease_release"
    assert own.closed


@pytest.mark.parametrize("reconnects", [True, False])
def test_a_lease_is_given_back_although_the_works_session_broke(reconnects: bool) -> None:
    work, own = FakeSession(), FakeSession()
    own.broken = not reconnects
    with held([SessionVoter(t.cast(Session, work), "demo", lambda: t.cast(Session, own))], TTL, 0.0):
        work.broken = True
    assert own.asked == (["lease_release"] if reconnects else [])
    assert own.closed
