# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Figures of the election, with real agents on members of the lab: how fast, how steady, and what it costs."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import time
import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._election.store import Lease
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.keeper import boottime, this_run
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.leases import voting
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.ssh import connect
from harness.etcd import EtcdCluster
from harness.lab import STATE
from harness.members import run_everywhere
from harness.network import loss
from harness.relay import relay

from .agents import ETCD, FIVE, NAME, Agents, agents_of
from .figures import Figure
from .setting import Setting

#: for trials; figures to be told of are made with what stands here
RUNS = int(os.environ.get("ENSEMBLE_BENCH_RUNS", "20"))
FAULT_SECONDS = float(os.environ.get("ENSEMBLE_BENCH_FAULT_SECONDS", "600"))
TTLS = (15, 6)
#: beside the ttl: seconds in which the lost leader is noticed and the next one is chosen
SLACK = 5
IDLE_SECONDS = 60.0
#: of packets, and seconds in each direction, together the delay of a round trip
LOSS_PERCENT, DELAY = 20, 0.1
LEASE = "bench-lease"


# -- how fast


def failover(setting: Setting) -> t.Iterator[Figure]:
    """From SIGKILL of the leading agent to the first run that the next leader starts."""
    agents = agents_of(setting, NAME)
    yield from _failovers(agents, "failover")
    agents.converge(ttl=TTLS[0])


def failover_etcd(setting: Setting) -> t.Iterator[Figure]:
    """The same with the lease in an etcd of three members."""
    with _etcd(setting) as election, Agents(setting, ETCD, **election) as agents:
        yield from _failovers(agents, "failover_etcd")


def _failovers(agents: Agents, name: str) -> t.Iterator[Figure]:
    for ttl in TTLS:
        agents.converge(ttl=ttl)
        yield f"{name}_ttl{ttl}_s", "s", ttl + SLACK, [agents.fail_over(ttl) for _run in range(RUNS)]


def renewals(setting: Setting) -> t.Iterator[Figure]:
    """What a leading agent's renewals take over its open connections, with three and with five voters."""
    yield "renew_3_ms", "ms", 300, _renewals(agents_of(setting, NAME))
    machines = setting.lab.machines
    with Agents(setting, FIVE, voters=[machine.name for machine in machines[:5]]) as agents:
        yield "renew_5_ms", "ms", 300, _renewals(agents)


def _renewals(agents: Agents) -> list[float]:
    begun = boottime()
    agents.wait(lambda: len(agents.events("renewed", since=begun)) >= RUNS, 60 + 10 * RUNS, f"{RUNS} renewals")
    return [float(event["ms"]) for event in agents.events("renewed", since=begun)]


def lease_trip(setting: Setting) -> t.Iterator[Figure]:
    """A lease won and given back by a controller whose connections are open: on three voters, and in etcd."""
    ours = _trips(setting)
    with _etcd(setting) as election:
        theirs = _trips(setting, **election)
    yield "lease_trip_ms", "ms", None, ours
    yield "lease_trip_ms.etcd", "ms", None, theirs
    yield "lease_trip_ms.quorum_to_etcd", "ratio", None, [statistics.median(ours) / statistics.median(theirs)]


def _trips(setting: Setting, **election: t.Any) -> list[float]:
    """Milliseconds of each; the very first lease, which all voters must grant, is none of them."""
    lab = setting.prepared
    resource = parse_declaration(lab.declaration(LEASE, election=election))
    _forget(setting)  # of a benchmark that was killed
    try:
        with voting(LEASE, resource.pool, resource.election, lambda hv: connect(hv, resource.known_hosts)) as votes:
            _trip(votes.lease(this_run()))
        with voting(LEASE, resource.pool, resource.election, lambda hv: connect(hv, resource.known_hosts)) as votes:
            lease = votes.lease(this_run())
            _trip(lease)
            return [_trip(lease) for _run in range(RUNS)]
    finally:
        _forget(setting)


