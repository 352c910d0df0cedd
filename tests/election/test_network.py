# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Agents and voters that do not reach each other."""

from __future__ import annotations

import typing as t

import pytest
from harness import faults

from .elected import FAILOVER, TTL, Elected, Leader, now


def addresses(elected: Elected) -> dict[str, str]:
    """Of all voters and candidates, by name."""
    voters = {one.name: one.address for one in elected.lab.machines}
    return {**voters, **{node: elected.member(node).address for node in elected.nodes}}


def others(elected: Elected, leader: Leader) -> list[str]:
    return [node for node in elected.nodes if node != leader.node]


def test_the_leader_is_in_the_smaller_half(five: Elected) -> None:
    before, where = five.wait_leader(), addresses(five)
    with_it = {before.node, "hv1", "wit1"}
    halves = [[where[name] for name in where if (name in with_it) == inside] for inside in (True, False)]
    since = now()
    with faults.partition(five.lab, halves):
        after = five.failover("partition in halves", since, before)
        assert after.node != before.node
        ended = [one for one in five.told(before.node, since) if one["event"] == "lost"]
        assert len(ended) == 1
        assert ended[0]["at"] <= before.until + TTL
    five.stays(after, TTL)


@pytest.mark.long
def test_the_leader_is_in_the_larger_half(five: Elected) -> None:
    leader, where = five.wait_leader(), addresses(five)
    without = {*others(five, leader), "hv2", "wit2"}
    halves = [[where[name] for name in where if (name in without) == inside] for inside in (True, False)]
    with faults.partition(five.lab, halves):
        five.stays(leader, 2 * TTL)
    five.stays(leader, TTL)


@pytest.mark.long
def test_what_the_leader_says_does_not_come_to_a_majority(five: Elected) -> None:
    before, where = five.wait_leader(), addresses(five)
    since = now()
    with faults.cut(five.lab, [(where[before.node], where[name]) for name in ("hv1", "hv2", "wit1")]):
        after = five.failover("one way, from the leader", since, before)
    five.stays(after, TTL)


@pytest.mark.long
def test_what_a_majority_says_does_not_come_to_the_leader(five: Elected) -> None:
    """They go on granting renewals that it cannot see, until it gives up."""
    before, where = five.wait_leader(), addresses(five)
    since = now()
    with faults.cut(five.lab, [(where[name], where[before.node]) for name in ("hv2", "hv3", "wit2")]):
        after = five.failover("one way, to the leader", since, before, FAILOVER + TTL)
    five.stays(after, TTL)


@pytest.mark.long
def test_the_leader_is_cut_off(five: Elected) -> None:
    before = five.wait_leader()
    since = now()
    with faults.isolate(five.lab, five.member(before.node).address):
        after = five.failover("isolated", since, before)
    five.stays(after, TTL)


@pytest.mark.long
def test_a_ring_of_voters_is_none_of_the_agents_business(five: Elected) -> None:
    leader = five.wait_leader()
    with faults.ring(five.lab, [one.address for one in five.lab.machines]):
        five.stays(leader, 2 * TTL)


@pytest.mark.long
def test_a_ring_of_all_in_which_nobody_sees_a_majority(five: Elected) -> None:
    where = addresses(five)
    names = ["hv1", five.nodes[0], "hv2", five.nodes[1], "hv3", five.nodes[2], "wit1", "wit2"]
    assert set(names) == set(where)
    before = five.wait_leader()
    with faults.ring(five.lab, [where[name] for name in names]), five.outage():
        never_two(five, 2 * TTL)
        assert five.leaders() == []
    five.wait_leader(above=before.token)


@pytest.mark.long
def test_each_agent_sees_another_majority(five: Elected) -> None:
    """Any two of these majorities share a voter, so one leads at a time, and one always can."""
    where, voters = addresses(five), [one.name for one in five.lab.machines]
    seen = {node: {voters[(2 * index + step) % 5] for step in range(3)} for index, node in enumerate(five.nodes)}
    pairs = [
        pair
        for node, names in seen.items()
        for name in set(voters) - names
        for pair in ((where[node], where[name]), (where[name], where[node]))
    ]
    with faults.cut(five.lab, pairs):
        before = five.wait_leader()
        for turn in range(2):
            since = now()
            member = five.member(before.node)
            faults.kill(member.hypervisor, member.pids(five.unit)[0])
            before = five.failover(f"killed, overlapping majorities, {turn}", since, before, FAILOVER + TTL)
        never_two(five, TTL)


def never_two(elected: Elected, seconds: float) -> None:
    """For so long at most one takes itself for the leader."""
    deadline = now() + seconds
    seen = [elected.leaders()]
    while now() < deadline:
        seen.append(elected.leaders())
    assert max(map(len, seen)) <= 1, seen


@pytest.mark.long
def test_nothing_changes_without_a_quorum(five: Elected) -> None:
    """Three of five voters reach nobody: agents stop, and a person's run is refused before it has changed anything."""
    cut_off = [five.lab.hypervisors[2], *five.lab.witnesses]
    where = addresses(five)
    inside = [where[one.name] for one in cut_off]
    rest = [address for address in where.values() if address not in inside]
    domains = {hv.name: hv.domains("--all") for hv in five.lab.hypervisors}
    before = five.wait_leader()
    with faults.partition(five.lab, [inside, [*rest, five.lab.address(1)]]):
        begun = now()
        with five.outage():
            grown = five.declare(roles={"node": {**five.declared["roles"]["node"], "count": 4}})
            try:
                run = five.controller.play("start", grown, "-e", "ensemble_lease_wait=10")
            finally:
                five.declare()
            assert (run.code, run.failure["code"]) == (2, "no_quorum"), run.output
            assert "2 of 5 voters answer, a majority is needed (3)" in run.failure["msg"]
            never_two(five, max(0.0, begun + 2 * TTL - now()))
            assert five.leaders() == []
        after_lease = [one for one in five.batches() if one.accepted and one.at > begun + 1.5 * TTL]
        assert after_lease == []
        assert {hv.name: hv.domains("--all") for hv in five.lab.hypervisors} == domains
    five.wait_leader(above=before.token)


@pytest.mark.long
@pytest.mark.parametrize("percent", [20])
def test_lost_packets_end_no_leadership(five: Elected, percent: int) -> None:
    leader = five.wait_leader()
    with faults.loss(five.lab, five.member(leader.node).address, percent):
        deadline: t.Final = now() + 3 * TTL
        while now() < deadline:
            assert [one.token for one in five.leaders()] == [leader.token]
