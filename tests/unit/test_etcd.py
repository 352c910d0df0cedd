# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The lease in etcd, against an etcd in memory whose answers get lost at any moment."""

from __future__ import annotations

import base64
import json
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.etcd_api import Refused, Unanswered
from etcd_gateway import LEADER, MemoryEtcd, MemoryGateway, Pair, lease_of, refused, way, won
from voters import Clock

TTL = 10.0


@pytest.fixture
def etcd() -> MemoryEtcd:
    return MemoryEtcd(Clock())


def test_acquired(etcd: MemoryEtcd) -> None:
    lease = lease_of(etcd, "a")
    assert lease.remaining() == 0.0
    lease.acquire()
    assert lease.token == (1, etcd.pairs[LEADER].created)
    assert lease.remaining() == pytest.approx(0.95 * TTL)
    assert etcd.entry(LEADER) == {"session": "a/boot/run", "holder": "a@desk", "ttl": TTL}
    assert lease.quorum.as_dict() == {"needed": 2, "acks": 3, "silent": {}}
    etcd.clock.now += 9.5
    assert lease.remaining() == 0.0
    assert etcd.entry(LEADER) is not None
    etcd.clock.now += 0.5
    assert etcd.entry(LEADER) is None


def test_what_is_granted_beyond_the_ttl_is_not_used(etcd: MemoryEtcd) -> None:
    lease = lease_of(etcd, "a", ttl=1.5)
    lease.acquire()
    assert lease.remaining() == pytest.approx(0.95 * 1.5)


def test_a_ttl_is_counted_from_before_it_was_asked_for(etcd: MemoryEtcd) -> None:
    lease = lease_of(etcd, "a")
    way(lease).latency = 0.5
    lease.acquire()
    assert lease.remaining() == pytest.approx(0.95 * TTL - 2.0)
    lease.renew()
    assert lease.remaining() == pytest.approx(0.95 * TTL - 2.0)


def test_answers_that_come_too_late_win_nothing(etcd: MemoryEtcd) -> None:
    lease = lease_of(etcd, "a", op_timeout=9.0)
    way(lease).latency = 2.4
    error = refused(lease.acquire)
    assert (error.code, lease.remaining(), lease.token) == ("no_quorum", 0.0, (0, 0))
    assert (etcd.pairs, etcd.leases) == ({}, {})


def test_held_names_the_holder_and_changes_nothing(etcd: MemoryEtcd) -> None:
    won(etcd)
    before = (etcd.revision, dict(etcd.leases))
    etcd.clock.now += 4
    error = refused(lease_of(etcd, "b").acquire)
    assert (error.code, error.details["holder"], error.details["session"]) == ("lease_held", "a@desk", "a/boot/run")
    assert error.details["expires_in"] == 6
    assert "a@desk" in error.msg
    assert (etcd.revision, etcd.leases) == before


def test_a_key_that_somebody_else_wrote_is_held(etcd: MemoryEtcd) -> None:
    for value in ("not JSON", "[1]", '"text"'):
        etcd.pairs[LEADER] = Pair(base64.b64encode(value.encode()).decode(), 7, 7, 1, 0)
        error = refused(lease_of(etcd, "b").acquire)
        assert error.code == "lease_held"
        assert LEADER in error.details["holder"]


def test_an_expired_lease_is_won_with_a_higher_token(etcd: MemoryEtcd) -> None:
    first = won(etcd)
    etcd.clock.now += TTL
    second = won(etcd, "b")
    assert second.token > first.token
    assert "b@desk holds it" in refused(first.renew).msg
    first.release()
    assert etcd.entry(LEADER)["session"] == "b/boot/run"


def test_a_late_release_takes_nothing_from_the_next_holder(etcd: MemoryEtcd) -> None:
    """It has not noticed yet that its lease is over."""
    first = won(etcd)
    etcd.clock.now += TTL
    second = won(etcd, "b")
    first.release()
    assert etcd.entry(LEADER)["session"] == "b/boot/run"
    second.renew()


