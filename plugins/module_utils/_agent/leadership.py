# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One term of leadership: the lease is renewed beside the work, and the command never outlives it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._election.policy import rank_of
from .._election.store import Lease, node_of
from .._model.errors import EnsembleError
from .journal import Journal, Status
from .settings import Settings
from .world import Process, World

#: runs that fail one after the other until another candidate may try
FAILED_RUNS = 3
#: longest look at a running command, and seconds that a failed renewal waits, as shares of the ttl
_SLICE_SHARE, _RETRY_SHARE = 1 / 10, 1 / 15
_LONGEST_SLICE = 0.5
#: share of the ttl within which the service manager must hear from a leader: a stopped agent's command is gone in time
#: even if it was stopped just before a renewal (0.95 - 1/3)
_WATCHDOG_SHARE = 0.6

#: why a term ended
LOST, STOPPED, ASKED, WANTED, PREEMPTED, FAILING = "lost", "stopped", "asked", "wanted", "preempted", "failing"


@dataclass
class Runs:
    """What an agent remembers of its runs."""

    last_ok: bool | None = None
    failed_in_a_row: int = 0
    count: int = 0


class Renewals:
    """Renews a lease, step by step, beside the work; each step returns when to do the next."""

    def __init__(self, lease: Lease, settings: Settings, journal: Journal, status: Status, wake: t.Callable[[], None]):
        self._lease = lease
        self._settings = settings
        self._journal = journal
        self._status = status
        self._wake = wake
        self._failing = ""
        self.refused = False
        self.until = lease.clock() + lease.remaining()

    def step(self) -> float | None:
        """Renew once. Whatever goes wrong, what is left of the lease decides how long we lead."""
        lease, session = self._lease, self._lease.identity.session
        begun = lease.clock()
        try:
            lease.renew()
        except EnsembleError as error:
            self._failed(error.code, error.msg, _refused(error))
        except Exception as error:  # the thread must live
            self._failed("error", f"{type(error).__name__}: {error}", False)
        else:
            self._failing = ""
            self.until = lease.clock() + lease.remaining()
            took = round((lease.clock() - begun) * 1000)
            self._journal.debug("renewed", session, lease.token, self.until, ms=took)
            self._status.update(until=round(self.until, 3), quorum=lease.quorum.as_dict())
            if lease.wanted is not None:
                self._wake()
            return max(0.05, self._settings.timings.renew - (lease.clock() - begun))
        if self.refused or lease.remaining() <= 0:
            self._wake()
            return None
        return self._settings.timings.ttl * _RETRY_SHARE

    def _failed(self, code: str, msg: str, refused: bool) -> None:
        self.refused = self.refused or refused
        if self._failing != code:
            self._failing = code
            session = self._lease.identity.session
            self._journal.event("renewal_failed", session, self._lease.token, self.until, code=code, msg=msg)


def _refused(error: EnsembleError) -> bool:
    """Whether the lease cannot be renewed any more: every voter answered, and no majority renewed it."""
    if error.details.get("definite"):
        return True
    quorum = error.details.get("quorum")
    return isinstance(quorum, dict) and quorum.get("acks", 0) > 0 and not quorum.get("silent")


