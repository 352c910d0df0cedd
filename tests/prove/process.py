# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One run that wants the lease: it drives the real protocol over the simulated network, one event at a time."""

from __future__ import annotations

import typing as t
from functools import partial

from ansible_collections.ensemble.stacks.plugins.module_utils._election.lease import QuorumLease
from ansible_collections.ensemble.stacks.plugins.module_utils._election.policy import campaign_delay
from ansible_collections.ensemble.stacks.plugins.module_utils._election.quorum import Ask, Step
from ansible_collections.ensemble.stacks.plugins.module_utils._election.store import Identity
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import LeaseError

from .hosts import Answer, VotingHost
from .world import BACK, TIMINGS, Clock

if t.TYPE_CHECKING:
    from .simulation import Simulation

Done = t.Callable[["LeaseError | None"], None]


class Process:
    """A run on a node. Left to itself (`auto`) it campaigns, leads, yields, and campaigns again.

    Attributes:
        vouched: voter -> the true time of the last grant of it that this run has heard of.
        blank: voters without a memory -> whether a majority of the others has granted since that was heard.
    """

    def __init__(self, simulation: Simulation, node: str, run: int, clock: Clock, auto: bool) -> None:
        self.simulation = simulation
        self.world = simulation.world
        self.node = node
        self.run = run
        self.auto = auto
        self.alive = True
        self.paused_until = 0.0
        self.epoch, self.voters = simulation.first_config
        identity = Identity(simulation.session_of(node, run), f"{node} run {run}")
        self.lease = QuorumLease(self, self.epoch, identity, TIMINGS.ttl, clock)
        self.vouched: dict[str, float] = {}
        self.blank: dict[str, bool] = {}
        self._turn = 0

    def __str__(self) -> str:
        return self.lease.identity.holder

    @property
    def names(self) -> tuple[str, ...]:
        return self.voters

    # -- driving the protocol

    def soon(self, work: t.Callable[..., None], *args: t.Any) -> None:
        """Now, when it is not stopped; when it is, once it goes on; never, when it was killed."""
        if not self.alive:
            return
        if self.world.now < self.paused_until:
            self.world.after(self.paused_until - self.world.now, self.soon, work, *args)
        else:
            work(*args)

    def later(self, seconds: float, work: t.Callable[..., None], *args: t.Any) -> None:
        self.world.after(seconds, self.soon, work, *args)

    def drive(self, step: Step[None], done: Done) -> None:
        self._advance(step, None, done)

    def _advance(self, step: Step[None], answers: t.Mapping[str, t.Any] | None, done: Done) -> None:
        try:
            question = next(step) if answers is None else step.send(answers)
        except StopIteration:
            done(None)
        except LeaseError as error:
            done(error)
        else:
            Asking(self, question, partial(self._advance, step, done=done))

    def hear(self, name: str, answer: Answer, granted_at: float) -> None:
        """Whatever a voter answers, even too late for its question."""
        if answer["granted"]:
            self.vouched[name] = max(granted_at, self.vouched.get(name, 0.0))
        if answer["blank"]:
            self.blank.setdefault(name, False)
        else:
            self.blank.pop(name, None)

    # -- what it can do; schedules made by hand call these

    def acquire(self, then: Done | None = None) -> None:
        fresh = set(self.blank)
        self.drive(self.lease.acquiring(), partial(self._acquired, fresh, then))

    def _acquired(self, fresh: set[str], then: Done | None, error: LeaseError | None) -> None:
        if error is None:
            self._others_granted(fresh)
            self.simulation.checks.won(self)
            if self.lease.founding and self.covered():
                Asking(self, Ask("voters_write", {}), lambda _answers: None)
        if then:
            then(error)

    def renew(self, then: Done | None = None) -> None:
        fresh = set(self.blank)
        self.drive(self.lease.renewing(), partial(self._renewed, fresh, then))

    def _renewed(self, fresh: set[str], then: Done | None, error: LeaseError | None) -> None:
        if error is None:
            self._others_granted(fresh)
            self.simulation.checks.extended(self)
        if then:
            then(error)

    def _others_granted(self, fresh: set[str]) -> None:
        """A majority granted in a round begun after these were heard to be blank; blank ones are not part of it."""
        for name in fresh & set(self.blank):
            self.blank[name] = True

    def release(self) -> None:
        self.drive(self.lease.releasing(), lambda _error: None)

    def wish(self, seconds: float, person: bool) -> None:
        self.drive(self.lease._protocol.wishing(seconds, person), lambda _error: None)

    def covered(self) -> bool:
        """Rule 8: the lease covers the next request."""
        return self.lease.remaining() >= TIMINGS.op_timeout

    def operate(self, name: str) -> None:
        if self.covered():
            target, token = self.simulation.targets[name], self.lease.token
            self.simulation.checks.operated(self)
            self.simulation.network.send(self.node, name, "operate", target.obey, token)

    def join(self) -> None:
        """Give voters that lost their memory a new one."""
        for name, ready in list(self.blank.items()):
            if ready and self.covered():
                del self.blank[name]
                fields = {"epoch": self.epoch, "term": self.lease.token[1], "ttl": TIMINGS.ttl}
                Asking(self, Ask("voter_join", fields), lambda _answers: None, (name,))

    # -- left to itself

    def campaign(self) -> None:
        self._turn += 1
        self.acquire(partial(self._campaigned, self._turn))

    def _campaigned(self, turn: int, error: LeaseError | None) -> None:
        if error is None:
            self.later(TIMINGS.renew, self._keep_up, turn)
            self._work(turn)
            return
        chance = self.world.chance
        if error.code == "lease_held" and chance.random() < 0.15:
            self.wish(20.0, chance.random() < 0.5)
        self._campaign_later(float(error.details.get("expires_in", 0.0)))

    def _campaign_later(self, expires_in: float) -> None:
        chance = self.world.chance
        rank = int(self.node[1:])
        wait = expires_in * chance.choice((0.3, 1.0, 1.0))
        self.later(wait + campaign_delay(rank, chance.random() < 0.8, TIMINGS, chance.random()), self.campaign)

    def _keep_up(self, turn: int) -> None:
        if turn == self._turn:
            self.renew(partial(self._kept_up, turn))

    def _kept_up(self, turn: int, error: LeaseError | None) -> None:
        if turn != self._turn:
            return
        if error is None:
            self.later(TIMINGS.renew, self._keep_up, turn)
        elif self.lease.remaining() > 0:
            self.later(0.5, self._keep_up, turn)
        else:
            self._turn += 1
            self._campaign_later(0.0)

    def _work(self, turn: int) -> None:
        """Operations for as long as it leads; now and then it has done enough, or somebody else wants the lease."""
        if turn != self._turn:
            return
        chance = self.world.chance
        self.join()
        if chance.random() < (0.3 if self.lease.wanted else 0.03):
            self._turn += 1
            self.release()
            self.later(chance.uniform(0.1, TIMINGS.ttl), self.campaign)
            return
        self.operate(chance.choice(self.simulation.target_names))
        self.later(chance.uniform(0.2, 3.0), self._work, turn)


