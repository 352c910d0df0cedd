# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A resource of three members on the lab, each with an agent: what they tell of themselves, and a leader's death."""

from __future__ import annotations

import json
import random
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.lab import STATE, Hypervisor
from harness.members import Member, find_member, run_everywhere
from harness.waiting import wait_until

from .setting import Setting

MEMBERS = 3
#: resource -> last number of its first member's address; they may run side by side
NAME, FIVE, ETCD = "bench-agents", "bench-agents-5", "bench-agents-etcd"
PLACES = {NAME: 100, FIVE: 110, ETCD: 120}
#: seconds that agents may take to elect a leader beside all else that this machine does
ELECTED_WITHIN = 60.0
#: seconds between two runs of the command; longer than any figure takes, so that the first run of a term counts
INTERVAL = 3600
_DROP_IN = "/run/systemd/system/ensemble-agent@.service.d/bench.conf"

# Kill, and tell the time before: all of the lab has the same clock since boot.
_KILL = """
import os, signal, sys, time
print(time.clock_gettime(time.CLOCK_BOOTTIME))
os.kill(int(sys.argv[1]), signal.SIGKILL)
"""
# The first event of a later term that an agent tells of: its own first run, or whom it follows. It is waited for in the
# hypervisor, in one process that sleeps most of the time: the figures are taken on the same two processors.
_NEXT = """
import json, sys, time
path, token, within = sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3])
deadline = time.monotonic() + within
while time.monotonic() < deadline:
    for line in open(path, "rb"):
        event = json.loads(line) if line.endswith(b"\\n") else {}
        if event.get("event") in ("run_started", "follows") and event["token"] > token:
            print(json.dumps(event))
            sys.exit()
    time.sleep(0.1)
sys.exit("no leader with a later token than " + sys.argv[2])
"""
_TICKS = """
import os, sys, time
with open(f"/proc/{sys.argv[1]}/stat") as stream:
    words = stream.read().rpartition(") ")[2].split()
print(time.monotonic(), (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"))
"""