def test_a_released_lease_is_free_at_once_and_leaves_nothing(etcd: MemoryEtcd) -> None:
    lease = won(etcd)
    lease.release()
    assert lease.remaining() == 0.0
    assert (etcd.pairs, etcd.leases) == ({}, {})
    assert refused(lease.renew).code == "lease_lost"
    won(etcd, "b")
    lease.release()
    assert etcd.entry(LEADER)["holder"] == "b@desk"


def test_a_release_that_nobody_hears_ends_here(etcd: MemoryEtcd) -> None:
    lease = won(etcd)
    way(lease).faults = ["lost", "lost"]
    lease.release()
    assert lease.remaining() == 0.0
    etcd.clock.now += TTL
    assert etcd.entry(LEADER) is None


def test_a_session_gives_back_what_another_object_of_it_won(etcd: MemoryEtcd) -> None:
    won(etcd)
    lease_of(etcd, "b").release()
    assert etcd.entry(LEADER) is not None
    lease_of(etcd, "a").release()
    assert (etcd.pairs, etcd.leases) == ({}, {})


def test_the_same_session_wins_a_new_token(etcd: MemoryEtcd) -> None:
    first = won(etcd)
    etcd.clock.now += 0.001
    second = won(etcd)
    assert second.token > first.token
    assert len(etcd.leases) == 1
    assert refused(first.renew).code == "lease_lost"


def test_a_new_token_that_is_not_won_costs_the_old_one(etcd: MemoryEtcd) -> None:
    lease = won(etcd)
    way(lease).faults = ["up"] * 3 + ["deaf"]
    assert refused(lease.acquire).code == "no_quorum"
    assert (etcd.pairs, lease.remaining()) == ({}, 0.0)


def test_renewed(etcd: MemoryEtcd) -> None:
    lease = won(etcd)
    for _step in range(5):
        etcd.clock.now += 5
        revision = etcd.revision
        lease.renew()
        assert lease.remaining() == pytest.approx(0.95 * TTL)
        assert etcd.revision == revision, "a renewal leaves no revision in the history of etcd"
    assert refused(lease_of(etcd, "b").acquire).code == "lease_held"


def test_what_was_revoked_from_outside_is_lost_at_once(etcd: MemoryEtcd) -> None:
    lease = won(etcd)
    etcd.answer("/v3/lease/revoke", {"ID": next(iter(etcd.leases))})
    error = refused(lease.renew)
    assert (error.code, lease.remaining()) == ("lease_lost", 0.0)
    assert "revoked" in error.msg


def test_a_key_that_was_removed_from_outside_is_lost_at_once(etcd: MemoryEtcd) -> None:
    """Its lease of etcd lives on, so that a renewal alone would not tell."""
    lease = won(etcd)
    del etcd.pairs[LEADER]
    assert refused(lease.renew).code == "lease_lost"
    assert lease.remaining() == 0.0
    assert etcd.leases == {}


@pytest.mark.parametrize("faults", [["lost"], ["up", "lost"], ["deaf"], ["changed"], ["up", "deaf"]])
def test_what_is_left_stays_when_nobody_answers_a_renewal(etcd: MemoryEtcd, faults: list[str]) -> None:
    lease = won(etcd)
    etcd.clock.now += 4
    way(lease).faults = faults
    assert refused(lease.renew).code == "lease_lost"
    assert lease.remaining() == pytest.approx(5.5)
    lease.renew()
    assert lease.remaining() == pytest.approx(9.5)


def test_a_renewal_by_a_deposed_leader_does_not_count(etcd: MemoryEtcd) -> None:
    lease = won(etcd)
    etcd.elect()
    etcd.clock.now += 4
    way(lease).faults = ["deposed", "up"]
    lease.renew()
    assert way(lease).asked[-4:] == ["/v3/lease/keepalive", "/v3/kv/txn"] * 2
    assert next(iter(etcd.leases.values())).until == etcd.clock.now + TTL
    etcd.clock.now += 4
    way(lease).faults = ["deposed", "up"] * 3
    assert refused(lease.renew).code == "lease_lost"
    assert lease.remaining() == pytest.approx(5.5)


