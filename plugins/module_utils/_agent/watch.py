# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What a leader among the members does: look, repair, bring the declaration about, tell; until it is told to end.

It is the command of the agent, which ends it before the lease can be lost. All that it needs to know it reads from the
voters: the declaration that counts, what is asked for, which repairs were tried. So it may be killed at any moment.
"""

from __future__ import annotations

import signal
import threading
import time
import typing as t
from dataclasses import replace

from .._election.store import Identity, Lease, Token
from .._engine.heart import Heart, beating
from .._engine.leases import Voting
from .._engine.monitor import Seen
from .._engine.oversee import Overseer, overseeing
from .._engine.repair import OVER, Mended, Repairer
from .._model.declaration import Resource
from .._model.errors import EnsembleError
from .._model.health import Health
from .._model.observed import Observation, Record
from .._plan.repair import Known, Repairs, told
from .._pool.pool import Connect
from .._status.text import iso
from .journal import Journal
from .playbook import RUN_TIMEOUT, Playbook
from .processes import HURRY
from .settings import Settings

#: share of the time between two runs of the playbook after which one that failed is tried again
_AGAIN = 0.1
#: runs that may fail one after the other until a member that was made anew counts as one whose services are broken
_MOST_TRIES = 3
#: looks that fail one after the other until another candidate may try
_MOST_FAILURES = 5
#: seconds that no look takes, with all that is opened for it, and no round of repairs, with an image that is fetched
LOOK_LIMIT, REPAIR_LIMIT = 180.0, 1800.0

#: takes what was seen last, for whoever looks at the page
Show = t.Callable[["Shown"], None]


class Shown(t.NamedTuple):
    """What people are shown.

    Attributes:
        repairs: at, member, action, reason, outcome, seconds; the oldest first.
        totals: action -> outcome -> how many this leader has made.
    """

    resource: Resource
    observation: Observation
    health: Health
    seconds: float
    repairs: t.Sequence[t.Mapping[str, t.Any]]
    totals: t.Mapping[str, t.Mapping[str, int]]


class Orders:
    """Told by signals: URG, when somebody wants the lease, ends it after the step at work; TERM ends it at once."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def listen(self) -> None:
        signal.signal(HURRY, lambda _number, _frame: self.over.set())


