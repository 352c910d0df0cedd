# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A batch cluster that was handed over to its members, as the scenarios see it: no controller is asked for anything."""

from __future__ import annotations

import contextlib
import json
import time
import typing as t
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import faults
from .controller import Controller, Run
from .lab import Hypervisor, Lab
from .load import JobLoad, LoadReport
from .members import Member, find_member, run_everywhere
from .waiting import wait_until

NAME, USER = "heal", "alice"
TTL, INTERVAL, MEMBER_TTL = 10.0, 3, 30
HEAD = f"{NAME}-head-0"
#: seconds within which a cluster is whole again after most faults, on a machine that does much else
WHOLE = 180.0
#: seconds in which the jobs of a load end; one that was requeued waits for two minutes (cred_expire in slurm.conf(5))
JOBS_END = 200.0
_STATUS = f"/run/ensemble/agent/{NAME}.status.json"
_ROLE = f"/run/ensemble/agent/{NAME}.json"

# Prints what the leader's node shows, if the agent of a running member of this machine leads now.
_SHOWN = """
import glob, json, os, sys, time
name, role, status = sys.argv[1:]
for pid_file in glob.glob(f"/run/libvirt/lxc/{name}-*.pid"):
    try:
        controller = int(open(pid_file).read())
        init = open(f"/proc/{controller}/task/{controller}/children").read().split()[0]
        agent = json.load(open(f"/proc/{init}/root{role}"))
        if agent["role"] == "leader" and agent["until"] > time.clock_gettime(time.CLOCK_BOOTTIME):
            path = f"/proc/{init}/root{status}"
            age = time.time() - os.stat(path).st_mtime
            print(json.dumps({"node": agent["node"], "age": age, **json.load(open(path))}))
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        continue
"""


