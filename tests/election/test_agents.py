# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Agents that are killed, stopped, doubled, and whose clocks jump."""

from __future__ import annotations

import contextlib
import json
import typing as t

import pytest
from harness import faults
from harness.faults import Member
from harness.waiting import wait_until

from .elected import FAILOVER, TTL, Elected, Leader, now

#: the service manager neither hears the agent nor watches over it
UNWATCHED = "[Service]\nType=simple\nNotifyAccess=none\nWatchdogSec=0\n"


def test_the_leader_is_killed(five: Elected) -> None:
    before = five.wait_leader()
    member = five.member(before.node)
    since = now()
    faults.kill(member.hypervisor, member.pids(five.unit)[0])
    five.failover("killed", since, before)


@pytest.mark.long
def test_the_leader_is_killed_again_and_again(five: Elected) -> None:
    for turn in range(3):
        before = five.wait_leader()
        member = five.member(before.node)
        since = now()
        faults.kill(member.hypervisor, *member.pids(five.unit))
        five.failover(f"killed with its work, {turn}", since, before)


@pytest.mark.long
def test_a_leader_that_is_stopped_is_ended_by_the_watchdog_before_its_lease(five: Elected) -> None:
    before = five.wait_leader()
    member = five.member(before.node)
    pid = member.pids(five.unit)[0]
    since = now()
    with faults.stopped(member.hypervisor, pid):
        wait_until(lambda: pid not in member.pids(five.unit), 0.6 * TTL + 1.5, "the end of an agent that hangs")
        assert now() < before.until + TTL  # it was renewed once more at most
        five.failover("stopped", since, before)


@pytest.mark.long
def test_a_leader_that_goes_on_after_its_lease_is_obeyed_by_nobody(five: Elected) -> None:
    before = five.wait_leader()
    with unwatched(five, five.member(before.node)) as member:
        follower_dies(five, member)
        before = leads(five, member)
        five.wait_work(before)
        pids = member.pids(five.unit)
        since = now()
        with faults.stopped(member.hypervisor, *pids):
            after = five.failover("stopped, unwatched", since, before)
        wait_until(lambda: any(one["event"] == "lost" for one in five.told(member.domain, since)), TTL, "its loss")
        told = five.told(member.domain, since)
        assert [one["why"] for one in told if one["event"] == "lost"] == ["lost"]
        five.stays(after, 2 * TTL)
    obeyed = [batch for batch in five.batches() if batch.token == before.token and batch.accepted]
    assert max(batch.at for batch in obeyed) <= since + TTL, "its lease was over by then"


@contextlib.contextmanager
def unwatched(elected: Elected, member: Member) -> t.Iterator[Member]:
    """An agent that nobody ends when it hangs; it is restarted for that, and again at the end."""
    folder = f"/run/systemd/system/{elected.unit}.d"
    try:
        member.run("mkdir", "-p", folder)
        member.run("tee", f"{folder}/unwatched.conf", stdin=UNWATCHED.encode())
        member.run("systemctl", "daemon-reload")
        member.run("systemctl", "restart", elected.unit)
        yield member
    finally:
        member.run("rm", "-r", folder)
        member.run("systemctl", "daemon-reload")
        member.run("systemctl", "restart", elected.unit)


def follower_dies(elected: Elected, member: Member) -> None:
    """No other agent is up, so that this one will lead."""
    for node in elected.nodes:
        if node != member.domain:
            elected.member(node).run("systemctl", "stop", elected.unit)


def leads(elected: Elected, member: Member) -> Leader:
    """This one leads, and the others are there again."""
    elected.wait_leader(FAILOVER)
    for node in elected.nodes:
        elected.member(node).run("systemctl", "start", elected.unit)
    leader = elected.wait_leader()
    assert leader.node == member.domain
    return leader


@pytest.mark.long
def test_of_two_agents_with_one_node_id_one_ends_and_says_why(five: Elected) -> None:
    leader = five.wait_leader()
    double = five.member(next(node for node in five.nodes if node != leader.node))
    path = f"/etc/ensemble/agents/{five.name}.json"
    sound = double.run("cat", path)
    settings = {**json.loads(sound), "node_id": leader.node}
    try:
        double.run("tee", path, stdin=json.dumps(settings).encode())
        double.run("systemctl", "restart", five.unit)
        wait_until(lambda: shown(double, five, "ExecMainStatus") == "3", 3 * TTL, "exit status 3")
        assert shown(double, five, "ActiveState") == "failed"
        words = double.run("journalctl", "-u", five.unit, "-o", "cat", "-n", "20")
        assert f"another agent goes by the node id {leader.node}" in words
        five.stays(leader, 2.0)
    finally:
        double.run("tee", path, stdin=sound.encode())
        double.run("systemctl", "reset-failed", five.unit, check=False)
        double.run("systemctl", "restart", five.unit)


def shown(member: Member, elected: Elected, what: str) -> str:
    return member.run("systemctl", "show", "-p", what, "--value", elected.unit).strip()


@pytest.mark.long
def test_the_wall_clock_of_agents_jumps(five: Elected) -> None:
    """Neither a leader nor followers care, and a new leader is found with all clocks wrong."""
    with contextlib.ExitStack() as stack:
        clocks = {node: stack.enter_context(faults.agent_clock(five.member(node), five.unit)) for node in five.nodes}
        leader = five.wait_leader()
        for offset, others in (("+1h", "-1h"), ("-1h", "+1h"), ("+0", "+1h")):
            for node, clock in clocks.items():
                clock.jump(offset if node == leader.node else others)
            five.stays(leader, TTL)
        member = five.member(leader.node)
        since = now()
        faults.kill(member.hypervisor, member.pids(five.unit)[0])
        five.failover("killed, wrong wall clocks", since, leader)


@pytest.mark.long
@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_the_wall_clock_of_a_voter_is_wrong(five: Elected, offset: str) -> None:
    voter = five.lab.hypervisors[0]
    leader = five.wait_leader()
    with faults.host_program_clock(voter, offset):
        end_sessions(five)
        five.stays(leader, TTL)
        member = five.member(leader.node)
        since = now()
        faults.kill(member.hypervisor, member.pids(five.unit)[0])
        leader = five.failover(f"killed, a voter's clock at {offset}", since, leader)
        assert five.state(voter, "lease.json")["session"] == leader.session
    end_sessions(five)


def end_sessions(elected: Elected) -> None:
    """The host programs at work on the first hypervisor end, so that others are begun."""
    voter = elected.lab.hypervisors[0]
    for pid in voter.run("pgrep", "-f", "/usr/local/bin/ensemble-host", check=False).split():
        voter.run("kill", pid, check=False)
