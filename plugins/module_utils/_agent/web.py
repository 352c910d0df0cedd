# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The leader's read-only server: the latest status document as a page, as JSON and as metrics.

It changes nothing, asks nobody and reads no file, whatever it is sent. Threads are bounded, each connection has one
request and a deadline, and one address has a share of them, so that slow clients keep neither others nor the agent
waiting.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import socketserver
import threading
import time
import typing as t

from .._model.errors import EnsembleError
from .._status.metrics import CONTENT_TYPE, metrics
from .._status.page import POLICY, page

#: connections at once, of all and of one address; seconds of one from its beginning to its end
MOST, MOST_OF_ONE, LONGEST = 32, 8, 15.0
#: seconds in which a client must say something or take something
_PATIENCE = 5.0
#: seconds between two looks for connections that are over their time
_ROUND = 0.5
#: seconds for which a page is served again as it is, so that a crowd costs no more than one reader
_SAME_PAGE = 1.0
_HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TEXT, _HTML, _JSON = "text/plain; charset=utf-8", "text/html; charset=utf-8", "application/json"
_FULL = (
    b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 2\r\nContent-Length: 18\r\n"
    b"Connection: close\r\n\r\ntoo many requests\n"
)


class Answer(t.NamedTuple):
    """What is sent back."""

    status: int
    kind: str
    body: bytes


class Holder:
    """The latest document; the leader puts, the server takes.

    Args:
        stale: seconds after which the leader is said not to look any more.
    """

    def __init__(self, stale: float, monotonic: t.Callable[[], float] = time.monotonic) -> None:
        self._stale = stale
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._document: t.Mapping[str, t.Any] | None = None
        self._put_at = 0.0
        self._made: dict[str, tuple[float, bytes]] = {}

    def put(self, document: t.Mapping[str, t.Any]) -> None:
        """This is the latest one; it must not be changed any more."""
        with self._lock:
            self._document, self._put_at, self._made = document, self._monotonic(), {}

    def answer(self, path: str) -> Answer:
        """What a path shows now."""
        with self._lock:
            document, now = self._document, self._monotonic()
            age = now - self._put_at
            if path not in _SHOWN and path != "/healthz":
                return Answer(404, _TEXT, b"there is /, /status.json, /metrics and /healthz\n")
            if document is None:
                return Answer(503, _TEXT, b"this node has not looked yet\n")
            if path == "/healthz":
                words = f"the latest look was {age:.0f} s ago\n".encode()
                return Answer(200 if age <= self._stale else 503, _TEXT, words)
            kind, keeps, make = _SHOWN[path]
            made_at, body = self._made.get(path, (0.0, b""))
            if not body or now - made_at >= keeps:
                body = make(document, age)
                self._made[path] = (now, body)
            return Answer(200, kind, body)


_Maker = t.Callable[[t.Mapping[str, t.Any], float], bytes]
#: path -> type, how many seconds it stays the same for one document, and what makes it
_SHOWN: t.Mapping[str, tuple[str, float, _Maker]] = {
    "/": (_HTML, _SAME_PAGE, lambda document, age: page(document, age).encode("utf-8", "replace")),
    "/status.json": (_JSON, float("inf"), lambda document, age: (json.dumps(document) + "\n").encode()),
    "/metrics": (CONTENT_TYPE, float("inf"), lambda document, age: metrics(document).encode("utf-8", "replace")),
}


class Web:
    """The server, from `start` to `close`.

    Args:
        port: 0 for any that is free; see `port` after `start`.
    """

    def __init__(self, holder: Holder, address: str, port: int) -> None:
        self._holder = holder
        self._where = (address, port)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """On which it listens."""
        return 0 if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Listen, and serve in threads of its own.

        Raises:
            EnsembleError: `page_unavailable`, that address and port cannot be had.
        """
        address, port = self._where
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self._server = _Server(self._holder, (address, port), family)
        except (OSError, OverflowError) as error:
            raise EnsembleError(
                f"the page cannot be shown on port {port} of {address or 'all addresses'}: {error}. Free the port, or "
                "declare another one as monitor.port.",
                code="page_unavailable",
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_ROUND,), daemon=True, name="page")
        self._thread.start()

    def close(self, patience: float = 2.0) -> None:
        """Stop listening, end what is open, and wait for the threads."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        server.end_all(patience)
        if self._thread is not None:
            self._thread.join(patience)


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, holder: Holder, where: tuple[str, int], family: int) -> None:
        self.address_family = family
        self.holder = holder
        self._open: dict[socket.socket, tuple[str, float]] = {}
        self._changed = threading.Condition()
        super().__init__(where, _Handler)

    def server_bind(self) -> None:
        """Without the name server being asked for our name, which may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[0], self.server_address[1]  # type: ignore[assignment]

    def process_request(self, request: t.Any, client_address: t.Any) -> None:
        """Serve it in a thread if there is one left; else the oldest one gives way to whoever comes next."""
        now, client = time.monotonic(), str(client_address[0])
        with self._changed:
            of_one = sum(address == client for address, begun in self._open.values())
            full = len(self._open) >= MOST
            if full:
                _end(min(self._open, key=lambda each: self._open[each][1]))
            if not full and of_one < MOST_OF_ONE:
                self._open[request] = (client, now)
                admitted = True
            else:
                admitted = False
        if admitted:
            request.settimeout(_PATIENCE)
            super().process_request(request, client_address)
            return
        with contextlib.suppress(OSError):
            request.setblocking(False)
            request.send(_FULL)
        self.shutdown_request(request)

    def shutdown_request(self, request: t.Any) -> None:
        try:
            super().shutdown_request(request)
        finally:
            with self._changed:
                self._open.pop(request, None)
                self._changed.notify_all()

    def service_actions(self) -> None:
        """Twice a second and after each connection: those that have been open for too long are ended."""
        now = time.monotonic()
        with self._changed:
            for request in [each for each, (client, begun) in self._open.items() if now - begun > LONGEST]:
                _end(request)

    def end_all(self, patience: float) -> None:
        with self._changed:
            for request in self._open:
                _end(request)
            self._changed.wait_for(lambda: not self._open, patience)

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A client that went away or said nothing is no news."""


def _end(request: socket.socket) -> None:
    """Its thread finds it closed, whatever it waits for."""
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.0"  # one request for each connection
    server_version, sys_version = "ensemble", ""

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.command not in ("GET", "HEAD"):
            self._send(Answer(405, _TEXT, b"this page can only be read\n"), {"Allow": "GET, HEAD"})
            return False
        return True

    def do_GET(self) -> None:
        try:
            answer = self.server.holder.answer(self.path.split("?", 1)[0])
        except Exception as error:  # of our own making; the other paths may still be shown
            answer = Answer(500, _TEXT, f"this cannot be shown: {type(error).__name__}\n".encode())
        self._send(answer)

    do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Without anything of the request in it."""
        self._send(Answer(int(code), _TEXT, b"no such request can be answered\n"))

    def _send(self, answer: Answer, more: t.Mapping[str, str] | None = None) -> None:
        self.close_connection = True
        self.send_response(answer.status)
        for name, value in {**_HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        if answer.status == 503:
            self.send_header("Retry-After", "5")
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: t.Any) -> None:
        """Requests are not logged: what they hold is anybody's."""
