# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What is made to go wrong at a simulated hypervisor: `faults.json` in its folder, and how often it did already."""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass

from .._host.files import locked, read_json, write_json
from .._model.errors import EnsembleError, Fault
from .._model.identity import digest_of
from .._model.reader import Section

KINDS = ("down", "slow", "failing_verb", "lost_reply")
LOCK_TIMEOUT = 30.0
MAX_TRIPS = 10**6
MAX_MS = 3_600_000.0


@dataclass(frozen=True)
class SimFault:
    """One thing that goes wrong.

    Attributes:
        kind: one of `KINDS`.
        after: trips that are made before it begins.
        times: how often it happens, None means from then on.
        ms: for `slow`, how long each trip takes.
        verb, member: for `failing_verb`; an empty member means any.
    """

    kind: str
    after: int = 0
    times: int | None = None
    ms: float = 0.0
    verb: str = ""
    member: str = ""


class SimFaults:
    """The faults of one simulated hypervisor. Trips are counted on disk, from the moment its faults were written."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, "faults.json")
        self._counts = os.path.join(folder, "struck.json")

    def connecting(self) -> bool:
        """Whether the hypervisor is down for somebody who connects now."""
        return bool(self._strike(lambda fault: fault.kind == "down"))

    def trip(self) -> dict[str, SimFault]:
        """Kind -> the fault that happens to this trip."""
        return {fault.kind: fault for fault in self._strike(lambda fault: fault.kind != "failing_verb", begins=1)}

    def failing(self, verb: str, member: str) -> bool:
        """Whether a verb fails now."""

        def meant(fault: SimFault) -> bool:
            return fault.kind == "failing_verb" and fault.verb == verb and fault.member in ("", member)

        return bool(self._strike(meant, within=1))

    def _strike(self, meant: t.Callable[[SimFault], bool], begins: int = 0, within: int = 0) -> list[SimFault]:
        """The faults that happen now; each of them is counted.

        Args:
            begins: 1 when a trip begins, which is counted then.
            within: 1 while a trip is being made that was counted when it began.
        """
        if not os.path.exists(self._path):
            return []
        with locked(self._counts + ".lock", LOCK_TIMEOUT):
            faults = read_faults(self._path)
            digest = digest_of([vars(fault) for fault in faults])
            counts = read_json(self._counts) or {}
            if counts.get("of") != digest:
                counts = {"of": digest, "trips": 0, "struck": [0] * len(faults)}
            found = []
            for index, fault in enumerate(faults):
                due = counts["trips"] - within >= fault.after
                left = fault.times is None or counts["struck"][index] < fault.times
                if meant(fault) and due and left:
                    counts["struck"][index] += 1
                    found.append(fault)
            counts["trips"] += begins
            write_json(self._counts, counts, durable=False)
            return found


def read_faults(path: str) -> tuple[SimFault, ...]:
    """The faults of a file; none when there is no file.

    Raises:
        EnsembleError: `bad_settings`, naming every fault of the file's form.
    """
    top = read_mapping(path)
    found = []
    for index, raw in enumerate(top.items("faults", "faults")):
        section = Section(raw, f"faults[{index}]", top.faults)
        kind = section.choice("kind", KINDS)
        found.append(
            SimFault(
                kind=kind or "",
                after=section.integer("after", 0, 0, MAX_TRIPS),
                times=section.integer("times", None, 1, MAX_TRIPS),
                ms=section.number("ms", 0.0, 0.0, MAX_MS) if kind == "slow" else 0.0,
                verb=section.text("verb", what="a verb") if kind == "failing_verb" else "",
                member=section.text("member", "", what="a member") if kind == "failing_verb" else "",
            )
        )
        section.close()
    top.close()
    refuse_bad(path, top.faults)
    return tuple(found)


def read_mapping(path: str) -> Section:
    """A JSON file of a simulated hypervisor; an empty mapping when there is none.

    Raises:
        EnsembleError: `bad_settings`, it cannot be read.
    """
    raw: t.Any = {}
    try:
        with open(path, encoding="utf-8") as stream:
            raw = json.load(stream)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, RecursionError) as error:
        refuse_bad(path, [Fault("file", str(error), "a JSON file")])
    return Section(raw, "", [])


def refuse_bad(path: str, faults: t.Sequence[Fault]) -> None:
    """Raise one error for all faults of a file's form, if there are any."""
    if faults:
        raise EnsembleError(f"{path}: " + "; ".join(map(str, faults)), code="bad_settings")