class Asking:
    """A question under way: it ends with enough answers, with all, or with the time for it."""

    def __init__(
        self,
        process: Process,
        question: Ask,
        then: t.Callable[[t.Mapping[str, t.Any]], None],
        names: tuple[str, ...] | None = None,
    ) -> None:
        self.process = process
        self.question = question
        self.then: t.Callable[[t.Mapping[str, t.Any]], None] | None = then
        self.answers: dict[str, Answer | str] = {}
        self.names = process.voters if names is None else names
        #: it gives a memory to a voter that has none: not promised to be safe when it outlives a loss of memory
        self.founds = question.verb == "voter_join" or bool(question.fields.get("founding"))
        self.sent_at = process.world.now
        network, hosts = process.simulation.network, process.simulation.hosts
        for name in self.names:
            network.send(process.node, name, question.verb, self._arrive, hosts[name])
        process.later(TIMINGS.op_timeout, self._end)

    def _arrive(self, host: VotingHost) -> None:
        if self.founds and host.lost_at > self.sent_at:
            return
        answer = host.handle(self.question.verb, self.question.fields)
        if answer is not None:
            process = self.process
            at = process.world.now
            back = partial(process.soon, self._hear, host.name, answer, at)
            process.simulation.network.send(host.name, process.node, BACK + self.question.verb, back)

    def _hear(self, name: str, answer: Answer, at: float) -> None:
        self.process.hear(name, answer, at)
        self.answers.setdefault(name, answer)
        if len(self.answers) == len(self.names) or self.question.enough(self.answers):
            self._end()

    def _end(self) -> None:
        then, self.then = self.then, None
        if then is not None:
            then({name: self.answers.get(name, "it did not answer in time") for name in self.names})
