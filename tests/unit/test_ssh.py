# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Channels of one SSH connection: what they share, and what ends with which."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Hypervisor
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import HypervisorError
from ansible_collections.ensemble.stacks.plugins.module_utils._pool import ssh
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.pool import Pool
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.ssh import SshTransport, dial

TIMEOUT = 1.0


class FakeChannel:
    """Answers each line with the same one, or with silence."""

    def __init__(self, client: FakeClient) -> None:
        self.client = client
        self.command = ""
        self.closed = False

    def exec_command(self, command: str) -> None:
        self.command = command

    def settimeout(self, seconds: float) -> None:
        pass

    def sendall(self, line: bytes) -> None:
        if self.closed or self.client.closed:
            raise OSError("Socket is closed")

    def recv(self, size: int) -> bytes:
        if self.client.silent:
            raise TimeoutError
        return b"answer\n"

    def close(self) -> None:
        self.closed = True


class FakeClient:
    """As much of paramiko's client, and of its transport, as sessions use."""

    def __init__(self, allowed: int = 10) -> None:
        self.channels: list[FakeChannel] = []
        self.allowed = allowed
        self.closed = self.silent = False

    def get_transport(self) -> FakeClient | None:
        return None if self.closed else self

    def open_session(self, timeout: float) -> FakeChannel:
        if len(self.channels) == self.allowed:
            raise OSError("Administratively prohibited")
        self.channels.append(FakeChannel(self))
        return self.channels[-1]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def first(client: FakeClient) -> SshTransport:
    return SshTransport("hv1", client, TIMEOUT)


def test_a_second_program_runs_over_the_same_connection(client: FakeClient, first: SshTransport) -> None:
    beside = first.beside()
    assert [channel.command for channel in client.channels] == ["ensemble-host", "ensemble-host"]
    assert (first.exchange(b"x\n", TIMEOUT), beside.exchange(b"y\n", TIMEOUT)) == (b"answer", b"answer")
    beside.close()
    assert [channel.closed for channel in client.channels] == [False, True]
    assert not client.closed
    assert first.exchange(b"x\n", TIMEOUT) == b"answer"
    first.close()
    assert client.closed


def test_a_question_without_an_answer_leaves_the_other_channel_open(client: FakeClient, first: SshTransport) -> None:
    beside = first.beside()
    client.silent = True
    with pytest.raises(HypervisorError) as caught:
        first.exchange(b"x\n", TIMEOUT)
    assert caught.value.code == "hypervisor_timeout"
    client.silent = False
    with pytest.raises(HypervisorError):  # a late answer must not be taken for that of another question
        first.exchange(b"x\n", TIMEOUT)
    assert beside.exchange(b"y\n", TIMEOUT) == b"answer"


def test_a_connection_that_ended_carries_no_further_channel(client: FakeClient, first: SshTransport) -> None:
    first.close()
    with pytest.raises(HypervisorError, match="hv1: no channel could be opened"):
        first.beside()


@pytest.mark.parametrize(("allowed", "connections"), [(2, 1), (1, 2)])
def test_a_pool_connects_once_for_two_sessions_where_the_server_allows_it(allowed: int, connections: int) -> None:
    client = FakeClient(allowed)
    connected: list[str] = []

    def connect(hv: Hypervisor) -> Session:
        connected.append(hv.name)
        found = client if len(connected) == 1 else FakeClient()
        return Session(hv.name, SshTransport(hv.name, t.cast(t.Any, found), TIMEOUT))

    with Pool([Hypervisor("hv1", "10.0.0.1")], connect) as pool:
        beside = pool.reconnect("hv1")
        assert beside.hypervisor == "hv1"
        assert beside is not pool.sessions["hv1"]
        beside.close()
        assert not client.closed
    assert connected == ["hv1"] * connections
    assert client.closed


@pytest.mark.parametrize("hangs", [True, False])
def test_a_machine_that_hangs_is_found_out_before_the_deadline(
    client: FakeClient, first: SshTransport, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    """One that answers the question whether it is there may take all the time that its verb has."""
    monkeypatch.setattr(ssh, "_PATIENCE", 0.05)
    over, asked = threading.Event(), []

    def global_request(kind: str) -> None:
        asked.append(kind)
        if hangs:
            over.wait(60)
        elif len(asked) == 3:
            client.silent = False

    client.global_request = global_request  # type: ignore[attr-defined]
    client.silent = True
    try:
        if hangs:
            with pytest.raises(HypervisorError, match="hv1 did not answer within"):
                first.exchange(b"x\n", 60.0)
        else:
            assert first.exchange(b"x\n", 60.0) == b"answer"
    finally:
        over.set()
    assert asked == ["keepalive@openssh.com"] * (1 if hangs else 3)


def _give_up(port: int, sent: t.Any, how: str) -> None:
    """A sender with more on its way than the other side's kernel takes, and its end."""
    sock = dial("127.0.0.1", port, TIMEOUT)
    sock.setblocking(False)
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            count += sock.send(b"x" * 65536)
    sent.send(count)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sock.close()


def _read(connection: socket.socket) -> tuple[int, bool]:
    """How many bytes arrive, and whether the connection is reset after them."""
    arrived = 0
    try:
        while chunk := connection.recv(65536):
            arrived += len(chunk)
    except ConnectionResetError:
        return arrived, True
    return arrived, False


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_what_was_given_up_does_not_arrive_late(how: str) -> None:
    """A closed connection delivers, in general, all that was sent: for minutes, when the network was cut meanwhile."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        sender = context.Process(target=_give_up, args=(server.getsockname()[1], send, how))
        sender.start()
        connection = server.accept()[0]
        with connection:
            connection.settimeout(10)
            assert receive.poll(10)
            sent = receive.recv()
            sender.join(10)
            arrived, reset = _read(connection)
    assert reset
    assert sender.exitcode == (-signal.SIGKILL if how == "killed" else 0)
    assert arrived < sent
