# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Persons' and scheduled runs while agents lead, and what becomes of them when they, or the lease, end."""

from __future__ import annotations

import json
import os
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from harness import faults
from harness.controller import Controller
from harness.waiting import wait_until

from .elected import FAILOVER, TTL, Elected, now


def test_a_persons_run_is_let_go_first(five: Elected) -> None:
    before = five.wait_leader()
    since = now()
    run = five.play("start")
    assert (run.code, run.resource["changed"], run.resource["actions"]) == (0, False, []), run.output
    ended = [one for one in five.told(before.node, since) if one["event"] == "released"]
    assert [one["why"] for one in ended] == ["wanted"]
    after = five.wait_leader(FAILOVER, above=before.token)
    assert after.token[1] > run.results("fencing_token")[0]["fencing_token"][1]
    five.wait_work(after)


def test_a_scheduled_run_changes_nothing_and_names_the_leader(five: Elected) -> None:
    leader = five.wait_leader()
    run = five.controller.play("start", five.inventory, "-e", "ensemble_scheduled=true")
    assert run.code == 0, run.output
    assert f"ensemble-agent on {leader.node} (pid " in run.output
    assert "leads elect. Nothing was changed." in run.output
    assert not run.results("actions")
    five.stays(leader, 1.0)


def test_a_killed_run_leaves_the_lease_long_before_it_ends(five: Elected) -> None:
    before = five.wait_leader()
    with five.persons():
        process, note = at_work(five, five.controller, "start")
        assert five.granted(note["session"]) >= 3
        begun = time.monotonic()
        five.controller.kill(process)
        wait_until(lambda: five.granted(note["session"]) < 3, TTL / 2, "a lease that is free")
        five.figures["lease free after kill -9"] = round(time.monotonic() - begun, 2)
        wait_until(lambda: is_gone(note), FAILOVER, "the end of the keeper")
        five.figures["keeper gone after kill -9"] = round(time.monotonic() - begun, 2)
        process.communicate()
    since = now()
    after = five.wait_leader(TTL, above=before.token)  # no lease had to run out
    five.figures["agents lead after kill -9"] = round(now() - since, 2)
    five.wait_work(after)


def is_gone(note: dict[str, t.Any]) -> bool:
    """Whether the process that kept a lease has ended."""
    return not os.path.exists(f"/proc/{note['keeper'][0]}")


def at_work(elected: Elected, controller: Controller, playbook: str) -> tuple[subprocess.Popen[str], dict[str, t.Any]]:
    """A playbook that leads by now, and what its keeper has noted."""
    note = controller.home / ".cache/ensemble" / elected.name / "lease.json"
    note.unlink(missing_ok=True)
    process = controller.start(playbook, elected.inventory)

    def leads() -> bool:
        assert process.poll() is None, process.communicate()[0]
        return note.exists() and bool(note.read_text())

    wait_until(leads, 90, "the playbook's lease")
    return process, json.loads(note.read_text())


@pytest.mark.long
def test_a_run_that_loses_the_lease_is_ended(five: Elected, tmp_path: Path) -> None:
    """The controller loses sight of a majority in the middle of a task that takes long."""
    mark = tmp_path / "went-on"
    five.wait_leader()
    with five.persons():
        process, note = at_work(five, five.controller, long_playbook(five, tmp_path, mark))
        cut = [(five.lab.address(1), one.address) for one in five.lab.machines[:3]]
        with faults.cut(five.lab, [*cut, *((other, one) for one, other in cut)]):
            since = now()
            output, _none = process.communicate(timeout=3 * TTL)
            five.figures["playbook ended after it lost the lease"] = round(now() - since, 2)
            assert process.returncode != 0, output
            assert now() - since <= TTL + 2
            five.wait_leader(FAILOVER + TTL)
            wait_until(lambda: is_gone(note), FAILOVER, "the end of the keeper")
            sleepers = subprocess.run(["pgrep", "-f", str(mark)], capture_output=True, text=True, check=False)
            assert sleepers.stdout == "", "what the playbook had started goes on"
    assert not mark.exists()


def long_playbook(elected: Elected, folder: Path, mark: Path) -> str:
    """A playbook that takes the lease and then has a task of a minute, without its suffix."""
    late = f"import time; time.sleep(60); open({str(mark)!r}, 'w').close()"
    tasks: list[dict[str, t.Any]] = [
        {"ensemble.stacks.leader_election": {"declaration": str(elected.inventory)}},
        {"ansible.builtin.command": {"argv": ["/usr/bin/python3", "-c", late]}},
    ]
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    path = folder / "long.yml"
    path.write_text(yaml.safe_dump([play]))
    return str(path.with_suffix(""))


@pytest.mark.long
def test_two_controllers_that_start_together_follow_each_other(five: Elected, tmp_path: Path) -> None:
    before = five.wait_leader()
    other = Controller(tmp_path)
    theirs = other.write(five.declared)
    with five.persons():
        runs = [five.controller.start("start", five.inventory), other.start("start", theirs)]
        outputs = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert sorted(five.lab.defined() & set(five.nodes)) == five.nodes
    five.wait_leader(above=before.token)


@pytest.mark.long
def test_a_run_that_is_killed_while_it_waits_holds_up_nobody_for_long(five: Elected) -> None:
    """Its wish ends by itself, within 20 s."""
    leader = five.wait_leader()
    with five.persons():
        process = five.controller.start("start", five.inventory)

        def wished() -> bool:
            return any(event.event == "released" for event in five.events() if event.session == leader.session)

        wait_until(wished, 60, "the agent gives way")
        five.controller.kill(process)
        process.communicate()
    five.wait_leader(20 + FAILOVER, above=leader.token)
