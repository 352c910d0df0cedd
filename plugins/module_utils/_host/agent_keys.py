# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The keys with which the agents on a resource's members log in here: each is forced to that resource's verbs."""

from __future__ import annotations

import os
import re

from .files import locked, write_file

KEY_LINE = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+={0,3}")
LOCK_TIMEOUT = 5.0


class AgentKeys:
    """Lines of a file of authorized keys that carry our mark; all others are left as they stand.

    Args:
        path: of the file.
        program: the host program as sshd shall call it.
    """

    def __init__(self, path: str, program: str) -> None:
        self._path = path
        self._program = program

    def write(self, resource: str, key: str | None) -> bool:
        """Let exactly this key of a resource's agents in, or none; whether that changed anything."""
        mark = _mark(resource)
        wanted = [f'restrict,command="{self._program} --resource {resource}" {key}'.encode() + mark] if key else []
        if not wanted and not os.path.exists(self._path):
            return False
        with locked(self._path + ".ensemble-lock", LOCK_TIMEOUT):
            lines = self._lines()
            mine = [line for line in lines if line.endswith(mark)]
            if mine == wanted:
                return False
            kept = [line for line in lines if not line.endswith(mark)]
            mode = os.stat(self._path).st_mode & 0o777 if os.path.exists(self._path) else 0o600
            write_file(self._path, b"".join(line + b"\n" for line in [*kept, *wanted]), mode)
            return True

    def key(self, resource: str) -> str:
        """The key that is let in, empty when there is none."""
        mark = _mark(resource)
        found = [line[: -len(mark)].decode() for line in self._lines() if line.endswith(mark)]
        return " ".join(found[0].rsplit(" ", 2)[-2:]) if found else ""

    def _lines(self) -> list[bytes]:
        """Bytes between line feeds, as sshd reads them: any other separator is part of somebody else's line."""
        try:
            with open(self._path, "rb") as stream:
                body = stream.read()
        except FileNotFoundError:
            return []
        return body.removesuffix(b"\n").split(b"\n") if body else []


def _mark(resource: str) -> bytes:
    return f" ensemble-agent:{resource}".encode()
