# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""After a boot: the members that are wanted, and still placed here, are started. No controller is needed for it.

What is wanted is the resource's record as a majority of its voters keeps it, of those that answer the one with the
latest writer and version: every write reaches a majority, so that any two majorities share a voter that knows it.
It is asked for under the resource's lock on this hypervisor. A controller stops members only after it has changed the
record: its batch then either came before the question, or waits here and ends what was started.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
import time
import typing as t
from dataclasses import dataclass

from .._model.errors import EnsembleError
from .._model.observed import Record, stamp_of
from .armed import Arming
from .ask import ask_by_ssh
from .drivers.base import Driver
from .fence import alone
from .files import RUN_DIR, resource_dir
from .records import Records
from .voters import VoterAddress, Voters, VotersFile

#: seconds after which what is still undecided stays so
DEADLINE = 300.0
#: seconds to wait for a batch that is at work
LOCK_TIMEOUT = 30.0
#: seconds between two attempts, first and longest
_PAUSES = (1.0, 15.0)
#: resources decided side by side; each mostly waits
_WIDTH = 32

_UP = ("running", "idle", "blocked")
_DOWN = ("shutoff", "crashed")

Ask = t.Callable[[VoterAddress, str], t.Mapping[str, t.Any]]


@dataclass(frozen=True)
class Found:
    """A member's domain as its driver shows it."""

    driver: str
    state: str
    record: t.Mapping[str, t.Any]

    @property
    def member(self) -> str:
        return str(self.record["member"])


@dataclass(frozen=True)
class Decision:
    """What becomes of a member, and why."""

    member: str
    driver: str
    start: bool
    why: str


# -- pure


def settled(voters: Voters, answers: t.Mapping[str, t.Mapping[str, t.Any] | EnsembleError]) -> Record | None:
    """The record that a majority vouches for, None while there is no majority."""
    given = [answer for answer in answers.values() if not isinstance(answer, EnsembleError)]
    if len(given) < voters.majority:
        return None
    newest: t.Mapping[str, t.Any] = max(given, key=stamp_of, default={})
    return Record.from_dict(newest)


def decide(me: str, found: t.Sequence[Found], record: Record) -> list[Decision]:
    """What becomes of the members with autostart, in the order of their start: roles that others come after first."""
    level = _levels(record.declaration)
    decisions = []
    for domain in found:
        if domain.record.get("autostart") is not True:
            continue
        why = _why_not(me, domain, record)
        wave = min((level.get(role, 0) for role in domain.record.get("roles", ())), default=0)
        decisions.append((wave, Decision(domain.member, domain.driver, not why, why)))
    return [decision for _wave, decision in sorted(decisions, key=lambda pair: (pair[0], pair[1].member))]


def _why_not(me: str, domain: Found, record: Record) -> str:
    """Why a member is not started; empty when it is."""
    if domain.state not in _DOWN:
        return f"it is {domain.state}"
    if record.desired != "started":
        return f"the resource shall be {record.desired}"
    place = record.placement.get(domain.member)
    if place == me:
        return ""
    return f"it is placed on {place} now" if place else "the resource has no such member any more"


def _levels(declaration: t.Mapping[str, t.Any]) -> dict[str, int]:
    """Role -> how many roles, one after the other, must come before it."""
    after = {name: tuple((role or {}).get("after", ())) for name, role in declaration.get("roles", ())}
    levels: dict[str, int] = {}

    def level(role: str, above: tuple[str, ...]) -> int:
        if role not in levels:
            earlier = [level(name, (*above, role)) for name in after[role] if name in after and name not in above]
            levels[role] = 1 + max(earlier, default=-1)
        return levels[role]

    for role in after:
        level(role, (role,))
    return levels


# -- on this machine


