# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Status documents as a leader would build them: a realistic one, large ones, and one that wants to break the page."""

from __future__ import annotations

import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._model import health as words
from ansible_collections.ensemble.stacks.plugins.module_utils._model.health import Health, Job, MemberHealth, Sign
from ansible_collections.ensemble.stacks.plugins.module_utils._status.document import build
from ansible_collections.ensemble.stacks.plugins.module_utils._status.text import iso

AT = "2026-05-04T13:07:12.250Z"
NOW = 1777900032.25
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\x1b[2J\u202egnp\ud800\n\\"


def member(
    name: str, verdict: str, cause: str, *signs: Sign, hypervisor: str | None = "hv1", address: str = "172.30.0.50"
) -> MemberHealth:
    role = name.rsplit("-", 1)[0]
    state = {words.STOPPED: "stopped", words.UNKNOWN: "unknown"}.get(verdict, "running")
    return MemberHealth(name, f"mytorque-{name}", (role,), hypervisor, address, state, verdict, cause, signs)


def well(*units: str) -> tuple[Sign, ...]:
    found = [Sign("domain", "", True, "running", 0.01), Sign("reach", "", True, "answers SSH", 0.08)]
    return (*found, *(Sign("unit", unit, True, "active", 0.04, 5400.0) for unit in units))


def event(
    seconds_ago: float, name: str, node: str = "mytorque-head-0", term: int = 4, **more: t.Any
) -> dict[str, t.Any]:
    common = {"event": name, "at": 90000.0 - seconds_ago, "wall": iso(NOW - seconds_ago), "resource": "mytorque"}
    return {**common, "node": node, "session": f"{node}/b1/r{term}", "token": [1, term], "until": None, **more}


def failing() -> dict[str, t.Any]:
    """Five members on three hypervisors: one failed, one hypervisor silent, jobs, repairs and events."""
    lost = Sign("reach", "", None, "no route to 172.30.0.53", 3.0)
    members = (
        member(
            "head-0", words.HEALTHY, "", *well("munge", "slurmctld"), Sign("scheduler", "slurm", True, "4 nodes", 0.2)
        ),
        member("compute-0", words.HEALTHY, "", *well("munge", "slurmd"), hypervisor="hv2", address="172.30.0.51"),
        member(
            "compute-1",
            words.FAILED,
            "slurmd is not active: it failed 3 times within 10 minutes, and the budget of repairs is used up",
            *well("munge"),
            Sign("unit", "slurmd", False, "failed (Result: exit-code)", 0.05, 212.0),
            Sign("tcp", "tcp:6818", False, "connection refused", 0.01),
            hypervisor="hv2",
            address="172.30.0.52",
        ),
        member(
            "compute-2",
            words.UNKNOWN,
            "its hypervisor hv3 is silent, and it does not answer SSH",
            Sign("domain", "", None, "hv3 does not answer", 5.0),
            lost,
            hypervisor="hv3",
            address="172.30.0.53",
        ),
        member(
            "compute-3",
            words.STARTING,
            "started 14 s ago, slurmd is not active yet",
            *well("munge"),
            Sign("unit", "slurmd", None, "activating", 0.05, 14.0),
            address="172.30.0.54",
        ),
    )
    jobs = (
        Job("41", "render-frames", "ann", "RUNNING", "compute-0", NOW - 1900, NOW - 1800),
        Job("42", "render-frames", "ann", "RUNNING", "compute-0", NOW - 1900, NOW - 600),
        Job("43", "assemble", "bob", "PENDING", "", NOW - 900, 0.0),
    )
    found = Health(
        "mytorque",
        "started",
        7,
        words.FAILED,
        "compute-1 failed: slurmd is not active; compute-2 is unknown: its hypervisor hv3 is silent",
        members,
        {"hv3": "no answer from 172.30.0.4 port 22 within 5 s"},
        jobs,
    )
    return build(
        found.as_dict(),
        AT,
        leader={
            "node": "mytorque-head-0",
            "holder": "ensemble-agent on mytorque-head-0 (pid 467)",
            "token": [1, 4],
            "since_s": 1130.0,
        },
        hypervisors=[
            {"name": "hv1", "address": "172.30.0.2", "state": "answers", "memory_mb": 16384, "vcpus": 8},
            {"name": "hv2", "address": "172.30.0.3", "state": "answers", "memory_mb": 16384, "vcpus": 8},
            {"name": "hv3", "address": "172.30.0.4", "state": "silent", "why": "no answer from 172.30.0.4 port 22"},
        ],
        events=_events(),
        repairs=_repairs(),
        look_s=0.84,
        interval_s=10,
    )


def _events() -> list[dict[str, t.Any]]:
    five = "mytorque-compute-2"
    session = f"{five}/b1/r3"
    return [
        event(3600, "started", term=0, candidates=["mytorque-head-0", five]),
        event(3598, "follows", term=3, leader=session, holder=f"ensemble-agent on {five} (pid 391)"),
        event(1160, "free", term=3),
        event(1130, "elected"),
        event(1129, "run_started", run=1),
        event(1101, "run_ended", run=1, code=0, seconds=28.4, ended_by=None),
        event(640, "verdict", member="compute-1", verdict="failed", cause="slurmd is not active"),
        event(
            638,
            "repair",
            member="compute-1",
            action="restart_unit",
            outcome="done",
            seconds=1.8,
            reason="slurmd failed",
        ),
        event(219, "renewal_failed", code="no_quorum", msg="1 of 3 voters answer, 2 needed"),
        event(214, "answered"),
        event(212, "verdict", member="compute-1", verdict="failed", cause="slurmd is not active"),
        event(60, "verdict", member="compute-2", verdict="unknown", cause="its hypervisor hv3 is silent"),
        event(14, "repair", member="compute-3", action="start", outcome="done", seconds=3.1, reason="it was stopped"),
    ]


def _repairs() -> list[dict[str, t.Any]]:
    def one(ago: float, name: str, action: str, reason: str, outcome: str, seconds: float | None) -> dict[str, t.Any]:
        fields = {"at": iso(NOW - ago), "member": name, "action": action, "reason": reason}
        return {**fields, "outcome": outcome, "seconds": seconds}

    return [
        one(638, "compute-1", "restart_unit", "slurmd failed", "done", 1.8),
        one(420, "compute-1", "restart", "slurmd failed again", "failed", 41.2),
        one(212, "compute-1", "recreate", "slurmd failed again", "refused", None),
        one(14, "compute-3", "start", "it was stopped", "done", 3.1),
    ]


def healthy(members: int = 3, hypervisors: int = 3) -> dict[str, t.Any]:
    """All is well."""
    return many(members, hypervisors, {})


def many(count: int, hypervisors: int, bad: t.Mapping[int, str]) -> dict[str, t.Any]:
    """As many members; those named by index have another verdict."""
    found = tuple(
        member(
            "head-0" if not index else f"compute-{index - 1}",
            bad.get(index, words.HEALTHY),
            f"slurmd has a problem on {index}" if index in bad else "",
            *well("munge", "slurmd"),
            hypervisor=f"hv{index % hypervisors + 1}",
            address=f"172.30.{index // 250}.{index % 250 + 1}",
        )
        for index in range(count)
    )
    verdict = words.DEGRADED if bad else words.HEALTHY
    cause = f"{len(bad)} of {count} members are not healthy" if bad else ""
    pool = [
        {
            "name": f"hv{each + 1}",
            "address": f"172.31.0.{each + 2}",
            "state": "answers",
            "memory_mb": 262144,
            "vcpus": 64,
        }
        for each in range(hypervisors)
    ]
    leader = {"node": "mytorque-head-0", "holder": "ensemble-agent", "token": [1, 2], "since_s": 86400.0 * 3}
    return build(
        Health("mytorque", "started", 1, verdict, cause, found).as_dict(),
        AT,
        leader,
        pool,
        [event(600, "elected", term=2)],
        look_s=2.1,
        interval_s=10,
    )


def hostile() -> dict[str, t.Any]:
    """Every text of it tries to be markup."""
    evil = MemberHealth(
        HOSTILE,
        HOSTILE,
        (HOSTILE,),
        HOSTILE,
        HOSTILE,
        HOSTILE,
        words.FAILED,
        HOSTILE,
        (Sign("unit", HOSTILE, False, HOSTILE),),
    )
    job = Job(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, NOW, NOW)
    found = Health(HOSTILE, HOSTILE, 1, words.FAILED, HOSTILE, (evil,), {HOSTILE: HOSTILE}, (job,))
    happened = {"event": HOSTILE, "wall": HOSTILE, "node": HOSTILE, "token": [HOSTILE, 1], "msg": HOSTILE}
    repaired = dict.fromkeys(("at", "member", "action", "reason", "outcome", "seconds"), HOSTILE)
    leader = {"node": HOSTILE, "holder": HOSTILE, "token": [HOSTILE, 2], "since_s": 3}
    pool = [
        {"name": HOSTILE, "address": HOSTILE, "state": "silent", "why": HOSTILE, "vcpus": HOSTILE, "memory_mb": HOSTILE}
    ]
    return build(found.as_dict(), HOSTILE, leader, pool, [happened], [repaired])
