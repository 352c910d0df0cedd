# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The quorum lease for real: the protocol, driven over whatever reaches the voters."""

from __future__ import annotations

import threading
import typing as t

from .._model.errors import LeaseError
from .quorum import Answers, Ask, Held, QuorumProtocol, Step
from .store import Identity, Lease, Token, View

_R = t.TypeVar("_R")


class Voters(t.Protocol):
    """All voters, asked side by side."""

    @property
    def names(self) -> t.Sequence[str]: ...

    def ask(self, question: Ask) -> Answers:
        """Every voter's answer or why there is none, within a deadline of its own."""

    def close(self) -> None: ...


def drive(step: Step[_R], ask: t.Callable[[Ask], Answers]) -> _R:
    """Run a step of the protocol to its end."""
    try:
        question = next(step)
        while True:
            question = step.send(ask(question))
    except StopIteration as end:
        return t.cast("_R", end.value)


class QuorumLease(Lease):
    """A lease on a majority of voters; safe to share between the thread that works and the one that renews.

    Attributes:
        founding: it is the first lease of all: the voters are to be pinned before anything else is done.
    """

    def __init__(
        self,
        voters: Voters,
        epoch: int,
        identity: Identity,
        ttl: float,
        clock: t.Callable[[], float],
        config: str = "",
    ) -> None:
        super().__init__(identity, ttl, clock)
        self._voters = voters
        self._protocol = QuorumProtocol(voters.names, epoch, identity, ttl, clock, config)
        self._guard = threading.Lock()
        self.founding = False

    def acquire(self) -> None:
        drive(self.acquiring(), self._voters.ask)

    def renew(self) -> None:
        drive(self.renewing(), self._voters.ask)

    def release(self) -> None:
        drive(self.releasing(), self._voters.ask)

    def acquiring(self) -> Step[None]:
        """A campaign that fails gives back all that this session holds, so nothing is believed from its start on."""
        self._give_up()
        held = yield from self._protocol.acquiring()
        with self._guard:
            self._keep(held)

    def renewing(self) -> Step[None]:
        """What is left of the lease stays when that fails; one that was given back meanwhile is not revived."""
        token = self.token
        if not token[1]:
            raise LeaseError("there is no lease to renew", code="lease_lost")
        held = yield from self._protocol.renewing(token[1])
        with self._guard:
            if self.token != token:
                raise LeaseError("the lease was given back while it was renewed", code="lease_lost")
            self._keep(held)

    def releasing(self) -> Step[None]:
        term = self._give_up()
        yield from self._protocol.releasing(term)

    def adopt(self, token: Token) -> None:
        held, session, ttl = drive(self._protocol.adopting(token), self._voters.ask)
        with self._guard:
            self.identity, self.ttl = Identity(session, self.identity.holder), ttl
            self._protocol.identity, self._protocol.ttl = self.identity, ttl
            self._keep(held)

    def _give_up(self) -> int:
        """Believe in no lease any more. Returns the term that it had."""
        with self._guard:
            term, self.token, self._until = self.token[1], (0, 0), 0.0
        return term

    def _keep(self, held: Held) -> None:
        """The caller holds the guard."""
        self.token, self.quorum, self.wanted = held.token, held.quorum, held.wanted
        self.founding = self.founding or held.founding
        self._hold(held.begun, held.share)

    def view(self) -> View:
        return drive(self._protocol.viewing(), self._voters.ask)

    def wish(self, seconds: float, person: bool) -> None:
        drive(self._protocol.wishing(seconds, person), self._voters.ask)

    def close(self) -> None:
        self._voters.close()