def _trip(lease: Lease) -> float:
    begun = time.monotonic()
    lease.acquire()
    lease.release()
    return (time.monotonic() - begun) * 1000


def _forget(setting: Setting) -> None:
    run_everywhere(setting.lab.machines, "rm", "-rf", f"{STATE}/{LEASE}")


@contextlib.contextmanager
def _etcd(setting: Setting) -> t.Iterator[dict[str, t.Any]]:
    """The section `election` for an etcd cluster that runs until the block ends."""
    with EtcdCluster(setting.lab.hypervisors[:3]) as cluster:
        yield {"backend": "etcd", "endpoints": list(cluster.urls)}


# -- how steady


def false_failovers(setting: Setting) -> t.Iterator[Figure]:
    """Changes of the leader while all are well and the network to the voters is bad.

    Agents reach each voter's sshd through a relay with a delay; behind it each packet to and from the voter is lost by
    chance. The kernel has no other means, so what is sent again comes sooner than over a line that is as long as that.
    """
    agents = agents_of(setting, NAME)
    lab = setting.lab
    voters = []
    with contextlib.ExitStack() as stack:
        stack.callback(agents.converge)
        for hv in lab.hypervisors[:3]:
            line = stack.enter_context(relay((hv.address, 22), DELAY, DELAY, lab.address(1)))
            key = _host_key(setting, hv.address)
            voters.append({"name": hv.name, "address": line.address, "port": line.port, "host_key": key})
        agents.converge("-e", json.dumps({"convergence_voters": voters}))
        for hv in lab.hypervisors[:3]:
            stack.enter_context(loss(lab, hv.address, LOSS_PERCENT))
        begun = boottime()
        time.sleep(FAULT_SECONDS)
        ended = agents.events("lost", "released", "elected", since=begun)
        renewed = agents.events("renewed", since=begun)
        failed = agents.events("renewal_failed", since=begun)
    changes = [event for event in ended if event["event"] == "elected"]
    losses = [event for event in ended if event["event"] != "elected"]
    yield "false_failovers", "changes", 0, [float(max(len(changes), len(losses)))]
    yield "false_failovers.minutes", "min", None, [FAULT_SECONDS / 60]
    yield "false_failovers.renew_ms", "ms", None, [float(event["ms"]) for event in renewed]
    yield "false_failovers.failed_renewals", "renewals", None, [float(len(failed))]


def _host_key(setting: Setting, address: str) -> str:
    lines = (setting.lab.folder / "known_hosts").read_text().splitlines()
    return next(line.split(" ", 1)[1] for line in lines if line.startswith(f"{address} "))


# -- what it costs


def idle(setting: Setting) -> t.Iterator[Figure]:
    """Memory of the leading agent and of those that follow; the processor's time of one that follows, and leads."""
    agents = agents_of(setting, NAME)
    leader = agents.wait_for_leader()
    followers = [member for member in agents.members if member != leader]
    before = {member: agents.processor(member) for member in agents.members}
    time.sleep(IDLE_SECONDS)
    after = {member: agents.processor(member) for member in agents.members}
    if agents.wait_for_leader() != leader:
        raise RuntimeError("another agent leads now: it was not idle")
    percent = {
        member: 100 * (after[member][1] - taken) / (after[member][0] - begun)
        for member, (begun, taken) in before.items()
    }
    yield "agent_rss_mib", "MiB", 64, [agents.memory(member) for member in followers]
    yield "agent_rss_mib.leader", "MiB", 64, [agents.memory(leader)]
    yield "agent_cpu_percent", "%", 1, [percent[member] for member in followers]
    yield "agent_cpu_percent.leader", "%", None, [percent[leader]]


ALL: dict[str, t.Callable[[Setting], t.Iterator[Figure]]] = {
    "agent_rss_mib": idle,
    "lease_trip_ms": lease_trip,
    "renew_ms": renewals,
    "failover_s": failover,
    "failover_etcd_s": failover_etcd,
    "false_failovers": false_failovers,
}
