# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The one place where parameters become a request and errors become `fail_json`."""

from __future__ import annotations

import gc
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from .._election.store import Token
from .._model.declaration import Election, Hypervisor, Resource
from .._model.errors import EnsembleError
from .._model.load import load_declaration
from .._model.parse import parse_target
from .._pool import existing, keys, ssh
from .._pool.pool import Connect
from .._pool.session import Session


def run_module(
    module: AnsibleModule, work: t.Callable[[AnsibleModule], dict[str, t.Any]], needs_ssh: bool = True
) -> t.NoReturn:
    """Run a module's work and end it: with its result, or with one clear message."""
    collect_seldom()
    if needs_ssh and keys.paramiko is None:
        module.fail_json(msg=missing_required_lib("paramiko", reason="to reach hypervisors and members"))
    try:
        result = work(module)
    except EnsembleError as error:
        module.fail_json(msg=error.msg, code=error.code, details=error.details)
    module.exit_json(**result)
    raise AssertionError("exit_json does not return")


def collect_seldom() -> None:
    """Look for reference cycles seldom: a large plan is a heap of plain data that lives to the end."""
    gc.freeze()
    gc.set_threshold(500_000, 20, 100)


class Target(t.NamedTuple):
    """Which resource a module is about; `pool` holds the members' own machines, too, behind the hypervisors."""

    name: str
    pool: tuple[Hypervisor, ...]
    resource: Resource | None
    known_hosts: str | None

    @property
    def election(self) -> Election:
        """As declared, else the defaults."""
        return self.resource.election if self.resource is not None else Election()

    @property
    def hosts(self) -> tuple[Hypervisor, ...]:
        """The hypervisors alone."""
        machines = self.resource.machines if self.resource is not None else {}
        return tuple(hv for hv in self.pool if hv.name not in machines)


def target_of(params: t.Mapping[str, t.Any]) -> Target:
    """From `declaration`, or from `name` and `pool`.

    Raises:
        DeclarationError: with every fault.
    """
    if params.get("declaration"):
        resource = load_declaration(params["declaration"])
        machines = tuple(machine for _member, machine in resource.machines.values())
        return Target(resource.name, (*resource.pool, *machines), resource, resource.known_hosts)
    name, pool = parse_target(params["name"], params["pool"])
    return Target(name, pool, None, params.get("known_hosts"))


def connect_of(target: Target) -> Connect:
    """How this target's hypervisors are reached: over SSH, or in this process where they are simulated."""
    images = {member.spec.image for member in target.resource.members} if target.resource is not None else set()

    def connect(hypervisor: Hypervisor) -> Session:
        if hypervisor.sim is not None:
            from .._pool import sim  # the host program's own code, which no other run needs here

            return sim.connect(hypervisor, images)
        if target.resource is not None and hypervisor.name in target.resource.machines:
            return existing.connect(target.resource, *target.resource.machines[hypervisor.name])
        return ssh.connect(hypervisor, target.known_hosts)

    return connect


def token_of(value: t.Sequence[int] | None) -> Token | None:
    """A fencing token as modules take it.

    Raises:
        EnsembleError: `bad_option`.
    """
    if not value:
        return None
    if len(value) != 2 or min(value) < 1:
        raise EnsembleError(
            f"fencing_token: found {list(value)}, expected [config epoch, term] as leader_election returns it. "
            "Nothing was changed.",
            code="bad_option",
        )
    return value[0], value[1]
