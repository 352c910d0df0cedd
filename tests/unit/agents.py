# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""An agent in a world of its own making: time, voters, other candidates and commands are a script."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import typing as t
from pathlib import Path

from ansible_collections.ensemble.stacks.plugins.module_utils._agent.agent import Agent
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.journal import Journal, Status
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.settings import Settings, parse
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.world import Orders, Step
from ansible_collections.ensemble.stacks.plugins.module_utils._election.store import (
    Identity,
    Lease,
    Quorum,
    Token,
    View,
    Wanted,
    node_of,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import LeaseError

#: longest script, in seconds of its own clock: an agent that never ends fails its test
TOO_LONG = 10_000.0


def settings(**changes: t.Any) -> Settings:
    """Settings of node b, the second of three candidates, with a ttl of 15 s."""
    raw: dict[str, t.Any] = {
        "resource": "demo",
        "node_id": "b",
        "candidates": ["a", "b", "c"],
        "voters": [{"name": "hv1", "address": "192.0.2.1"}],
        "private_key": "/nowhere/key",
        "known_hosts": "/nowhere/known_hosts",
        "command": ["converge"],
        **changes,
    }
    return parse({key: value for key, value in raw.items() if value is not None}, "test")[0]


class World:
    """A clock that moves only where somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.orders = Orders()
        self.words: list[tuple[str, float | None]] = []
        self.runs: list[Process] = []
        self.next_runs: t.Iterator[tuple[float, int]] = itertools.repeat((5.0, 0))
        self._script: list[tuple[float, int, t.Callable[[], None]]] = []
        self._count = itertools.count()
        self._woken = False

    def at(self, seconds: float, act: t.Callable[[], None]) -> None:
        """Do something so many seconds after the beginning."""
        self._script.append((1000.0 + seconds, next(self._count), act))

    def stop_at(self, seconds: float) -> None:
        def stop() -> None:
            self.orders.stop = True
            self.wake()

        self.at(seconds, stop)

    def advance(self, seconds: float, until: t.Callable[[], bool] = lambda: False) -> None:
        """Let time pass, and happen what is due, until the condition holds."""
        end = self.now + seconds
        while not until():
            self._script.sort(key=lambda entry: entry[:2])
            if not self._script or self._script[0][0] > end:
                self.now = max(self.now, end)
                break
            when, _number, act = self._script.pop(0)
            self.now = max(self.now, when)
            act()
        assert self.now < 1000.0 + TOO_LONG, "the agent never ended"

    # -- what an agent asks of a world

    def clock(self) -> float:
        return self.now

    def chance(self) -> float:
        return 0.5

    def pause(self, seconds: float) -> None:
        self.advance(seconds, lambda: self._woken)
        self._woken = False

    def wake(self) -> None:
        self._woken = True

    def start(self, words: t.Sequence[str], environment: t.Mapping[str, str], kill_time: float) -> Process:
        if words[0] == "missing":
            raise OSError(2, "No such file or directory")
        seconds, code = next(self.next_runs)
        self.runs.append(Process(self, dict(environment), seconds, code))
        return self.runs[-1]

    @contextlib.contextmanager
    def beside(self, step: Step, first: float, patience: float) -> t.Iterator[None]:
        over = False

        def again() -> None:
            delay = None if over else step()
            if delay is not None:
                self._script.append((self.now + delay, next(self._count), again))

        self._script.append((self.now + first, next(self._count), again))
        try:
            yield
        finally:
            over = True

    def alive(self, words: str, within: float | None = None) -> None:
        self.words.append((words, within))


class Process:
    """A command that ends after so many seconds, and on TERM at once unless it is deaf."""

    def __init__(self, world: World, environment: dict[str, str], seconds: float, code: int) -> None:
        self._world = world
        self.environment = environment
        self.begun = world.now
        self._end = world.now + seconds
        self._code = code
        self.deaf = False
        self.ended: tuple[float, float] | None = None  # when it was told to end, and the grace that it had
        self.over: float | None = None
        self.hurried: list[float] = []

    def hurry(self) -> None:
        self.hurried.append(self._world.now - 1000.0)

    def wait(self, seconds: float) -> int | None:
        self._world.advance(min(seconds, max(0.0, self._end - self._world.now)))
        if self._world.now < self._end:
            return None
        self.over = self._world.now
        return self._code

    def end(self, grace: float) -> int:
        self.ended = (self._world.now - 1000.0, grace)
        if self.deaf:
            self._world.advance(grace)
        self.over = self._world.now
        return -9 if self.deaf else -15


class Voters:
    """What all voters would say, and every session that asks them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.term = 0
        self.session = ""
        self.holder = ""
        self.until = 0.0
        self.wanted: Wanted | None = None
        self.wishes: list[tuple[float, str, bool]] = []
        self.error: LeaseError | None = None
        self.opened: list[FakeLease] = []
        self.asked = 0
        self.history: list[tuple[int, str, float, float]] = []  # term, session, from, to

    def open(self, identity: Identity) -> Lease:
        self.opened.append(FakeLease(self, identity))
        return self.opened[-1]

    def grant(self, session: str, holder: str, seconds: float = 15.0) -> None:
        """Somebody else takes or renews the lease."""
        if session != self.session:
            self.term += 1
        self.session, self.holder, self.until = session, holder, self.world.now + seconds

    def hold_from(self, at: float, until: float, session: str, every: float = 5.0) -> None:
        """Somebody else holds and renews the lease for a while."""
        holder = f"ensemble-agent on {node_of(session)} (pid 7)"
        if at == 0:
            self.grant(session, holder)
        while at < until:
            self.world.at(at, lambda: self.grant(session, holder))
            at += every

    def free(self) -> None:
        self.session, self.holder, self.until = "", "", 0.0

    def want(self, session: str, person: bool, for_s: float = 0.0) -> None:
        self.wanted = Wanted(session, f"{session} who wants it", person, for_s)

    def answer(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


class FakeLease(Lease):
    def __init__(self, voters: Voters, identity: Identity) -> None:
        super().__init__(identity, 15.0, voters.world.clock)
        self._voters = voters
        self.closed = False

    def _left(self) -> float:
        return max(0.0, self._voters.until - self.clock())

    def acquire(self) -> None:
        voters = self._voters
        voters.answer()
        if self._left() > 0:
            raise LeaseError("held", code="lease_held")
        voters.term += 1
        voters.session, voters.holder = self.identity.session, self.identity.holder
        self.token = (1, voters.term)
        self._granted()

    def renew(self) -> None:
        voters = self._voters
        if voters.error is not None:
            raise LeaseError("voters are silent", code="lease_lost", quorum={"acks": 0, "silent": {"hv1": "cut off"}})
        if self._left() <= 0 or voters.session != self.identity.session:
            raise LeaseError("somebody else has it", code="lease_lost", quorum={"acks": 1, "needed": 1, "silent": {}})
        self._granted()

    def _granted(self) -> None:
        voters = self._voters
        voters.until = self.clock() + self.ttl
        self.quorum, self.wanted = Quorum(1, 1), voters.wanted
        self._hold(self.clock(), self.ttl)
        voters.history.append((voters.term, self.identity.session, self.clock(), self.clock() + self.remaining()))

    def adopt(self, token: Token) -> None:
        raise NotImplementedError

    def release(self) -> None:
        self._until = 0.0
        if self._voters.error is None and self._voters.session == self.identity.session:
            self._voters.free()

    def view(self) -> View:
        voters = self._voters
        voters.answer()
        held = voters.session if self._left() > 0 else ""
        return View(held, voters.holder if held else "", (1, voters.term), self._left(), Quorum(1, 1), voters.wanted)

    def wish(self, seconds: float, person: bool) -> None:
        self._voters.wishes.append((self.clock() - 1000.0, self.identity.session, person))

    def close(self) -> None:
        self.closed = True


class Scene:
    """One agent, its world and its voters."""

    def __init__(self, folder: Path, **changes: t.Any) -> None:
        self.world = World()
        self.voters = Voters(self.world)
        self.settings = settings(**changes)
        self.output = io.StringIO()
        self.status_path = folder / "status.json"
        numbers = itertools.count(1)
        node = self.settings.node_id
        self.agent = Agent(
            self.settings,
            self.voters.open,
            lambda: Identity(f"{node}/boot1/run{next(numbers)}", f"ensemble-agent on {node} (pid 1)"),
            self.world,
            Journal("demo", node, self.world.clock, self.output, None, self.settings.debug),
            Status(str(self.status_path), {"resource": "demo"}),
        )

    def play(self, seconds: float) -> None:
        """Let the agent serve for so long, then tell it to stop."""
        self.world.stop_at(seconds)
        self.agent.serve()

    @property
    def events(self) -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in self.output.getvalue().splitlines()]

    def told(self, *names: str) -> list[tuple[float, str]]:
        """(seconds since the beginning, name) of the events with these names, all by default."""
        return [
            (round(event["at"] - 1000.0, 3), event["event"])
            for event in self.events
            if not names or event["event"] in names
        ]

    def event(self, name: str, number: int = 0) -> dict[str, t.Any]:
        return [event for event in self.events if event["event"] == name][number]

    @property
    def status(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", json.loads(self.status_path.read_text()))
