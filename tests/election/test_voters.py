# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Voters that reboot, have no room left, or whose state is broken."""

from __future__ import annotations

import contextlib
import typing as t

import pytest
from harness import faults
from harness.lab import Hypervisor
from harness.waiting import wait_until

from .elected import FAILOVER, TTL, Elected, Leader, now

Broken = t.Literal["truncated", "garbage", "zeroed"]
HOW: tuple[Broken, ...] = ("truncated", "garbage", "zeroed")
#: what a renewal needs, and what only the next leader reads
BY_RENEWAL, BY_ELECTION = ("lease.json", "voters.json"), ("record.json", "secrets.json", "fence.json")


def test_a_voter_with_a_broken_lease_is_told_by_the_leader(five: Elected) -> None:
    broken_and_whole_again(five, "lease.json", "garbage")


@pytest.mark.long
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", BY_RENEWAL)
def test_a_voter_with_a_broken_file_is_told_by_the_leader(five: Elected, name: str, how: Broken) -> None:
    broken_and_whole_again(five, name, how)


def broken_and_whole_again(elected: Elected, name: str, how: Broken) -> None:
    """The leader that is there gives it back, without losing anything; then this voter's grant counts again."""
    voter, leader = elected.lab.hypervisors[1], elected.wait_leader()
    sound = elected.state(voter, name)
    since = now()
    with faults.corrupt(voter, elected.name, name, how):
        assert elected.state(voter, name) == {}
        # a renewal is decided by the first majority, so that one may pass before this voter's word is heard
        wait_until(lambda: bool(elected.state(voter, name)), 5 * TTL, f"a whole {name}")
        elected.figures[f"{name} whole again"] = round(now() - since, 2)
    if name != "lease.json":
        told = elected.state(voter, name)
        assert {key: told[key] for key in sound if key not in ("token", "version")} == {
            key: sound[key] for key in sound if key not in ("token", "version")
        }
    wait_until(lambda: grants(elected, voter, leader), 2 * TTL, "its grant to the leader")
    assert [one.token for one in elected.leaders()] == [leader.token]


def grants(elected: Elected, voter: Hypervisor, leader: Leader) -> bool:
    """Whether a voter grants the leader's lease now."""
    grant = elected.state(voter, "lease.json")
    return bool(grant) and grant["session"] == leader.session and grant["granted_at"] + grant["ttl"] > now()


@pytest.mark.long
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", BY_ELECTION)
def test_a_voter_with_a_broken_file_is_told_by_the_next_leader(five: Elected, name: str, how: Broken) -> None:
    """And a hypervisor that cannot read which tokens it has seen obeys nobody until then."""
    voter, before = five.lab.hypervisors[1], five.wait_leader()
    five.wait_work(before)
    sound = five.state(voter, name)
    with faults.corrupt(voter, five.name, name, how):
        since = now()
        member = five.member(before.node)
        faults.kill(member.hypervisor, member.pids(five.unit)[0])
        after = five.failover(f"killed, {name} {how}", since, before)
        wait_until(lambda: bool(five.state(voter, name)), FAILOVER, f"a whole {name}")
    for key in ("declaration", "placement", "secrets"):
        assert five.state(voter, name).get(key) == sound.get(key)
    wait_until(lambda: works_on(five, voter, after), FAILOVER, f"a batch of {after} on {voter.name}")


def works_on(elected: Elected, voter: Hypervisor, leader: Leader) -> bool:
    """Whether a hypervisor has obeyed a leader."""
    return any(b.accepted and (b.hypervisor, b.token) == (voter.name, leader.token) for b in elected.batches())


@pytest.mark.long
def test_a_voter_whose_disk_is_full_is_missed_by_nobody(five: Elected) -> None:
    voter, before = five.lab.hypervisors[1], five.wait_leader()
    with faults.full_disk(voter, five.name):
        five.stays(before, TTL)
        since = now()
        member = five.member(before.node)
        faults.kill(member.hypervisor, member.pids(five.unit)[0])
        leader = five.failover("killed, a voter's disk full", since, before)
        assert five.state(voter, "lease.json")["session"] != leader.session
    wait_until(lambda: grants(five, voter, five.wait_leader()), 3 * TTL, "its grant to the leader")


@pytest.mark.long
def test_a_minority_of_voters_reboots(five: Elected) -> None:
    leader = five.wait_leader()
    for witness in five.lab.witnesses:
        with down(five, witness):
            faults.reboot(witness)
        five.stays(leader, 1.0)
    wait_until(lambda: grants(five, five.lab.witnesses[0], leader), 2 * TTL, "a grant of a voter after its boot")


@pytest.mark.long
def test_a_majority_of_voters_reboots_one_after_the_other_while_the_leader_dies(five: Elected) -> None:
    """None of them knows how long ago it granted: nobody else leads before the dead one's lease is over."""
    before = five.wait_leader()
    member = five.member(before.node)
    since = now()
    faults.kill(member.hypervisor, member.pids(five.unit)[0])
    with down(five, *five.lab.witnesses):
        for witness in five.lab.witnesses:
            faults.reboot(witness)
    five.wait_leader(FAILOVER + TTL, above=before.token)
    first = min(event.at for event in five.events() if event.event == "elected" and event.at > since)
    assert first >= before.until - 0.05 * TTL - 0.1


@pytest.mark.long
def test_the_hypervisor_of_the_leader_reboots(five: Elected) -> None:
    """It is a voter, too. Its member comes back with its agent."""
    before = five.wait_leader()
    machine = five.member(before.node).hypervisor
    since = now()
    with down(five, machine):
        faults.reboot(machine)
        after = five.failover("hypervisor rebooted", since, before, 3 * FAILOVER)
    run = five.play("start")
    assert run.code == 0, run.output
    wait_until(lambda: five.statuses().get(before.node, {}).get("role") in ("follower", "leader"), 60, "its agent")
    five.wait_leader(above=after.token)


@contextlib.contextmanager
def down(elected: Elected, *machines: Hypervisor) -> t.Iterator[None]:
    """These cannot be looked at meanwhile."""
    names = {one.name for one in machines}
    elected.down |= names
    try:
        yield
    finally:
        elected.down -= names
