# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A load of small jobs on a batch cluster, and the proof that none was lost of those that the scheduler accepted.

A job is accepted when its `qsub` ended with exit status 0, and kept when it ran to its end: it leaves its name in its
owner's home on the node that it ran on, and the scheduler tells of jobs that ended a while ago. A job that was requeued
and ran again is kept. Nothing here needs accounting, and the load goes on while the head is away: what cannot be
submitted is refused and counts as nothing.

Jobs are known by names of their own: a scheduler that lost its latest jobs in a crash gives their numbers to others.
Slurm does lose them: it writes its state a few seconds after it has accepted a job, not before it answers. So a report
can be asked for what was lost besides.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import subprocess
import threading
import time
import typing as t
from dataclasses import dataclass, field

from .lab import Lab
from .members import Member
from .waiting import wait_until

_ASK_SECONDS = 15
_POLL_SECONDS = 2.0
#: how old a job may be that Slurm has not written down yet; a save every five seconds, and the time that it takes
SAVE_SECONDS = 8.0
#: BatchStartTimeout and MessageTimeout, and the start of the daemon
_DOUBT_SECONDS = 25.0
FORGOTTEN = "forgotten"
_numbers = itertools.count(1)
#: states in which a job may still come to its end; squeue(1), JOB STATE CODES
_GOING_ON = {
    *("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"),
    *("RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SPECIAL_EXIT", "NODE_FAIL", "PREEMPTED"),
}
# The wrapper of qsub reads no script from its standard input.
_QSUB = """
script=$(mktemp) && cat > "$script" && qsub -N "$1" -o /dev/null -e /dev/null "$script"
code=$?
rm -f "$script"
exit $code
"""
# A full disk is no fault of the job's.
_SCRIPT = """#!/bin/sh
sleep {seconds}
mkdir -p "$HOME/{folder}" && : > "$HOME/{folder}/$SLURM_JOB_NAME" || true
"""


@dataclass(frozen=True)
class LoadReport:
    """What became of a load; jobs by name.

    Attributes:
        accepted: jobs whose submission ended well -> when that was, on the monotonic clock.
        refused: submissions that did not.
        completed: accepted jobs that ran to their end.
        lost: accepted jobs that did not, with what is known of them.
        seconds: from the first submission to the end of the last job, or to the deadline.
    """

    accepted: t.Mapping[str, float]
    refused: int
    completed: tuple[str, ...]
    lost: t.Mapping[str, str]
    seconds: float

    def lost_besides(self, *crashes: float) -> dict[str, str]:
        """Lost jobs but those that the scheduler forgot and had accepted in the seconds before it crashed.

        Args:
            crashes: when its daemon, or the machine under it, ended without warning, on the monotonic clock.
        """
        return {
            name: why
            for name, why in self.lost.items()
            if not why.startswith(FORGOTTEN)
            or not any(-1 <= crash - self.accepted[name] <= SAVE_SECONDS for crash in crashes)
        }

    def as_dict(self) -> dict[str, t.Any]:
        """Plain data for a report."""
        return {
            "accepted": len(self.accepted),
            "refused": self.refused,
            "completed": len(self.completed),
            "lost": dict(self.lost),
            "seconds": round(self.seconds, 1),
        }


