# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Sessions over SSH (paramiko): known host keys only, keys only, every step with a deadline."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
import typing as t

from .._model.declaration import Hypervisor
from .._model.errors import HypervisorError
from .._model.protocol import COMMAND, MAX_LINE
from .keys import paramiko, trust_hypervisor
from .session import Session, Transport

_CHUNK = 65536
#: seconds without a byte after which the other side is asked whether it is still there, and those it has to answer
_PATIENCE = 10.0


class SshTransport(Transport):
    """The host program at the other end of an SSH channel.

    Args:
        timeout: seconds for opening the channel.
        owns: closing the transport closes the client too, and with it every other channel.

    Raises:
        HypervisorError: the connection broke, or the server allows no further channel.
    """

    #: what is executed there
    command = COMMAND

    def __init__(self, name: str, client: t.Any, timeout: float, owns: bool = True) -> None:
        self._name = name
        self._client = client
        self._timeout = timeout
        self._owns = owns
        self._buffer = b""
        try:
            self._channel = client.get_transport().open_session(timeout=timeout)
            self._channel.exec_command(self.command)
        except (OSError, EOFError, AttributeError, paramiko.SSHException) as error:  # a closed client has no transport
            raise HypervisorError(f"{name}: no channel could be opened: {error}") from error

    def beside(self) -> SshTransport:
        return SshTransport(self._name, self._client, self._timeout, owns=False)

    def exchange(self, line: bytes, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        try:
            self._channel.settimeout(timeout)
            self._channel.sendall(line)
            while b"\n" not in self._buffer:
                chunk = self._receive(deadline)
                if not chunk:
                    raise HypervisorError(f"{self._name}: {self._why_ended()}", code=self._ended_code())
                self._buffer += chunk
                if len(self._buffer) > 2 * MAX_LINE:
                    raise HypervisorError(f"{self._name}: its answer has no end", code="bad_answer")
        except TimeoutError as error:
            self._channel.close()  # the client stays: a channel beside this one gives the lease back
            waited = time.monotonic() - (deadline - timeout)
            raise HypervisorError(
                f"{self._name} did not answer within {waited:.0f} s", code="hypervisor_timeout"
            ) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise HypervisorError(f"{self._name}: the connection broke: {error}") from error
        answer, self._buffer = self._buffer.split(b"\n", 1)
        return answer

    def _receive(self, deadline: float) -> bytes:
        """The next bytes. A machine that hangs is found out long before the deadline of a long verb.

        Raises:
            TimeoutError: the deadline passed, or the other side answers nothing at all any more.
        """
        while True:
            left = deadline - time.monotonic()
            self._channel.settimeout(max(0.01, min(left, _PATIENCE)))
            try:
                return t.cast(bytes, self._channel.recv(_CHUNK))
            except TimeoutError:
                if left <= _PATIENCE or not self._alive():
                    raise

    def _alive(self) -> bool:
        """Whether the server answers a request that it does not know, as RFC 4254 section 4 has it."""
        transport = self._client.get_transport()
        asked = threading.Thread(target=transport.global_request, args=("keepalive@openssh.com",), daemon=True)
        asked.start()
        asked.join(_PATIENCE)
        return not asked.is_alive()

    def _why_ended(self) -> str:
        if self._channel.exit_status_ready() and self._channel.recv_exit_status() == 127:
            return f"{COMMAND} is not installed there; run playbooks/pool.yml"
        words = b""
        if self._channel.recv_stderr_ready():
            words = self._channel.recv_stderr(_CHUNK)
        return "the host program ended" + (": " + words.decode(errors="replace").strip()[-300:] if words else "")

    def _ended_code(self) -> str:
        missing = self._channel.exit_status_ready() and self._channel.recv_exit_status() == 127
        return "no_host_program" if missing else "hypervisor_unreachable"

    def close(self) -> None:
        if self._owns:
            self._client.close()
        else:
            self._channel.close()


def dial(address: str, port: int, timeout: float) -> socket.socket:
    """A connection whose end, by the end of its process too, throws away what the other side has not got yet.

    Else the kernel would go on delivering for minutes: a request that was given up when its lease ended would arrive
    once a cut network is whole again, at a hypervisor that may not have heard of a later leader (docs/election.md, I6).

    Raises:
        OSError: no connection within `timeout` seconds.
    """
    sock = socket.create_connection((address, port), timeout)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return sock


def connect(hv: Hypervisor, known_hosts: str | None) -> Session:
    """Open a session within the hypervisor's timeout.

    Raises:
        HypervisorError: `host_key_unknown`, `host_key_changed`, `no_access` or `hypervisor_unreachable`.
    """
    client = open_client(
        hv.name,
        hv.address,
        lambda client: trust_hypervisor(client, hv, known_hosts),
        hv.access.user,
        hv.access.port,
        hv.access.timeout,
        key_filename=hv.access.private_key,
    )
    try:
        return Session(hv.name, SshTransport(hv.name, client, hv.access.timeout))
    except HypervisorError:
        client.close()
        raise


def open_client(
    name: str,
    address: str,
    trust: t.Callable[[t.Any], None],
    user: str,
    port: int,
    timeout: float,
    key_filename: str | None = None,
    pkey: t.Any = None,
    sock: t.Any = None,
) -> t.Any:
    """A connected paramiko client that expects just the host keys which `trust` gives it.

    Args:
        sock: a connection to the address, of `dial`, that is open already; it is closed with the client.

    Raises:
        HypervisorError: as `connect`.
    """
    where = f"{name} ({address})"
    if key_filename is not None and not os.access(key_filename, os.R_OK):
        raise HypervisorError(
            f"{where}: the private key {key_filename} cannot be read. Name one that can, as ssh.private_key.",
            code="no_key",
        )
    client = paramiko.SSHClient()
    trust(client)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    own_key = key_filename is not None or pkey is not None
    try:
        sock = dial(address, port, timeout) if sock is None else sock
        client.connect(
            address,
            port=port,
            username=user,
            key_filename=key_filename,
            pkey=pkey,
            sock=sock,
            timeout=timeout,
            banner_timeout=timeout,
            auth_timeout=timeout,
            channel_timeout=timeout,
            allow_agent=not own_key,
            look_for_keys=not own_key,
        )
    except paramiko.BadHostKeyException as error:
        client.close()
        raise HypervisorError(
            f"{where} shows another host key than the known one. If it was reinstalled, replace its line in "
            "known_hosts after comparing the key on its console; else somebody stands between.",
            code="host_key_changed",
        ) from error
    except paramiko.AuthenticationException as error:
        client.close()
        raise HypervisorError(f"{where} takes no key of ours for {user}: {error}", code="no_access") from error
    except (OSError, EOFError, paramiko.SSHException) as error:
        client.close()
        if "not found in known_hosts" in str(error):
            raise HypervisorError(
                f"{where}: its host key is unknown. Put it into known_hosts, or as host_key into the pool, after "
                "comparing it with /etc/ssh/ssh_host_ed25519_key.pub there.",
                code="host_key_unknown",
            ) from error
        raise HypervisorError(
            f"{where} does not answer within {timeout:g} s: {error or type(error).__name__}"
        ) from error
    return client
