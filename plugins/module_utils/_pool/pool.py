# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""All sessions of one run: opened in parallel, kept open, closed together."""

from __future__ import annotations

import concurrent.futures
import contextlib
import typing as t

from .._model.declaration import Hypervisor
from .._model.errors import EnsembleError, HypervisorError
from .session import Session

#: hypervisors spoken to at the same time
WIDTH = 16

#: errors that say no more than that a machine does not answer
SILENT_CODES = ("hypervisor_unreachable", "hypervisor_timeout")

_T = t.TypeVar("_T")
_R = t.TypeVar("_R")

Connect = t.Callable[[Hypervisor], Session]


def in_parallel(work: t.Callable[[_T], _R], items: t.Sequence[_T], width: int = WIDTH) -> list[_R | EnsembleError]:
    """Results or expected errors in the order of the items; anything else is raised."""

    def guarded(item: _T) -> _R | EnsembleError:
        try:
            return work(item)
        except EnsembleError as error:
            return error

    if not items:
        return []
    with concurrent.futures.ThreadPoolExecutor(min(width, len(items))) as executor:
        return list(executor.map(guarded, items))


def raise_together(outcomes: t.Iterable[t.Any]) -> None:
    """Raise one error for all the errors among some outcomes.

    Raises:
        EnsembleError: with every message; code and details of the first.
    """
    errors = [outcome for outcome in outcomes if isinstance(outcome, EnsembleError)]
    if not errors:
        return
    if len(errors) == 1:
        raise errors[0]
    message = f"{len(errors)} faults:" + "".join(f"\n  - {error.msg}" for error in errors)
    raise EnsembleError(message, code=errors[0].code, errors=[error.as_dict() for error in errors])


class Pool:
    """The hypervisors of a resource, each with one session.

    Attributes:
        silent: those that did not answer -> why; only a tolerant pool opens without them. One that is not trusted, or
            does not trust us, is no silent one.
    """

    def __init__(self, hypervisors: t.Sequence[Hypervisor], connect: Connect, tolerant: bool = False) -> None:
        self.hypervisors = tuple(hypervisors)
        self._connect = connect
        self._tolerant = tolerant
        self.sessions: dict[str, Session] = {}
        self.silent: dict[str, str] = {}

    def __enter__(self) -> Pool:
        outcomes = in_parallel(self._connect, self.hypervisors)
        for outcome in outcomes:
            if isinstance(outcome, Session):
                self.sessions[outcome.hypervisor] = outcome
        try:
            raise_together(self.without_silent(dict(zip((hv.name for hv in self.hypervisors), outcomes))).values())
        except EnsembleError as error:
            self.close()
            raise HypervisorError(f"{error.msg} Nothing was changed.", code=error.code, **error.details) from error
        return self

    def without_silent(self, outcomes: t.Mapping[str, _R | EnsembleError]) -> dict[str, _R | EnsembleError]:
        """What is left of the outcomes, by hypervisor; those that did not answer are noted, if that is tolerated."""
        left = dict(outcomes)
        for name, outcome in outcomes.items():
            quiet = isinstance(outcome, EnsembleError) and outcome.code in SILENT_CODES
            if quiet and self._tolerant:
                self.silent[name] = f"{t.cast(EnsembleError, left.pop(name)).msg}."
                session = self.sessions.pop(name, None)
                if session is not None:
                    session.close()
        return left

    def __exit__(self, *_exc: t.Any) -> None:
        self.close()

    def close(self) -> None:
        """Close every session."""
        for session in self.sessions.values():
            session.close()
        self.sessions.clear()

    def reconnect(self, name: str) -> Session:
        """A second session to one hypervisor, for work beside the first; the caller closes it.

        It shares the first one's connection where it can: a handshake costs as much as all that a converged run asks.
        """
        beside = None
        with contextlib.suppress(HypervisorError):  # a server that allows one channel only, or it broke: so anew
            beside = self.sessions[name].beside() if name in self.sessions else None
        return beside or self._connect(next(hv for hv in self.hypervisors if hv.name == name))

    def reopen(self) -> None:
        """Try once more to reach those that are silent; for somebody who looks again and again."""
        names = [hv for hv in self.hypervisors if hv.name in self.silent]
        for hv, outcome in zip(names, in_parallel(self._connect, names)):
            if isinstance(outcome, Session):
                self.sessions[hv.name] = outcome
                del self.silent[hv.name]

    def each(
        self, work: t.Callable[[Session], _R], names: t.Sequence[str] | None = None
    ) -> dict[str, _R | EnsembleError]:
        """Work on hypervisors side by side; hypervisor name -> result or expected error.

        One that is named and has fallen silent since is an error: what it was meant to do is not done.
        """
        chosen = [name for name in self.sessions if names is None or name in names]
        found: dict[str, _R | EnsembleError] = dict(
            zip(chosen, in_parallel(lambda name: work(self.sessions[name]), chosen))
        )
        for name in set(names or ()) - set(chosen):
            found[name] = HypervisorError(self.silent.get(name, f"{name} is not connected."), hypervisor=name)
        return found
