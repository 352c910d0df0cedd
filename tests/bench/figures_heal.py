# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Figures of healing, on a batch cluster of the lab that was handed over to its members."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._engine.keeper import boottime
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.oversee import overseeing
from ansible_collections.ensemble.stacks.plugins.module_utils._model.load import load_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.ssh import connect
from harness import faults
from harness.healed import HEAD, Healed, handed_over
from harness.network import loss
from harness.services import wait_back
from harness.waiting import wait_until

from .figures import Figure
from .setting import Setting

#: for trials; figures to be told of are made with what stands here
RUNS = int(os.environ.get("ENSEMBLE_BENCH_HEALS", "5"))
FAULT_SECONDS = float(os.environ.get("ENSEMBLE_BENCH_FAULT_SECONDS", "600"))
LOSS_PERCENT = 20
MANY, MANY_NAME = 100, "bench-many"


def _healed(setting: Setting) -> Healed:
    """One cluster for all of these figures, removed at the end of the run."""
    if "healed" not in setting.shared:
        lab = setting.prepared
        setting.shared["healed"] = setting.undo.enter_context(handed_over(lab, setting.controller))
    found: Healed = setting.shared["healed"]
    found.wait_whole(180)
    return found


def service_back(setting: Setting) -> t.Iterator[Figure]:
    """From SIGKILL of a service to its unit active with another main process and its node in service."""
    healed = _healed(setting)
    for domain, unit in ((healed.computes[0], "slurmd"), (HEAD, "slurmctld")):
        yield f"service_back_s.{unit}", "s", 5, [_back(healed, domain, unit) for _run in range(RUNS)]


def _back(healed: Healed, domain: str, unit: str) -> float:
    member, head = healed.member(domain), healed.member(HEAD)
    # each kill stands for the only one in a long time: systemd counts the starts
    member.run("systemctl", "reset-failed", unit, check=False)
    begun = time.monotonic()
    former = faults.kill_service(member, unit)
    wait_back(member, unit, former, 60)

    def green() -> bool:
        states = head.run("sinfo", "--noheader", "--Node", "--format=%T", check=False).split()
        return len(states) == len(healed.computes) and set(states) <= {"idle", "mixed", "allocated", "completing"}

    wait_until(green, 60, "all nodes in service")
    took = time.monotonic() - begun
    healed.wait_whole()
    return took


def member_back(setting: Setting) -> t.Iterator[Figure]:
    """From `virsh destroy` of a member to the look that finds it healthy: one that does not lead, and the leader's."""
    healed = _healed(setting)
    yield "member_back_s", "s", 30, [_destroyed(healed, leads=False) for _run in range(RUNS)]
    yield "leader_member_back_s", "s", 60, [_destroyed(healed, leads=True) for _run in range(RUNS)]


def _destroyed(healed: Healed, leads: bool) -> float:
    leader = healed.leader()
    domain = leader if leads else next(one for one in reversed(healed.computes) if one != leader)
    member = healed.member(domain)
    begun = time.monotonic()
    member.hypervisor.run("virsh", "-c", "lxc:///system", "destroy", domain)
    healed.wait_whole()
    return time.monotonic() - begun


def monitor_100(setting: Setting) -> t.Iterator[Figure]:
    """One look at a hundred real members: by who has no connection yet, and by who looks again; and what each costs."""
    lab = setting.prepared
    declared = lab.declaration(
        MANY_NAME,
        pool=setting.pool(memory_mb=65536, vcpus=64),
        defaults={"driver": "lxc", "image": "plain", "vcpus": 1, "memory_mb": 96},
        roles={"node": {"count": MANY, "spread": "hypervisor"}},
        monitor={"services": {"node": ["ssh"]}},
    )
    inventory = setting.controller.write(declared)
    try:
        setting.play_on("start", inventory)
        fresh, again, cost = _looks(str(inventory))
    finally:
        setting.remove_resource(MANY_NAME)
    yield "monitor_100_s", "s", 5, fresh
    yield "monitor_100_s.again", "s", 5, again
    yield "monitor_cost", "ms/member", None, cost


def _looks(path: str) -> tuple[list[float], list[float], list[float]]:
    """Seconds of the first look and of further ones; milliseconds of the processor per member of those."""
    resource = load_declaration(path)
    fresh: list[float] = []
    again: list[float] = []
    cost: list[float] = []
    for _run in range(RUNS):
        with overseeing(resource, lambda hv: connect(hv, resource.known_hosts)) as overseer:
            for times in (fresh, again):
                used = time.process_time()
                seen = overseer.look()
                well = sum(member.verdict == "healthy" for member in seen.health.members)
                if well != MANY:
                    raise RuntimeError(f"{well} of {MANY} members are healthy: {seen.health.cause}")
                times.append(seen.seconds)
            cost.append(1000 * (time.process_time() - used) / MANY)
    return fresh, again, cost


def false_repairs(setting: Setting) -> t.Iterator[Figure]:
    """Repairs while all is well and each packet to and from hypervisors and members may be lost."""
    healed = _healed(setting)
    with contextlib.ExitStack() as stack:
        for hv in healed.lab.hypervisors:
            stack.enter_context(loss(healed.lab, hv.address, LOSS_PERCENT))
        begun = boottime()
        time.sleep(FAULT_SECONDS)
        repairs = healed.events("repair", since=begun)
        looks = healed.events("look_failed", since=begun)
    yield "false_repairs", "repairs", 0, [float(len(repairs))]
    yield "false_repairs.minutes", "min", None, [FAULT_SECONDS / 60]
    yield "false_repairs.failed_looks", "looks", None, [float(len(looks))]


ALL: dict[str, t.Callable[[Setting], t.Iterator[Figure]]] = {
    "service_back_s": service_back,
    "member_back_s": member_back,
    "monitor_100_s": monitor_100,
    "false_repairs": false_repairs,
}
