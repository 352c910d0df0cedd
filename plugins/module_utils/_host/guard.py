# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members of which no leader is heard any more are destroyed, so that they can be made anew elsewhere without doubt.

A long-lived process watches the time and needs nothing else. Where a resource's time is over it starts a process that
decides again under the resource's lock, destroys and ends; when libvirt hangs that process is killed and started anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import typing as t

from .._model.identity import RESOURCE_NAME
from .armed import Armed, Arming
from .drivers.base import Driver
from .fence import alone
from .files import BusyError, CorruptStateError
from .notify import notify

#: seconds between two looks: a share of the shortest time that is armed, and at most so many
_SHARE, _PAUSE = 20.0, 5.0
#: seconds between two looks while a process is at work
_BUSY_PAUSE = 0.2
#: seconds after which a process that destroys is given up
DEADLINE = 20.0
#: seconds that it gives libvirt's every driver, less than its own
CALL_TIMEOUT = 10.0
#: seconds for which it waits for a batch that is at work
LOCK_TIMEOUT = 0.5
#: processes at work side by side
_WIDTH = 4
#: states of a domain in which nothing of it runs
_DOWN = ("shutoff", "crashed")

Say = t.Callable[[str], None]


class Child(t.Protocol):
    """A process that is at work on one resource."""

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""

    def kill(self) -> None:
        """End it at once."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code."""


def start_child(resource: str) -> Child:
    """This program once more, for one resource; what it says goes where ours goes."""
    return subprocess.Popen([sys.executable, os.path.abspath(sys.argv[0]), "--guard", resource])


# -- the process that watches


class Guard:
    """The service.

    Args:
        say: takes one line for the journal.
        start: begins the work on one resource.
        clock: seconds that only go forward, for the deadline of that work.
    """

    def __init__(
        self,
        state: str,
        run_dir: str,
        say: Say,
        start: t.Callable[[str], Child] = start_child,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self._run_dir = state, run_dir
        self._say = say
        self._start = start
        self._clock = clock
        self._at_work: dict[str, tuple[Child, float]] = {}
        self._said: dict[str, str] = {}

    def run(self) -> t.NoReturn:
        """Watch until the process is ended."""
        notify("READY=1")
        while True:
            pause = self.look()
            notify("WATCHDOG=1")
            time.sleep(pause)

    def look(self) -> float:
        """Look once at every resource that is armed; the seconds until the next look."""
        self._reap()
        pause = _PAUSE
        for resource in self._resources():
            try:
                arming = Arming(self._state, self._run_dir, resource)
                armed = arming.armed()
                if armed is None:
                    continue
                pause = min(pause, armed.ttl / _SHARE)
                silence = arming.silence()
                self._said.pop(resource, None)
            except (CorruptStateError, OSError, KeyError, TypeError, ValueError) as error:
                self._complain(resource, f"{resource}: not guarded: {error}")
                continue
            if silence >= armed.ttl and resource not in self._at_work and len(self._at_work) < _WIDTH:
                self._at_work[resource] = (self._start(resource), self._clock() + DEADLINE)
        return min(pause, _BUSY_PAUSE) if self._at_work else pause

    def _reap(self) -> None:
        """Forget processes that ended, and end those that do not."""
        for resource, (child, until) in list(self._at_work.items()):
            if child.poll() is None and self._clock() >= until:
                self._say(f"{resource}: libvirt did not answer within {DEADLINE:g} s; trying again")
                child.kill()
                child.wait()
            if child.poll() is not None:
                del self._at_work[resource]

    def _resources(self) -> list[str]:
        names = os.listdir(self._state) if os.path.isdir(self._state) else []
        return sorted(name for name in names if RESOURCE_NAME.fullmatch(name))

    def _complain(self, resource: str, line: str) -> None:
        """Say it when it is new."""
        if self._said.get(resource) != line:
            self._said[resource] = line
            self._say(line)


# -- the process that destroys


def carry_out(drivers: t.Mapping[str, Driver], state: str, run_dir: str, resource: str, say: Say) -> bool:
    """Destroy the members of one resource when their time is over; false when some may run yet: to be tried again.

    Nothing is done while a batch is at work, and no batch is let in between the decision and the deed.
    """
    try:
        with alone(state, resource, LOCK_TIMEOUT):
            return _alone(drivers, Arming(state, run_dir, resource), resource, say)
    except BusyError:
        return False  # a leader is at work here


def _alone(drivers: t.Mapping[str, Driver], arming: Arming, resource: str, say: Say) -> bool:
    armed, silence = arming.armed(), arming.silence()
    if armed is None or silence < armed.ttl:
        return True  # a leader was heard meanwhile
    work = [
        _Work(name, lambda driver=driver: _end(driver, arming, resource, armed, silence, say), say)  # type: ignore[misc]
        for name, driver in drivers.items()
    ]
    until = time.monotonic() + CALL_TIMEOUT
    for each in work:
        each.start()
    ended = [each.done(resource, until, _needed(drivers[each.name], resource)) for each in work]
    return all(ended)


def _needed(driver: Driver, resource: str) -> bool:
    """Whether it must be able to tell its domains: one that has no disks here may not even be installed."""
    try:
        return bool(driver.artefacts(resource))
    except CorruptStateError:
        return True


def _end(driver: Driver, arming: Arming, resource: str, armed: Armed, silence: float, say: Say) -> None:
    """Destroy what one driver has; each member beside the others, so that one that hangs holds up nobody."""
    members = [
        str(record["member"])
        for entry in driver.domains()
        for record in [entry["record"] or {}]
        if record.get("resource") == resource and record.get("member") in armed.members and entry["state"] not in _DOWN
    ]
    if not members:
        return
    try:
        arming.condemn(members)
    except OSError as error:  # a full disk saves nobody
        say(f"{resource}: cannot be noted for the next leader: {error}")
    failures: list[str] = []

    def one(member: str) -> None:
        try:
            driver.stop(resource, member, 0)
            say(f"{resource}/{member}: destroyed: no leader was heard for {silence:.1f} s ({armed.ttl:g} s allowed)")
        except Exception as error:  # the others shall end all the same
            failures.append(f"{member} was not destroyed: {error}")

    threads = [threading.Thread(target=one, args=(member,), daemon=True) for member in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError("; ".join(failures))


class _Work(threading.Thread):
    """What is done through one driver; a call that hangs is left behind with this process."""

    def __init__(self, driver: str, task: t.Callable[[], None], say: Say) -> None:
        super().__init__(daemon=True)
        self.name = driver
        self._task = task
        self._say = say
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._task()
        except Exception as error:  # libvirt and the operating system have many words for "no"
            self._error = error

    def done(self, resource: str, until: float, needed: bool) -> bool:
        """Whether it ended well by then, as far as it is needed."""
        self.join(max(0.0, until - time.monotonic()))
        if self.is_alive():
            self._say(f"{resource}: {self.name}: libvirt did not answer within {CALL_TIMEOUT:g} s; trying again")
            return False
        if self._error is not None and needed:
            self._say(f"{resource}: {self.name}: {self._error}; trying again")
        return self._error is None or not needed
