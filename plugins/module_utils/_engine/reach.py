# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Waiting until members can be configured: their SSH answers with the known host key and takes our key.

What has no SSH is greeted in another way; which one is told by a member's driver.
"""

from __future__ import annotations

import io
import socket
import time
import typing as t

from .._model.declaration import Access, Member, Resource
from .._model.drivers import EXISTING, SIM
from .._model.errors import HypervisorError, WaitError
from .._pool.keys import paramiko, public_line, trust_key
from .._pool.pool import in_parallel
from .._pool.ssh import open_client
from .credentials import MEMBER_KEY, host_key_name

#: seconds between two looks at one member, growing up to the second number
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_ATTEMPT = 3.0
#: seconds between two looks at the hypervisors while waiting
_LOOK_EVERY = 2.0

States = t.Callable[[], t.Mapping[str, str]]
#: looks at a member once, for at most some seconds; raises HypervisorError or OSError when it is not there yet
Greeting = t.Callable[[Member, float], None]


def wait_reachable(
    resource: Resource, members: t.Sequence[Member], secrets: t.Mapping[str, str], states: States, timeout: float
) -> None:
    """Wait for several members at once.

    Args:
        states: asks the hypervisors: member name -> domain state; a member that stopped fails the wait at once.
        timeout: seconds for all of them.

    Raises:
        WaitError: naming every member that cannot be reached and what was last seen there.
    """
    watch = _Watch(states, time.monotonic() + timeout)
    greetings = {
        driver: _GREETINGS.get(driver, _ssh_greeting)(resource, secrets)
        for driver in {member.spec.driver for member in members}
    }
    outcomes = in_parallel(lambda member: _wait_one(member, greetings[member.spec.driver], watch), members)
    failed = {member.name: outcome for member, outcome in zip(members, outcomes) if isinstance(outcome, Exception)}
    if failed:
        raise WaitError(
            f"{len(failed)} of {len(members)} members of {resource.name} cannot be reached: "
            + "; ".join(f"{name}: {error}" for name, error in failed.items())
            + ". Run again to go on from here.",
            code="not_reachable",
            members={name: str(error) for name, error in failed.items()},
        )


class _Watch:
    """The members' states, asked at most every few seconds however many wait."""

    def __init__(self, states: States, deadline: float) -> None:
        self.deadline = deadline
        self._states = states
        self._seen: t.Mapping[str, str] = {}
        self._next = time.monotonic() + _LOOK_EVERY

    def state(self, member: str) -> str:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LOOK_EVERY
            self._seen = self._states()
        return self._seen.get(member, "running")


def _wait_one(member: Member, greet: Greeting, watch: _Watch) -> None:
    """Look until the member answers; the last thing seen goes into the error."""
    pause, seen = _FIRST_PAUSE, "nothing yet"
    while True:
        left = watch.deadline - time.monotonic()
        if left <= 0:
            raise WaitError(f"at {member.spec.address}: {seen}, when its time was over")
        try:
            greet(member, min(_ATTEMPT, left))
            return
        except HypervisorError as error:
            if error.code in ("host_key_changed", "host_key_unknown"):
                raise WaitError(
                    f"at {member.spec.address} another machine answers: its host key is not the one made for it"
                ) from error
            seen = error.msg
        except OSError as error:
            seen = f"port {Access().port}: {error}"
        state = watch.state(member.name)
        if state not in ("running", "idle", "blocked"):
            raise WaitError(f"it is {state} instead of running; look at its console on the hypervisor")
        time.sleep(min(pause, max(0.0, watch.deadline - time.monotonic())))
        pause = min(_LONGEST_PAUSE, pause * 1.5)


def _ssh_greeting(resource: Resource, secrets: t.Mapping[str, str]) -> Greeting:
    def greet(member: Member, timeout: float) -> None:
        """Log in once. A closed port is found out cheaply before any cryptography."""
        address = member.spec.address
        socket.create_connection((address, Access().port), timeout).close()
        public = public_line(secrets[host_key_name(member.name)])
        open_client(
            resource.domain(member.name),
            address,
            lambda client: trust_key(client, address, Access().port, public),
            Access().user,
            Access().port,
            max(1.0, timeout),
            pkey=paramiko.Ed25519Key.from_private_key(io.StringIO(secrets[MEMBER_KEY])),
        ).close()

    return greet


def _sim_greeting(resource: Resource, _secrets: t.Mapping[str, str]) -> Greeting:
    from .._pool.sim import SimDoors  # the host program's own code, which no other run needs here

    doors = SimDoors(resource.pool)

    def greet(member: Member, _timeout: float) -> None:
        if not doors.is_open(resource.domain(member.name)):
            raise HypervisorError("it has not booted yet")

    return greet


def _no_greeting(_resource: Resource, _secrets: t.Mapping[str, str]) -> Greeting:
    """Whoever started the services of such a machine was logged in to it."""
    return lambda _member, _timeout: None


#: driver -> how its members are greeted; all others over SSH
_GREETINGS: dict[str, t.Callable[[Resource, t.Mapping[str, str]], Greeting]] = {
    SIM: _sim_greeting,
    EXISTING: _no_greeting,
}
