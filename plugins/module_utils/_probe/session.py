# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members asked over SSH, with known host keys only. The program goes through the channel and runs as long as that."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import threading
import time
import typing as t

from .._model.declaration import Access, Hypervisor, Member, Resource
from .._model.errors import EnsembleError, HypervisorError
from .._pool.keys import paramiko, trust_hypervisor, trust_key
from .._pool.ssh import SshTransport, dial, open_client
from .program import COMMAND, SUDO_COMMAND, program

#: seconds for the way into a member, and those that an answer may take beyond its probes
_CONNECT, _SLACK = 10.0, 3.0
#: seconds for the exit status of a program whose output has ended
_LAST_WORD = 1.0
#: how members are reached that this resource made
MEMBER_ACCESS = Access()

#: opens a client within some seconds
Dial = t.Callable[[float], t.Any]


class MemberTransport(SshTransport):
    """The member's program at the other end of a channel."""

    def __init__(self, name: str, client: t.Any, timeout: float, sudo: bool, owns: bool = True) -> None:
        self.command = SUDO_COMMAND if sudo else COMMAND
        super().__init__(name, client, timeout, owns)
        self._sudo = sudo
        self._first = program()

    def exchange(self, line: bytes, timeout: float) -> bytes:
        first, self._first = self._first, b""
        try:
            return super().exchange(first + line, timeout)
        except HypervisorError as error:
            if error.code == "hypervisor_unreachable" and self._ended_code() == "no_program":  # before it was sent to
                raise HypervisorError(f"{self._name}: {self._why_ended()}", code="no_program") from error
            raise

    def beside(self) -> MemberTransport:
        return MemberTransport(self._name, self._client, self._timeout, self._sudo, owns=False)

    def _why_ended(self) -> str:
        if self._ended_code() != "no_program":
            return "the connection broke"
        if self._exit_status() == 127:
            return "there is no /usr/bin/python3"
        words = self._channel.recv_stderr(4096) if self._channel.recv_stderr_ready() else b""
        last = words.decode(errors="replace").strip().rpartition("\n")[2][-200:]
        return "its answering program ended" + (f": {last}" if last else "")

    def _ended_code(self) -> str:
        """A shell that answered says that the member can be reached."""
        return "hypervisor_unreachable" if self._exit_status() in (None, -1) else "no_program"

    def _exit_status(self) -> int | None:
        return self._channel.recv_exit_status() if self._channel.status_event.wait(_LAST_WORD) else None


class ProbeSession:
    """Requests to one member, one at a time; opened at the first one, and again when it broke."""

    def __init__(self, name: str, dial: Dial, sudo: bool = False) -> None:
        self.name = name
        self._dial = dial
        self._sudo = sudo
        self._lock = threading.Lock()
        self._transport: MemberTransport | None = None
        self._idents = itertools.count(1)

    def ask(self, request: t.Mapping[str, t.Any], seconds: float, deadline: float) -> dict[str, t.Any]:
        """The answer to a request.

        Args:
            seconds: how long the member may take for it.
            deadline: on the monotonic clock, for the way to it as well.

        Raises:
            EnsembleError: it refused; its code says why.
            HypervisorError: it does not answer, or is not trusted.
            OSError: no connection.
        """
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise HypervisorError(f"{self.name} is still busy with another question", code="busy")
        try:
            reused = self._transport is not None
            try:
                return self._exchange(self._opened(deadline), request, seconds, deadline)
            except (OSError, HypervisorError) as error:
                self._drop()
                # what broke since the last look says nothing about the member as it is now
                if not reused or getattr(error, "code", "") == "hypervisor_timeout" or deadline <= time.monotonic():
                    raise
            return self._exchange(self._opened(deadline), request, seconds, deadline)
        finally:
            self._lock.release()

    def ask_aside(self, request: t.Mapping[str, t.Any], deadline: float) -> dict[str, t.Any]:
        """As `ask`, by a program of its own over the same connection, so that looks go on meanwhile."""
        with self._lock:
            try:
                transport = self._opened(deadline).beside()
            except HypervisorError:
                self._drop()
                transport = self._opened(deadline).beside()
        try:
            return self._exchange(transport, request, deadline - time.monotonic(), deadline)
        finally:
            transport.close()

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _opened(self, deadline: float) -> MemberTransport:
        if self._transport is None:
            left = min(_CONNECT, deadline - time.monotonic())
            if left <= 0:
                raise HypervisorError("its turn did not come in time", code="not_asked")
            client = self._dial(left)
            try:
                self._transport = MemberTransport(self.name, client, left, self._sudo)
            except HypervisorError:
                client.close()
                raise
        return self._transport

    def _exchange(
        self, transport: MemberTransport, request: t.Mapping[str, t.Any], seconds: float, deadline: float
    ) -> dict[str, t.Any]:
        ident = next(self._idents)  # several threads ask: a restart goes on beside the looks
        line = json.dumps({**request, "id": ident}).encode() + b"\n"
        text = transport.exchange(line, max(0.05, min(seconds + _SLACK, deadline - time.monotonic())))
        with contextlib.suppress(ValueError):
            answer = json.loads(text)
            if isinstance(answer, dict) and answer.get("id") == ident:
                error = answer.get("error")
                if isinstance(error, dict):
                    raise EnsembleError(f"{self.name}: {error.get('msg')}", code=str(error.get("code")))
                return answer
        raise HypervisorError(
            f"not an answer to the question: {text[:80]!r}. Does its shell print something?", code="bad_answer"
        )


def dial_of(resource: Resource, member: Member, key: t.Any, host_key: str | None) -> tuple[Dial, bool]:
    """How a member is reached, and whether its account needs sudo.

    Args:
        key: the private key object that lets into members of this resource.
        host_key: public line of the member's host key; None for a machine that somebody else provides.
    """
    name, address = resource.domain(member.name), member.spec.address
    if member.access is not None:
        return _dial_machine(resource.machines[name][1], resource.known_hosts), member.access.user != "root"

    def dial(timeout: float) -> t.Any:
        if host_key is None:
            raise HypervisorError(f"{name}: no host key is known of it", code="host_key_unknown")
        return _open(
            name,
            address,
            lambda client: trust_key(client, address, MEMBER_ACCESS.port, host_key),
            MEMBER_ACCESS,
            timeout,
            key,
        )

    return dial, False


def _dial_machine(machine: Hypervisor, known_hosts: str | None) -> Dial:
    def dial(timeout: float) -> t.Any:
        return _open(
            machine.name,
            machine.address,
            lambda client: trust_hypervisor(client, machine, known_hosts),
            machine.access,
            min(timeout, machine.access.timeout),
        )

    return dial


def _open(
    name: str, address: str, trust: t.Callable[[t.Any], None], access: Access, timeout: float, key: t.Any = None
) -> t.Any:
    """A client. Why there is no connection is told by its own error."""
    sock = dial(address, access.port, timeout)
    try:
        return open_client(
            name, address, trust, access.user, access.port, timeout, access.private_key, pkey=key, sock=sock
        )
    except BaseException:
        sock.close()
        raise


def private_key(text: str) -> t.Any:
    """The key object of a private key in OpenSSH's format."""
    return paramiko.Ed25519Key.from_private_key(io.StringIO(text))
