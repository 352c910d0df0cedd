# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One look at a resource: every hypervisor and every member asked at once, and one verdict for each."""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace

from .._batch.base import NodeState
from .._batch.engines import batch_of
from .._model.declaration import Member, Resource
from .._model.drivers import SIM
from .._model.errors import EnsembleError
from .._model.health import DOMAIN, HYPERVISOR, Health, Job, Sign
from .._model.monitor import SCHEDULER
from .._model.observed import Domain, Observation, Record
from .._plan.verdict import Look, judge_all
from .._pool.keys import public_line
from .._pool.pool import Pool, in_parallel
from .._probe.base import Answer, Prober
from .._probe.prober import SshProber
from .credentials import MEMBER_KEY, host_key_name
from .observe import observe

#: seconds that a hypervisor gets to tell what is on it
OBSERVE_TIMEOUT = 10.0
#: seconds that a member gets to answer its own hypervisor, and those of the trip that asks for it
SIGN_TIMEOUT = 3.0
_SIGN_TRIP = 10.0
#: seconds of a look that are no probe's: to reach a member and to come back
_TRIP = 5.0


class Seen(t.NamedTuple):
    """One look: the verdicts, and what they are drawn from."""

    health: Health
    observation: Observation
    seconds: float


def look(resource: Resource, pool: Pool, record: Record, prober: Prober, timeout: float = OBSERVE_TIMEOUT) -> Seen:
    """Look once at all of it.

    Args:
        pool: tolerant; a hypervisor that does not answer makes its members unknown.
        record: as a majority of the voters keeps it.

    Raises:
        EnsembleError: a hypervisor answers, and cannot look.
    """
    begun = time.monotonic()
    observation = observe(pool, resource.name, record, timeout)
    looks = {member.name: _placed(member, observation) for member in resource.members}
    asked = [look.member for look in looks.values() if look.state in _ANSWERS] if record.desired == "started" else []
    answers = prober.look(asked, time.monotonic() + _longest(resource, asked))
    mute = [looks[name] for name, answer in answers.items() if answer.reach.ok is False and not answer.strange]
    signs = _own_signs(pool, resource.name, mute)
    nodes, jobs = _schedulers(resource, answers)
    found = [_with_answers(resource, look, answers.get(name), signs.get(name), nodes) for name, look in looks.items()]
    health = judge_all(resource, found, record.desired, record.generation, observation.silent, jobs)
    return Seen(health, observation, time.monotonic() - begun)


def open_prober(resource: Resource, secrets: t.Mapping[str, str]) -> Prober:
    """What asks the members of a resource, with the key that they accept; its sessions are opened when they are needed.

    Raises:
        EnsembleError: `no_key`, the resource was never started.
    """
    if any(member.spec.driver == SIM for member in resource.members):
        from .._probe.sim import SimProber  # the host program's own code, which no other run needs here

        return SimProber(resource)
    if MEMBER_KEY not in secrets:
        raise EnsembleError(
            f"{resource.name} has no key for its members yet: it was never started. Run playbooks/start.yml.",
            code="no_key",
        )
    names = {member.name: host_key_name(member.name) for member in resource.members}
    public = {member: public_line(secrets[name]) for member, name in names.items() if name in secrets}
    return SshProber(resource, secrets[MEMBER_KEY], public)


#: states of a domain that may answer
_ANSWERS = ("running", "idle", "blocked", "unknown")


def _longest(resource: Resource, members: t.Sequence[Member]) -> float:
    slowest = max((probe.timeout for member in members for probe in resource.probes(member)), default=0.0)
    return slowest + _TRIP


def _placed(member: Member, observation: Observation) -> Look:
    """What the hypervisors say of a member."""
    owned = observation.owned()
    if member.name in owned:
        hypervisor, domain = owned[member.name]
        gone = Sign(DOMAIN, hypervisor.name, False, "it runs, and its definition is gone")
        signs = (gone,) if domain.running and not domain.persistent else ()
        return Look(member, hypervisor.name, _state(domain), domain.reason, domain.age, signs)
    placed = observation.record.placement.get(member.name)
    if placed is not None and placed in observation.silent:
        return Look(member, placed, "unknown", observation.silent[placed])
    there = observation.artefacts().get(member.name)
    return Look(member, min(there), "undefined") if there else Look(member, placed, "absent")


