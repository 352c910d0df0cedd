# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The lease in a real etcd: three processes in three machines of the lab, which are stopped at will."""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t
import uuid
from pathlib import Path

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.etcd import EtcdLease
from ansible_collections.ensemble.stacks.plugins.module_utils._election.store import Identity
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import LeaseError
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.gateway import Endpoints, HttpGateway
from harness.etcd import EtcdCluster
from harness.etcd_server import Authority
from harness.lab import Lab

TTL = 6.0
OP_TIMEOUT = TTL / 5
#: seconds by which a busy machine may be late
LATE = 1.0


@pytest.fixture(scope="session", autouse=True)
def pool() -> None:
    """The machines are enough here: whether they are hypervisors is no matter."""


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> t.Iterator[EtcdCluster]:
    with EtcdCluster(lab.hypervisors[:3]) as cluster:
        yield cluster


@pytest.fixture
def resource() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


def clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def lease_of(cluster: EtcdCluster, resource: str, name: str, *urls: str) -> EtcdLease:
    identity = Identity(f"{name}/{uuid.uuid4()}", f"{name}@desk")
    return EtcdLease(HttpGateway(cluster.settings(*urls)), resource, 1, identity, TTL, clock)


def refused(work: t.Callable[[], object]) -> LeaseError:
    with pytest.raises(LeaseError) as caught:
        work()
    return caught.value


class Candidate(threading.Thread):
    """Acquires, and renews every third of the ttl while it can, until told to end.

    Attributes:
        terms: token and when it was won; a lease counts until its `remaining` runs out.
        codes: of the refusals.
    """

    def __init__(self, lease: EtcdLease) -> None:
        super().__init__(daemon=True)
        self.lease = lease
        self.over = threading.Event()
        self.terms: list[tuple[int, int]] = []
        self.codes: set[str] = set()

    def run(self) -> None:
        while not self.over.wait(0.1):
            with contextlib.suppress(LeaseError):
                self._once()
        self.lease.release()

    def _once(self) -> None:
        try:
            if self.lease.remaining() == 0.0:
                self.lease.acquire()
                self.terms.append(self.lease.token)
            elif self.lease.remaining() < TTL * 2 / 3:
                self.lease.renew()
        except LeaseError as error:
            self.codes.add(error.code)
            raise


