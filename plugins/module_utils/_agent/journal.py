# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What an agent tells of itself: events, one JSON object per line, and a status file that is replaced atomically."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
import time
import typing as t

from .._election.store import Token
from .._host.files import write_file
from .._status.text import iso
from .._status.words import COMMON

RUN_DIR = "/run/ensemble/agent"
#: bytes that the file of events never exceeds: before it would it is put aside; one old file is kept
ROTATE_AT = 1024 * 1024
#: bytes of one line, and characters that each text of it keeps when it has more
LONGEST_LINE, _SHORTENED = 16 * 1024, 1000
#: that many short fields fit in any case
_MOST_FIELDS = 14


class Journal:
    """Events on a stream and in a file; safe to share between threads.

    A file that cannot be written (a full disk) never stops the agent: it is said once, and the stream has the events.

    Args:
        clock: CLOCK_BOOTTIME, seconds.
        wall: seconds since the epoch, for people; nothing is concluded from it.
        path: file of events, None for none.
        debug: tell of renewals, too.
    """

    def __init__(
        self,
        resource: str,
        node: str,
        clock: t.Callable[[], float],
        stream: t.TextIO,
        path: str | None,
        debug: bool = False,
        wall: t.Callable[[], float] = time.time,
    ) -> None:
        self._common = {"resource": resource, "node": node}
        self._clock = clock
        self._wall = wall
        self._stream = stream
        self._path = path
        self._debug = debug
        self._lock = threading.Lock()
        self._file_broken = False

    def event(self, name: str, session: str, token: Token, until: float | None = None, **more: t.Any) -> None:
        """Tell of an event.

        Args:
            until: CLOCK_BOOTTIME at which the lease ends, if there is one.
        """
        self._write(name, {"session": session, "token": list(token), "until": _rounded(until), **more})

    def debug(self, name: str, session: str, token: Token, until: float | None = None, **more: t.Any) -> None:
        """Tell of an event that comes every few seconds."""
        if self._debug:
            self.event(name, session, token, until, **more)

    def _write(self, name: str, fields: t.Mapping[str, t.Any]) -> None:
        with self._lock:
            line = _line({**self._now(name), **fields})
            with contextlib.suppress(OSError, ValueError):  # whoever read it went away
                self._stream.write(line + "\n")
                self._stream.flush()
            if self._path is None:
                return
            try:
                self._append(self._path, line.encode() + b"\n")
                self._file_broken = False
            except OSError as error:
                if not self._file_broken:
                    self._file_broken = True
                    note = self._now("journal_unwritable")
                    with contextlib.suppress(OSError, ValueError):
                        self._stream.write(json.dumps({**note, "path": self._path, "why": str(error)}) + "\n")
                        self._stream.flush()

    def _now(self, name: str) -> dict[str, t.Any]:
        return {"event": name, "at": _rounded(self._clock()), "wall": iso(self._wall()), **self._common}

    @staticmethod
    def _append(path: str, line: bytes) -> None:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(path).st_size + len(line) > ROTATE_AT:
                os.rename(path, path + ".1")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            before = os.fstat(fd).st_size
            written = os.write(fd, line)
            if written < len(line):  # a disk that is full: half a line would spoil the next one
                os.ftruncate(fd, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)


def _line(fields: t.Mapping[str, t.Any]) -> str:
    """One JSON object of a bounded length; texts that are too long are cut, and then whatever is none of the basics."""
    line = json.dumps(fields)
    if len(line) > LONGEST_LINE:
        fields = {key: value[:_SHORTENED] if isinstance(value, str) else value for key, value in fields.items()}
        line = json.dumps({**fields, "cut": True})
    if len(line) > LONGEST_LINE:
        basics = {key: value for key, value in fields.items() if key in COMMON or len(json.dumps(value)) < _SHORTENED}
        line = json.dumps({**dict(list(basics.items())[:_MOST_FIELDS]), "cut": True})
    return line


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


class Status:
    """The status file of one agent, for whoever looks at this node; it holds no secrets."""

    def __init__(self, path: str, first: t.Mapping[str, t.Any]) -> None:
        self._path = path
        self._now = dict(first)
        self._lock = threading.Lock()

    def update(self, **changes: t.Any) -> None:
        """Note changes. The file lies in memory (/run); where it cannot be written the agent goes on without."""
        with self._lock:
            self._now.update(changes)
            with contextlib.suppress(OSError):
                write_file(self._path, (json.dumps(self._now, indent=1) + "\n").encode(), 0o644, durable=False)


def status_path(resource: str, folder: str = RUN_DIR) -> str:
    """Where the status of a resource's agent lies."""
    return os.path.join(folder, f"{resource}.json")


def read_status(path: str) -> dict[str, t.Any] | None:
    """What an agent wrote last, None when there is nothing that makes sense."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
