# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Playbooks that lead: run by Ansible itself, over simulated voters; they wait at a gate while a test looks or acts."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import typing as t

import pytest
import yaml
from ansible_collections.ensemble.stacks.plugins.module_utils._election.voter import Ballot
from ansible_collections.ensemble.stacks.plugins.module_utils._host.votes import Voter
from ansible_collections.ensemble.stacks.plugins.module_utils._module.main import connect_of, target_of
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.pool import Pool
from declared import raw

PATIENCE = 60.0
PLAY = {"hosts": "localhost", "gather_facts": False}
MODULE = "ensemble.stacks.leader_election"
VOTERS = [{"name": "a", "address": "127.0.0.1"}]


class Stage:
    """A resource on three simulated hypervisors, and playbooks about its lease."""

    def __init__(self, folder: pathlib.Path, root: pathlib.Path) -> None:
        self.folder = folder
        self.root = root
        pool = [{"name": f"hv{n}", "sim": str(folder / f"hv{n}")} for n in (1, 2, 3)]
        self.declaration = folder / "resource.yml"
        self.declaration.write_text(yaml.safe_dump(raw(pool=pool, election={"ttl": 3})))

    def lead(self, **options: t.Any) -> dict[str, t.Any]:
        """A task that takes the lease."""
        return {MODULE: {"declaration": str(self.declaration), **options}, "register": "lease"}

    def wait(self) -> dict[str, t.Any]:
        """A task that lasts until a test opens the gate."""
        return {"ansible.builtin.wait_for": {"path": str(self.folder / "gate"), "timeout": int(PATIENCE)}}

    def start(
        self, *tasks: dict[str, t.Any], options: t.Sequence[str] = (), **environment: str
    ) -> subprocess.Popen[str]:
        path = self.folder / f"play{len(list(self.folder.glob('play*')))}.yml"
        path.write_text(yaml.safe_dump([{**PLAY, "tasks": list(tasks)}]))
        return subprocess.Popen(
            [pathlib.Path(sys.executable).parent / "ansible-playbook", "-v", str(path), *options],
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(self.root / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_LOCALHOST_WARNING": "0",
                "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(
        self, *tasks: dict[str, t.Any], options: t.Sequence[str] = (), **environment: str
    ) -> tuple[int, list[t.Any]]:
        """The exit code and the results of the module's tasks."""
        process = self.start(*tasks, options=options, **environment)
        output = process.communicate(timeout=PATIENCE)[0]
        return process.returncode, results(output)

    def open_gate(self) -> None:
        (self.folder / "gate").touch()

    def view(self) -> list[dict[str, t.Any]]:
        """What every voter has granted."""
        params = {"declaration": str(self.declaration)}
        target = target_of(params)
        assert target.resource is not None
        with Pool(target.pool, connect_of(target)) as pool:
            return [session.call("lease_read", 5.0, resource=target.name) for session in pool.sessions.values()]

    def held(self) -> bool:
        return sum(one["session"] != "" and one["expires_in"] > 0 for one in self.view()) >= 2

    def until(self, condition: t.Callable[[], bool], seconds: float = PATIENCE) -> float:
        """Seconds until a condition held.

        Raises:
            AssertionError: it did not in time.
        """
        begun = time.monotonic()
        while not condition():
            assert time.monotonic() < begun + seconds, "it did not come about in time"
            time.sleep(0.05)
        return time.monotonic() - begun

    def thief(self) -> None:
        """Another controller wins the lease from voters that were told nothing of its end."""
        for name in ("hv1", "hv2"):
            boot = next((self.folder / name / "run").iterdir())
            voter = Voter(str(self.folder / name / "state"), "demo", str(boot))
            seen = voter.read()
            voter.release(seen["session"], seen["term"])
            assert voter.request(Ballot(1, seen["term"] + 1, "thief/b/r", "a thief", 60.0))["granted"]


def results(output: str) -> list[t.Any]:
    found = []
    for line in output.splitlines():
        if (" => {" in line and "is_leader" in line) or ("code" in line and " => {" in line):
            found.append(json.loads(line[line.index("{") :]))
    assert found, output
    return found


@pytest.fixture
def stage(tmp_path: pathlib.Path, root: pathlib.Path) -> Stage:
    return Stage(tmp_path, root)


def test_a_playbook_leads_until_it_ends(stage: Stage) -> None:
    play = stage.start(stage.lead(), stage.wait(), stage.lead(), stage.lead(state="acquired", scheduled=True))
    stage.until(stage.held)
    second = stage.run(stage.lead(scheduled=True))
    assert second[0] == 0, "another leader is no failure of a scheduled run"
    assert (second[1][0]["is_leader"], second[1][0]["reason"], second[1][0]["fencing_token"]) == (False, "held", [])
    assert second[1][0]["leader"]
    time_held = stage.view()[0]["term"]
    stage.open_gate()
    done = results(play.communicate(timeout=PATIENCE)[0])
    assert play.returncode == 0
    assert [one["is_leader"] for one in done] == [True, True, True]
    assert {tuple(one["fencing_token"]) for one in done} == {(1, time_held)}, "later tasks take part in the same lease"
    assert not any(one["changed"] for one in done)
    assert stage.until(lambda: not stage.held(), 10.0) < 10.0


def test_the_lease_is_renewed_for_as_long_as_the_playbook_lives(stage: Stage) -> None:
    play = stage.start(stage.lead(), stage.wait())
    stage.until(stage.held)
    first = stage.view()[0]
    stage.until(lambda: stage.view()[0]["expires_in"] < 2.5)
    stage.until(lambda: stage.view()[0]["expires_in"] > 2.5)
    assert (stage.view()[0]["session"], stage.view()[0]["term"]) == (first["session"], first["term"])
    stage.open_gate()
    assert play.wait(PATIENCE) == 0


def test_a_playbook_that_is_killed_leads_no_longer(stage: Stage) -> None:
    play = stage.start(stage.lead(), stage.wait())
    stage.until(stage.held)
    os.kill(play.pid, signal.SIGKILL)
    assert stage.until(lambda: not stage.held(), 2.5) < 2.5, "long before the lease would have ended"
    play.wait(PATIENCE)
    stage.open_gate()


def test_a_playbook_that_has_lost_the_lease_is_ended(stage: Stage) -> None:
    play = stage.start(stage.lead(), stage.wait())
    stage.until(stage.held)
    stage.thief()
    assert play.wait(PATIENCE) != 0
    assert stage.view()[0]["holder"] == "a thief"


def test_a_person_waits_for_the_holder_and_is_told_who_it_is(stage: Stage) -> None:
    play = stage.start(stage.lead(), stage.wait())
    stage.until(stage.held)
    code, told = stage.run(stage.lead(wait=1))
    assert code != 0
    assert (told[0]["code"], told[0]["details"]["holder"]) == ("lease_held", stage.view()[0]["holder"])
    waiting = stage.start(stage.lead(wait=60))
    stage.until(lambda: any(one["wanted"] for one in stage.view()))
    wanted = next(one["wanted"] for one in stage.view() if one["wanted"])
    assert wanted["person"] is True
    stage.open_gate()
    assert play.wait(PATIENCE) == 0
    assert results(waiting.communicate(timeout=PATIENCE)[0])[0]["is_leader"] is True


def test_check_mode_asks_and_writes_nothing(stage: Stage) -> None:
    code, told = stage.run(stage.lead(), options=["--check"])
    assert (code, told[0]["is_leader"], told[0]["fencing_token"]) == (0, True, [])
    assert [one["blank"] for one in stage.view()] == [True, True, True]
    play = stage.start(stage.lead(), stage.wait())
    stage.until(stage.held)
    before = stage.view()[0]["term"]
    code, told = stage.run(stage.lead(), options=["--check"])
    assert (code, told[0]["is_leader"], told[0]["reason"]) == (0, False, "held")
    assert stage.view()[0]["term"] == before
    stage.open_gate()
    play.wait(PATIENCE)


def test_a_run_of_an_agent_takes_part_in_its_lease(stage: Stage) -> None:
    play = stage.start(stage.lead(), stage.wait())
    stage.until(stage.held)
    token = stage.view()[0]["term"]
    given = {"ENSEMBLE_RESOURCE": "demo", "ENSEMBLE_FENCING_TOKEN": f"1,{token}"}
    code, told = stage.run(stage.lead(), **given)
    assert (code, told[0]["fencing_token"]) == (0, [1, token])
    assert stage.held(), "its end does not end the agent's lease"
    stale = {**given, "ENSEMBLE_FENCING_TOKEN": f"1,{token - 1}"}
    code, told = stage.run(stage.lead(), **stale)
    assert (code != 0, told[0]["code"]) == (True, "lease_lost")
    stage.open_gate()
    play.wait(PATIENCE)


def test_renewed_and_released_by_hand(stage: Stage) -> None:
    code, told = stage.run(
        stage.lead(keep=False),
        {
            MODULE: {
                "declaration": str(stage.declaration),
                "state": "renewed",
                "session": "{{ lease.session }}",
                "fencing_token": "{{ lease.fencing_token }}",
            }
        },
        {MODULE: {"declaration": str(stage.declaration), "state": "released", "session": "{{ lease.session }}"}},
        {
            MODULE: {
                "declaration": str(stage.declaration),
                "state": "renewed",
                "session": "{{ lease.session }}",
                "fencing_token": "{{ lease.fencing_token }}",
            }
        },
    )
    assert code == 0
    assert [one["reason"] for one in told] == ["acquired", "acquired", "released", "lost"]
    assert not stage.held()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resource": "x", "voters": VOTERS, "ttl": 2}, "ttl"),
        (
            {"resource": "x", "voters": VOTERS, "ttl": 10, "op_timeout": 5},
            "op_timeout",
        ),
        ({"resource": "x", "voters": []}, "pool"),
        ({"resource": "x", "backend": "etcd"}, "endpoints"),
        ({"resource": "X/..", "voters": VOTERS}, "name"),
    ],
)
def test_what_cannot_hold_is_refused_before_anybody_is_asked(stage: Stage, options: t.Any, words: str) -> None:
    code, told = stage.run({MODULE: options})
    assert code != 0
    assert told[0]["code"] == "invalid_declaration"
    assert words in told[0]["msg"]
