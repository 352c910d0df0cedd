# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A resource whose members elect a leader among themselves, as the tests see it: through the hypervisors' /proc.

Members are looked at from their hypervisor, so that no fault of the network hides what they write down.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from harness import history
from harness.controller import Controller, Run
from harness.faults import Member, find_member
from harness.history import Batch, Event, Outage, Token
from harness.lab import STATE, Hypervisor, Lab
from harness.members import run_everywhere
from harness.waiting import wait_until

#: seconds; in the short form long enough for a slow machine to renew in time beside the work, which never pauses here
TTL = 6.0 if os.environ.get("ENSEMBLE_TEST_FULL") else 10.0
OP_TIMEOUT = TTL / 5
#: seconds after a fault until a test gives up waiting for the next leader; how long it takes is for the benchmarks
FAILOVER = 60.0
WORK_PATH = "/usr/local/lib/ensemble-test-work.py"

# Prints, of each running member of a resource, the files that were asked for; an absent one is null.
_FILES_OF_MEMBERS = """
import glob, json, os, sys
resource, *paths = sys.argv[1:]
found = {}
for pid_file in glob.glob(f"/run/libvirt/lxc/{resource}-*.pid"):
    domain = os.path.basename(pid_file)[:-4]
    try:
        controller = int(open(pid_file).read())
        init = open(f"/proc/{controller}/task/{controller}/children").read().split()[0]
    except (OSError, ValueError, IndexError):
        continue
    texts = {}
    for path in paths:
        try:
            texts[path] = open(f"/proc/{init}/root{path}", errors="replace").read()
        except OSError:
            texts[path] = None
    found[domain] = texts
print(json.dumps(found))
"""

# Prints files of this machine; an absent one is null.
_FILES = """
import json, sys
found = {}
for path in sys.argv[1:]:
    try:
        found[path] = open(path, errors="replace").read()
    except OSError:
        found[path] = None
print(json.dumps(found))
"""


