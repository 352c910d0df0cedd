# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A lease on a majority of voters: clock and voters are injected, so that the protocol can be driven by a simulator.

With one voter this is a plain lease on that host. The rules are numbered in docs/election.md.
"""

from __future__ import annotations

import threading
import typing as t
from dataclasses import dataclass

from .._model.errors import EnsembleError, LeaseError

#: share of the ttl within which a majority must have answered (rule 6): leaves room for clock drift
SAFE_SHARE = 0.95
Token = t.Tuple[int, int]


class VoterClient(t.Protocol):
    """One voter as a controller sees it; every method may raise EnsembleError when it does not answer."""

    def read(self) -> t.Mapping[str, t.Any]:
        """term, session, holder, expires_in, config_epoch; writes nothing."""

    def request(self, term: int, session: str, holder: str, ttl: float) -> t.Mapping[str, t.Any]:
        """granted, reason and the same fields after the decision."""

    def release(self, session: str) -> t.Mapping[str, t.Any]:
        """The same fields after the release."""


@dataclass(frozen=True)
class Identity:
    """Who asks: `session` is node + boot + run, `holder` is what a person reads."""

    session: str
    holder: str


class Lease:
    """One session's lease on one resource. `clock` is monotonic, in seconds, and counts suspension."""

    def __init__(
        self, voters: t.Sequence[VoterClient], identity: Identity, ttl: float, clock: t.Callable[[], float]
    ) -> None:
        self._voters = voters
        self._identity = identity
        self._ttl = ttl
        self._clock = clock
        self._until = 0.0
        self._token: Token = (0, 0)
        self._guard = threading.Lock()
        self._silence: list[str] = []

    @property
    def token(self) -> Token:
        """(config epoch, term): the fencing token, valid while `remaining` is positive."""
        return self._token

    def remaining(self) -> float:
        """Seconds for which nobody else can hold the lease."""
        return max(0.0, self._until - self._clock())

    def acquire(self) -> None:
        """Win a new term on a majority of the configured voters.

        Raises:
            LeaseError: `lease_held` naming the holder, or `no_quorum`; nothing was changed then.
        """
        answers = self._ask(lambda voter: voter.read())
        self._need_majority(len(answers))
        held = [
            answer for answer in answers if answer["expires_in"] > 0 and answer["session"] != self._identity.session
        ]
        if held:
            raise _held(max(held, key=lambda answer: float(answer["expires_in"])))
        term = 1 + max(int(answer["term"]) for answer in answers)
        epoch = max(int(answer["config_epoch"]) for answer in answers)
        self._campaign(term, epoch)

    def _campaign(self, term: int, epoch: int) -> None:
        begun = self._clock()
        identity = self._identity
        answers = self._ask(lambda voter: voter.request(term, identity.session, identity.holder, self._ttl))
        granted = [answer for answer in answers if answer["granted"]]
        if len(granted) <= len(self._voters) // 2 or self._clock() > begun + SAFE_SHARE * self._ttl:
            silence = self._silence
            self.release()
            self._silence = silence  # why there was no majority, not who was told that it is over
            refused = [answer for answer in answers if not answer["granted"]]
            if refused and len(granted) <= len(self._voters) // 2:
                raise _held(refused[0])
            self._need_majority(len(granted))
            raise LeaseError(
                "the voters answered too late to hold the lease safely. Nothing was changed; look after the load of "
                "the hypervisors that vote, or declare a longer election.ttl.",
                code="no_quorum",
            )
        with self._guard:
            self._token = (epoch, term)
            self._until = begun + SAFE_SHARE * self._ttl

    def renew(self) -> None:
        """Extend the lease by a majority of the voters.

        Raises:
            LeaseError: `lease_lost`, the majority has another holder or does not answer.
        """
        begun = self._clock()
        term, identity = self._token[1], self._identity
        answers = self._ask(lambda voter: voter.request(term, identity.session, identity.holder, self._ttl))
        if sum(bool(answer["granted"]) for answer in answers) <= len(self._voters) // 2:
            raise LeaseError("the lease was lost: no majority of the voters renewed it", code="lease_lost")
        with self._guard:
            self._until = max(self._until, begun + SAFE_SHARE * self._ttl)

    def require(self, seconds: float) -> None:
        """Make sure that the lease covers the next request.

        Raises:
            LeaseError: `lease_lost`.
        """
        if self.remaining() < seconds:
            self.renew()
        if self.remaining() < seconds:
            raise LeaseError("the lease was lost: its voters answer too late to renew it in time", code="lease_lost")

    def release(self) -> None:
        """Give the lease back on every voter that answers; what does not answer expires by itself."""
        self._until = 0.0
        self._ask(lambda voter: voter.release(self._identity.session))

    def _ask(self, question: t.Callable[[VoterClient], t.Mapping[str, t.Any]]) -> list[t.Mapping[str, t.Any]]:
        answers = []
        self._silence = []
        for voter in self._voters:
            try:
                answers.append(question(voter))
            except EnsembleError as error:  # no vote; the majority counts configured voters
                self._silence.append(error.msg)
        return answers

    def _need_majority(self, count: int) -> None:
        if count <= len(self._voters) // 2:
            raise LeaseError(
                f"{count} of {len(self._voters)} voters answer, a majority is needed. Nothing was changed; look after "
                "the hypervisors that vote" + (": " + "; ".join(self._silence) if self._silence else "."),
                code="no_quorum",
                silent=list(self._silence),
            )


def _held(answer: t.Mapping[str, t.Any]) -> LeaseError:
    return LeaseError(
        f"{answer['holder'] or 'somebody'} is at work on this resource (for at most {answer['expires_in']:.0f} s more "
        "unless renewed). Nothing was changed; run again when it is done.",
        code="lease_held",
        holder=answer["holder"],
        expires_in=answer["expires_in"],
    )