def _state(domain: Domain) -> str:
    return "running" if domain.running else domain.state


def _own_signs(pool: Pool, resource: str, looks: t.Sequence[Look]) -> dict[str, Sign]:
    """Whether members that do not answer us answer their own hypervisors, one batch for each of those."""
    per_host: dict[str, list[Look]] = {}
    for look in looks:
        if look.hypervisor in pool.sessions:
            per_host.setdefault(look.hypervisor, []).append(look)

    def ask(name: str) -> dict[str, Sign]:
        verbs = [
            {"verb": "sign", "member": look.member.name, "address": look.member.spec.address, "timeout": SIGN_TIMEOUT}
            for look in per_host[name]
        ]
        results = pool.sessions[name].batch(verbs, _SIGN_TRIP, resource=resource)
        return {look.member.name: _sign(name, result) for look, result in zip(per_host[name], results)}

    found: dict[str, Sign] = {}
    names = list(per_host)
    for name, outcome in zip(names, in_parallel(ask, names)):
        for look in per_host[name]:
            unknown = Sign(HYPERVISOR, name, None, outcome.msg if isinstance(outcome, EnsembleError) else "")
            found[look.member.name] = (
                unknown if isinstance(outcome, EnsembleError) else outcome.get(look.member.name, unknown)
            )
    return found


def _sign(hypervisor: str, result: t.Mapping[str, t.Any]) -> Sign:
    if not result["ok"]:
        return Sign(HYPERVISOR, hypervisor, None, str(result["error"]["msg"]))
    value = result["value"]
    return Sign(HYPERVISOR, hypervisor, bool(value["ok"]), str(value["detail"]), float(value["seconds"]))


# -- schedulers


class Node(t.NamedTuple):
    """A member as its scheduler knows it."""

    engine: str
    state: NodeState | None


def _schedulers(resource: Resource, answers: t.Mapping[str, Answer]) -> tuple[dict[str, Node], tuple[Job, ...] | None]:
    """Host name -> node, and the jobs, as those members tell that were asked for it."""
    nodes: dict[str, Node] = {}
    jobs: list[Job] | None = None
    for answer in answers.values():
        for engine, texts in answer.raw.items():
            try:
                batch = batch_of(engine)
                nodes.update({name: Node(engine, state) for name, state in batch.nodes(texts["nodes"]).items()})
                jobs = [*(jobs or []), *batch.jobs(texts["jobs"])]
            except EnsembleError:
                continue  # the probe's own sign tells that it was of no use
    return nodes, None if jobs is None else tuple(jobs)


def _with_answers(
    resource: Resource, look: Look, answer: Answer | None, own: Sign | None, nodes: t.Mapping[str, Node]
) -> Look:
    """The member's signs in one list: from here, from its hypervisor, its probes, its scheduler."""
    if answer is None:
        return look
    signs = [*look.signs, answer.reach, *([] if own is None else [own]), *answer.signs]
    node = nodes.get(resource.domain(look.member.name))
    draining, drained, resume = False, "", ""
    if node is not None and node.state is not None:
        draining = node.state.drained_by_wish
        if "DRAIN" in node.state.flags and node.state.responding and not draining:
            drained = node.state.reason or "no reason told"
            resume = node.engine if node.state.by_mistake else ""
        signs.append(_of_node(node.engine, node.state))
    age = answer.up_s if answer.up_s is not None else look.age
    return replace(
        look, age=age, signs=tuple(signs), draining=draining, strange=answer.strange, drained=drained, resume=resume
    )


#: states of a node that gets no jobs, whoever hears from it
_LOST = ("DOWN", "ERROR", "FAIL", "FAILED")
#: one of which a scheduler that was started a moment ago has not heard yet; it calls it down if that goes on
_UNHEARD = "UNKNOWN"


def _of_node(engine: str, state: NodeState) -> Sign:
    detail = state.state + (f" ({state.reason})" if state.reason else "")
    ok = None if state.state == _UNHEARD and state.responding else state.responding and state.state not in _LOST
    return Sign(SCHEDULER, f"{engine} node", ok, detail)
