# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What a leader that watches members asks of a hypervisor: to guard them, and whether they answer from there."""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._model.errors import EnsembleError, RefusedError
from .._model.identity import MEMBER_NAME
from .._model.monitor import MIN_MEMBER_TTL
from .._model.reader import Section
from .armed import Armed, Arming
from .drivers.base import Driver
from .fields import Batch, checked

MAX_MEMBER_TTL = 86400
_FOREVER = 1e12
#: seconds after which a member that says nothing does not answer
MAX_SIGN_S = 5.0

Verb = t.Callable[[Batch, Section], t.Any]


class GuardVerbs:
    """The guard of every resource, and the members' signs of life."""

    def __init__(self, state: str, run_dir: str, drivers: t.Mapping[str, Driver]) -> None:
        self._state = state
        self._run_dir = run_dir
        self._drivers = drivers

    def verbs(self) -> dict[str, Verb]:
        """Name -> what to do."""
        return {"keepalive": self._keepalive, "sign": self._sign}

    def of(self, resource: str) -> Arming:
        """What is armed for a resource."""
        return Arming(self._state, self._run_dir, resource)

    def heard(self, batch: Batch) -> None:
        """Whoever was let in to change members leads: those that it starts must not end under its hands."""
        with contextlib.suppress(EnsembleError, OSError):  # only a keepalive must be kept
            guard = self.of(batch.resource)
            if guard.armed() is not None:
                guard.hear(batch.arrived)

    def _keepalive(self, batch: Batch, section: Section) -> t.Any:
        """Without a member_ttl what is armed stays; 0 disarms."""
        ends = section.raw("member_ttl") == 0
        ttl = section.number("member_ttl", MIN_MEMBER_TTL, 0 if ends else MIN_MEMBER_TTL, MAX_MEMBER_TTL)
        keeps = section.raw("member_ttl") is None
        members = section.names("relocatable", MEMBER_NAME, "a member's name")
        clock = section.number("clock", -1, 0, _FOREVER)
        elapsed = section.number("elapsed", 0, 0, _FOREVER)
        checked(section)
        guard = self.of(batch.resource)
        if ends or (keeps and guard.armed() is None):
            guard.arm(None)
            return {"clock": batch.arrived}
        # it counts from when it was sent, and not at all where that is not known yet, unless it is the first of all
        if clock >= 0 or guard.heard() is None:
            guard.hear(min(batch.arrived, clock + elapsed) if clock >= 0 else batch.arrived)
        if not keeps:
            guard.arm(Armed(ttl, tuple(sorted(members))))
        return {"clock": batch.arrived}

    def _sign(self, batch: Batch, section: Section) -> t.Any:
        member = section.text("member", pattern=MEMBER_NAME, what="a member's name")
        address = section.address("address")
        port = section.integer("port", 22, 1, 65535)
        timeout = section.number("timeout", MAX_SIGN_S, 0.1, MAX_SIGN_S)
        checked(section)
        driver, record = self._record(batch.resource, member)
        lives = record.get("spec", {}).get("address")
        if address != lives:
            raise RefusedError(
                f"member {member} of {batch.resource} was made for {lives}, not for {address}: nothing else is asked",
                code="foreign_address",
            )
        begun = time.monotonic()
        ok, detail = driver.answers(batch.resource, member, str(address), port, timeout)
        return {"ok": ok, "detail": detail, "seconds": round(time.monotonic() - begun, 3)}

    def _record(self, resource: str, member: str) -> tuple[Driver, t.Mapping[str, t.Any]]:
        """The member's driver here, and its ownership record.

        Raises:
            EnsembleError: `no_domain`; `foreign`; or a driver does not answer that might have it.
        """
        failures = []
        for driver in self._drivers.values():
            try:
                record = driver.record(resource, member)
            except RefusedError:
                raise
            except EnsembleError as error:
                failures.append(error)
                continue
            if record is not None:
                return driver, record
        if failures and len(failures) == len(self._drivers):
            raise failures[0]
        raise EnsembleError(f"member {member} of {resource} has no domain here", code="no_domain")
