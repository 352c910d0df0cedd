# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""systemd's units on a member: what `systemctl show` tells of them (org.freedesktop.systemd1(5))."""

from __future__ import annotations

import re
import time
import typing as t

from .commands import last_line, run

UNIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@-]{0,100}")
_PROPERTIES = (
    *("Id", "Names", "LoadState", "ActiveState", "SubState", "Result", "NRestarts", "Job"),
    *("ActiveEnterTimestampMonotonic", "StateChangeTimestampMonotonic"),
)
#: a unit that reads its configuration anew does its work meanwhile
_ACTIVE = ("active", "reloading", "refreshing")
_MOST = 1024 * 1024

Properties = t.Mapping[str, str]


class Outcome(t.NamedTuple):
    """What is to be said of a unit; `ok` None: it could not be asked. Age in seconds."""

    ok: bool | None
    detail: str
    age: float | None = None


def show(units: t.Sequence[str], seconds: float) -> dict[str, Properties] | str:
    """Properties of each unit, asked at once; or why they cannot be told."""
    argv = ["systemctl", "--no-pager", "show", "--property=" + ",".join(_PROPERTIES), "--", *units]
    ran = run(argv, seconds, _MOST, apart=True)
    blocks = [_block(text) for text in ran.out.decode(errors="replace").split("\n\n") if text.strip()]
    if len(blocks) == len(units):
        return dict(zip(units, blocks))
    names = {name: block for block in blocks for name in block.get("Names", "").split()}
    found: dict[str, Properties] = {unit: names[full(unit)] for unit in units if full(unit) in names}
    return found or f"systemctl: {ran.fault or 'no answer'} {last_line(ran.err)}".rstrip()


def _block(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def full(unit: str) -> str:
    """A unit's name with its kind; without one it is a service."""
    kinds = ("service", "socket", "target", "timer", "mount", "path", "device", "swap", "slice", "scope", "automount")
    return unit if unit.rpartition(".")[2] in kinds and "." in unit else f"{unit}.service"


def look_at_units(units: t.Sequence[str], seconds: float) -> list[Outcome]:
    """What is to be said of each, in their order."""
    good = [unit for unit in dict.fromkeys(units) if UNIT_NAME.fullmatch(unit)]
    found = show(good, seconds) if good else {}
    if isinstance(found, str):
        return [Outcome(None, found)] * len(units)
    unknown = Outcome(None, "is no unit that can be asked")
    return [outcome(found[unit]) if unit in found else unknown for unit in units]


def outcome(unit: Properties) -> Outcome:
    """Whether it is active, in which state it is and how often it was started again, and since when."""
    loaded, active = unit.get("LoadState", ""), unit.get("ActiveState", "")
    up = active in _ACTIVE
    if not up and loaded in ("not-found", "masked", "bad-setting", "error"):
        words = {"not-found": "is not installed", "masked": "is masked"}
        return Outcome(False, words.get(loaded, f"cannot be loaded ({loaded})"))
    why = unit.get("Result") if active == "failed" else unit.get("SubState")
    detail = f"{active or 'unknown'} ({why})" if why else active or "unknown"
    restarts = unit.get("NRestarts", "")
    if restarts.isdigit() and restarts != "0":
        detail += f", {restarts} restart{'' if restarts == '1' else 's'}"
    since = unit.get("ActiveEnterTimestampMonotonic" if up else "StateChangeTimestampMonotonic", "")
    # both are microseconds of CLOCK_MONOTONIC; 0 means never
    age = time.monotonic() - int(since) / 1e6 if since.isdigit() and since != "0" else None
    return Outcome(up, detail, None if age is None else round(max(0.0, age), 1))
