# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What every lease store offers, whatever keeps the lease: the one small interface behind which they stand."""

from __future__ import annotations

import abc
import typing as t
from dataclasses import dataclass, field

from .._model.errors import LeaseError

#: (config epoch, term or create revision), compared in that order: what a target checks before it obeys
Token = t.Tuple[int, int]
#: share of the ttl within which a majority must have answered (rule 6): leaves room for clock drift
SAFE_SHARE = 0.95


@dataclass(frozen=True)
class Identity:
    """Who asks.

    Attributes:
        session: node + boot + run, joined by slashes, never the node alone.
        holder: what a person reads.
    """

    session: str
    holder: str

    @property
    def node(self) -> str:
        return node_of(self.session)


def node_of(session: str) -> str:
    """The node id in a session; empty when there is none."""
    return session.split("/", 1)[0]


@dataclass(frozen=True)
class Quorum:
    """How the voters answered.

    Attributes:
        needed: votes that make a majority of the configured voters.
        acks: voters that answered and have their memory.
        silent: the others -> why.
    """

    needed: int
    acks: int
    silent: t.Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, t.Any]:
        return {"needed": self.needed, "acks": self.acks, "silent": dict(self.silent)}


@dataclass(frozen=True)
class Wanted:
    """Somebody wants the lease (rule 11).

    Attributes:
        person: it is a person's run; else a candidate that is to be preferred.
        for_s: seconds since it was first said.
    """

    session: str
    holder: str
    person: bool
    for_s: float


@dataclass(frozen=True)
class View:
    """A lease as its store tells of it; `session` and `holder` are empty while nobody holds it."""

    session: str
    holder: str
    token: Token
    expires_in: float
    quorum: Quorum
    wanted: Wanted | None = None


class Lease(abc.ABC):
    """One session's lease on one resource.

    Args:
        ttl: seconds.
        clock: monotonic, in seconds, and counts suspension.
    """

    def __init__(self, identity: Identity, ttl: float, clock: t.Callable[[], float]) -> None:
        self.identity = identity
        self.ttl = ttl
        self.clock = clock
        self.token: Token = (0, 0)
        self.quorum = Quorum(0, 0)
        self.wanted: Wanted | None = None
        self._until = 0.0

    def remaining(self) -> float:
        """Seconds for which nobody else can hold the lease; the fencing token is valid for as long."""
        return max(0.0, self._until - self.clock())

    def require(self, seconds: float) -> None:
        """Make sure that the lease covers the next request.

        Raises:
            LeaseError: `lease_lost`.
        """
        if self.remaining() < seconds:
            self.renew()
        if self.remaining() < seconds:
            raise LeaseError("the lease was lost: its voters answer too late to renew it in time", code="lease_lost")

    def _hold(self, begun: float, seconds: float) -> None:
        """The lease covers so many seconds from a moment before the request was sent, less the margin."""
        self._until = max(self._until, begun + SAFE_SHARE * seconds)

    @abc.abstractmethod
    def acquire(self) -> None:
        """Win a new term.

        Raises:
            LeaseError: `lease_held` naming the holder, `no_quorum`, `amnesiac` or `new_epoch`; nothing was changed.
        """

    @abc.abstractmethod
    def renew(self) -> None:
        """Extend the lease; what is left of it stays when that fails, unless it is sure that somebody else has it.

        Raises:
            LeaseError: `lease_lost`, somebody else has it or no majority answers.
        """

    @abc.abstractmethod
    def adopt(self, token: Token) -> None:
        """Take part in a lease that the caller's own leader holds, by its fencing token.

        Raises:
            LeaseError: `lease_lost`, it is not valid any more; `no_quorum`.
        """

    @abc.abstractmethod
    def release(self) -> None:
        """Give the lease back where somebody answers; elsewhere it expires by itself."""

    @abc.abstractmethod
    def view(self) -> View:
        """What the store says; writes nothing.

        Raises:
            LeaseError: `no_quorum`.
        """

    @abc.abstractmethod
    def wish(self, seconds: float, person: bool) -> None:
        """Tell the holder that this session wants the lease, for so many seconds; 0 takes it back."""

    @abc.abstractmethod
    def close(self) -> None:
        """End the connections; may be repeated."""