class Leadership:
    """What a leader does until it leads no longer. The lease is held when this begins, and is given back by the caller.

    Raises:
        StuckProcessError: from `serve`, a process of the command cannot be killed; then the lease is not given back.
    """

    def __init__(
        self, lease: Lease, settings: Settings, world: World, journal: Journal, status: Status, runs: Runs
    ) -> None:
        self._lease = lease
        self._settings = settings
        self._world = world
        self._journal = journal
        self._status = status
        self._runs = runs
        self.renewals = Renewals(lease, settings, journal, status, world.wake)
        self._slice = min(_LONGEST_SLICE, settings.timings.ttl * _SLICE_SHARE)
        self._failed_here = 0
        self._wanted_at: float | None = None

    def serve(self) -> str:
        """Run the command again and again; returns why the term ended, with no process of the command left."""
        timings, due = self._settings.timings, self._world.clock()
        with self._world.beside(self.renewals.step, timings.renew, 2 * timings.op_timeout):
            while True:
                self._alive()
                why = self._ending()
                if why is not None:
                    return why
                left = due - self._world.clock()
                if not self._settings.command:
                    self._world.pause(self._slice)
                elif left > 0:
                    self._world.pause(min(left, self._slice))
                else:
                    self._run()
                    due = self._world.clock() + self._settings.interval

    def _alive(self) -> None:
        token = ",".join(map(str, self._lease.token))
        self._world.alive(f"leads, token {token}", _WATCHDOG_SHARE * self._settings.timings.ttl)

    def _lost(self) -> bool:
        return self.renewals.refused or self._lease.remaining() <= self._settings.reserve

    def _asked(self) -> str | None:
        """Why this term is to end although the lease is ours, so that no new run is started."""
        wanted = self._lease.wanted
        if self._world.orders.stop:
            return STOPPED
        if self._world.orders.release:
            return ASKED
        if wanted is not None and wanted.person and wanted.session != self._lease.identity.session:
            return WANTED
        return None

    def _ending(self) -> str | None:
        """Why this term ends between two runs."""
        if self._lost():
            return LOST
        asked = self._asked()
        if asked is not None:
            return asked
        others = len(self._settings.candidates) > 1
        if others and self._failed_here >= FAILED_RUNS:
            return FAILING
        wanted = self._lease.wanted
        if wanted is not None and not wanted.person and self._settings.preempt:
            rank = rank_of(node_of(wanted.session), self._settings.candidates)
            if rank < self._settings.rank and wanted.for_s >= self._settings.preempt_delay:
                return PREEMPTED
        return None

    # -- one run

    def _run(self) -> None:
        lease, begun = self._lease, self._world.clock()
        self._runs.count += 1
        environment = {
            "ENSEMBLE_RESOURCE": self._settings.resource,
            "ENSEMBLE_FENCING_TOKEN": ",".join(map(str, lease.token)),
            "ENSEMBLE_SESSION": lease.identity.session,
        }
        self._event("run_started", run=self._runs.count)
        self._status.update(run={"number": self._runs.count, "started": round(begun, 3)})
        try:
            process = self._world.start(self._settings.command, environment, self._settings.kill_time)
        except OSError as error:
            self._ended(begun, 127, str(error))
            return
        code, why = self._watch(process)
        self._ended(begun, code, why)

    def _watch(self, process: Process) -> tuple[int, str]:
        """Wait for the command, or end it; its exit status and why it was ended, if it was."""
        asked_at: float | None = None
        while True:
            self._alive()
            code = process.wait(self._until_look())
            if code is not None:
                return code, ""
            if self._lost():
                return self._end(process), LOST
            asked = self._asked()
            if asked == STOPPED:
                return self._end(process), asked
            if asked is None:
                asked_at = None
                continue
            now = self._world.clock()
            if asked_at is None:
                process.hurry()
                asked_at = now
            if now - asked_at >= self._settings.yield_s:
                return self._end(process), asked

    def _until_look(self) -> float:
        """Never later than the moment at which the command would have to be told to end."""
        return max(0.0, min(self._slice, self._lease.remaining() - self._settings.reserve))

    def _end(self, process: Process) -> int:
        """After TERM as much grace as the lease allows; none if it is over already."""
        left = self._lease.remaining() - self._settings.kill_time
        return process.end(max(0.0, min(self._settings.term_grace, left)))

    def _ended(self, begun: float, code: int, why: str) -> None:
        took = round(self._world.clock() - begun, 3)
        cut_short = why in (LOST, STOPPED, ASKED, WANTED)
        if not cut_short:  # a run that we ended says nothing about this node
            self._runs.last_ok = code == 0
            self._failed_here = 0 if code == 0 else self._failed_here + 1
            self._runs.failed_in_a_row = self._failed_here
        self._event("run_ended", run=self._runs.count, code=code, seconds=took, ended_by=why or None)
        last = {"number": self._runs.count, "code": code, "seconds": took, "ended_by": why or None}
        self._status.update(run=None, last_run={**last, "at": round(self._world.clock(), 3)})

    def _event(self, name: str, **more: t.Any) -> None:
        self._journal.event(name, self._lease.identity.session, self._lease.token, self.renewals.until, **more)
