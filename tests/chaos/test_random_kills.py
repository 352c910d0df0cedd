# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Runs of every kind, killed at random moments, on the controller or on a hypervisor: the next run ends converged.

ENSEMBLE_CHAOS_KILLS says how many (2 unless set), ENSEMBLE_CHAOS_SEED repeats a series.
"""

from __future__ import annotations

import json
import os
import random
import time
import typing as t
from pathlib import Path

import pytest
from harness.controller import Controller
from harness.lab import STATE, Lab

NAME = "chaos"
KILLS = int(os.environ.get("ENSEMBLE_CHAOS_KILLS", "2"))
SEED = int(os.environ.get("ENSEMBLE_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
#: seconds that a run takes until one that was over before it could be killed has told better
AT_FIRST = 4.0
Kind = t.Tuple[str, t.Dict[str, t.Any], t.Dict[str, t.Any]]

#: playbook, what differs in the declaration, and extra variables
KINDS: dict[str, Kind] = {
    "start": ("start", {}, {}),
    "grow": ("start", {"count": 4}, {}),
    "shrink": ("start", {"count": 1}, {}),
    "resize": ("start", {"memory_mb": 288}, {}),
    "replace": ("start", {}, {"ensemble_replace": ["node-1"]}),
    "drain": ("start", {"maintenance": "hv2"}, {}),
    "stop": ("stop", {}, {}),
    "remove": ("remove", {}, {}),
}


def declaration(lab: Lab, count: int = 3, memory_mb: int = 256, maintenance: str = "") -> dict[str, t.Any]:
    roles = {"node": {"count": count, "memory_mb": memory_mb, "spread": "hypervisor"}}
    declared = lab.declaration(NAME, roles=roles, election={"ttl": 3})
    for hypervisor in declared["pool"]:
        if hypervisor["name"] == maintenance:
            hypervisor["state"] = "maintenance"
    return declared


def is_state(lab: Lab, playbook: str, members: int) -> list[str]:
    """What is wrong with the pool after a run that ended well; empty when nothing is."""
    faults = []
    names = [f"{NAME}-node-{index}" for index in range(members)]
    where = {name: hv.name for hv in lab.hypervisors for name in hv.domains("--all") if name.startswith(f"{NAME}-")}
    running = sorted(name for hv in lab.hypervisors for name in hv.domains() if name.startswith(f"{NAME}-"))
    if playbook == "remove":
        return lab.leftovers(NAME)
    if sorted(where) != names or running != (names if playbook == "start" else []):
        faults.append(f"defined {where}, running {running}, expected {names}")
    for hv in lab.hypervisors:
        listed = hv.run("sh", "-c", f"ls -A {STATE}/{NAME}/members 2>/dev/null || true").split()
        disks = {f"{NAME}-{name}" for name in listed}
        if disks != {name for name, place in where.items() if place == hv.name}:
            faults.append(f"{hv.name} has disks of {sorted(disks)}")
    return faults


def kill_host_programs(lab: Lab, victim: int) -> bool:
    """End every host program at work on one hypervisor; false when there is none."""
    hypervisor = lab.hypervisors[victim]
    found = hypervisor.run("pgrep", "-f", "^/usr/bin/python3 /usr/local/bin/ensemble-host$", check=False).split()
    for pid in found:
        hypervisor.run("kill", "-KILL", pid, check=False)
    return bool(found)


def test_runs_killed_at_random_moments_end_converged(
    lab: Lab, controller: Controller, record_property: t.Callable[[str, object], None]
) -> None:
    record_property("seed", SEED)
    dice = random.Random(SEED)  # noqa: S311 - it shall be repeatable
    path = controller.write(declaration(lab))
    assert controller.play("start", path).code == 0
    killed = 0
    takes: dict[str, float] = {}
    for turn in range(KILLS):
        kind = dice.choice(sorted(KINDS))
        playbook, changes, variables = KINDS[kind]
        extra = ["-e", json.dumps(variables)] if variables else []
        share, on_controller, victim = dice.uniform(0.2, 0.95), dice.random() < 0.6, dice.randrange(3)
        moment = share * takes.get(kind, AT_FIRST)
        told = f"seed {SEED}, turn {turn}: {kind} killed after {moment:.2f} s"
        path = controller.write(declaration(lab, **changes))
        process = controller.start(playbook, path, *extra)
        begun = time.monotonic()
        while process.poll() is None and time.monotonic() < begun + moment:
            time.sleep(0.01)  # the random moment itself is what is waited for
        if process.poll() is not None:
            takes[kind] = time.monotonic() - begun
        if process.poll() is None and (on_controller or not kill_host_programs(lab, victim)):
            controller.kill(process)
        process.communicate(timeout=300)
        killed += process.returncode != 0
        finished = controller.play(playbook, path, *extra)
        assert finished.code == 0, f"{told}: {finished.output}"
        assert is_state(lab, playbook, changes.get("count", 3)) == [], told
        again = controller.play(playbook, path)
        assert (again.code, again.resource["actions"]) == (0, []), f"{told}: {again.output}"
        path = controller.write(declaration(lab))
        assert controller.play("start", path).code == 0, told
        assert is_state(lab, "start", 3) == [], told
    assert controller.play("remove", path).code == 0
    assert lab.leftovers(NAME) == []
    if KILLS >= 10:
        assert killed >= KILLS // 3, f"only {killed} of {KILLS} runs were still at work when they were killed"


@pytest.fixture(autouse=True)
def gone(lab: Lab, controller: Controller) -> t.Iterator[None]:
    yield
    path = Path(controller.home) / NAME / "resource.yml"
    if path.exists():
        controller.play("remove", path)
