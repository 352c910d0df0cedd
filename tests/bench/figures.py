# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The figures: each yields (name, unit, goal, values); a goal of None marks a part of another figure."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._model.load import load_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.ssh import connect

from .setting import Setting

Figure = t.Tuple[str, str, "float | None", t.List[float]]
RUNS = 3
TRIPS = 50
OBSERVE_TIMEOUT = 30.0


def start_to_first_job(setting: Setting) -> t.Iterator[Figure]:
    """From nothing running, images cached, to the end of the first job, with the time of each step."""
    totals: list[float] = []
    steps: dict[str, list[float]] = {}
    for _run in range(RUNS):
        setting.play("remove")
        begun = time.monotonic()
        rolled_out = setting.play("torque")
        configured = time.monotonic()
        setting.play("smoke")
        ended = time.monotonic()
        totals.append(ended - begun)
        seconds = rolled_out.resource["seconds"]
        machines = sum(seconds.values())
        parts = {
            "define": seconds["prepare"] + seconds["define"],
            "boot": seconds["start"],
            "reachable": seconds["reachable"],
            "configured": configured - begun - machines,
            "job": ended - configured,
        }
        for step, value in parts.items():
            steps.setdefault(step, []).append(value)
    yield "start_to_first_job_s", "s", 60, totals
    for step, values in steps.items():
        yield f"start_to_first_job_s.{step}", "s", None, values


def second_run(setting: Setting) -> t.Iterator[Figure]:
    """The whole playbook on a converged resource."""
    setting.play("torque")
    values = []
    for _run in range(RUNS):
        begun = time.monotonic()
        run = setting.play("torque")
        values.append(time.monotonic() - begun)
        if set(run.recap("changed").values()) != {0}:
            raise RuntimeError(f"the second run changed something:\n{run.output}")
    yield "second_run_s", "s", 15, values


def observe(setting: Setting) -> t.Iterator[Figure]:
    """One trip that observes all members of a hypervisor over an open session."""
    setting.play("start")
    resource = load_declaration(str(setting.inventory))
    session = connect(resource.pool[0], resource.known_hosts)
    values = []
    try:
        for _trip in range(TRIPS):
            begun = time.monotonic()
            answer = session.call("observe", OBSERVE_TIMEOUT, resource=resource.name)
            values.append((time.monotonic() - begun) * 1000)
    finally:
        session.close()
    if not answer["domains"]:
        raise RuntimeError("nothing was observed: the hypervisor carries no member")
    yield "observe_ms", "ms", 50, values


ALL: dict[str, t.Callable[[Setting], t.Iterator[Figure]]] = {
    "start_to_first_job_s": start_to_first_job,
    "second_run_s": second_run,
    "observe_ms": observe,
}
