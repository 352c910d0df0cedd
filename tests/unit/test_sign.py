# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Whether a member answers its own hypervisor."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import threading
import time
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.banner import ssh_banner
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.base import Driver, Ownership
from ansible_collections.ensemble.stacks.plugins.module_utils._host.serve import handle
from ansible_collections.ensemble.stacks.plugins.module_utils._host.verbs import Host
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import PROTOCOL
from declared import parsed
from world import driver_of, host_at

HERE = "127.0.0.1"


@contextlib.contextmanager
def server(*words: bytes, hangs_up: bool = False) -> t.Iterator[int]:
    """The port of something that says these words to everybody, one piece after the other, and then nothing."""
    with socket.create_server((HERE, 0)) as listening, contextlib.ExitStack() as stack:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = stack.enter_context(listening.accept()[0])
                    for piece in words:
                        connection.sendall(piece)
                    if hangs_up:
                        connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5)


@pytest.mark.parametrize(
    ("words", "detail"),
    [
        ((b"SSH-2.0-OpenSSH_9.2\r\n",), "SSH-2.0-OpenSSH_9.2"),
        ((b"SSH-2.0-Open", b"SSH_9.2\r\n"), "SSH-2.0-OpenSSH_9.2"),
        ((b"come in\r\nand find out\r\nSSH-2.0-x\r\n",), "SSH-2.0-x"),
        ((b"SSH-2.0-\x1b[31mred\n",), "SSH-2.0-?[31mred"),
    ],
)
def test_an_ssh_server_says_who_it_is(words: tuple[bytes, ...], detail: str) -> None:
    with server(*words) as port:
        assert ssh_banner(HERE, port, 5.0) == (True, detail)


def test_one_that_says_nothing_does_not_answer() -> None:
    begun = time.monotonic()
    with server() as port:
        assert ssh_banner(HERE, port, 0.2) == (False, f"{HERE}:{port}: no SSH server answered within 0.2 s")
    assert time.monotonic() - begun < 2


def test_one_that_hangs_up_is_told_at_once() -> None:
    begun = time.monotonic()
    with server(b"too many", hangs_up=True) as port:
        assert ssh_banner(HERE, port, 5.0) == (
            False,
            f"{HERE}:{port}: it hung up before it said that it is an SSH server",
        )
    assert time.monotonic() - begun < 4


def test_one_that_goes_on_talking_ends_too() -> None:
    begun = time.monotonic()
    with server(b"x" * 100_000) as port:
        ok, detail = ssh_banner(HERE, port, 5.0)
        assert time.monotonic() - begun < 4
        assert not ok
        assert "it said xxx" in detail
        assert len(detail) < 200


def test_another_server_is_none() -> None:
    with server(b"220 mail\r\n") as port:
        assert ssh_banner(HERE, port, 0.2)[0] is False


def test_a_closed_port_is_told_at_once() -> None:
    with socket.create_server((HERE, 0)) as listening:
        port = listening.getsockname()[1]
    assert ssh_banner(HERE, port, 5.0) == (False, f"{HERE}:{port}: Connection refused")


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    """A hypervisor with a member of the resource, and one of another resource."""
    made = host_at(tmp_path, "hv1")
    for resource in ("demo", "other"):
        spec = parsed().members[0].spec
        driver_of(made).prepare(resource, "head-0", spec, t.cast("t.Any", None))
        driver_of(made).define(Ownership(resource, "head-0", (), 1, (1, 1), spec, "", False))
    driver_of(made).start("demo", "head-0")
    return made


def ask(host: Host, *verbs: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    lines = [{"verb": "sign", "member": "head-0", "address": "10.0.0.50", **verb} for verb in verbs]
    request = {"protocol": PROTOCOL, "id": 1, "resource": "demo", "verbs": lines}
    return t.cast("list[dict[str, t.Any]]", handle(host, json.dumps(request).encode() + b"\n")["results"])


def test_a_member_that_runs_answers_and_one_that_does_not_does_not(host: Host) -> None:
    [result] = ask(host, {})
    assert (result["value"]["ok"], sorted(result["value"])) == (True, ["detail", "ok", "seconds"])
    driver_of(host).stop("demo", "head-0", 0)
    [result] = ask(host, {"timeout": 0.5})
    assert (result["ok"], result["value"]["ok"]) == (True, False)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"address": "10.0.0.51"}, "foreign_address"),
        ({"address": "127.0.0.1"}, "foreign_address"),
        ({"member": "compute-9"}, "no_domain"),
        ({"member": "theirs"}, "foreign"),
    ],
)
def test_nobody_else_is_asked(host: Host, monkeypatch: pytest.MonkeyPatch, fields: dict[str, t.Any], code: str) -> None:
    driver_of(host).add_foreign("demo-theirs", {"resource": "x", "member": "theirs", "spec": {"address": "10.0.0.50"}})
    asked: list[t.Any] = []
    monkeypatch.setattr(type(driver_of(host)), "answers", lambda *args: asked.append(args))
    [result] = ask(host, fields)
    assert (result["error"]["code"], asked) == (code, [])


def test_what_no_driver_can_tell_is_an_error(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_resource: str, _member: str) -> None:
        raise EnsembleError("libvirt is away", code="libvirt")

    monkeypatch.setattr(driver_of(host), "record", broken)
    assert ask(host, {})[0]["error"]["code"] == "libvirt"


def test_many_are_asked_side_by_side(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are under way before the first has its answer."""
    together = threading.Barrier(40, timeout=10)

    def answers(_self: Driver, *_asked: t.Any) -> tuple[bool, str]:
        together.wait()
        return True, "yes"

    monkeypatch.setattr(type(driver_of(host)), "answers", answers)
    assert all(result["ok"] for result in ask(host, *[{} for _n in range(40)]))
