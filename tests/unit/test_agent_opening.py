# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""From an agent's settings to its lease: on voters, in etcd beside voters that keep the record, in etcd alone."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._agent import opening
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.settings import parse
from ansible_collections.ensemble.stacks.plugins.module_utils._election.store import Identity, Lease, Quorum
from ansible_collections.ensemble.stacks.plugins.module_utils._engine import leases
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Etcd, Hypervisor
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import LeaseError
from ansible_collections.ensemble.stacks.plugins.module_utils._pool import sim
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session
from etcd_gateway import MemoryEtcd, MemoryGateway
from harness.waiting import wait_until
from ledgers import StandIn
from voters import Clock

NAMES = ("hv1", "hv2", "hv3")
SETTINGS: dict[str, t.Any] = {
    "resource": "shared",
    "node_id": "shared-node-0",
    "candidates": ["shared-node-0", "shared-node-1"],
    "private_key": "/etc/ensemble/agents/shared.key",
    "known_hosts": "/etc/ensemble/agents/shared.known_hosts",
}
VOTERS = [{"name": name, "address": f"192.0.2.{number}"} for number, name in enumerate(NAMES, 1)]
URLS = ["https://192.0.2.8:2379", "https://192.0.2.9:2379/"]

Opener = t.Callable[..., Lease]


@pytest.fixture
def etcd() -> MemoryEtcd:
    return MemoryEtcd(Clock())


@pytest.fixture
def opener(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, etcd: MemoryEtcd) -> t.Iterator[Opener]:
    """Opens leases of settings, on simulated voters and an etcd in memory."""
    asked: list[Etcd] = []

    def gateway(found: Etcd, *_more: t.Any) -> MemoryGateway:
        asked.append(found)
        return MemoryGateway(etcd)

    def connect(hv: Hypervisor, known_hosts: str | None) -> Session:
        assert known_hosts == SETTINGS["known_hosts"]
        return sim.connect(Hypervisor(hv.name, "", sim=str(tmp_path / hv.name)))

    monkeypatch.setattr(leases, "open_gateway", gateway)
    monkeypatch.setattr(opening, "connect", connect)
    with contextlib.ExitStack() as stack:

        def opened(name: str = "a", **more: t.Any) -> Lease:
            settings, _warnings = parse({**SETTINGS, **more}, "/x.json")
            lease = opening.opened(settings, Identity(f"{name}/boot/run", name))
            stack.callback(lease.close)
            return lease

        yield opened


def test_a_lease_in_etcd_is_won_and_voters_are_told_where_it_is(opener: Opener, etcd: MemoryEtcd) -> None:
    lease = opener(voters=VOTERS, backend="etcd", etcd={"endpoints": URLS})
    lease.acquire()
    entry = etcd.entry("/ensemble/shared/leader")
    assert entry is not None
    assert (entry["session"], lease.token) == ("a/boot/run", (1, etcd.pairs["/ensemble/shared/leader"].created))
    lease.renew()
    other = opener("b", voters=VOTERS, backend="etcd", etcd={"endpoints": URLS[::-1]})
    assert other.view().session == "a/boot/run"
    with pytest.raises(LeaseError) as caught:
        other.acquire()
    assert caught.value.code == "lease_held"
    lease.release()
    other.acquire()
    assert other.token > lease.token


def test_another_cluster_or_another_store_than_the_voters_know_is_refused(opener: Opener) -> None:
    opener(voters=VOTERS, backend="etcd", etcd={"endpoints": URLS}).acquire()
    for elsewhere in ({"backend": "quorum"}, {"backend": "etcd", "etcd": {"endpoints": URLS[:1]}}):
        with pytest.raises(LeaseError) as caught:
            opener("b", voters=VOTERS, **elsewhere)
        assert caught.value.code == "other_backend"


def test_without_voters_the_epoch_is_that_of_the_settings(opener: Opener, etcd: MemoryEtcd) -> None:
    lease = opener(backend="etcd", etcd={"endpoints": URLS}, epoch=4)
    lease.acquire()
    assert lease.token == (4, etcd.pairs["/ensemble/shared/leader"].created)


def test_a_voter_that_loses_its_memory_under_a_leader_gets_it_back(opener: Opener, tmp_path: Path) -> None:
    lease = opener(voters=VOTERS)
    lease.acquire()
    (known,) = (tmp_path / "hv3").rglob("shared/voters.json")
    for path in known.parent.iterdir():
        path.unlink()

    def tended() -> bool:
        lease.renew()  # done as soon as two have answered, and the one without a memory may not be among them
        return known.exists()

    wait_until(tended, 10, "a voter that knows again who votes")
    assert lease.remaining() > 0


def test_to_tend_a_voter_renews_the_lease_and_tends_nobody_meanwhile() -> None:
    class Tending(leases.SettlingLease, StandIn):
        tending = True
        renewals = 0

        def renew(self) -> None:
            super().renew()
            self.renewals += 1

    class Kept:
        tended = 0

        def tend(self, lease: Lease) -> None:
            self.tended += 1
            lease.renew()

    lease, kept = Tending((1, 7)), Kept()
    lease.ledger = t.cast("t.Any", kept)
    lease.quorum = Quorum(2, 2, {"hv3": "it has lost its memory"})
    lease.renew()
    assert (kept.tended, lease.renewals) == (1, 2)
    lease.renew()
    assert kept.tended == 2
    lease.quorum = Quorum(2, 3)
    lease.renew()
    assert kept.tended == 2
