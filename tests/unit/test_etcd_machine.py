# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Two sessions never hold a lease in etcd at once, and tokens only rise, whatever gets lost, late or is elected."""

from __future__ import annotations

import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._election.etcd import EtcdLease
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import LeaseError
from etcd_gateway import LEADER, MemoryEtcd, MemoryGateway, lease_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from voters import Clock

TTL = 10.0
SESSIONS = st.sampled_from("ab")
KINDS = ["up", "up", "lost", "deaf", "late", "changed", "deposed"]
FAULTS = st.one_of(st.just([]), st.just(["deposed"]), st.lists(st.sampled_from(KINDS), max_size=6))
LATENCY = st.sampled_from([0.0, 0.0, 0.3, 1.4])


class Electing(RuleBasedStateMachine):
    """Two sessions and one cluster."""

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.etcd = MemoryEtcd(self.clock)
        self.leases = {name: lease_of(self.etcd, name, TTL, op_timeout=6.0) for name in "ab"}
        self.latest = (0, 0)

    def way(self, name: str) -> MemoryGateway:
        return t.cast("MemoryGateway", self.leases[name]._gateway)

    @staticmethod
    def refused(work: t.Callable[[], object]) -> str:
        """The code with which it was refused; empty when it was not."""
        try:
            work()
        except LeaseError as error:
            return error.code
        return ""

    @rule(seconds=st.sampled_from([0.3, 1.0, 3.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(name=SESSIONS)
    def calls_arrive_late(self, name: str) -> None:
        self.way(name).arrive()

    @rule()
    def another_leader_of_etcd(self) -> None:
        self.etcd.elect()

    @rule(name=SESSIONS, faults=FAULTS, latency=LATENCY)
    def acquire(self, name: str, faults: list[str], latency: float) -> None:
        lease: EtcdLease = self.leases[name]
        code = self.refused(self.on_a_bad_way(name, faults, latency).acquire)
        assert code in ("", "lease_held", "no_quorum", "etcd_refused")
        if not code:
            assert lease.token > self.latest
            self.latest = lease.token

    @rule(name=SESSIONS, faults=FAULTS, latency=LATENCY)
    def somebody_renews(self, name: str, faults: list[str], latency: float) -> None:
        self.renew(name, faults, latency)

    def renew(self, name: str, faults: list[str], latency: float) -> None:
        assert self.refused(self.on_a_bad_way(name, faults, latency).renew) in ("", "lease_lost")

    @rule(faults=FAULTS, latency=LATENCY)
    def the_holder_renews(self, faults: list[str], latency: float) -> None:
        for name in [name for name, lease in self.leases.items() if lease.remaining() > 0]:
            self.renew(name, faults, latency)

    @rule(name=SESSIONS, faults=FAULTS, latency=LATENCY)
    def release(self, name: str, faults: list[str], latency: float) -> None:
        self.on_a_bad_way(name, faults, latency).release()
        assert self.leases[name].remaining() == 0.0

    def on_a_bad_way(self, name: str, faults: list[str], latency: float) -> EtcdLease:
        self.way(name).faults, self.way(name).latency = list(faults), latency
        return self.leases[name]

    @rule(name=SESSIONS, seconds=st.sampled_from([0.0, 5.0]), person=st.booleans())
    def wish(self, name: str, seconds: float, person: bool) -> None:
        assert self.refused(lambda: self.leases[name].wish(seconds, person)) in ("", "no_quorum", "etcd_refused")

    @rule(name=SESSIONS)
    def adopt(self, name: str) -> None:
        """A helper of the holder takes part, and counts with it."""
        helper = lease_of(self.etcd, f"helper-of-{name}", TTL)
        t.cast("MemoryGateway", helper._gateway).faults = list(self.way(name).faults)
        if not self.refused(lambda: helper.adopt(self.leases[name].token)):
            assert helper.identity.session == self.leases[name].identity.session
            assert helper.remaining() <= TTL

    @invariant()
    def one_valid_lease(self) -> None:
        if hasattr(self, "leases"):
            valid = [name for name, lease in self.leases.items() if lease.remaining() > 0]
            assert valid[1:] == []
            for name in valid:
                entry = self.etcd.entry(LEADER)
                assert entry is not None
                assert entry["session"] == self.leases[name].identity.session

    def teardown(self) -> None:
        """Nothing lasts: a while after the end of all there is neither a key nor a lease."""
        if hasattr(self, "leases"):
            self.clock.now += 10 * TTL
            self.etcd.expire()
            assert (self.etcd.pairs, self.etcd.leases) == ({}, {})


Electing.TestCase.settings = settings(max_examples=250, stateful_step_count=50)
TestElecting = Electing.TestCase