def now() -> float:
    """CLOCK_BOOTTIME, which all machines of a lab share."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Leader:
    """An agent that takes itself for the leader; `until` is the end of its lease."""

    node: str
    token: Token
    session: str
    until: float


@dataclass
class Elected:
    """The resource.

    Attributes:
        outages: when no majority could be reached.
        foreign: tokens of runs that keep no journal.
        figures: what was measured.
        down: names of machines that cannot be looked at just now.
    """

    lab: Lab
    controller: Controller
    name: str
    declared: dict[str, t.Any]
    inventory: Path
    outages: list[Outage] = field(default_factory=list)
    foreign: set[Token] = field(default_factory=set)
    figures: dict[str, float] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    begun: float = field(default_factory=now)

    @property
    def unit(self) -> str:
        return f"ensemble-agent@{self.name}.service"

    @property
    def nodes(self) -> list[str]:
        """Names of all candidates."""
        return [f"{self.name}-node-{index}" for index in range(self.declared["roles"]["node"]["count"])]

    def member(self, node: str) -> Member:
        return find_member(self.lab, node)

    # -- building it

    def roll_out(self) -> None:
        """From nothing to agents of which one leads."""
        started = self.play("start")
        assert started.code == 0, started.output
        program = (Path(__file__).parent / "fenced_work.py").read_bytes()
        for node in self.nodes:
            self.member(node).run("install", "-m", "0644", "/dev/stdin", WORK_PATH, stdin=program)
        converged = self.play("convergence")
        assert converged.code == 0, converged.output
        self.wait_leader(FAILOVER + TTL)  # the first lease of all waits for the playbook's

    def end_members(self) -> None:
        """By force: agents that go on asking would disturb what is tested next."""
        for hypervisor in self.lab.hypervisors:
            for domain in hypervisor.domains():
                if domain.startswith(f"{self.name}-"):
                    hypervisor.run("virsh", "-c", "lxc:///system", "destroy", domain)

    def declare(self, **changes: t.Any) -> Path:
        """Write the declaration with changes; `{}` puts it back."""
        command = ["/usr/bin/python3", "-I", WORK_PATH, self.name, "2"]
        variables = {"convergence_command": command, "convergence_interval": 1, "convergence_debug": True}
        return self.controller.write({**self.declared, **changes}, **variables)

    def play(self, playbook: str, *options: str, controller: Controller | None = None) -> Run:
        """A person's run; the tokens of its leases are not the agents'."""
        with self.persons():
            return (controller or self.controller).play(playbook, self.inventory, *options)

    @contextlib.contextmanager
    def persons(self) -> t.Iterator[None]:
        """Within it persons' runs are at work: what is accepted meanwhile under a token of no agent is theirs."""
        begun = now()
        try:
            yield
        finally:
            led = {event.token for event in self.events() if event.event == "elected"}
            self.foreign |= {batch.token for batch in self.batches() if batch.at >= begun} - led  # type: ignore[operator]

    # -- looking at it

    def _of_members(self, *paths: str) -> dict[str, dict[str, str | None]]:
        up = [hv for hv in self.lab.hypervisors if hv.name not in self.down]
        told = run_everywhere(up, "python3", "-c", _FILES_OF_MEMBERS, self.name, *paths)
        return {node: texts for text in told.values() for node, texts in json.loads(text).items()}

    def statuses(self) -> dict[str, dict[str, t.Any]]:
        """What each agent says of itself."""
        path = f"/run/ensemble/agent/{self.name}.json"
        return {node: json.loads(texts[path] or "{}") for node, texts in self._of_members(path).items()}

    def leaders(self) -> list[Leader]:
        """Those that take themselves for the leader, by a lease that is not over."""
        statuses, at = self.statuses(), now()
        return [
            Leader(node, (one["token"][0], one["token"][1]), one["leader"]["session"], one["until"])
            for node, one in statuses.items()
            if one.get("role") == "leader" and one["until"] > at
        ]

    def wait_leader(self, seconds: float = FAILOVER, above: Token = (0, 0)) -> Leader:
        """The one leader, by a token above another one.

        Raises:
            TimeoutError: there is none, or more than one.
        """
        found: list[Leader] = []

        def one() -> bool:
            found[:] = self.leaders()
            return len(found) == 1 and found[0].token > above

        try:
            wait_until(one, seconds, f"one leader of {self.name} above {above}")
        except TimeoutError as error:
            raise TimeoutError(
                f"{error}; leaders: {found}; statuses: {json.dumps(self.statuses(), indent=1)}"
            ) from None
        return found[0]

    def wait_work(self, leader: Leader, seconds: float = FAILOVER) -> float:
        """When a hypervisor first accepted a batch of a leader, or of one that came after it."""
        found: list[float] = []

        def accepted() -> bool:
            found[:] = [batch.at for batch in self.batches() if batch.accepted and batch.token >= leader.token]
            return bool(found)

        wait_until(accepted, seconds, f"work of {leader}")
        return min(found)

    def failover(self, name: str, since: float, before: Leader, seconds: float = FAILOVER) -> Leader:
        """The leader after `before`, and the seconds from a fault to its first action, which are noted."""
        leader = self.wait_leader(seconds - (now() - since), above=before.token)
        assert leader.session != before.session
        took = self.wait_work(leader) - since
        self.figures[name] = round(took, 2)
        assert took <= seconds
        return leader

    def stays(self, leader: Leader, seconds: float) -> None:
        """Nothing changes for so long: the same leader by the same token."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert [(one.node, one.token) for one in self.leaders()] == [(leader.node, leader.token)]
            time.sleep(0.3)

    def events(self) -> list[Event]:
        """All agents' journals."""
        path = f"/var/lib/ensemble/agent/{self.name}.events.jsonl"
        found: list[Event] = []
        for node, texts in self._of_members(f"{path}.1", path).items():
            for text in texts.values():
                found += history.read_journal(text or "", node)
        return found

    def told(self, node: str, since: float) -> list[dict[str, t.Any]]:
        """All that an agent has written down since a moment, in order."""
        path = f"/var/lib/ensemble/agent/{self.name}.events.jsonl"
        texts = self._of_members(f"{path}.1", path)[node]
        lines = [json.loads(line) for text in texts.values() for line in (text or "").splitlines()]
        return [line for line in lines if line["at"] >= since]

    def batches(self) -> list[Batch]:
        """All machines' token logs; what an earlier resource of that name has left is none of ours."""
        paths = [f"{STATE}/{self.name}/tokens.log.1", f"{STATE}/{self.name}/tokens.log"]
        up = [one for one in self.lab.machines if one.name not in self.down]
        found: list[Batch] = []
        for machine, text in run_everywhere(up, "python3", "-c", _FILES, *paths).items():
            texts = [one for one in json.loads(text).values() if one is not None]
            found += history.read_token_log(texts, machine, self.name)
        return [batch for batch in found if batch.at >= self.begun]

    def state(self, machine: Hypervisor, name: str) -> dict[str, t.Any]:
        """A file of a voter, empty when it is not there or cannot be read."""
        path = f"{STATE}/{self.name}/{name}"
        text = json.loads(machine.run("python3", "-c", _FILES, path))[path]
        with contextlib.suppress(ValueError, TypeError, KeyError):
            return t.cast("dict[str, t.Any]", json.loads(text)["value"])
        return {}

    def granted(self, session: str) -> int:
        """How many voters have granted their lease to a session last."""
        path = f"{STATE}/{self.name}/lease.json"
        told = run_everywhere(self.lab.machines, "python3", "-c", _FILES, path)
        return sum(f'"session":"{session}"' in (json.loads(text)[path] or "") for text in told.values())

    # -- judging it

    def violations(self) -> list[str]:
        """What the journals and the token logs show against I1, I2, I3 and I6."""
        found = history.check(
            self.events(),
            self.batches(),
            slack=OP_TIMEOUT,
            ttl=TTL,
            outages=self.outages,
            foreign=self.foreign,
        )
        return [str(one) for one in found]

    @contextlib.contextmanager
    def outage(self) -> t.Iterator[None]:
        """Within it no majority can be reached by anybody."""
        begun = now()
        try:
            yield
        finally:
            self.outages.append(Outage(self.name, begun, now(), TTL))