@dataclass
class JobLoad:
    """Jobs that are submitted in the background, as long as it is entered.

    Attributes:
        head, nodes: domains of the resource; they may go and come back on another hypervisor meanwhile.
        user: unprivileged account that exists on all of them.
        rate: jobs per second.
        shortest, longest: seconds that a job runs.
    """

    lab: Lab
    head: str
    nodes: t.Sequence[str]
    user: str
    rate: float = 0.5
    shortest: float = 1.0
    longest: float = 5.0
    seed: int = 0
    accepted: dict[str, float] = field(default_factory=dict)
    refused: int = 0
    _states: dict[str, str] = field(default_factory=dict)  # as last seen
    _reasons: dict[str, str] = field(default_factory=dict)  # why it waits

    def __post_init__(self) -> None:
        self._tag = f"load-{int(time.time())}-{next(_numbers)}"
        self._folder = f".ensemble-{self._tag}"
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []
        self._began = time.monotonic()
        self._known: dict[str, Member] = {}

    def __enter__(self) -> JobLoad:
        """Begin to submit."""
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._submit_on, self._watch_on)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Submit no more."""
        self._end.set()
        for thread in self._threads:
            thread.join(timeout=4 * _ASK_SECONDS)

    def finish(self, seconds: float) -> LoadReport:
        """Submit no more, wait so long until every accepted job has ended, and tell what became of them."""
        self.__exit__()
        deadline = time.monotonic() + seconds
        while True:
            # those that the scheduler forgot have nothing to wait for, but it may not have answered yet
            asked = self._watch()
            going = {self._states.get(job, "") for job in set(self.accepted) - self._ran()}
            if (asked and not going & _GOING_ON) or time.monotonic() >= deadline:
                return self._report()
            time.sleep(_POLL_SECONDS / 4)

    def reconcile(self, crash: float) -> None:
        """After a crash of the scheduler: nodes say what they run, and it requeues what it only believed to run.

        A job whose end was not written down is taken for running after the crash and keeps its node. Slurm finds out
        when the node registers again, which it asks for with every twentieth ping, and believes it some seconds after
        its own start.
        """
        wait_until(lambda: time.monotonic() > crash + _DOUBT_SECONDS, 2 * _DOUBT_SECONDS, "nodes that are believed")
        for node in self.nodes:
            self._run(node, "systemctl", "restart", "slurmd")

    def state(self, job: str) -> str:
        """What the scheduler last said of a job; empty if nothing."""
        return self._states.get(job, "")

    def _report(self) -> LoadReport:
        ran = self._ran()
        lost = {job: self._told(job) for job in self.accepted if job not in ran}
        completed = tuple(job for job in self.accepted if job in ran)
        return LoadReport(dict(self.accepted), self.refused, completed, lost, time.monotonic() - self._began)

    def _told(self, job: str) -> str:
        state, why = self._states.get(job) or f"{FORGOTTEN}, never seen", self._reasons.get(job, "")
        return f"{state} ({why})" if state == "PENDING" and why else state

    def _ran(self) -> set[str]:
        """Jobs that ran to their end, by the scheduler's word or their own."""
        told = {job for job, state in self._states.items() if state == "COMPLETED"}
        listed = ("sh", "-c", f"ls ~{self.user}/{self._folder} 2>/dev/null || true")
        for node in self.nodes if set(self.accepted) - told else ():
            with contextlib.suppress(RuntimeError, LookupError, subprocess.TimeoutExpired):
                told |= set(self._run(node, *listed).split())
        return told

    def _submit_on(self) -> None:
        dice = random.Random(self.seed)  # noqa: S311 - it shall be repeatable
        for index in itertools.count(1):
            seconds = dice.uniform(self.shortest, self.longest)
            name = f"{self._tag}-{index}"
            try:
                self._submit(name, seconds)
                self.accepted[name] = time.monotonic()
            except (RuntimeError, LookupError, ValueError, subprocess.TimeoutExpired):
                self.refused += 1
            # the rate holds over the whole time: a submission that took long is made up for
            if self._end.wait(max(0.0, self._began + index / self.rate - time.monotonic())):
                return

    def _submit(self, name: str, seconds: float) -> None:
        home = f"/home/{self.user}"
        script = _SCRIPT.format(seconds=f"{seconds:.1f}", folder=self._folder)
        account = ("runuser", "-u", self.user, "--", "env", f"--chdir={home}", f"HOME={home}")
        said = self._run(self.head, *account, "sh", "-c", _QSUB, "qsub", name, stdin=script.encode())
        if not said.strip().rpartition("\n")[2].partition(".")[0].isdigit():
            raise ValueError(f"qsub named no job: {said.strip()}")

    def _watch_on(self) -> None:
        """The scheduler forgets jobs some minutes after their end (MinJobAge), so it is asked all along."""
        while not self._end.wait(_POLL_SECONDS):
            self._watch()

    def _watch(self) -> bool:
        """Ask the scheduler for its jobs; false when it did not answer."""
        ask = ("squeue", "--noheader", "--states=all", "--format=%j|%T|%r")
        before = set(self.accepted)
        try:
            said = self._run(self.head, *ask)
        except (RuntimeError, LookupError, subprocess.TimeoutExpired):
            return False
        lines = [line.strip().split("|", 2) for line in said.splitlines() if line.count("|") >= 2]
        seen = {name: state for name, state, _why in lines}
        self._reasons = {name: why for name, _state, why in lines}
        for job in before | set(seen):
            former = self._states.get(job, "never seen")
            # what was seen complete stays so when it is forgotten
            if former != "COMPLETED" and not (job not in seen and former.startswith(FORGOTTEN)):
                self._states[job] = seen.get(job) or f"{FORGOTTEN}, last seen {former}"
        return True

    def _run(self, domain: str, *argv: str, stdin: bytes | None = None) -> str:
        """A command in a member, wherever it runs by now."""
        member = self._known.get(domain) or self._find(domain)
        try:
            found = member.run("timeout", "--kill-after=5", str(_ASK_SECONDS), *argv, stdin=stdin)
        except (RuntimeError, subprocess.TimeoutExpired):
            self._known.pop(domain, None)
            raise
        self._known[domain] = member
        return found

    def _find(self, domain: str) -> Member:
        for hypervisor in self.lab.hypervisors:
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                if domain in hypervisor.domains():
                    return Member(domain, hypervisor)
        raise LookupError(f"{domain} runs nowhere that can be asked")