class Agents:
    """Three members with an agent each, until the block ends.

    Args:
        election: the section of that name.
    """

    def __init__(self, setting: Setting, name: str, **election: t.Any) -> None:
        self._setting = setting
        self.name = name
        self.unit = f"ensemble-agent@{name}.service"
        self._journal = f"/var/lib/ensemble/agent/{name}.events.jsonl"
        self._election = election
        self.members: tuple[Member, ...] = ()

    def __enter__(self) -> Agents:
        for hv in self._setting.prepared.hypervisors:
            _scrap(hv, self.name)
        self._forget()
        try:
            self._setting.play_on("start", self._declared())
            self.members = tuple(
                find_member(self._setting.lab, f"{self.name}-node-{index}") for index in range(MEMBERS)
            )
            self.converge()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._remove()

    def _declared(self) -> Path:
        lab = self._setting.prepared
        witnesses = [{"name": one.name, "address": one.address} for one in lab.witnesses]
        first = PLACES[self.name]
        declaration = lab.declaration(
            self.name,
            roles={"node": {"count": MEMBERS, "spread": "hypervisor"}},
            election={"witnesses": witnesses, "voters": [hv.name for hv in lab.hypervisors], **self._election},
        )
        declaration["network"]["range"] = f"{lab.address(first)}-{lab.address(first + MEMBERS - 1)}"
        variables = {
            "convergence_command": ["true"],
            "convergence_interval": INTERVAL,
            "convergence_debug": True,
            # the next benchmark need not fetch them again
            "convergence_cache": str(Path("~/.cache/ensemble-bench").expanduser()),
        }
        return self._setting.controller.write(declaration, **lab.pool_variables(), **variables)

    def _remove(self) -> None:
        self._setting.play_on("remove", self._declared())
        self._forget()

    def _forget(self) -> None:
        """What tombstones remember of leaders: a lease in a new etcd has lower tokens than those."""
        run_everywhere(self._setting.lab.machines, "rm", "-rf", f"{STATE}/{self.name}")

    # -- what is done to them

    def converge(self, *options: str, **election: t.Any) -> None:
        """Let the agents go by other settings, and wait until one of them leads.

        Args:
            options: of the playbook.
        """
        self._election.update(election)
        self._setting.play_on("convergence", self._declared(), *options)
        self.wait_for_leader()

    def fail_over(self, ttl: float) -> float:
        """Kill the leader; seconds until the next one starts its first run.

        It is killed at a moment by chance, as far as its renewals are concerned, and is not started again until another
        one leads.
        """
        leader = self.wait_for_leader()
        begun = self._events(leader)[-1]["token"]
        time.sleep(random.random() * ttl / 3)  # noqa: S311 - any moment between two renewals
        pid, others = leader.pids(self.unit)[0], [one for one in self.members if one != leader]
        self._restart(leader, "no")
        try:
            with ThreadPoolExecutor(len(others)) as pool:
                waiting = pool.map(lambda one: self._next(one, begun, 3 * ttl + ELECTED_WITHIN), others)
                killed = float(leader.hypervisor.run("python3", "-c", _KILL, str(pid)))
                events = list(waiting)
        finally:
            self._restart(leader, "always")
            leader.run("systemctl", "reset-failed", self.unit, check=False)
            leader.run("systemctl", "start", self.unit)
        return min(float(one["at"]) for one in events if one["event"] == "run_started") - killed

    def _restart(self, member: Member, policy: str) -> None:
        member.run("mkdir", "-p", str(Path(_DROP_IN).parent))
        member.run("tee", _DROP_IN, stdin=f"[Service]\nRestart={policy}\n".encode())
        member.run("systemctl", "daemon-reload")

    # -- what they tell

    def _events(self, member: Member) -> list[dict[str, t.Any]]:
        """A member's journal of events, oldest first."""
        return [json.loads(line) for line in member.run("cat", self._journal).split("\n")[:-1]]

    def events(self, *names: str, since: float = 0.0) -> list[dict[str, t.Any]]:
        """Events of those names of all agents after a moment (CLOCK_BOOTTIME)."""
        found = [event for member in self.members for event in self._events(member)]
        return [event for event in found if event["event"] in names and event["at"] > since]

    def _next(self, member: Member, token: t.Sequence[int], within: float) -> dict[str, t.Any]:
        path = f"/proc/{member.init}/root{self._journal}"
        told = member.hypervisor.run("python3", "-c", _NEXT, path, json.dumps(token), str(within))
        return t.cast("dict[str, t.Any]", json.loads(told))

    def status(self, member: Member) -> dict[str, t.Any]:
        """What the agent says of itself now; empty while it says nothing."""
        shown = member.run("cat", f"/run/ensemble/agent/{self.name}.json", check=False)
        return t.cast("dict[str, t.Any]", json.loads(shown or "{}"))

    def wait(self, condition: t.Callable[[], bool], seconds: float, what: str) -> None:
        """Look now and then: to look takes processor time that is the agents', too."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= deadline:
                raise TimeoutError(f"not within {seconds:g} s: {what}")
            time.sleep(5.0)

    def wait_for_leader(self) -> Member:
        """The one that leads, once all the others follow it."""
        found: list[Member] = []

        def settled() -> bool:
            said = [self.status(member) for member in self.members]
            leaders = {json.dumps(one.get("leader")) for one in said}
            found[:] = [member for member, one in zip(self.members, said) if one.get("role") == "leader"]
            return len(found) == 1 and len(leaders) == 1

        wait_until(settled, ELECTED_WITHIN, f"one agent of {self.name} that leads, and the others follow")
        return found[0]

    def memory(self, member: Member) -> float:
        """MiB of an agent that are in memory (VmRSS)."""
        shown = member.hypervisor.run("cat", f"/proc/{member.pids(self.unit)[0]}/status")
        line = next(line for line in shown.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    def processor(self, member: Member) -> tuple[float, float]:
        """Seconds on the monotonic clock, and those of the processor that an agent has taken so far."""
        shown = member.hypervisor.run("python3", "-c", _TICKS, str(member.pids(self.unit)[0])).split()
        return float(shown[0]), float(shown[1])


def _scrap(hv: Hypervisor, name: str) -> None:
    """Take away what a benchmark left that was killed. Its etcd is gone, so no leader could do it in good order."""
    for domain in hv.domains("--all"):
        if domain.startswith(f"{name}-node-"):
            hv.run("virsh", "-c", "lxc:///system", "destroy", domain, check=False)
            hv.run("virsh", "-c", "lxc:///system", "undefine", domain)
    mounts = [line.split()[1] for line in hv.run("cat", "/proc/mounts").splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{STATE}/{name}/")]):
        hv.run("umount", mount)


def agents_of(setting: Setting, name: str, **election: t.Any) -> Agents:
    """Agents that several figures share, removed at the end of all."""
    if name not in setting.shared:
        setting.shared[name] = setting.undo.enter_context(Agents(setting, name, **election))
    return t.cast("Agents", setting.shared[name])