def test_a_renewal_does_not_revive_what_was_released_meanwhile(etcd: MemoryEtcd) -> None:
    lease = won(etcd)

    class Interposed(MemoryGateway):
        def call(self, path: str, body: t.Mapping[str, t.Any], timeout: float) -> dict[str, t.Any]:
            answer = super().call(path, body, timeout)
            if path == "/v3/kv/txn" and lease._lease:
                lease.release()
            return answer

    lease._gateway = lease._api.gateway = Interposed(etcd)
    lease.renew()
    assert lease.remaining() == 0.0


@pytest.mark.parametrize("change", ["created", "lease"])
def test_a_key_that_is_not_the_one_that_was_won_is_lost(etcd: MemoryEtcd, change: str) -> None:
    """Somebody wrote it anew by hand, or bound it to another lease."""
    lease = won(etcd)
    etcd.pairs[LEADER] = replace(etcd.pairs[LEADER], **{change: 99})
    assert refused(lease.renew).code == "lease_lost"
    assert lease.remaining() == 0.0


def test_require_renews_what_is_short(etcd: MemoryEtcd) -> None:
    lease = won(etcd)
    etcd.clock.now += 8
    lease.require(2.0)
    assert lease.remaining() == pytest.approx(9.5)


@pytest.mark.parametrize("fault", ["lost", "deaf", "changed", "late"])
@pytest.mark.parametrize("place", range(3))
def test_a_lost_answer_while_acquiring(etcd: MemoryEtcd, fault: str, place: int) -> None:
    """Places: the look before it, the grant, and the key itself; only the last is tried again."""
    lease = lease_of(etcd, "a")
    way(lease).faults = ["up"] * place + [fault]
    if place == 2:
        lease.acquire()
        way(lease).arrive()
        assert etcd.entry(LEADER)["session"] == "a/boot/run"
        assert lease.token == (1, etcd.pairs[LEADER].created)
        lease.renew()
        return
    error = refused(lease.acquire)
    assert error.code == "no_quorum"
    assert "Nothing was changed" in error.msg
    assert (etcd.pairs, etcd.leases, lease.remaining()) == ({}, {}, 0.0)


def test_the_key_is_won_by_another_while_the_answer_was_lost(etcd: MemoryEtcd) -> None:
    lease = lease_of(etcd, "a")

    class Interposed(MemoryGateway):
        def call(self, path: str, body: t.Mapping[str, t.Any], timeout: float) -> dict[str, t.Any]:
            if path == "/v3/kv/txn" and body["compare"] and not etcd.pairs:
                won(etcd, "b")
                raise Unanswered("lost")
            return super().call(path, body, timeout)

    lease._gateway = lease._api.gateway = Interposed(etcd)
    error = refused(lease.acquire)
    assert error.details["holder"] == "b@desk"
    assert len(etcd.leases) == 1, "the lease for which there is no key was given back"


def test_nothing_is_left_behind_when_the_key_is_never_answered(etcd: MemoryEtcd) -> None:
    lease = lease_of(etcd, "a")
    way(lease).faults = ["up", "up", "deaf", "late", "lost"]
    assert refused(lease.acquire).code == "no_quorum"
    assert (etcd.pairs, etcd.leases) == ({}, {})
    way(lease).arrive()
    assert etcd.pairs == {}, "what arrives after the lease was given back finds no lease"