class Watched:
    """Some candidates at work, and how often two of them held the lease at once."""

    def __init__(self, *leases: EtcdLease) -> None:
        self.candidates = [Candidate(lease) for lease in leases]

    def __enter__(self) -> Watched:
        for candidate in self.candidates:
            candidate.start()
        return self

    def __exit__(self, *_error: object) -> None:
        for candidate in self.candidates:
            candidate.over.set()
        for candidate in self.candidates:
            candidate.join(60)

    def holders(self) -> list[int]:
        return [index for index, one in enumerate(self.candidates) if one.lease.remaining() > 0]

    def watch(self, seconds: float, until: t.Callable[[], bool] = lambda: False) -> None:
        """For so many seconds, or until something is so, never two hold the lease."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not until():
            holders = self.holders()
            assert len(holders) < 2, holders
            time.sleep(0.01)

    def tokens(self) -> list[tuple[int, int]]:
        return [token for one in self.candidates for token in one.terms]


def test_the_life_of_a_lease(cluster: EtcdCluster, resource: str) -> None:
    lease, other = lease_of(cluster, resource, "a"), lease_of(cluster, resource, "b")
    assert lease.view().session == ""
    lease.acquire()
    assert lease.quorum.as_dict() == {"needed": 2, "acks": 3, "silent": {}}
    assert 0 < lease.remaining() <= 0.95 * TTL
    error = refused(other.acquire)
    assert (error.code, error.details["holder"]) == ("lease_held", "a@desk")
    assert 0 < error.details["expires_in"] <= TTL

    view = other.view()
    assert (view.session, view.token) == (lease.identity.session, lease.token)
    other.wish(20.0, True)
    before = cluster.revision(0)
    lease.renew()
    assert cluster.revision(0) == before
    assert lease.wanted is not None
    assert lease.wanted.holder == "b@desk"

    helper = lease_of(cluster, resource, "helper")
    helper.adopt(lease.token)
    assert helper.identity.session == lease.identity.session
    assert helper.remaining() > 0.9 * TTL
    lease.release()
    assert refused(helper.renew).code == "lease_lost"
    assert helper.remaining() == 0.0

    other.acquire()
    assert other.token > lease.token
    other.wish(0.0, True)
    other.release()
    assert lease.view().wanted is None
    assert cluster.leases() == []
    assert "3.4.42" in (lease.warning() or "3.4.42")


def campaign(lease: EtcdLease, barrier: threading.Barrier, codes: list[str]) -> None:
    """One of several that begin at the same moment; why it did not win is noted."""
    barrier.wait(30)
    try:
        lease.acquire()
    except LeaseError as error:
        codes.append(error.code)


def test_of_two_at_once_one_wins(cluster: EtcdCluster, resource: str) -> None:
    tokens: list[tuple[int, int]] = []
    for _round in range(10):
        leases = [lease_of(cluster, resource, name, *cluster.urls[at:]) for at, name in enumerate("abc")]
        barrier = threading.Barrier(len(leases))
        codes: list[str] = []

        threads = [threading.Thread(target=campaign, args=(lease, barrier, codes)) for lease in leases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        winners = [lease for lease in leases if lease.remaining() > 0]
        assert codes == ["lease_held"] * 2
        assert len(winners) == 1
        tokens.append(winners[0].token)
        winners[0].release()
    assert tokens == sorted(set(tokens))
    assert cluster.leases() == []


def test_what_is_revoked_from_outside_is_lost(cluster: EtcdCluster, resource: str) -> None:
    lease, other = lease_of(cluster, resource, "a"), lease_of(cluster, resource, "b")
    lease.acquire()
    (granted,) = cluster.leases()
    cluster.call("/v3/lease/revoke", {"ID": granted})
    other.acquire()
    error = refused(lease.renew)
    assert (error.code, lease.remaining()) == ("lease_lost", 0.0)
    assert "b@desk" in error.msg
    lease.release()
    other.renew()
    other.release()


def test_the_leader_of_etcd_is_stopped(cluster: EtcdCluster, resource: str) -> None:
    """Its members elect another one within two seconds, and the lease lives on; or it is lost, and never held twice."""
    leading = cluster.wait_for_leader()
    order = [cluster.urls[leading], *(url for url in cluster.urls if url != cluster.urls[leading])]
    with Watched(lease_of(cluster, resource, "a", *order), lease_of(cluster, resource, "b", *reversed(order))) as two:
        two.watch(30, until=lambda: len(two.holders()) == 1)
        first = two.holders()
        assert len(first) == 1
        with cluster.frozen(leading):
            two.watch(2 * TTL)
            assert len(two.holders()) == 1, "two members are enough"
        two.watch(0.5)
    tokens = two.tokens()
    assert len(set(tokens)) == len(tokens)
    assert two.candidates[1 - first[0]].codes <= {"lease_held", "no_quorum", "lease_lost"}
    cluster.wait_for_leader()


def test_without_a_majority_nothing_happens(cluster: EtcdCluster, resource: str) -> None:
    lease, other = lease_of(cluster, resource, "a"), lease_of(cluster, resource, "b")
    leading = cluster.wait_for_leader()
    gone = [leading, (leading + 1) % 3]
    left = ({0, 1, 2} - set(gone)).pop()
    lease.acquire()
    lease.renew()
    before = cluster.revision(left)
    with cluster.frozen(*gone):
        for work in (other.acquire, other.view, lambda: other.wish(5.0, True)):
            begun = time.monotonic()
            error = refused(work)
            assert time.monotonic() - begun < 2 * OP_TIMEOUT + LATE
            assert error.code == "no_quorum"
            assert error.details["quorum"]["acks"] < 2
            assert set(error.details["quorum"]["silent"]) == set(cluster.urls)
        held = lease.remaining()
        assert refused(lease.renew).code == "lease_lost"
        assert lease.remaining() < held
        time.sleep(lease.remaining())
        assert lease.remaining() == 0.0
        assert refused(lambda: lease.require(1.0)).code == "lease_lost"
        assert cluster.revision(left) == before
    cluster.wait_for_leader()
    assert cluster.revision(left) - before <= 1, "at most the end of the lease"
    lease.release()
    other.acquire()
    other.release()


def test_tls_and_a_user_with_rights_on_the_prefix(
    lab: Lab, cluster: EtcdCluster, tmp_path: Path, resource: str
) -> None:
    """A cluster of its own on the same machines, after the other one."""
    cluster.__exit__()
    secret = uuid.uuid4().hex
    with EtcdCluster(lab.hypervisors[:3], Authority(tmp_path)) as safe:
        safe.protect("ensemble", secret, "/ensemble/")
        lease = lease_of(safe, resource, "a")
        lease.acquire()
        lease.wish(5.0, False)
        lease.renew()
        helper = lease_of(safe, resource, "helper")
        helper.adopt(lease.token)
        assert helper.view().wanted is not None
        lease.wish(0.0, False)
        lease.release()
        assert lease.view().session == ""

        for settings, words in (
            (Endpoints(safe.urls, "ensemble", "wrong", **_files(safe)), "lets user ensemble not in"),
            (Endpoints(safe.urls, **_files(safe)), "demands a user"),
        ):
            stranger = EtcdLease(HttpGateway(settings), resource, 1, lease.identity, TTL, clock)
            error = refused(stranger.acquire)
            assert error.code == "not_authorised"
            assert words in error.msg
        elsewhere = EtcdLease(HttpGateway(safe.settings()), "x", 1, lease.identity, TTL, clock)
        elsewhere._key = "/elsewhere/leader"
        assert "readwrite on the prefix" in refused(elsewhere.acquire).msg
        without = Endpoints(safe.urls, "ensemble", secret, ca_cert=_files(safe)["ca_cert"])
        assert (
            refused(EtcdLease(HttpGateway(without), resource, 1, lease.identity, TTL, clock).acquire).code
            == "no_quorum"
        )


def _files(cluster: EtcdCluster) -> dict[str, t.Any]:
    settings = cluster.settings()
    return {name: getattr(settings, name) for name in ("ca_cert", "client_cert", "client_key")}
