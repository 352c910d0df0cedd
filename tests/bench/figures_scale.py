# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Figures of size: many members on simulated hypervisors. They need no lab and say nothing about real machines."""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
import typing as t
from pathlib import Path

from ansible_collections.ensemble.stacks.plugins.module_utils._engine.observe import hypervisor_from
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.base import Ownership
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.identity import member_uuid
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import Observation, Record
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._module.main import collect_seldom
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.actions import Plan
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.start import plan_started

from .figures import Figure
from .setting import Setting, declaration

RUNS = 5
MIB = 1024 * 1024
SMALL, LARGE = (1_000, 20), (10_000, 200)


def noop_1000(setting: Setting) -> t.Iterator[Figure]:
    """The whole program `ansible` with one task on a converged resource; and with `ping`, which does nothing."""
    declared = setting.simulated("noop", *SMALL)
    begun = time.monotonic()
    setting.start(declared)
    first = time.monotonic() - begun
    wholes, bare = [], []
    for _run in range(RUNS):
        begun = time.monotonic()
        result = setting.start(declared)
        wholes.append(time.monotonic() - begun)
        if result["changed"] or len(result["members"]) != SMALL[0]:
            raise RuntimeError(f"the resource was not converged: {result['actions'][:3]}")
        begun = time.monotonic()
        setting.controller.task("ansible.builtin.ping")
        bare.append(time.monotonic() - begun)
    yield "noop_1000_s", "s", 2.5, wholes
    yield "noop_1000_s.ansible_itself", "s", None, bare
    yield "noop_1000_s.start_from_nothing", "s", None, [first]


class Taken(t.NamedTuple):
    """Seconds on the wall, and of the processor, which other programs of this machine disturb less."""

    wall: float
    processor: float


def plans(_setting: Setting) -> t.Iterator[Figure]:
    """Planning from nothing and converged, one size beside the other; then its memory.

    Growth is that of processor time.
    """
    collect_seldom()
    seconds: dict[tuple[int, bool], list[Taken]] = {}
    for _run in range(RUNS):
        for members, hypervisors in (SMALL, LARGE):
            resource = _resource(members, hypervisors)
            empty = _observation(resource, Record())
            plan, taken = _timed(resource, empty)
            seconds.setdefault((members, False), []).append(taken)
            converged = _observation(resource, t.cast(Record, plan.record))
            again, taken = _timed(_resource(members, hypervisors), converged)
            seconds.setdefault((members, True), []).append(taken)
            if len(plan.actions) != 3 * members or again.actions or again.record is not None:
                raise RuntimeError(f"{len(plan.actions)} actions for {members} members, then {len(again.actions)}")
    yield "plan_10000_s", "s", 2, [taken.wall for taken in seconds[LARGE[0], False]]
    yield "plan_10000_s.converged", "s", 2, [taken.wall for taken in seconds[LARGE[0], True]]
    yield "plan_growth", "ratio", 12, [_growth(seconds, False)]
    yield "plan_growth.converged", "ratio", None, [_growth(seconds, True)]
    yield "plan_10000_mib", "MiB", None, [_memory(*LARGE)]


def _growth(seconds: t.Mapping[tuple[int, bool], list[Taken]], converged: bool) -> float:
    """The least disturbed of the large against the least disturbed of the small ones."""
    small, large = (min(taken.processor for taken in seconds[size[0], converged]) for size in (SMALL, LARGE))
    return large / small


def _memory(members: int, hypervisors: int) -> float:
    """Peak MiB of Python's objects from the parsed YAML to the plan that starts everything."""
    raw = declaration("plan", members, hypervisors)
    tracemalloc.start()
    try:
        resource = parse_declaration(raw)
        plan_started(resource, _observation(resource, Record()))
        return tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()


def _resource(members: int, hypervisors: int) -> Resource:
    return parse_declaration(declaration("plan", members, hypervisors))


def _timed(resource: Resource, seen: Observation) -> tuple[Plan, Taken]:
    gc.collect()  # what building the world left behind is not the plan's
    wall, processor = time.monotonic(), time.process_time()
    plan = plan_started(resource, seen)
    return plan, Taken(time.monotonic() - wall, time.process_time() - processor)


def _observation(resource: Resource, record: Record) -> Observation:
    """The pool as its hypervisors would answer when all members run where the record places them."""
    answers: dict[str, dict[str, t.Any]] = {
        hv.name: {
            "memory_mb": 262_144,
            "vcpus": 64,
            "images": {"node": {"sim": "0" * 64}},
            "drivers": {"lxc": "ok", "qemu": "ok", "sim": "ok"},
            "accelerators": {},
            "domains": [],
            "artefacts": [],
        }
        for hv in resource.pool
    }
    for member in resource.members:
        if member.name not in record.placement:
            continue
        ownership = Ownership(resource.name, member.name, member.roles, 1, (0, 1), member.spec, "0" * 64, False)
        answer = answers[record.placement[member.name]]
        answer["artefacts"].append(
            {"member": member.name, "driver": member.spec.driver, "prepared": True, "image": "node"}
        )
        answer["domains"].append(
            {
                "name": resource.domain(member.name),
                "uuid": member_uuid(resource.name, member.name),
                "state": "running",
                "record": ownership.as_dict(),
                "macs": [],
                "memory_mb": member.spec.memory_mb,
                "vcpus": member.spec.vcpus,
            }
        )
    travelled = {name: json.loads(json.dumps(answer)) for name, answer in answers.items()}
    hypervisors = tuple(hypervisor_from(name, resource.name, answer) for name, answer in travelled.items())
    return Observation(resource.name, hypervisors, record)


def add_one(setting: Setting) -> t.Iterator[Figure]:
    """Machines that differ in any way on the whole pool after one member was added."""
    touched = {}
    for members in (4, 100):
        name = f"add-{members}"
        setting.start(setting.simulated(name, members, 4))
        declared = setting.simulated(name, members + 1, 4)
        before = _machines(declared)
        setting.start(declared)
        after = _machines(declared)
        touched[members] = sum(before.get(machine) != entry for machine, entry in after.items())
    yield "add_one_to_n", "ratio", 1, [touched[100] / touched[4]]
    for members, count in touched.items():
        yield f"add_one_to_n.{members}", "machines", None, [float(count)]


def _machines(declared: Path) -> dict[str, t.Any]:
    """Everything that the simulated hypervisors of a declaration hold of each domain and disk."""
    found: dict[str, t.Any] = {}
    for path in sorted(declared.parent.glob("pool/*/domains.json")):
        state = json.loads(path.read_text())["value"]
        for resource, disks in state["disks"].items():
            for member, disk in disks.items():
                found[f"{resource}-{member}"] = [path.parent.name, disk]
        for domain, entry in state["domains"].items():
            found.setdefault(domain, []).append(entry)
    return found


ALL: dict[str, t.Callable[[Setting], t.Iterator[Figure]]] = {
    "noop_1000_s": noop_1000,
    "plan_10000_s": plans,
    "add_one_to_n": add_one,
}
