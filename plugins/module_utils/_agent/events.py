# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What `ensemble-agent events` tells: the events of this node's agent, in words or as they are, and those to come."""

from __future__ import annotations

import collections
import contextlib
import datetime
import json
import os
import select
import time
import typing as t
from dataclasses import dataclass

from .._model.errors import EnsembleError
from .._status.text import lasting, plain, seconds_of
from .._status.words import say, term, who

#: told where nothing else is asked for
LINES = 50
#: milliseconds between two looks for new events
_PAUSE_MS = 250
_READ = 256 * 1024
#: bytes after which a line without an end is given up: it is none of the agent's
_LONGEST = 1024 * 1024


@dataclass(frozen=True)
class Wish:
    """What somebody wants to read: the latest `lines`, or those of so many seconds; as JSON lines or in words."""

    lines: int | None
    since: float | None
    follow: bool
    raw: bool


def tell(path: str, wish: Wish, out: t.TextIO, wall: t.Callable[[], float] = time.time) -> int:
    """Write events until there are no more, or with `follow` until interrupted or nobody reads; the exit status.

    Raises:
        EnsembleError: `unreadable`, the file cannot be read.
    """
    speaker = Speaker(wish.raw)
    tail = Tail(path)
    try:
        for line in _chosen(tail.earlier(), speaker, wish, wall()):
            out.write(line + "\n")
        out.flush()
        while wish.follow:
            for event, line in events_of(tail.more()):
                out.write(speaker.tell(event, line) + "\n")
            out.flush()
            if _gone(out):
                return 0
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # whoever read has enough; what Python writes at its end must find somebody
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return 0
    except OSError as error:
        raise EnsembleError(f"{path}: {error.strerror}. Run this as root on a candidate.", code="unreadable") from error
    finally:
        tail.close()
    return 0


def _chosen(lines: t.Iterable[str], speaker: Speaker, wish: Wish, now: float) -> t.Iterable[str]:
    """What is wanted of the events that are there. All of them are looked at, since one explains another."""
    told = ((event, speaker.tell(event, line)) for event, line in events_of(lines))
    if wish.since is not None:
        oldest = now - wish.since
        return [words for event, words in told if (seconds_of(event.get("wall")) or 0.0) >= oldest]
    return [words for event, words in collections.deque(told, LINES if wish.lines is None else wish.lines)]


def events_of(lines: t.Iterable[str]) -> t.Iterator[tuple[dict[str, t.Any], str]]:
    """Events and the lines that they are from; what is none (half a line after a power cut) is passed over."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event, line


class Speaker:
    """Events in words, one line each: when, what, who, in which term, and how long a term was."""

    def __init__(self, raw: bool = False) -> None:
        self._raw = raw
        self._elected: dict[str, float] = {}

    def tell(self, event: t.Mapping[str, t.Any], line: str = "") -> str:
        """The line as it is, or its words."""
        if self._raw:
            return line
        name, number = plain(event.get("event")), term(event)
        at = event.get("at")
        led = ""
        if isinstance(at, (int, float)):
            if name == "elected":
                self._elected = {number: at}  # a later one ends an earlier one, told or not
            elif name in ("lost", "released") and number in self._elected:
                led = f", led for {lasting(at - self._elected.pop(number))}"
        words = say(event) + led
        in_term = f"term {number}" if number else "no term"
        return f"{_when(event)}  {who(event)}  {in_term:<9}  {name:<14}  {words}".rstrip()


def _when(event: t.Mapping[str, t.Any]) -> str:
    """Local time with its offset; without one the seconds since the start of the machine."""
    seconds = seconds_of(event.get("wall"))
    if seconds is None:
        at = event.get("at")
        return f"{at:.3f} s after boot" if isinstance(at, (int, float)) else "at an unknown time"
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).astimezone()
    return moment.isoformat(" ", "seconds")


class Tail:
    """The lines of a file that is put aside as `.1` now and then."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: t.BinaryIO | None = None
        self._rest = b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def earlier(self) -> t.Iterator[str]:
        """All lines that are there, those of the file that was put aside first."""
        # the newer file is opened first: if it is put aside meanwhile nothing between the two is missed
        self._file = _opened(self._path)
        aside = _opened(self._path + ".1")
        if aside is not None:
            with aside:
                if self._file is None or not os.path.sameopenfile(aside.fileno(), self._file.fileno()):
                    yield from self._lines(aside)
                    self._rest = b""
        yield from self.more()

    def more(self) -> t.Iterator[str]:
        """All lines that came since; a file that took its place is gone on with when the old one is read to its end."""
        while True:
            if self._file is None:
                self._file = _opened(self._path)
                if self._file is None:
                    return
            replaced = self._replaced(self._file)
            yield from self._lines(self._file)
            if not replaced:
                return
            self.close()
            self._rest = b""

    def _replaced(self, file: t.BinaryIO) -> bool:
        """Whether nothing more will be written to the file that is open."""
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False  # put aside, and the next event makes a new one
        here = os.fstat(file.fileno())
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def _lines(self, file: t.BinaryIO) -> t.Iterator[str]:
        while True:
            more = file.read(_READ)
            if not more:
                return
            *whole, self._rest = (self._rest + more).split(b"\n")
            if len(self._rest) > _LONGEST:
                self._rest = b""
            for line in whole:
                yield line.decode("utf-8", "replace")


def _opened(path: str) -> t.BinaryIO | None:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        return None


def _gone(out: t.TextIO) -> bool:
    """Wait a moment; whether the one who read went away."""
    poll = select.poll()
    poll.register(out.fileno(), 0)  # errors and hang-ups are told in any case
    return any(found & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for fd, found in poll.poll(_PAUSE_MS))
