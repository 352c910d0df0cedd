# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One convergence: observe -> plan -> apply -> verify. Check mode ends after the plan, with the same plan."""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass, field

from .._election.store import Lease, Token
from .._model.declaration import Election, Hypervisor, Resource
from .._model.errors import EnsembleError
from .._model.observed import Observation
from .._plan.actions import Action, Plan
from .._plan.start import plan_started
from .._plan.stop import plan_absent, plan_stopped
from .._plan.wishes import NO_WISHES, Wishes
from .._pool.keys import public_line
from .._pool.pool import Connect, Pool
from .apply import Applier
from .boot import announce_voters
from .credentials import MEMBER_KEY, host_key_name, missing_secrets, remove_cache, write_cache
from .keeper import adopted, held, this_run
from .leases import Voting, voting
from .ledger import Ledger
from .observe import observe
from .reach import wait_reachable
from .reconfigure import reconfigure

_BY_DEFAULT = Election()


@dataclass(frozen=True)
class Request:
    """What a run is asked for; times in seconds.

    `resource` is needed for `started` only: to stop or remove, the name and the pool suffice.

    Attributes:
        pool: the hypervisors, and behind them machines that somebody else provides.
        wishes: what may happen to members that run.
        token: of the lease that the caller's leader holds; without one the run takes the lease itself.
        person: a holder is asked to yield.
    """

    name: str
    pool: tuple[Hypervisor, ...]
    state: str
    resource: Resource | None = None
    wishes: Wishes = NO_WISHES
    wait: bool = True
    timeout: float = 300.0
    stop_timeout: float = 60.0
    lease_timeout: float = 30.0
    election: Election = _BY_DEFAULT
    token: Token | None = None
    person: bool = False
    check: bool = False

    @property
    def machines(self) -> frozenset[str]:
        """Names of machines that somebody else provides: they carry members and do not vote."""
        return frozenset(self.resource.machines) if self.resource is not None else frozenset()


@dataclass
class Outcome:
    """What a run found, planned and did."""

    plan: Plan
    observation: Observation
    generation: int
    seconds: dict[str, float] = field(default_factory=dict)