@dataclass
class Healed:
    """The resource.

    Attributes:
        down: hypervisors that cannot be asked just now.
        figures: seconds, by name.
    """

    lab: Lab
    controller: Controller
    inventory: Path
    computes: tuple[str, ...]
    down: set[str] = field(default_factory=set)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def domains(self) -> tuple[str, ...]:
        return (HEAD, *self.computes)

    def member(self, domain: str) -> Member:
        return find_member(replace(self.lab, hypervisors=self._up), domain)

    @property
    def _up(self) -> tuple[Hypervisor, ...]:
        return tuple(hv for hv in self.lab.hypervisors if hv.name not in self.down)

    @contextlib.contextmanager
    def frozen(self, machine: Hypervisor) -> t.Iterator[None]:
        """A hypervisor stands still with its members; nothing is asked of it meanwhile."""
        self.down.add(machine.name)
        try:
            with faults.frozen(machine, members=True):
                yield
        finally:
            self.down.remove(machine.name)

    def play(self, playbook: str, *options: str) -> Run:
        return self.controller.play(playbook, self.inventory, *options)

    def shown(self) -> dict[str, t.Any]:
        """The newest status that a leader shows; empty while nobody does."""
        told = run_everywhere(self._up, "python3", "-c", _SHOWN, NAME, _ROLE, _STATUS)
        found = [json.loads(line) for text in told.values() for line in text.splitlines()]
        return min(found, key=lambda one: float(one["age"]), default={})

    def verdicts(self) -> dict[str, str]:
        """Domain -> verdict, by a look that is not old."""
        shown = self.shown()
        if not shown or shown["age"] > 4 * INTERVAL:
            return {}
        return {member["name"]: member["verdict"] for member in shown["members"]}

    def wait(self, condition: t.Callable[[], bool], what: str, seconds: float = WHOLE) -> float:
        """Until it holds; the seconds that it took.

        Raises:
            TimeoutError: with what is shown then, and the latest events.
        """
        begun = time.monotonic()
        try:
            wait_until(condition, seconds, what)
        except TimeoutError as error:
            latest = "\n".join(json.dumps(event) for event in self.events()[-60:])
            raise TimeoutError(f"{error}; events:\n{latest}\nshown: {json.dumps(self.shown())[:4000]}") from None
        return time.monotonic() - begun

    def wait_whole(self, seconds: float = WHOLE) -> float:
        """Until every member is healthy, by a look that began after this."""
        since = time.time()

        def whole() -> bool:
            shown = self.shown()
            fresh = bool(shown) and time.time() - shown["age"] > since
            return fresh and {member["verdict"] for member in shown["members"]} == {"healthy"}

        return self.wait(whole, "a healthy resource", seconds)

    def wait_verdict(self, domain: str, *verdicts: str, since: float, seconds: float = 60.0) -> float:
        """Until a leader has said so since a moment of CLOCK_BOOTTIME; it may be over by then."""
        name = domain.removeprefix(f"{NAME}-")

        def told() -> bool:
            events = self.events("verdict", since=since)
            return any((event["member"], event["verdict"]) == (name, one) for event in events for one in verdicts)

        return self.wait(told, f"{domain} {' or '.join(verdicts)}", seconds)

    def leader(self) -> str:
        """Domain of the leader."""
        self.wait(lambda: bool(self.shown()), "a leader")
        return str(self.shown()["node"])

    def doubles(self) -> list[str]:
        """Members that run in two places."""
        running = [name for hv in self.lab.hypervisors for name in hv.domains() if name.startswith(f"{NAME}-")]
        return sorted({name for name in running if running.count(name) > 1})

    @contextlib.contextmanager
    def under_load(self, seconds: float = JOBS_END) -> t.Iterator[list[float]]:
        """A scenario under load: afterwards all is whole, nobody is there twice, and no job was lost.

        Yields:
            a list into which the scenario puts when the scheduler ended without warning, on the monotonic clock.
        """
        ended: list[float] = []
        report: LoadReport
        with JobLoad(self.lab, HEAD, self.computes, USER, rate=0.4) as load:
            yield ended
            self.wait_whole()
            report = load.finish(seconds)
        assert self.doubles() == []
        assert report.lost_besides(*ended) == {}, report.as_dict()
        assert report.completed, "no job was accepted at all"

    def unchanged(self) -> None:
        """A person's convergence finds nothing to do, and gives way again."""
        run = self.play("start")
        assert (run.code, run.resource["changed"], run.resource["actions"]) == (0, False, []), run.output
        self.wait_whole()

    def events(self, *names: str, since: float = 0.0) -> list[dict[str, t.Any]]:
        """Events of all agents of these names, or all, since a moment of CLOCK_BOOTTIME, in order."""
        found = []
        for domain in self.domains:
            with contextlib.suppress(LookupError, RuntimeError):
                text = self.member(domain).run("cat", f"/var/lib/ensemble/agent/{NAME}.events.jsonl", check=False)
                found += [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return sorted(
            (event for event in found if event["at"] >= since and (not names or event["event"] in names)),
            key=lambda one: one["at"],
        )


@contextlib.contextmanager
def handed_over(lab: Lab, controller: Controller) -> t.Iterator[Healed]:
    """A cluster of a head and three compute members: rolled out, handed over, and removed at the end."""
    declared = lab.declaration(
        NAME,
        stack="torque",
        defaults={"driver": "lxc", "image": "batch-node", "vcpus": 1, "memory_mb": 512},
        roles={
            "head": {"count": 1},
            "compute": {"count": 3, "after": ["head"], "spread": "hypervisor", "relocate": True},
        },
        election={"ttl": TTL, "candidates": ["head-0", "compute-0", "compute-1"]},
        monitor={
            "interval": INTERVAL,
            "starting": 60,
            "member_ttl": MEMBER_TTL,
            "services": {"head": ["munge", "slurmctld"], "compute": ["munge", "slurmd"]},
            # fault after fault on one resource
            "repair": {"member": 50, "resource": 500, "window": 60},
        },
    )
    inventory = controller.write(declared, torque_users=[{"name": USER, "uid": 2000}])
    found = Healed(lab, controller, inventory, tuple(f"{NAME}-compute-{index}" for index in range(3)))
    try:
        for playbook in ("torque", "hand-over"):
            run = found.play(playbook)
            assert run.code == 0, run.output
        found.wait_whole(180)
        yield found
    finally:
        removed = found.play("remove")
    assert removed.code == 0, removed.output
    assert lab.leftovers(NAME) == []
