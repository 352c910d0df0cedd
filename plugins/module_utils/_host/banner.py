# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Whether a machine answers as an SSH server: it says who it is before anybody logs in (RFC 4253, section 4.2)."""

from __future__ import annotations

import socket
import time

#: bytes of other lines that a server may send before
_MOST = 8192
_SHOWN = 80


def ssh_banner(address: str, port: int, timeout: float) -> tuple[bool, str]:
    """Whether it answers within so many seconds, and its own words, or why not."""
    deadline = time.monotonic() + timeout
    heard = b""
    try:
        with socket.create_connection((address, port), timeout) as connection:
            while len(heard) < _MOST:
                connection.settimeout(max(0.01, deadline - time.monotonic()))
                chunk = connection.recv(1024)
                heard += chunk
                lines = heard.split(b"\n")
                words = [line for line in lines[:-1] if line.startswith(b"SSH-")]
                if words:
                    return True, _printable(words[0])
                if not chunk:
                    return False, f"{address}:{port}: it hung up before it said that it is an SSH server"
                if time.monotonic() >= deadline:
                    break
    except OSError as error:
        if error.errno is not None:  # the time that is over has no number
            return False, f"{address}:{port}: {error.strerror}"
    said = f"; it said {_printable(heard)}" if heard else ""
    return False, f"{address}:{port}: no SSH server answered within {timeout:g} s{said}"


def _printable(words: bytes) -> str:
    text = words[:_SHOWN].decode("ascii", "replace").strip()
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)