def test_what_etcd_refuses_is_said(etcd: MemoryEtcd) -> None:
    lease = lease_of(etcd, "a")

    class Full(MemoryGateway):
        def call(self, path: str, body: t.Mapping[str, t.Any], timeout: float) -> dict[str, t.Any]:
            if path == "/v3/lease/grant":
                raise Refused("etcdserver: mvcc: database space exceeded", 8)
            return super().call(path, body, timeout)

    lease._gateway = lease._api.gateway = Full(etcd)
    error = refused(lease.acquire)
    assert error.code == "etcd_refused"
    assert "space exceeded" in error.msg


def test_adopted(etcd: MemoryEtcd) -> None:
    first = won(etcd)
    etcd.clock.now += 3
    child = lease_of(etcd, "child", ttl=99.0)
    child.adopt(first.token)
    assert (child.identity.session, child.identity.holder, child.ttl) == ("a/boot/run", "child@desk", TTL)
    assert (child.token, child.remaining()) == (first.token, pytest.approx(9.5))
    etcd.clock.now += 8
    child.renew()
    first.renew()
    child.release()
    assert etcd.pairs == {}


@pytest.mark.parametrize("wrong", [(1, 999), (2, None), (1, 0)])
def test_only_the_present_token_is_adopted(etcd: MemoryEtcd, wrong: tuple[int, int | None]) -> None:
    first = won(etcd)
    child = lease_of(etcd, "child")
    token = (wrong[0], first.token[1] if wrong[1] is None else wrong[1])
    assert refused(lambda: child.adopt(token)).code == "lease_lost"
    assert (child.token, child.remaining()) == ((0, 0), 0.0)
    child.release()
    first.renew()


def test_adoption_without_an_answer(etcd: MemoryEtcd) -> None:
    first, child = won(etcd), lease_of(etcd, "child")
    way(child).faults = ["lost"]
    assert refused(lambda: child.adopt(first.token)).code == "no_quorum"
    way(child).faults = ["up", "lost"]
    assert refused(lambda: child.adopt(first.token)).code == "lease_lost"
    assert child.token == (0, 0)


def test_view(etcd: MemoryEtcd) -> None:
    looker = lease_of(etcd, "x")
    assert looker.view().session == looker.view().holder == ""
    lease = won(etcd)
    etcd.clock.now += 4
    before = (etcd.revision, dict(etcd.leases))
    view = looker.view()
    assert (view.session, view.holder, view.token) == ("a/boot/run", "a@desk", lease.token)
    assert (view.expires_in, view.wanted, view.quorum.acks) == (6.0, None, 3)
    assert (etcd.revision, etcd.leases) == before
    way(looker).faults = ["lost"]
    error = refused(looker.view)
    assert error.code == "no_quorum"
    assert error.details["quorum"] == {
        "needed": 2,
        "acks": 0,
        "silent": dict.fromkeys(way(looker).endpoints, "no answer in time"),
    }
    assert "http://e2: no answer in time" in error.msg


def test_every_decision_passes_through_consensus(etcd: MemoryEtcd) -> None:
    """Each transaction holds a request that may write, else a member may answer it by itself."""
    lease, child = lease_of(etcd, "a"), lease_of(etcd, "child")
    bodies: list[t.Mapping[str, t.Any]] = []
    for one in (lease, child):
        inner = way(one).call

        def call(path: str, body: t.Mapping[str, t.Any], timeout: float, inner: t.Any = inner) -> dict[str, t.Any]:
            bodies.extend([body] if path == "/v3/kv/txn" else [])
            assert not path.startswith("/v3/kv/range")
            return t.cast("dict[str, t.Any]", inner(path, body, timeout))

        way(one).call = call  # type: ignore[method-assign]
    lease.acquire()
    child.adopt(lease.token)
    lease.renew()
    child.view()
    child.wish(5.0, True)
    child.wish(5.0, True)
    child.wish(0.0, True)
    lease.release()
    assert len(bodies) >= 8
    for body in bodies:
        text = json.dumps(body)
        assert "request_put" in text or "request_delete_range" in text


def test_closed(etcd: MemoryEtcd) -> None:
    lease = lease_of(etcd, "a")
    lease.close()
    assert way(lease).closed
