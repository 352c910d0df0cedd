# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Two controllers, as processes of their own, that start the same resource at the same moment."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
import yaml
from simulated import Simulated

PROGRAM = pathlib.Path(__file__).with_name("one_controller.py")
ENDS_WITHIN = 60.0


def together(pool: Simulated, patience: float, count: int = 2) -> list[tuple[int, dict[str, t.Any]]]:
    """(pid, how it ended) of controllers that are told to go when all of them are ready."""
    declared = pool.base / "resource.yml"
    declared.write_text(yaml.safe_dump(pool.raw, sort_keys=False))
    controllers = []
    for number in range(count):
        home = pool.base / f"home{number}"
        home.mkdir(exist_ok=True)
        controllers.append(
            subprocess.Popen(
                [sys.executable, str(PROGRAM), str(declared), str(patience)],
                env={**os.environ, "HOME": str(home)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    try:
        for controller in controllers:
            assert t.cast("t.TextIO", controller.stdout).readline() == "ready\n"
        for controller in controllers:
            t.cast("t.TextIO", controller.stdin).write("go\n")
            t.cast("t.TextIO", controller.stdin).flush()
        return [(one.pid, json.loads(one.communicate(timeout=ENDS_WITHIN)[0])) for one in controllers]
    finally:
        for controller in controllers:
            if controller.poll() is None:
                controller.kill()
            controller.wait()


@pytest.fixture
def pool(tmp_path: pathlib.Path) -> Simulated:
    """Every trip takes a moment, so that the controllers meet."""
    pool = Simulated(tmp_path)
    for hypervisor in pool.resource.pool:
        pool.faults(hypervisor.name, {"kind": "slow", "ms": 20})
    return pool


def converged(pool: Simulated) -> bool:
    """One machine per member, no more, all of them running."""
    whole = {member.name: True for member in pool.resource.members}
    return (pool.states(), pool.disks()) == (dict.fromkeys(pool.names(), "running"), whole)


def one_after_another(pool: Simulated) -> bool:
    """No hypervisor obeyed anybody after it had obeyed a later leader."""
    obeyed = pool.obeyed()
    assert sorted(obeyed) == [hv.name for hv in pool.resource.pool]
    return all(tokens == sorted(tokens) for tokens in obeyed.values())


def test_the_one_that_waits_finds_nothing_to_do(pool: Simulated) -> None:
    ends = [end for _pid, end in together(pool, 30.0, count=3)]
    assert [end["code"] for end in ends] == ["", "", ""], ends
    assert sorted(end["actions"] for end in ends) == [0, 0, 3 * len(pool.names())]
    assert converged(pool)
    assert one_after_another(pool)


def test_the_one_that_does_not_wait_names_the_other(pool: Simulated) -> None:
    ends = together(pool, 0.0)
    winners = [pid for pid, end in ends if end["code"] == ""]
    assert winners, ends
    for pid, end in ends:
        if end["code"]:
            [winner] = winners
            assert end["code"] == "lease_held"
            assert f"(pid {winner})" in end["msg"], (pid, end)
    assert converged(pool)
    assert one_after_another(pool)


def test_two_controllers_whose_pool_was_founded_already(pool: Simulated) -> None:
    pool.run("started")
    pool.run("stopped")
    ends = [end for _pid, end in together(pool, 30.0)]
    assert [end["code"] for end in ends] == ["", ""], ends
    assert converged(pool)
    assert one_after_another(pool)