class Boot:
    """One run of the boot unit.

    Args:
        say: takes one line per decision.
        ask: one voter's record, as `ask_by_ssh`.
        pause: passes seconds between two attempts.
    """

    def __init__(
        self,
        drivers: t.Mapping[str, Driver],
        state: str,
        say: t.Callable[[str], None],
        ask: Ask = ask_by_ssh,
        pause: t.Callable[[float], None] = time.sleep,
        run_dir: str = RUN_DIR,
    ) -> None:
        self._drivers = drivers
        self._state = state
        self._run_dir = run_dir
        self._ask = ask
        self._pause = pause
        self._say = say
        self._speaking = threading.Lock()
        self._said: set[str] = set()

    def run(self, deadline: float = DEADLINE) -> bool:
        """Decide on every member here within so many seconds; false when something stayed undecided."""
        names = sorted(filter(self._holds_members, os.listdir(self._state) if os.path.isdir(self._state) else ()))
        if not names:
            self.say("no resource has members here")
            return True
        until = time.monotonic() + deadline
        with concurrent.futures.ThreadPoolExecutor(min(_WIDTH, len(names))) as pool:
            return all(list(pool.map(lambda name: self._decided(name, until), names)))

    def say(self, line: str) -> None:
        """Say it once, however many attempts it takes."""
        with self._speaking:
            if line not in self._said:
                self._said.add(line)
                self._say(line)

    def _holds_members(self, name: str) -> bool:
        return os.path.isdir(os.path.join(resource_dir(self._state, name), "members"))

    def _decided(self, resource: str, until: float) -> bool:
        """Attempts on one resource until it is decided or the time is over."""
        pause = _PAUSES[0]
        while True:
            try:
                undecided = self._attempt(resource)
            except Exception as error:  # libvirt and the operating system have many words for "no"
                undecided = error.msg if isinstance(error, EnsembleError) else f"{type(error).__name__}: {error}"
            if not undecided:
                return True
            left = until - time.monotonic()
            if left <= 0:
                self.say(f"{resource}: undecided, no more attempts: {undecided}")
                return False
            self.say(f"{resource}: undecided, trying again: {undecided}")
            self._pause(min(pause, left))
            pause = min(_PAUSES[1], pause * 2)

    def _attempt(self, resource: str) -> str:
        """Decide and start what is to be started; why that was not possible, empty when it was."""
        if not any(self._waits(domain) for domain in self._found(resource)):
            return self._carry_out(resource, "", Record())
        voters = VotersFile(self._state, resource).read()
        if voters is None:
            return "nobody has told this hypervisor who keeps the record; start the resource once from a controller"
        with alone(self._state, resource, LOCK_TIMEOUT):
            answers = self._answers(voters, resource)
            record = settled(voters, answers)
            if record is not None:
                return self._carry_out(resource, voters.me, record)
        faults = [f"{name}: {answer.msg}" for name, answer in answers.items() if isinstance(answer, EnsembleError)]
        count = len(voters.voters)
        return (
            f"{count - len(faults)} of {count} voters answered, {voters.majority} must; nothing was started "
            f"({'; '.join(faults)})"
        )

    @staticmethod
    def _waits(domain: Found) -> bool:
        return domain.record.get("autostart") is True and domain.state in _DOWN

    def _carry_out(self, resource: str, me: str, record: Record) -> str:
        """Start what is decided upon; the failures, empty when there are none."""
        failures = []
        for decision in decide(me, self._found(resource), record):
            where = f"{resource}/{decision.member}"
            if not decision.start:
                self.say(f"{where}: not started: {decision.why}")
                continue
            try:
                Arming(self._state, self._run_dir, resource).forgive(decision.member)
                self._drivers[decision.driver].start(resource, decision.member)
                self.say(f"{where}: started")
            except Exception as error:  # the others shall start all the same
                failures.append(f"{decision.member} did not start: {error}")
        return "; ".join(failures)

    def _found(self, resource: str) -> list[Found]:
        """The resource's domains here.

        Raises:
            EnsembleError: a driver that has disks of its members does not answer.
        """
        found = []
        for name, driver in self._drivers.items():
            if not driver.artefacts(resource):
                continue  # it may not even be installed
            for entry in driver.domains():
                record = entry["record"]
                if record is not None and record.get("resource") == resource:
                    found.append(Found(name, entry["state"], record))
        return found

    def _answers(self, voters: Voters, resource: str) -> dict[str, t.Mapping[str, t.Any] | EnsembleError]:
        """Each voter's record, or why there is none; all asked side by side."""

        def one(voter: VoterAddress) -> t.Mapping[str, t.Any] | EnsembleError:
            try:
                if voter.name == voters.me:
                    return Records(self._state, resource).read()
                return self._ask(voter, resource)
            except EnsembleError as error:
                return error

        with concurrent.futures.ThreadPoolExecutor(len(voters.voters)) as pool:
            return dict(zip((voter.name for voter in voters.voters), pool.map(one, voters.voters)))
