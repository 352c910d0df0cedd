# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Repairs: decided by pure code, put on record, tried, and waited for; every later leader knows what was tried."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field, replace

from .._election.store import Lease
from .._model.declaration import Resource
from .._model.errors import EnsembleError
from .._model.health import STARTING, Health
from .._model.observed import Observation
from .._model.stacks import STACKS
from .._plan.actions import Plan
from .._plan.repair import (
    NOTHING_ELSE,
    REBUILD,
    RELOCATE,
    RESTART_UNIT,
    RESUME,
    WAITS,
    Known,
    Repair,
    Repairs,
    Step,
    decide,
    recent,
)
from .._plan.start import plan_started
from .._pool.pool import Pool, in_parallel
from .._probe.base import Prober
from .leases import Voting
from .monitor import Seen, look
from .run import Request, carry_out

#: seconds for a unit to be restarted
UNIT_TIMEOUT = 45.0
#: seconds for a scheduler to take a node back
RESUME_TIMEOUT = 20.0
#: seconds between two looks at what was repaired
_LOOK_EVERY = 1.0

Clock = t.Callable[[], float]


@dataclass
class Mended:
    """What came of one round of repairs.

    Attributes:
        plan: of the machines.
        failures: member -> why its repair could not be tried.
        health: after it, as last seen.
        pending: members that had not come back when their time was over.
        fresh: members that were made anew, and have still to be configured.
        at: wall time of their entry in the record.
    """

    repairs: Repairs
    at: float
    plan: Plan | None = None
    failures: dict[str, str] = field(default_factory=dict)
    health: Health | None = None
    pending: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    seconds: float = 0.0


class Repairer:
    """Repairs one resource under a lease.

    Args:
        pool: sessions to the hypervisors, tolerant.
        votes: where the record is kept.
        wall: wall time; budgets outlive boots and leaders.
    """

    def __init__(
        self,
        resource: Resource,
        pool: Pool,
        votes: Voting,
        prober: Prober,
        lease: Lease,
        wall: Clock | None = None,
    ) -> None:
        self._resource = resource
        self._pool = pool
        self._votes = votes
        self._prober = prober
        self._lease = lease
        self._wall = wall or time.time

    def decide(self, health: Health, known: Known = NOTHING_ELSE) -> Repairs:
        """What would be done now; nothing is changed."""
        return decide(self._resource, health, self.history(), self._wall(), known)

    def history(self) -> list[Repair]:
        """Repairs of late, of any leader, oldest first."""
        return [Repair(**entry) for entry in self._votes.ledger.record.repairs]

    def plan(self, repairs: Repairs, observation: Observation) -> Plan | None:
        """What happens to machines; None when none is touched.

        Raises:
            PlanError: it cannot be done from here; nothing was touched.
        """
        if not repairs.machines():
            return None
        plan = plan_started(self._resource, observation, repairs.wishes())
        touched = repairs.machines()
        return replace(plan, actions=tuple(action for action in plan.actions if action.member in touched))

    def mend(self, repairs: Repairs, seen: Seen, over: t.Callable[[], bool] = lambda: False) -> Mended:
        """Try them, and wait for their effect.

        Args:
            over: whether nobody waits for it any more.

        Raises:
            EnsembleError: the lease was lost, or no majority keeps the record: nothing more is touched.
        """
        begun = time.monotonic()
        mended = Mended(repairs, self._wall())
        self._note(repairs.steps, mended.at)
        steps = [step for step in repairs.steps if step.action in (RESTART_UNIT, RESUME)]
        self._lease.require(self._lease.ttl / 5)
        for step, outcome in zip(steps, in_parallel(self._one, steps)):
            if isinstance(outcome, EnsembleError):
                mended.failures[step.member] = outcome.msg
        try:
            mended.plan = self.plan(repairs, replace(seen.observation, record=self._votes.ledger.record))
            if mended.plan is not None:
                self._carry_out(mended.plan, replace(seen.observation, record=self._votes.ledger.record))
        except EnsembleError as error:
            if error.code in OVER:
                raise
            mended.failures.update(dict.fromkeys(sorted(repairs.machines()), error.msg))
        mended.fresh = repairs.of(REBUILD, RELOCATE)
        self._wait(mended, over)
        mended.seconds = time.monotonic() - begun
        return mended

    def _note(self, steps: t.Sequence[Step], now: float) -> None:
        """On record before anything is touched: a leader that dies at it has used up the budget all the same."""
        ledger = self._votes.ledger
        late = recent(self.history(), now, self._resource.monitor.budget.window)
        tried = [Repair(now, step.member, step.action, step.reason[:200]) for step in steps]
        entries = tuple(repair.as_dict() for repair in (*late, *tried))
        ledger.write_record(replace(ledger.record, version=ledger.record.version + 1, repairs=entries), self._lease)

    def _one(self, step: Step) -> None:
        """What needs no machine."""
        if step.action == RESUME:
            self._resume(step)
        else:
            self._restart_units(step)

    def _resume(self, step: Step) -> None:
        """Whoever has the scheduler is told; one of them is enough."""
        resource = self._resource
        roles = [role for role, engine in STACKS[resource.stack].schedulers if engine == step.engine]
        head = next(member for member in resource.members if set(member.roles) & set(roles))
        self._prober.resume_node(head, step.engine, resource.domain(step.member), self._lease.token, RESUME_TIMEOUT)

    def _restart_units(self, step: Step) -> None:
        member = next(member for member in self._resource.members if member.name == step.member)
        for unit in step.units:
            sign = self._prober.restart_unit(member, unit, self._lease.token, UNIT_TIMEOUT)
            if not sign.ok:
                raise EnsembleError(f"{unit} was restarted, and is {sign.detail}", code="unit_failed")

    def _carry_out(self, plan: Plan, observation: Observation) -> None:
        resource = self._resource
        request = Request(resource.name, self._pool.hypervisors, "started", resource, wait=False, stop_timeout=0.0)
        carry_out(request, self._pool, self._lease, self._votes, plan, observation)

    def _wait(self, mended: Mended, over: t.Callable[[], bool]) -> None:
        """Until every repaired member is as it shall be, or its time is over."""
        left = {step.member for step in mended.repairs.steps} - set(mended.failures) - set(mended.fresh)
        deadline = time.monotonic() + self._resource.monitor.starting
        while True:
            seen = look(self._resource, self._pool, self._votes.ledger.record, self._prober)
            mended.health = seen.health
            verdicts = {member.member: member.verdict for member in seen.health.members}
            left = {name for name in left if verdicts.get(name, STARTING) in WAITS}
            if not left or over() or time.monotonic() >= deadline:
                mended.pending = tuple(sorted(left))
                return
            self._lease.require(0.0)
            time.sleep(_LOOK_EVERY)


#: codes of errors after which this run is no leader any more
OVER = ("stale_token", "stale_generation", "lease_lost", "no_quorum", "record_changed")