class _Clock:
    """Seconds per step, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> t.Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun


def make_plan(request: Request, observation: Observation) -> Plan:
    """The plan for a request: the same call for check mode and for a run.

    Raises:
        PlanError: it cannot be done from here; nothing was touched.
    """
    if request.state == "absent":
        return plan_absent(observation, request.wishes.delete_data)
    if request.state == "stopped":
        return plan_stopped(observation)
    if request.resource is None:
        raise EnsembleError("to start a resource its declaration is needed", code="no_declaration")
    return plan_started(request.resource, observation, request.wishes)


def converge(request: Request, connect: Connect) -> Outcome:
    """Carry out a request, or only plan it in check mode.

    Raises:
        EnsembleError: nothing was changed, or the message says what was; the next run goes on from there.
    """
    clock = _Clock()
    with contextlib.ExitStack() as stack:
        with clock.step("connect"):
            # to stop or remove, every hypervisor must say what it has
            pool = stack.enter_context(Pool(request.pool, connect, tolerant=request.state == "started"))
        with clock.step("voters"):
            hosts = [hv for hv in request.pool if hv.name not in request.machines]
            votes = stack.enter_context(voting(request.name, hosts, request.election, connect, pool))
        if request.check:
            with clock.step("observe"):
                votes.ledger.read()
                observation = observe(pool, request.name, votes.ledger.record)
            plan = make_plan(request, observation)
            _refresh_cache(request, votes.ledger)
            return Outcome(plan, observation, _generation(plan, observation), clock.seconds)
        with clock.step("lease"):
            if request.token is None:
                votes = reconfigure(votes, this_run(), request.lease_timeout)
            lease = votes.lease(this_run())
            stack.enter_context(_under(lease, request, votes))
        with clock.step("observe"):
            observation = observe(pool, request.name, votes.ledger.record)
        plan = make_plan(request, observation)
        _Run(request, pool, lease, votes, clock).apply(plan, observation)
        return Outcome(plan, observation, _generation(plan, observation), clock.seconds)


def _under(lease: Lease, request: Request, votes: Voting) -> t.ContextManager[None]:
    if request.token is not None:
        return adopted(lease, request.token)
    return held(lease, request.lease_timeout, request.person, votes.links.part)


def _generation(plan: Plan, observation: Observation) -> int:
    return plan.record.generation if plan.record is not None else observation.record.generation


def _refresh_cache(request: Request, ledger: Ledger) -> None:
    """Give this controller its copies of what the voters keep, so that it can reach members that exist."""
    if request.state == "started" and request.resource is not None:
        write_cache(request.resource, ledger.secrets)


def carry_out(
    request: Request, pool: Pool, lease: Lease, votes: Voting, plan: Plan, observation: Observation
) -> dict[str, float]:
    """Carry out a plan that was made already, under a lease that is held; seconds per verb.

    Raises:
        EnsembleError: what was not done; the next run goes on from there.
    """
    clock = _Clock()
    _Run(request, pool, lease, votes, clock).apply(plan, observation)
    return clock.seconds


class _Run:
    """One plan, carried out under a lease."""

    def __init__(self, request: Request, pool: Pool, lease: Lease, votes: Voting, clock: _Clock) -> None:
        self._request = request
        self._pool = pool
        self._lease = lease
        self._votes = votes
        self._ledger = votes.ledger
        self._clock = clock

    def apply(self, plan: Plan, observation: Observation) -> None:
        """Carry it out.

        Raises:
            EnsembleError: what was not done; the next run goes on from there.
        """
        request, resource = self._request, self._request.resource
        images = resource.images if resource is not None else {}
        applier = Applier(self._pool, request.name, self._lease, _generation(plan, observation), images)
        if plan.record is not None:
            # the wish is on record before the first machine is touched: a run that is killed is finished by the next
            with self._clock.step("record"):
                self._ledger.write_record(plan.record, self._lease)
        secrets: dict[str, str] = {}
        if request.state == "started" and resource is not None:
            with self._clock.step("secrets"):
                secrets = self._secrets(resource)
            # before the first member starts: from then on its hypervisor may boot at any time
            with self._clock.step("voters"):
                reached = [hv for hv in resource.pool if hv.name in self._pool.sessions]
                announce_voters(applier.call, reached, self._votes.electorate, observation)
        for wave in plan.waves():
            applier.wave(wave, lambda action: _fields(action, secrets, request.stop_timeout), request.stop_timeout)
            started = [action.member for action in wave if action.verb == "start"]
            if resource is not None and started and request.wait:
                with self._clock.step("reachable"):
                    self._verify(resource, started, secrets)
        if plan.settled is not None:
            self._ledger.write_record(plan.settled, self._lease)
        if plan.forget or request.state == "absent":  # at a second time, too: the lease has pinned the voters again
            self._forget(applier)
        self._clock.seconds.update(applier.seconds)

    def _forget(self, applier: Applier) -> None:
        voters = self._votes.links.names
        for hypervisor in self._pool.sessions:
            if hypervisor not in voters:
                applier.call(hypervisor, "forget")
        self._ledger.forget(self._lease)  # last: whoever comes after a killed run must find who votes
        remove_cache(self._request.name)

    def _secrets(self, resource: Resource) -> dict[str, str]:
        """All secrets, the missing ones made now."""
        missing = missing_secrets(resource, self._ledger.secrets)
        if missing:
            self._ledger.write_secrets({**self._ledger.secrets, **missing}, self._lease)
        write_cache(resource, self._ledger.secrets)
        return self._ledger.secrets

    def _verify(self, resource: Resource, members: t.Sequence[str], secrets: t.Mapping[str, str]) -> None:
        wanted = [member for member in resource.members if member.name in members]

        def states() -> dict[str, str]:
            seen = observe(self._pool, resource.name, self._ledger.record)
            return {name: domain.state for name, (_hv, domain) in seen.owned().items()}

        wait_reachable(resource, wanted, secrets, states, self._request.timeout)


def _fields(action: Action, secrets: t.Mapping[str, str], stop_timeout: float) -> dict[str, t.Any]:
    if action.verb == "stop":
        return {"timeout": action.args.get("timeout", stop_timeout)}
    if action.verb != "prepare":
        return {}
    host_key = secrets[host_key_name(action.member)]
    return {
        "seed": {
            "host_key": host_key,
            "host_key_public": public_line(host_key),
            "authorized_keys": [public_line(secrets[MEMBER_KEY])],
        }
    }
