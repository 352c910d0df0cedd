# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Slurm, from 22.05 on: scontrol(1) prints the nodes, squeue(1) the jobs.

Both print times as seconds since the epoch when SLURM_TIME_FORMAT says so, whatever the time zone of the member.
JSON is not used: its layout changes with the release, and a build may lack it.
"""

from __future__ import annotations

import re
import typing as t

from .._model.errors import EnsembleError
from .._model.health import Job
from .base import Batch, NodeState

#: marks behind a state in releases that have no word for it (sinfo(1), NODE STATE CODES)
_MARKS = {
    "*": "NOT_RESPONDING",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "!": "POWER_DOWN",
    "%": "POWERING_DOWN",
    "$": "MAINTENANCE",
    "@": "REBOOT_REQUESTED",
    "^": "REBOOT_ISSUED",
    "-": "PLANNED",
}
_ALL_MARKS = "".join(_MARKS)
_NODE = re.compile(r"NodeName=(\S+) ")
_STATE = re.compile(r" State=(\S+)")
#: the reason is free text; who gave it and when stands behind it
_REASON = re.compile(r" Reason=(.*?)(?: \[([^\[\]@ ]*)@[^\[\]]*\]|(?= Comment=| Extra=)|$)")
#: how the reason begins that Slurm gives a node which fell silent, in small letters
_SILENT = "not responding"
#: the account of Slurm's own daemons, as Debian has it: a node that they drain is nobody's wish
_DAEMON = "slurm"
#: why a node drains itself, which it does as root, in small letters (stepd_drain_node in Slurm's sources)
_OWN_REASONS = ("slurmdspooldir is full", "kill task failed", "job step not running", "job/step not running")
#: so says slurmctld of a node that refused a job: it had ended without warning, forgotten that it had started that job
#: there, and started it once more (_slurm_rpc_complete_batch_script in Slurm's sources); nothing is wrong with the node
_MISTAKES = ("duplicate jobid",)
_UNREADABLE = "{command} printed what cannot be read: {line!r}. Run it on the member and look for a warning."
#: job id, user, state, nodes, time of submission, (expected) start; the name is last, since anything may stand in it
_JOB_FIELDS = "%i|%u|%T|%N|%V|%S|%j"
_BARS = _JOB_FIELDS.count("|")
#: states of a job that has not begun, whose start is a guess of the scheduler
_WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")


class Slurm(Batch):
    """Slurm's own commands; they find their controller through slurm.conf."""

    engine = "slurm"
    _prefix = ("env", "SLURM_TIME_FORMAT=%s")

    @property
    def nodes_command(self) -> tuple[str, ...]:
        return (*self._prefix, "scontrol", "--all", "--oneliner", "show", "nodes")

    @property
    def jobs_command(self) -> tuple[str, ...]:
        return (*self._prefix, "squeue", "--all", "--noheader", "--states=all", f"--format={_JOB_FIELDS}")

    def nodes(self, text: str) -> dict[str, NodeState]:
        found = {}
        for line in _records(text):
            node = _node(line)
            found[node.name] = node
        return found

    def jobs(self, text: str) -> list[Job]:
        found: list[Job] = []
        for line in filter(str.strip, text.split("\n")):
            if line.count("|") >= _BARS:
                found.append(_job(line))
            elif not found:
                raise EnsembleError(_UNREADABLE.format(command="squeue", line=line[:120]), code="bad_answer")
            # else the rest of a name with a line break in it: users choose names
        return found


def _records(text: str) -> t.Iterator[str]:
    """One line per node; a reason with a line break in it is put together again."""
    record = ""
    for line in text.splitlines():
        if line.startswith("NodeName="):
            if record:
                yield record
            record = line
        elif record:
            record += " " + line.strip()
        elif line.strip() and not line.startswith("No nodes"):
            raise EnsembleError(_UNREADABLE.format(command="scontrol", line=line[:120]), code="bad_answer")
    if record:
        yield record


def _node(line: str) -> NodeState:
    name, state = _NODE.match(line), _STATE.search(line)
    if name is None or state is None:
        raise EnsembleError(_UNREADABLE.format(command="scontrol", line=line[:120]), code="bad_answer")
    words = state[1].split("+")
    bare = [word.rstrip(_ALL_MARKS) for word in words]
    marks = {_MARKS[mark] for word, stem in zip(words, bare) for mark in word[len(stem) :]}
    flags = frozenset(word for word in (*bare[1:], *marks) if word)
    reason = _REASON.search(line)
    why, by = (reason[1].strip(), reason[2] or "") if reason else ("", "")
    drained = "DRAIN" in flags or bare[0].startswith("DRAIN")
    mistaken = drained and why.lower().startswith(_MISTAKES)
    return NodeState(
        name[1],
        bare[0],
        flags,
        "" if why == "none" else why,
        by,
        "NOT_RESPONDING" not in flags,
        drained and not mistaken and not why.lower().startswith((_SILENT, *_OWN_REASONS)) and by != _DAEMON,
        mistaken,
    )


def _job(line: str) -> Job:
    ident, user, state, nodes, submitted, started, name = line.split("|", _BARS)
    begun = 0.0 if state in _WAITING else _seconds(started)
    return Job(ident.strip(), name, user, state, nodes, _seconds(submitted), begun)


def _seconds(text: str) -> float:
    """Seconds since the epoch; 0 for `N/A`, `Unknown` and the like."""
    return float(text) if text.isascii() and text.isdigit() else 0.0
