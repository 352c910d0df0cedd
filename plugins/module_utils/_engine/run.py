# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One convergence: observe -> plan -> apply -> verify. Check mode ends after the plan, with the same plan."""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass, field

from .._election.lease import Lease
from .._model.declaration import Hypervisor, Resource
from .._model.errors import EnsembleError
from .._model.observed import Observation
from .._plan.actions import Action, Plan
from .._plan.start import plan_started
from .._plan.stop import plan_absent, plan_stopped
from .._plan.wishes import NO_WISHES, Wishes
from .._pool.keys import public_line
from .._pool.pool import Connect, Pool
from .apply import Applier
from .credentials import MEMBER_KEY, host_key_name, missing_secrets, read_secrets, remove_cache, write_cache
from .keeper import SessionVoter, held
from .observe import observe
from .reach import wait_reachable

#: seconds of a lease where no declaration says otherwise
DEFAULT_TTL = 15.0


@dataclass(frozen=True)
class Request:
    """What a run is asked for; times in seconds.

    `wishes` say what may happen to members that run. `resource` is needed for `started` only: to stop or remove, the
    name and the pool suffice.
    """

    name: str
    pool: tuple[Hypervisor, ...]
    state: str
    resource: Resource | None = None
    wishes: Wishes = NO_WISHES
    wait: bool = True
    timeout: float = 300.0
    stop_timeout: float = 60.0
    lease_ttl: float = DEFAULT_TTL
    lease_timeout: float = 30.0
    check: bool = False


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
        if request.check:
            with clock.step("observe"):
                observation = observe(pool, request.name)
            plan = make_plan(request, observation)
            _refresh_cache(request, pool)
            return Outcome(plan, observation, _generation(plan, observation), clock.seconds)
        with clock.step("lease"):
            voter = pool.hypervisors[0].name
            voters = [SessionVoter(pool.sessions[voter], request.name, lambda: pool.reconnect(voter))]
            lease = stack.enter_context(held(voters, request.lease_ttl, request.lease_timeout))
        with clock.step("observe"):
            observation = observe(pool, request.name)
        plan = make_plan(request, observation)
        _apply(request, pool, lease, plan, observation, clock)
        return Outcome(plan, observation, _generation(plan, observation), clock.seconds)


def _generation(plan: Plan, observation: Observation) -> int:
    return plan.record.generation if plan.record is not None else observation.record.generation


def _refresh_cache(request: Request, pool: Pool) -> None:
    """Give this controller its copies of what the voter keeps, so that it can reach members that exist."""
    if request.state == "started" and request.resource is not None:
        write_cache(request.resource, read_secrets(pool.sessions[pool.hypervisors[0].name], request.name))


def _apply(request: Request, pool: Pool, lease: Lease, plan: Plan, observation: Observation, clock: _Clock) -> None:
    voter = pool.hypervisors[0].name
    images = request.resource.images if request.resource is not None else {}
    applier = Applier(pool, request.name, lease, _generation(plan, observation), request.lease_ttl, images)
    if plan.record is not None:
        # the wish is on record before the first machine is touched: a run that is killed is finished by the next
        with clock.step("record"):
            applier.call(voter, "record_write", {"record": plan.record.as_dict()})
    secrets: dict[str, str] = {}
    if request.state == "started" and request.resource is not None:
        with clock.step("secrets"):
            secrets = _secrets(request.resource, pool, applier, voter)
        if any(member.autostart for member in request.resource.members):
            from .boot import announce_voters  # with a part of the host program, which no other run needs here

            # before the first of them starts: from then on its hypervisor may boot at any time
            with clock.step("voters"):
                reached = [hv for hv in request.resource.pool if hv.name in pool.sessions]
                announce_voters(applier.call, reached, request.resource.pool[:1], observation)
    for wave in plan.waves():
        applier.wave(wave, lambda action: _fields(action, secrets, request.stop_timeout), request.stop_timeout)
        started = [action.member for action in wave if action.verb == "start"]
        if request.resource is not None and started and request.wait:
            with clock.step("reachable"):
                _verify(request, request.resource, pool, started, secrets)
    if plan.settled is not None:
        applier.call(voter, "record_write", {"record": plan.settled.as_dict()})
    if plan.forget:
        for hypervisor in pool.sessions:
            applier.call(hypervisor, "forget")
        remove_cache(request.name)
    clock.seconds.update(applier.seconds)


def _secrets(resource: Resource, pool: Pool, applier: Applier, voter: str) -> dict[str, str]:
    """All secrets, the missing ones made now; the first writer wins, so what comes back counts."""
    have = read_secrets(pool.sessions[voter], resource.name)
    missing = missing_secrets(resource, have)
    if missing:
        have = applier.call(voter, "secrets_add", {"secrets": missing})["secrets"]
    write_cache(resource, have)
    return have


def _fields(action: Action, secrets: t.Mapping[str, str], stop_timeout: float) -> dict[str, t.Any]:
    if action.verb == "stop":
        return {"timeout": stop_timeout}
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


def _verify(
    request: Request, resource: Resource, pool: Pool, members: t.Sequence[str], secrets: t.Mapping[str, str]
) -> None:
    wanted = [member for member in resource.members if member.name in members]

    def states() -> dict[str, str]:
        return {name: domain.state for name, (_hv, domain) in observe(pool, resource.name).owned().items()}

    wait_reachable(resource, wanted, secrets, states, request.timeout)
