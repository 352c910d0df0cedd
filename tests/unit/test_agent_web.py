# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The leader's server, asked over real sockets by clients that mean well and by others."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._agent import web as webs
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.web import Holder, Web
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from harness.documents import failing, healthy, many

HERE = "127.0.0.1"


@pytest.fixture(autouse=True)
def quick_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server looks whether it is to stop once in a round."""
    monkeypatch.setattr(webs, "_ROUND", 0.02)


@contextlib.contextmanager
def serving(document: dict[str, t.Any] | None = None, stale: float = 60.0) -> t.Iterator[Web]:
    holder = Holder(stale)
    if document is not None:
        holder.put(document)
    web = Web(holder, HERE, 0)
    web.start()
    try:
        yield web
    finally:
        web.close()


class Got(t.NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def ask(web: Web, path: str, method: str = "GET", body: bytes | None = None) -> Got:
    connection = http.client.HTTPConnection(HERE, web.port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, body)
        answer = connection.getresponse()
        return Got(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def say(web: Web, words: bytes) -> bytes:
    """What comes back for these bytes, until the server closes."""
    with socket.create_connection((HERE, web.port), timeout=20) as sock:
        sock.sendall(words)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while more := sock.recv(65536):
                found += more
        return found


def until(condition: t.Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def test_what_there_is_to_read() -> None:
    with serving(failing()) as web:
        page = ask(web, "/")
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b"<title>mytorque: failed</title>" in page.body
        assert ask(web, "/?from=somewhere").status == 200
        told = ask(web, "/status.json")
        assert told.headers["content-type"] == "application/json"
        assert json.loads(told.body) == failing()
        metrics = ask(web, "/metrics")
        assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert b'ensemble_resource_verdict{resource="mytorque",verdict="failed"} 1\n' in metrics.body
        assert ask(web, "/healthz").status == 200


@pytest.mark.parametrize("path", ["/", "/status.json", "/metrics", "/healthz", "/nothing"])
def test_heads_are_those_of_the_whole_and_safe(path: str) -> None:
    with serving(healthy()) as web:
        whole, head = ask(web, path), ask(web, path, "HEAD")
        assert (head.status, head.body) == (whole.status, b"")
        raw = say(web, f"HEAD {path} HTTP/1.0\r\n\r\n".encode())
        assert raw.endswith(b"\r\n\r\n")
        assert head.headers["content-length"] == whole.headers["content-length"] == str(len(whole.body))
        for found in (whole, head):
            assert "default-src 'none'" in found.headers["content-security-policy"]
            assert "frame-ancestors 'none'" in found.headers["content-security-policy"]
            assert found.headers["x-content-type-options"] == "nosniff"
            assert found.headers["referrer-policy"] == "no-referrer"
            assert found.headers["cache-control"] == "no-store"
            assert found.headers["server"].strip() == "ensemble"


@pytest.mark.parametrize("path", ["/etc/passwd", "/../../etc/passwd", "/status", "/status.json/", "/%2e%2e/", "*", ""])
def test_nothing_else_is_there(path: str) -> None:
    with serving(healthy()) as web:
        found = say(web, f"GET {path or 'x'} HTTP/1.1\r\n\r\n".encode())
        assert found.startswith(b"HTTP/1.0 404 ")
        assert b"passwd" not in found


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_it_can_only_be_read(method: str) -> None:
    with serving(healthy()) as web:
        found = ask(web, "/", method, b"{}" if method in ("POST", "PUT", "PATCH") else None)
        assert (found.status, found.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "words",
    [
        b"<script>\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nx: <script>" + b"a" * 70000 + b"\r\n\r\n",
    ],
)
def test_nonsense_is_refused_without_being_repeated(words: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(healthy()) as web:
        found = say(web, words)
        assert b"<script>" not in found
        assert b"Traceback" not in found
        assert not found.startswith((b"HTTP/1.0 2", b"HTTP/1.0 3"))
        assert ask(web, "/healthz").status == 200
    assert capfd.readouterr() == ("", "")


def test_before_the_first_look_and_after_the_last_one() -> None:
    now = [100.0]
    holder = Holder(30.0, lambda: now[0])
    assert [holder.answer(path).status for path in ("/", "/status.json", "/metrics", "/healthz", "/x")] == [503] * 4 + [
        404
    ]
    holder.put(healthy())
    assert [holder.answer(path).status for path in ("/", "/healthz")] == [200, 200]
    now[0] += 31.0
    assert [holder.answer(path).status for path in ("/", "/healthz")] == [200, 503]
    assert b"31 s ago" in holder.answer("/").body
    holder.put(failing())
    assert holder.answer("/healthz").status == 200
    assert b"mytorque: failed" in holder.answer("/").body


def test_a_page_that_cannot_be_made_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    with serving({"resource": "half of a document"}) as web:
        found = ask(web, "/")
        assert (found.status, found.body) == (500, b"this cannot be shown: KeyError\n")
        assert ask(web, "/status.json").status == 200
    assert capfd.readouterr() == ("", "")


def test_a_client_that_goes_away_is_no_news(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[object] = []
    before = webs._Server.handle_error
    monkeypatch.setattr(
        webs._Server, "handle_error", lambda self, request, client: (before(self, request, client), told.append(client))
    )
    monkeypatch.setattr(webs, "_SHOWN", {"/": ("text/html", 1.0, lambda document, age: b"x" * 50_000_000)})
    with serving(healthy()) as web:
        with socket.create_connection((HERE, web.port), timeout=10) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert sock.recv(100)
        until(lambda: bool(told))
    assert capfd.readouterr() == ("", "")


def test_a_crowd_costs_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []

    def page(document: t.Any, age: float) -> bytes:
        made.append(age)
        return b"page"

    monkeypatch.setattr(webs, "_SHOWN", {"/": ("text/html", 1.0, page)})
    now = [100.0]
    holder = Holder(30.0, lambda: now[0])
    holder.put(healthy())
    for tenth in range(25):
        now[0] = 100.0 + tenth / 10
        holder.answer("/")
    assert [round(age, 1) for age in made] == [0.0, 1.0, 2.0]


def test_slow_clients_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webs, "MOST_OF_ONE", 1000)
    before = threading.active_count()
    with serving(many(500, 3, {})) as web, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection((HERE, web.port), timeout=30)) for each in range(80)]
        for sock in silent[40:]:
            with contextlib.suppress(OSError):
                sock.sendall(b"GET / HTTP/1.0\r\n")  # begun, and the whole page is never read
        assert threading.active_count() <= before + webs.MOST + 1

        def answered() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return ask(web, "/healthz").status == 200
            return False

        until(answered, 3.0)
        assert threading.active_count() <= before + webs.MOST + 1


def test_one_address_has_a_share_only() -> None:
    with serving(healthy()) as web, contextlib.ExitStack() as stack:
        socks = [socket.create_connection((HERE, web.port), timeout=30) for each in range(webs.MOST_OF_ONE)]
        for sock in socks:
            stack.enter_context(sock)
        assert say(web, b"").startswith(b"HTTP/1.0 503 ")
        connection = socket.create_connection((HERE, web.port), timeout=30, source_address=("127.0.0.2", 0))
        with connection as other:
            other.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert other.recv(65536).startswith(b"HTTP/1.0 200 ")


def test_a_client_that_sends_a_little_now_and_then_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webs, "LONGEST", 1.0)
    with serving(healthy()) as web, socket.create_connection((HERE, web.port), timeout=30) as sock:
        sock.settimeout(0.1)
        begun, over = time.monotonic(), False
        while not over:
            assert time.monotonic() - begun < webs._PATIENCE, "it was let be"
            try:
                sock.sendall(b"x")
                over = sock.recv(100) == b""
            except TimeoutError:
                continue
            except OSError:
                over = True


def test_it_stops_cleanly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webs, "_PATIENCE", 60.0)
    before = set(threading.enumerate())
    with serving(healthy()) as web:
        port = web.port
        hanging = socket.create_connection((HERE, port), timeout=10)
        hanging.sendall(b"GET / HT")
        until(lambda: len(set(threading.enumerate()) - before) == 2)
        web.close()
        with contextlib.suppress(ConnectionResetError):
            assert hanging.recv(100) == b""
        hanging.close()
        until(lambda: set(threading.enumerate()) <= before, 5.0)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((HERE, port), timeout=5)
        web.close()
    again = Web(Holder(1.0), HERE, port)
    again.start()
    again.close()


def test_a_port_that_is_taken_is_said() -> None:
    with (
        serving(healthy()) as web,
        pytest.raises(EnsembleError, match=f"port {web.port} of {HERE}.*monitor.port") as told,
    ):
        Web(Holder(1.0), HERE, web.port).start()
    assert told.value.code == "page_unavailable"


def test_it_listens_on_ipv6_as_well() -> None:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    web = Web(Holder(1.0), "::1", 0)
    web.start()
    try:
        with socket.create_connection(("::1", web.port), timeout=10) as sock:
            sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert sock.recv(1000).startswith(b"HTTP/1.0 503 ")
    finally:
        web.close()