class Watch:
    """One term's work.

    Args:
        voting: asks who votes and what they keep.
        declaration: makes a resource of what the voters keep of its declaration.
        connect: how that resource's hypervisors are reached.
        token: of the agent's lease.
        alive: told before each piece of work how many seconds it may take at most; whoever takes it ends this process
            when they are over.
    """

    def __init__(
        self,
        settings: Settings,
        voting: t.Callable[[], t.ContextManager[Voting]],
        declaration: t.Callable[[t.Mapping[str, t.Any]], Resource],
        connect: t.Callable[[Resource], Connect],
        playbook: Playbook,
        journal: Journal,
        show: Show,
        identity: Identity,
        token: Token,
        alive: t.Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._settings = settings
        self._voting = voting
        self._declaration = declaration
        self._connect = connect
        self._playbook = playbook
        self._journal = journal
        self._show = show
        self._identity = identity
        self._token = token
        self._alive = alive
        self._said: dict[str, str] = {}
        self._outcomes: dict[tuple[str, float], tuple[str, float | None]] = {}
        self._totals: dict[str, dict[str, int]] = {}
        self._failures = 0
        self._due = 0.0
        self._carried_out: tuple[int, str] = (0, "")
        self._fresh: frozenset[str] = frozenset()
        self._tries = 0

    def serve(self, orders: Orders) -> int:
        """Until it is told to end; the exit status."""
        while not orders.over.is_set():
            self._alive(LOOK_LIMIT + self._settings.timings.ttl)
            try:
                resource = self._wanted()
                if resource is None:
                    orders.over.wait(self._settings.timings.ttl)
                else:
                    self._look_after(resource, orders)
                self._failures = 0
            except EnsembleError as error:
                # voters that are slow for a moment are asked again, under the same lease as long as it is one
                if error.code in OVER and error.code != "no_quorum":
                    self._event("lost", code=error.code, msg=error.msg)
                    return 1
                self._failures += 1
                self._event("look_failed", code=error.code, msg=error.msg)
                if self._failures >= _MOST_FAILURES:
                    return 1
                orders.over.wait(self._settings.timings.ttl / 3)
        return 0

    def _wanted(self) -> Resource | None:
        """The declaration that counts; None while there is nothing that should run."""
        with self._voting() as votes:
            votes.ledger.read()
            record = votes.ledger.record
        if not record.declaration:
            self._tell("desired", record.desired)
            return None
        return self._declaration(record.declaration)

    # -- one declaration

    def _look_after(self, resource: Resource, orders: Orders) -> None:
        """Until another declaration counts."""
        connect = self._connect(resource)
        with overseeing(resource, connect) as overseer:
            ledger = overseer.votes.ledger
            lease = overseer.votes.lease(self._identity)
            lease.adopt(self._token)
            overseer.votes.links.part()
            heart = Heart(resource.name, resource.pool, connect, lease, ledger.record.generation)
            with beating(heart):
                while ledger.record.declaration == resource.content:
                    self._arm(overseer, heart, lease)
                    self._once(overseer, heart, lease, orders)
                    self._failures = 0
                    if orders.over.wait(resource.monitor.interval):
                        return
                    lease.require(self._settings.timings.op_timeout)

    def _arm(self, overseer: Overseer, heart: Heart, lease: Lease) -> None:
        """Hypervisors end by themselves what may be made elsewhere; whoever leads next must know that, too."""
        resource, ledger = overseer.resource, overseer.votes.ledger
        members = [member.name for member in resource.members if resource.relocatable(member)]
        ttl = resource.monitor.member_ttl if members and ledger.record.desired == "started" else 0.0
        if ledger.record.member_ttl != ttl:
            version = ledger.record.version + 1
            ledger.write_record(replace(ledger.record, version=version, member_ttl=ttl), lease)
        heart.arm(ttl, members, ledger.record.generation)

    def _once(self, overseer: Overseer, heart: Heart, lease: Lease, orders: Orders) -> None:
        """One look, and what follows from it."""
        self._alive(LOOK_LIMIT + overseer.resource.monitor.interval)
        overseer.pool.reopen()
        seen = overseer.look()
        self._note(seen.health)
        repairer = overseer.repairer(lease)
        record = overseer.votes.ledger.record
        repairs, health = Repairs(), seen.health
        if record.desired == "started":
            repairs = repairer.decide(health, Known(heart.lost(), self._unconfigured(overseer.resource, record)))
            if repairs.steps:  # people see what is broken while it is repaired
                self._tell_people(overseer.resource, seen, told(health, repairs), self._repairs(repairer, {}))
            health = self._mend(repairer, repairs, seen, orders)
            if not orders.over.is_set():
                self._converge(overseer, record)
        past = self._repairs(repairer, repairs.exhausted)
        self._tell_people(overseer.resource, seen, told(health, repairs), past)

    def _mend(self, repairer: Repairer, repairs: Repairs, seen: Seen, orders: Orders) -> Health:
        """Repair, and tell of it; the health after it."""
        for member, why in repairs.exhausted.items():
            self._tell(f"exhausted {member}", why)
        if not repairs.steps:
            return seen.health
        self._alive(REPAIR_LIMIT)
        for step in repairs.steps:
            self._event("repair", **step.public())
        mended = repairer.mend(repairs, seen, orders.over.is_set)
        self._mended(mended)
        return mended.health or seen.health

    def _tell_people(
        self, resource: Resource, seen: Seen, health: Health, repairs: t.Sequence[t.Mapping[str, t.Any]]
    ) -> None:
        """A page that cannot be shown keeps nobody from healing."""
        try:
            self._show(Shown(resource, seen.observation, health, seen.seconds, repairs, self._totals))
            if "page" in self._said:
                self._tell("page", "shown")
        except (EnsembleError, OSError) as error:
            self._tell("page", "not shown", cause=str(error))

    def _unconfigured(self, resource: Resource, record: Record) -> frozenset[str]:
        """Members for which the playbook has still to run: all when the declaration changed, else those made anew."""
        if self._carried_out != (record.generation, record.digest):
            return frozenset(member.name for member in resource.members)
        return self._fresh

    def _converge(self, overseer: Overseer, record: Record) -> None:
        """Run the stack's playbook when the declaration changed, a member is new, or it is time."""
        begun = time.monotonic()
        if not self._unconfigured(overseer.resource, record) and begun < self._due:
            return
        self._event("converge", generation=record.generation)
        self._alive(RUN_TIMEOUT + LOOK_LIMIT)
        ended = self._playbook.run(overseer.resource, overseer.votes.ledger.secrets)
        took = round(time.monotonic() - begun, 1)
        if ended.code == 0:
            self._event("converged", code=0, seconds=took)
        else:
            self._event("converge_failed", code=ended.code, seconds=took, why=list(ended.faults))
        # one that failed is tried again much sooner, and services are repaired meanwhile
        self._due = time.monotonic() + overseer.resource.monitor.converge * (1.0 if ended.code == 0 else _AGAIN)
        self._carried_out = (record.generation, record.digest)
        # those of a member made anew only once it has any: no restart brings it its configuration, the next run does
        self._tries = 0 if ended.code == 0 else self._tries + 1
        if self._tries in (0, _MOST_TRIES):
            self._fresh, self._tries = frozenset(), 0

    def _repairs(self, repairer: Repairer, exhausted: t.Mapping[str, str]) -> list[dict[str, t.Any]]:
        """Those on record, with what became of them as far as this leader knows; and those that are not made."""
        tried = []
        for repair in repairer.history():
            outcome, seconds = self._outcomes.get((repair.member, round(repair.at, 1)), ("", None))
            entry = {**repair.as_dict(), "at": iso(repair.at), "outcome": outcome, "seconds": seconds}
            tried.append(entry)
        now = iso(time.time())
        left = [
            {"at": now, "member": member, "action": "none", "reason": why, "outcome": "exhausted", "seconds": None}
            for member, why in exhausted.items()
        ]
        return tried + left

    # -- events

    def _note(self, health: Health) -> None:
        """Each change of a verdict is told once."""
        self._tell("desired", health.desired)
        self._tell("resource", health.verdict, cause=health.cause)
        for member in health.members:
            self._tell(member.member, member.verdict, cause=member.cause, hypervisor=member.hypervisor)
        for name, why in health.silent.items():
            self._tell(f"hypervisor {name}", "silent", cause=why)
        for name in [key for key in self._said if key.startswith("hypervisor ")]:
            if name.partition(" ")[2] not in health.silent:
                self._tell(name, "answers")

    def _tell(self, what: str, verdict: str, **more: t.Any) -> None:
        if self._said.get(what) != verdict:
            was = self._said.get(what)
            self._said[what] = verdict
            self._event("verdict", member=what, verdict=verdict, was=was, **more)

    def _mended(self, mended: Mended) -> None:
        verdicts = {member.member: member.verdict for member in mended.health.members} if mended.health else {}
        for step in mended.repairs.steps:
            outcome = mended.failures.get(step.member) or ("late" if step.member in mended.pending else "done")
            self._event(
                "repaired" if outcome == "done" else "repair_failed",
                member=step.member,
                action=step.action,
                outcome=outcome,
                verdict=verdicts.get(step.member),
                seconds=round(mended.seconds, 1),
            )
            outcomes = self._totals.setdefault(step.action, {})
            kind = "failed" if step.member in mended.failures else outcome
            outcomes[kind] = outcomes.get(kind, 0) + 1
            self._outcomes[step.member, round(mended.at, 1)] = (outcome, round(mended.seconds, 1))
        self._fresh |= frozenset(mended.fresh)

    def _event(self, name: str, **more: t.Any) -> None:
        self._journal.event(name, self._identity.session, self._token, None, **more)
