# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Errors with data: raised in any layer, shown to a person in one place only (`_module`)."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass


class EnsembleError(Exception):
    """Base of every expected failure.

    Attributes:
        code: stable short identifier, e.g. ``stale_token``; tests and callers match on this, never on the text.
        msg: what is wrong, where, and what to do, in one message.
        details: JSON-serialisable data behind the message.
    """

    code = "error"

    def __init__(self, msg: str, *, code: str | None = None, **details: t.Any) -> None:
        super().__init__(msg)
        self.msg = msg
        self.details = details
        if code is not None:
            self.code = code

    def as_dict(self) -> dict[str, t.Any]:
        """The error as plain data, as it travels between the host program and its client."""
        return {"code": self.code, "msg": self.msg, "details": self.details}


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a declaration: where, what was found and what was expected there."""

    path: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path}: found {self.found}, expected {self.expected}"


class DeclarationError(EnsembleError):
    """A declaration with faults; all of them are reported together."""

    code = "invalid_declaration"

    def __init__(self, source: str, faults: t.Sequence[Fault]) -> None:
        lines = "".join(f"\n  - {fault}" for fault in faults)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(
            f"{source}: {count} in the declaration; nothing was changed.{lines}",
            source=source,
            faults=[vars(fault) for fault in faults],
        )
        self.faults = tuple(faults)


class HypervisorError(EnsembleError):
    """A hypervisor did not answer, was not trusted, or answered with an error."""

    code = "hypervisor_unreachable"


class RefusedError(EnsembleError):
    """The host program refused a request and changed nothing."""

    code = "refused"


class PlanError(EnsembleError):
    """What is declared cannot be reached from what is observed; nothing was touched."""

    code = "no_plan"


class WaitError(EnsembleError):
    """A wait ended without its condition: its deadline passed, or the state can no longer become right."""

    code = "wait_failed"


class LeaseError(EnsembleError):
    """The lease of the resource is held by somebody else, or was lost."""

    code = "lease_held"
