# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Machines that somebody else provides: they answer the verbs of a hypervisor that carries just themselves.

Nothing is installed on them for it. To start and to stop means the systemd units of the member's roles; there is
nothing to prepare, to define or to remove.
"""

from __future__ import annotations

import json
import shlex
import time
import typing as t

from .._model.declaration import Hypervisor, Member, Resource
from .._model.drivers import AVAILABLE, EXISTING
from .._model.errors import EnsembleError, HypervisorError
from .._model.identity import member_uuid
from .._model.observed import BARE
from .._model.protocol import PROTOCOL
from .keys import paramiko, trust_hypervisor
from .session import Session, Transport
from .ssh import open_client

_CHUNK = 65536
#: bytes of a command's output that are looked at
_MOST = 1_000_000
#: states of a unit that does its work, or is about to
_UP = ("active", "activating", "reloading")


class MachineTransport(Transport):
    """The protocol of the host program, spoken for one machine over its SSH."""

    def __init__(self, resource: Resource, member: Member, machine: Hypervisor, client: t.Any) -> None:
        self._resource, self._member, self._machine = resource, member, machine
        self._client = client
        self._units = resource.units(member)

    def exchange(self, line: bytes, timeout: float) -> bytes:
        request = json.loads(line)
        deadline = time.monotonic() + timeout
        results = [self._result(verb, deadline) for verb in request["verbs"]]
        return json.dumps({"id": request["id"], "protocol": PROTOCOL, "results": results}).encode()

    def close(self) -> None:
        self._client.close()

    def _result(self, verb: t.Mapping[str, t.Any], deadline: float) -> dict[str, t.Any]:
        begun = time.monotonic()
        try:
            result: dict[str, t.Any] = {"ok": True, "value": self._act(str(verb["verb"]), deadline)}
        except HypervisorError:
            raise
        except EnsembleError as error:
            result = {"ok": False, "error": error.as_dict()}
        result["ms"] = round((time.monotonic() - begun) * 1000, 1)
        return result

    def _act(self, verb: str, deadline: float) -> dict[str, t.Any]:
        if verb == "observe":
            return self._observe(deadline)
        if verb in ("start", "stop"):
            units = list(self._installed(deadline))
            if units:
                self._systemctl([verb, "--", *units], deadline)
            return {}
        if verb == "forget":  # nothing was ever left here
            return {}
        raise EnsembleError(f"{verb} means nothing for a machine that somebody else provides", code="invalid_request")

    def _observe(self, deadline: float) -> dict[str, t.Any]:
        states = self._installed(deadline)
        up = [unit for unit, state in states.items() if state in _UP]
        state = BARE if not states else "running" if len(up) == len(states) else "degraded" if up else "shutoff"
        member = self._member
        record = {
            "resource": self._resource.name,
            "member": member.name,
            "roles": list(member.roles),
            "spec": member.spec.as_dict(),
            "digest": member.spec.digest,
            "stateful": member.stateful,
            "autostart": member.autostart,
            "labels": dict(member.labels),
        }
        domain = {"name": self._machine.name, "uuid": member_uuid(self._resource.name, member.name), "state": state}
        return {
            "memory_mb": 0,
            "vcpus": 0,
            "images": {},
            "drivers": {EXISTING: AVAILABLE},
            "accelerators": {},
            "domains": [{**domain, "record": record, "macs": [], "memory_mb": 0, "vcpus": 0}],
            "artefacts": [],
        }

    def _installed(self, deadline: float) -> dict[str, str]:
        """Unit -> its state, of those units of the roles that are installed here."""
        if not self._units:
            return {}
        text = self._systemctl(["show", "--property=Id,LoadState,ActiveState", "--", *self._units], deadline)
        found = {}
        for asked, block in zip(self._units, text.split("\n\n")):
            values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if values.get("LoadState") == "loaded":
                found[asked] = values.get("ActiveState", "")
        return found

    def _systemctl(self, arguments: t.Sequence[str], deadline: float) -> str:
        """Standard output of systemctl.

        Raises:
            EnsembleError: `service_failed`, with its own words.
            HypervisorError: no answer in time, or the connection broke.
        """
        user = self._machine.access.user
        argv = [*(() if user == "root" else ("sudo", "-n")), "systemctl", "--no-pager", *arguments]
        name = self._machine.name
        try:
            channel = self._client.get_transport().open_session(timeout=max(0.1, deadline - time.monotonic()))
            channel.exec_command(shlex.join(argv))  # the protocol knows no lists; every word is quoted
            out = _read(channel, channel.recv, deadline)
            words = _read(channel, channel.recv_stderr, deadline).decode(errors="replace").strip()
            code = channel.recv_exit_status()
        except TimeoutError as error:
            raise HypervisorError(f"{name} did not answer in time", code="hypervisor_timeout") from error
        except (OSError, EOFError, AttributeError, paramiko.SSHException) as error:
            raise HypervisorError(f"{name}: the connection broke: {error}") from error
        if code != 0:
            raise EnsembleError(
                f"{name}: {' '.join(argv)}: exit {code}: {words[-300:]}. Look at `systemctl status` there.",
                code="service_failed",
            )
        return out.decode(errors="replace")


def _read(channel: t.Any, receive: t.Callable[[int], bytes], deadline: float) -> bytes:
    """All that a stream of a channel says until its end."""
    found = b""
    while len(found) < _MOST:
        channel.settimeout(max(0.01, deadline - time.monotonic()))
        chunk = receive(_CHUNK)
        if not chunk:
            break
        found += chunk
    return found


def connect(resource: Resource, member: Member, machine: Hypervisor) -> Session:
    """Open a session to a member's machine within its timeout.

    Raises:
        HypervisorError: `host_key_unknown`, `host_key_changed`, `no_access` or `hypervisor_unreachable`.
    """
    access = machine.access
    client = open_client(
        machine.name,
        machine.address,
        lambda client: trust_hypervisor(client, machine, resource.known_hosts),
        access.user,
        access.port,
        access.timeout,
        key_filename=access.private_key,
    )
    return Session(machine.name, MachineTransport(resource, member, machine, client))
