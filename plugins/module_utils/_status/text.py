# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Words and moments as people may be shown them, whatever they came from."""

from __future__ import annotations

import datetime
import typing as t

#: characters of one text; what is longer is cut, since a probe's answer may be a whole page
LONGEST = 600


def plain(value: t.Any, longest: int = LONGEST) -> str:
    """One line without control characters, which could steer a terminal or turn the direction of writing."""
    words = "" if value is None else str(value)
    if words.isprintable() and len(words) <= longest:  # nearly always
        return words
    shown = "".join(
        each if each.isprintable() else " " if each.isspace() else "\N{REPLACEMENT CHARACTER}" for each in words
    )
    return shown if len(shown) <= longest else shown[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"


def seconds_of(moment: t.Any) -> float | None:
    """Seconds since the epoch of a number or of a text after ISO 8601; without an offset it is UTC. None: no moment."""
    if isinstance(moment, (int, float)) and not isinstance(moment, bool):
        return float(moment)
    if not isinstance(moment, str):
        return None
    try:
        found = datetime.datetime.fromisoformat(moment[:-1] + "+00:00" if moment.endswith(("Z", "z")) else moment)
        return (found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None


def iso(seconds: float) -> str:
    """UTC with milliseconds, after ISO 8601."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def day_and_time(moment: t.Any) -> str:
    """`2026-05-04 13:07:12 UTC`, and what is no moment as it is."""
    seconds = seconds_of(moment)
    return plain(moment) if seconds is None else iso(seconds)[:19].replace("T", " ") + " UTC"


def clock_time(moment: t.Any) -> str:
    """`13:07:12`."""
    seconds = seconds_of(moment)
    return plain(moment) if seconds is None else iso(seconds)[11:19]


def lasting(seconds: t.Any) -> str:
    """`0.4 s`, `12 s`, `3 min`, `2 h 5 min`, `3 d 4 h`: as exact as one wants to read it."""
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        return plain(seconds)
    if 0 < seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f} s"
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    big, small, names = (
        (whole // 3600, whole % 3600 // 60, "h min")
        if whole < 172800
        else (whole // 86400, whole % 86400 // 3600, "d h")
    )
    first, second = names.split()
    return f"{big} {first}" + (f" {small} {second}" if small else "")


def counted(number: int, one: str, many: str = "") -> str:
    """`1 member`, `2 members`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
