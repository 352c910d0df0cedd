# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A web server of one file, which can be made to break off, to ignore ranges, or to send other bytes."""

from __future__ import annotations

import contextlib
import http.server
import threading
import typing as t


class WebServer(http.server.ThreadingHTTPServer):
    """Attributes:
    body: the file.
    ranges: whether it knows them.
    cut: bytes after which it ends the next answers, one number for each.
    asked: the Range header of each request, None where there was none.
    """

    daemon_threads = True

    def __init__(self, body: bytes, address: str = "127.0.0.1") -> None:
        super().__init__((address, 0), _Handler)
        self.body = body
        self.ranges = True
        self.cut: list[int] = []
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}/node.tar"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if self.path == "/elsewhere.tar":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        if self.path != "/node.tar":
            self.send_error(404)
            return
        begin = int(wanted[len("bytes=") : -1]) if wanted and self.server.ranges else 0
        body = self.server.body
        if begin and begin >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        if self.server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        end = begin + self.server.cut.pop(0) if self.server.cut else len(body)
        with contextlib.suppress(OSError):
            self.wfile.write(body[begin:end])

    def log_message(self, format: str, *args: t.Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(body: bytes, address: str = "127.0.0.1") -> t.Iterator[WebServer]:
    """A server that is up."""
    with WebServer(body, address) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
