# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Three voters: the list of voters changes, the change is cut off, and a majority is lost for good.

These tests follow each other: each begins with the voters that the one before has left.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import typing as t
from pathlib import Path

import pytest
from harness import faults
from harness.controller import Controller, Run
from harness.lab import Hypervisor
from harness.waiting import wait_until

from .elected import FAILOVER, TTL, Elected, now

#: seconds for which a person's wish lives that nobody takes back
WISH = 20.0
pytestmark = pytest.mark.long


def voters_of(elected: Elected) -> list[str]:
    return list(elected.declared["election"]["voters"])


def machine(elected: Elected, name: str) -> Hypervisor:
    return next(one for one in elected.lab.machines if one.name == name)


def spare(elected: Elected) -> Hypervisor:
    """A hypervisor that carries no member."""
    used = {elected.member(node).hypervisor.name for node in elected.nodes}
    return next(one for one in elected.lab.hypervisors if one.name not in used)


def epoch(elected: Elected, name: str) -> int:
    return int(elected.state(machine(elected, name), "voters.json").get("epoch", 0))


def vote(elected: Elected, *voters: str) -> Path:
    """Declare other voters."""
    elected.declared["election"] = {**elected.declared["election"], "voters": list(voters)}
    return elected.declare()


def is_voted_by(elected: Elected, *voters: str) -> bool:
    """Whether each of these voters knows that exactly these vote."""
    told = [elected.state(machine(elected, name), "voters.json").get("voters", []) for name in voters]
    return all(sorted(one["name"] for one in listed) == sorted(voters) for listed in told)


def test_the_leader_of_three_voters_is_killed(three: Elected) -> None:
    before = three.wait_leader()
    member = three.member(before.node)
    since = now()
    faults.kill(member.hypervisor, member.pids(three.unit)[0])
    three.failover("killed, three voters", since, before)


def test_a_dead_voter_is_replaced_by_one_run(three: Elected) -> None:
    dead = spare(three)
    left = [name for name in voters_of(three) if name != dead.name]
    before, former = three.wait_leader(), epoch(three, left[0])
    with faults.isolate(three.lab, dead.address):
        vote(three, *left, "wit2")
        run = three.play("start")
        assert run.code == 0, run.output
        assert epoch(three, "wit2") == former + 2  # one comes, then one goes
        assert is_voted_by(three, *left, "wit2")
        # the agents' own settings name the former voters; they find the new ones by themselves
        after = three.wait_leader(FAILOVER + TTL, above=before.token)
        assert after.token[0] == former + 2
        three.wait_work(after)
    three.stays(after, TTL)


@pytest.mark.parametrize("sight", ["first", "majority", "second"])
def test_a_change_of_voters_that_is_cut_off_is_finished_by_the_next_run(three: Elected, sight: str) -> None:
    """Everything of the run is killed as soon as a voter, or most of them, know the next list, or the one after."""
    now_voting = voters_of(three)
    leaving = "wit2" if "wit2" in now_voting else "wit1"
    coming = "wit1" if leaving == "wit2" else "wit2"
    former = max(epoch(three, name) for name in now_voting)
    three.wait_leader()
    inventory = vote(three, *[name for name in now_voting if name != leaving], coming)
    with three.persons():
        process = three.controller.start("start", inventory)

        def seen() -> bool:
            assert process.poll() is None, process.communicate()[0]
            epochs = sorted(epoch(three, name) for name in {*now_voting, coming})
            wanted = {"first": epochs[-1] > former, "majority": epochs[-2] > former, "second": epochs[-1] > former + 1}
            return wanted[sight]

        wait_until(seen, 120, "another list of voters")
        kill_all_of(three.controller)
        process.communicate()
        cut_off = three.wait_leader(WISH + FAILOVER + 2 * TTL)
        three.wait_work(cut_off)
    run = three.play("start")
    assert run.code == 0, run.output
    assert is_voted_by(three, *voters_of(three))
    assert epoch(three, coming) >= former + 2
    three.wait_leader(FAILOVER + TTL, above=cut_off.token)


def kill_all_of(controller: Controller) -> None:
    """Every process of a controller at once, also those that outlive their playbook."""
    mark = f"HOME={controller.home}".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                os.kill(int(pid), signal.SIGKILL)


def test_two_voters_at_once_are_refused(three: Elected) -> None:
    before = voters_of(three)
    three.wait_leader()
    try:
        run = three.controller.play("start", vote(three, before[0], "wit1", "wit2", before[1], spare(three).name))
    finally:
        vote(three, *before)
    assert (run.code, run.failure["code"]) == (2, "too_many_changes"), run.output
    assert is_voted_by(three, *before)


def test_a_majority_that_is_lost_is_replaced_by_a_persons_word(three: Elected) -> None:
    voters = voters_of(three)
    kept, lost = voters[0], voters[1:]
    former, before = epoch(three, kept), three.wait_leader()
    fresh = [name for name in (one.name for one in three.lab.machines) if name not in voters]
    with contextlib.ExitStack() as stack:
        stack.enter_context(faults.isolate(three.lab, machine(three, lost[0]).address))
        refused = recover(three, lost)
        assert refused.code == 2, refused.output
        assert f"{lost[1]}, which answers and has its memory" in refused.failure["msg"]
        stack.enter_context(faults.isolate(three.lab, machine(three, lost[1]).address))
        with three.outage():
            stuck = three.controller.play("start", three.inventory, "-e", "ensemble_lease_wait=5")
            assert (stuck.code, stuck.failure["code"]) == (2, "no_quorum"), stuck.output
            wait_until(lambda: three.leaders() == [], 2 * TTL, "nobody leads")
        vote(three, kept, *fresh)
        looked = recover(three, lost, "--check")
        assert (looked.code, epoch(three, kept)) == (0, former), looked.output
        done = recover(three, lost)
        assert done.code == 0, done.output
        assert "What was written to the lost voters only is gone" in done.output
        assert epoch(three, kept) == former + 1
        assert is_voted_by(three, kept, *fresh)
        after = three.wait_leader(FAILOVER + 2 * TTL, above=before.token)
        assert after.token[0] == former + 1
        three.wait_work(after)
        assert obeys(three, machine(three, kept), (former, before.token[1] + 1000)) == "stale_token"
    # those that were given up for lost are there again, and are a majority of the former list
    three.stays(after, TTL)
    run = three.play("start")
    assert (run.code, run.resource["changed"]) == (0, False), run.output


def recover(elected: Elected, lost: list[str], *options: str) -> Run:
    return elected.play("recover", "-e", f"i_lost={','.join(lost)}", *options)


def obeys(elected: Elected, target: Hypervisor, token: tuple[int, int]) -> str:
    """What a hypervisor says to a batch under a token: why it refused, or nothing."""
    verbs: list[dict[str, t.Any]] = [{"verb": "undefine", "member": "nobody-0", "driver": "lxc"}]
    protocol = json.loads(target.run("ensemble-host", "--version"))["protocol"]
    request = {"protocol": protocol, "id": 1, "resource": elected.name, "generation": 99, "token": list(token)}
    line = json.dumps({**request, "verbs": verbs}).encode() + b"\n"
    answer = json.loads(target.run("ensemble-host", stdin=line))
    return str((answer.get("error") or {}).get("code", ""))
