# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Wishes in etcd: whoever wants the lease says so beside it."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from etcd_gateway import WISH, MemoryEtcd, MemoryGateway, lease_of, refused, way, won
from voters import Clock

TTL = 10.0


@pytest.fixture
def etcd() -> MemoryEtcd:
    return MemoryEtcd(Clock())


def test_a_wish_reaches_the_holder(etcd: MemoryEtcd) -> None:
    lease, guest = won(etcd), lease_of(etcd, "guest")
    assert lease.wanted is None
    guest.wish(8.0, True)
    etcd.clock.now += 3
    lease.renew()
    assert lease.wanted is not None
    assert (lease.wanted.session, lease.wanted.holder, lease.wanted.person) == ("guest/boot/run", "guest@desk", True)
    assert lease.wanted.for_s == 0.0, "nobody said yet for how long"
    etcd.clock.now += 3
    guest.wish(8.0, True)
    assert len(etcd.leases) == 2
    lease.renew()
    assert lease.wanted.for_s == 6.0, "as the guest says"
    etcd.clock.now += 3
    lease.renew()
    assert lease.wanted.for_s == 9.0
    assert lease_of(etcd, "x").view().wanted == replace(lease.wanted, for_s=6.0)
    guest.wish(0.0, True)
    lease.renew()
    assert lease.wanted is None
    assert len(etcd.leases) == 1


def test_a_wish_ends_by_itself(etcd: MemoryEtcd) -> None:
    lease = won(etcd)
    lease_of(etcd, "guest").wish(3.0, False)
    etcd.clock.now += 3
    lease.renew()
    assert lease.wanted is None


def test_the_first_persons_wish_lasts_and_a_candidates_gives_way(etcd: MemoryEtcd) -> None:
    one, two, three = (lease_of(etcd, name) for name in ("one", "two", "three"))
    one.wish(8.0, False)
    two.wish(8.0, False)
    assert etcd.entry(WISH)["session"] == "one/boot/run"
    two.wish(8.0, True)
    assert etcd.entry(WISH)["session"] == "two/boot/run"
    three.wish(8.0, True)
    one.wish(8.0, False)
    one.wish(0.0, False)
    assert etcd.entry(WISH)["session"] == "two/boot/run"
    assert len(etcd.leases) == 1
    two.wish(0.0, True)
    assert (etcd.pairs, etcd.leases) == ({}, {})
    three.wish(8.0, True)
    assert etcd.entry(WISH)["session"] == "three/boot/run"


def test_a_person_does_not_overwrite_who_came_just_before(etcd: MemoryEtcd) -> None:
    candidate, first, second = (lease_of(etcd, name) for name in ("candidate", "first", "second"))
    candidate.wish(8.0, False)

    class Interposed(MemoryGateway):
        def call(self, path: str, body: t.Mapping[str, t.Any], timeout: float) -> dict[str, t.Any]:
            if body.get("compare") and body["compare"][0]["target"] == "MOD" and not way(first).asked:
                first.wish(8.0, True)
            return super().call(path, body, timeout)

    second._gateway = second._api.gateway = Interposed(etcd)
    second.wish(8.0, True)
    assert etcd.entry(WISH)["session"] == "first/boot/run"
    assert len(etcd.leases) == 1


@pytest.mark.parametrize("place", range(2))
def test_a_wish_that_nobody_hears(etcd: MemoryEtcd, place: int) -> None:
    guest = lease_of(etcd, "guest")
    way(guest).faults = ["up"] * place + ["lost"]
    error = refused(lambda: guest.wish(5.0, True))
    assert error.code == "no_quorum"
    assert (etcd.pairs, etcd.leases) == ({}, {})


def test_a_wish_whose_answer_was_lost_is_found_again(etcd: MemoryEtcd) -> None:
    guest = lease_of(etcd, "guest")
    way(guest).faults = ["up", "deaf"]
    refused(lambda: guest.wish(5.0, True))
    guest.wish(5.0, True)
    assert etcd.entry(WISH)["session"] == "guest/boot/run"
