# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Watching over a resource: everything that a look and a repair need, opened once and used as often as one likes."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from .._election.store import Lease, Token, View
from .._model.declaration import Resource
from .._model.errors import EnsembleError, PlanError
from .._model.health import Health
from .._model.observed import Observation
from .._plan.actions import Plan
from .._plan.repair import Known, Repairs, told
from .._pool.pool import Connect, Pool
from .._probe.base import Prober
from .keeper import adopted, this_run
from .leases import Voting, voting
from .monitor import Seen, look, open_prober
from .repair import Mended, Repairer


@dataclass(frozen=True)
class Question:
    """What one run of the module is asked for.

    Attributes:
        repair: what is broken is repaired, under the token's lease.
        lost: hypervisors of which a person says that nothing lives on them any more.
    """

    resource: Resource
    token: Token | None = None
    repair: bool = False
    lost: tuple[str, ...] = ()
    check: bool = False


@dataclass
class Overseen:
    """What one run found and did.

    Attributes:
        repairs: that are, or in check mode would be, tried; None when nobody asked for repairs.
    """

    health: Health
    observation: Observation
    leader: View
    seconds: float
    repairs: Repairs | None = None
    plan: Plan | None = None
    mended: Mended | None = None


class Overseer:
    """All sessions of somebody who watches over one resource."""

    def __init__(self, resource: Resource, pool: Pool, votes: Voting) -> None:
        self.resource = resource
        self.pool = pool
        self.votes = votes
        votes.ledger.read()
        self.prober: Prober = open_prober(resource, votes.ledger.secrets)

    def look(self) -> Seen:
        """Read the record, and look once."""
        self.votes.ledger.read()
        return look(self.resource, self.pool, self.votes.ledger.record, self.prober)

    def repairer(self, lease: Lease) -> Repairer:
        return Repairer(self.resource, self.pool, self.votes, self.prober, lease)

    def leader(self) -> View:
        """Who leads, as the voters say."""
        lease = self.votes.lease(this_run())
        return lease.view()


@contextlib.contextmanager
def overseeing(resource: Resource, connect: Connect) -> t.Iterator[Overseer]:
    """Open everything; hypervisors that do not answer are noted, and no error.

    Raises:
        LeaseError: `no_quorum`.
    """
    machines = tuple(machine for _member, machine in resource.machines.values())
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(Pool((*resource.pool, *machines), connect, tolerant=True))
        votes = stack.enter_context(voting(resource.name, resource.pool, resource.election, connect, pool))
        overseer = Overseer(resource, pool, votes)
        stack.callback(overseer.prober.close)
        yield overseer


def oversee(question: Question, connect: Connect) -> Overseen:
    """Look once, and repair if that is asked for.

    Raises:
        EnsembleError: nobody can tell (`no_quorum`), or may repair (`stale_token`, `lease_lost`, `other_declaration`).
    """
    with overseeing(question.resource, connect) as overseer:
        seen = overseer.look()
        found = Overseen(seen.health, seen.observation, overseer.leader(), seen.seconds)
        if not question.repair:
            return found
        _refuse_other(question.resource, overseer)
        lease = overseer.votes.lease(this_run())
        repairer = overseer.repairer(lease)
        found.repairs = repairer.decide(seen.health, Known(question.lost))
        found.health = told(seen.health, found.repairs)
        found.plan = repairer.plan(found.repairs, seen.observation)
        if question.check or not found.repairs.steps:
            return found
        if question.token is None:
            raise EnsembleError(
                "repair needs fencing_token, which leader_election returns: only the leader repairs. "
                "Nothing was changed.",
                code="bad_option",
            )
        with adopted(lease, question.token):
            found.mended = repairer.mend(found.repairs, seen)
            found.health = told(found.mended.health or seen.health, found.repairs)
    return found


def _refuse_other(resource: Resource, overseer: Overseer) -> None:
    """What is not carried out yet is no measure of what is broken."""
    record = overseer.votes.ledger.record
    if record.desired == "started" and record.digest != resource.digest:
        raise PlanError(
            f"the declaration of {resource.name} is not the one that was carried out last (generation "
            f"{record.generation}), so nothing is repaired by it. Nothing was changed; run playbooks/start.yml, or "
            "take the declaration that was.",
            code="other_declaration",
        )
