# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One simulated course: voters, targets and runs, and the list of steps that trouble them."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.ensemble.stacks.plugins.module_utils._election import voter

from .checks import Checks, Violation
from .hosts import Target, VotingHost
from .process import Process
from .world import DRIFT, Clock, Network, Rule, World

#: seconds of true time that a course lasts
LASTS = 150.0
FOREVER = 1e9


@dataclass(frozen=True)
class Step:
    """Something that happens at a true time: a method `do_<kind>` of the simulation."""

    at: float
    kind: str
    args: tuple[t.Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.at:8.3f} s  {self.kind}{self.args!r}"


@dataclass(frozen=True)
class Plan:
    """All that a course depends on.

    Attributes:
        drifts: machine -> how much its clock gains, as a share; of those not named a random one unless `calm`.
        founded: the voters have known a lease before.
        calm: nothing happens by chance, and runs do only what steps say.
    """

    seed: int
    voters: int
    nodes: int
    steps: tuple[Step, ...]
    calm: bool = False
    drifts: t.Mapping[str, float] = field(default_factory=dict)
    founded: bool = False
    lasts: float = LASTS


class Simulation:
    """A course in progress. Machines are named v0.. (voters), t0.. (targets), n0.. (nodes of runs)."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.world = World(plan.seed)
        self.network = Network(self.world, plan.calm)
        self.checks = Checks()
        names = tuple(f"v{index}" for index in range(plan.voters))
        self.first_config = (1, names)
        self.hosts = {name: VotingHost(self.world, name, self._clock(name)) for name in names}
        for host in self.hosts.values() if plan.founded else ():
            host.grant = voter.Grant()
        self.target_names = ("t0", "t1")
        self.targets = {name: Target(self.world, name, self.checks) for name in self.target_names}
        self.node_clocks = {f"n{index}": self._clock(f"n{index}") for index in range(plan.nodes)}
        self.processes: list[Process] = self.checks.processes
        for node in self.node_clocks:
            self.begin(node)
        for step in plan.steps:
            self.world.after(step.at, getattr(self, "do_" + step.kind), *step.args)

    def _clock(self, name: str) -> Clock:
        if self.plan.calm:
            return Clock(self.world, 1000.0, 1.0 + self.plan.drifts.get(name, 0.0))
        chance = self.world.chance
        drift = chance.choice((-DRIFT, DRIFT, chance.uniform(-DRIFT, DRIFT)))
        return Clock(self.world, chance.uniform(0, 10_000), 1.0 + self.plan.drifts.get(name, drift))

    def run(self) -> Violation | None:
        """The course to its end, or to the first promise that is broken."""
        try:
            self.world.run(self.plan.lasts)
        except Violation as found:
            return found
        return None

    def begin(self, node: str) -> Process:
        """A new run on a node, with a session of its own."""
        process = Process(self, node, len(self.processes), self.node_clocks[node], not self.plan.calm)
        self.processes.append(process)
        if process.auto:
            process.later(self.world.chance.uniform(0, 3.0), process.campaign)
        return process

    @staticmethod
    def session_of(node: str, run: int) -> str:
        """Rule 10: node + boot + run."""
        return f"{node}/boot/{run}"

    def _alive(self, index: int) -> Process | None:
        living = [process for process in self.processes if process.alive]
        return living[index % len(living)] if living else None

    def _host(self, index: int) -> VotingHost:
        return self.hosts[f"v{index % self.plan.voters}"]

    # -- steps: what the network does

    def do_rule(self, src: str, dst: str, verb: str, seconds: float, what: t.Mapping[str, t.Any]) -> None:
        self.network.rules.append(Rule(src, dst, verb, self.world.now + seconds, **what))

    def do_cut(self, first: t.Sequence[str], second: t.Sequence[str], seconds: float, both: bool) -> None:
        """No message from the one side gets to the other; `both`: nor back."""
        until = self.world.now + seconds
        for one in first:
            for other in second:
                self.network.rules.append(Rule(one, other, "", until, lost=1.0))
                if both:
                    self.network.rules.append(Rule(other, one, "", until, lost=1.0))

    # -- steps: what runs suffer

    def do_pause(self, index: int, seconds: float) -> None:
        process = self._alive(index)
        if process:
            process.paused_until = max(process.paused_until, self.world.now + seconds)

    def do_kill(self, index: int) -> None:
        process = self._alive(index)
        if process:
            process.alive = False

    def do_restart(self, index: int) -> None:
        """Killed, and begun again at once as another run."""
        process = self._alive(index)
        if process:
            process.alive = False
            self.begin(process.node)

    def do_twin(self, index: int) -> None:
        """A second run on the same node."""
        process = self._alive(index)
        if process:
            self.begin(process.node)

    # -- steps: what hosts suffer

    def do_reboot(self, index: int, seconds: float, anew: bool) -> None:
        self._host(index).reboot(seconds, anew)

    def do_crash(self, index: int) -> None:
        """At its next write, between keeping and answering."""
        self._host(index).fails_after_keeping = True

    def do_lose(self, index: int) -> None:
        """The memory of a voter, never of more than a minority at once: that is not promised."""
        host = self._host(index)
        blank = {other.name for other in self.hosts.values() if other.grant is None} | {host.name}
        if len(blank) <= (len(self.hosts) - 1) // 2:
            host.lose()

    def do_outage(self, index: int, seconds: float) -> None:
        """A target reboots; what it has kept stays."""
        target = self.targets[self.target_names[index % len(self.target_names)]]
        target.down_until = self.world.now + seconds

    # -- steps of schedules made by hand: what the run of that number does

    def do_begin(self, node: str) -> None:
        self.begin(node)

    def do_acquire(self, run: int) -> None:
        self._order(run, "acquire")

    def do_renew(self, run: int) -> None:
        self._order(run, "renew")

    def do_release(self, run: int) -> None:
        self._order(run, "release")

    def do_join(self, run: int) -> None:
        self._order(run, "join")

    def do_operate(self, run: int, target: str) -> None:
        self._order(run, "operate", target)

    def _order(self, run: int, what: str, *args: t.Any) -> None:
        """Runs that a shortened schedule does not begin do nothing."""
        if run < len(self.processes):
            process = self.processes[run]
            process.soon(getattr(process, what), *args)
