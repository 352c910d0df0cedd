# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The voters, asked side by side over sessions that last: one thread and one session each."""

from __future__ import annotations

import functools
import queue
import threading
import time
import typing as t

from .._election.quorum import Answers, Ask
from .._model.errors import EnsembleError, HypervisorError
from .._pool.session import Session

#: when a majority has answered, the others get this much longer: seconds, and times what the majority took
_GRACE_S, _GRACE_TIMES = 0.3, 3.0
#: seconds that the threads get to end
_CLOSE_S = 1.0
#: seconds that a session gets to be opened and to answer for the first time. A busy host begins its host program
#: later than it answers; if each late one were given up, those who open another would keep it busy for ever.
FIRST_S = 5.0

#: questions that a voter may have before it: one may be decided without its answer
_MAX_OWED = 2

#: errors that say more than that a host does not answer: a person has to settle them
UNTRUSTED = ("host_key_unknown", "host_key_changed", "no_access", "no_key")

Verbs = t.Sequence[t.Mapping[str, t.Any]]
Results = t.List[t.Dict[str, t.Any]]
#: voter -> the results of a batch in the order of its verbs, or why there are none
Batches = t.Mapping[str, "Results | EnsembleError"]


class Link:
    """One voter.

    Args:
        connect: opens a session of its own.
        shared: the session of somebody else's work, used until `part` is called: another host program costs as much as
            all that a converged run asks.
    """

    def __init__(self, name: str, connect: t.Callable[[], Session], shared: Session | None = None) -> None:
        self.name = name
        self._connect = connect
        self._shared = shared
        self._own: Session | None = None
        self._has_answered = False
        self._jobs: queue.SimpleQueue[t.Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._owed = 0
        self._guard = threading.Lock()

    def part(self) -> None:
        """From now on over a session of its own, since renewal must not wait for the work."""
        self._shared = None

    def post(
        self, verbs: Verbs, timeout: float, common: t.Mapping[str, t.Any], reply: t.Callable[[t.Any], None]
    ) -> None:
        """Ask in the background; the reply is a list of results or an EnsembleError, and comes at any time."""
        with self._guard:
            full = self._owed >= _MAX_OWED
            self._owed += not full
        if full:
            reply(HypervisorError(f"{self.name} still owes the answers to {_MAX_OWED} questions"))
            return

        def job() -> None:
            outcome = self._batch(verbs, timeout, common)
            with self._guard:
                self._owed -= 1
            reply(outcome)

        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"voter {self.name}", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                break
            job()
        self._drop()

    def _batch(self, verbs: Verbs, timeout: float, common: t.Mapping[str, t.Any]) -> t.Any:
        borrowed = self._shared is not None
        try:
            session = self._session()
            patience = timeout if borrowed or self._has_answered else max(timeout, FIRST_S)
            found = session.batch(verbs, patience, **common)
            self._has_answered = True
            return found
        except HypervisorError as error:
            self._drop()
            # the work's session may have broken long ago; all that voters are asked may be asked twice
            again = borrowed and error.code != "hypervisor_timeout"
            return self._batch(verbs, timeout, common) if again else error
        except BaseException as error:  # raised where the question was asked, not lost in this thread
            return error

    def _session(self) -> Session:
        if self._shared is not None:
            return self._shared
        if self._own is None:
            self._own = self._connect()
            self._has_answered = False
        return self._own

    def _drop(self) -> None:
        """A session that broke is not used again; the next question opens one anew."""
        self._shared = None
        if self._own is not None:
            self._own.close()
            self._own = None

    def close(self) -> None:
        """End the session of its own, if there is one."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(_CLOSE_S)
            self._thread = None


class Links:
    """All voters of one resource; implements `Voters` of the protocol.

    Args:
        timeout: seconds for one question (op_timeout).

    Attributes:
        untrusted: voters that are not trusted, or do not trust us -> what a person has to settle.
    """

    def __init__(self, resource: str, links: t.Sequence[Link], timeout: float) -> None:
        self._resource = resource
        self._links = tuple(links)
        self.untrusted: dict[str, EnsembleError] = {}
        self.timeout = timeout

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(link.name for link in self._links)

    @property
    def needed(self) -> int:
        """Voters that make a majority."""
        return len(self._links) // 2 + 1

    def ask(self, question: Ask, timeout: float | None = None) -> Answers:
        """Every voter's answer to one verb, or in words why there is none.

        Args:
            timeout: seconds for it, where op_timeout is not meant.
        """

        def seen(batches: Batches) -> Answers:
            return {name: _first(batch) for name, batch in batches.items()}

        return seen(
            self.batch(
                [{"verb": question.verb, **question.fields}],
                enough=lambda batches: question.enough(seen(batches)),
                nearly=lambda batches: question.nearly(seen(batches)),
                timeout=timeout,
            )
        )

    def batch(
        self,
        verbs: Verbs | t.Mapping[str, Verbs],
        enough: t.Callable[[Batches], bool] = lambda _batches: False,
        nearly: t.Callable[[Batches], bool] = lambda _batches: False,
        timeout: float | None = None,
        **common: t.Any,
    ) -> Batches:
        """A batch of verbs for all voters, or one for each that is named.

        Args:
            timeout: seconds for it, where op_timeout is not meant.
            common: generation and token.
        """
        per_voter = verbs if isinstance(verbs, t.Mapping) else dict.fromkeys(self.names, verbs)
        asked = [link for link in self._links if link.name in per_voter]
        replies: queue.SimpleQueue[tuple[str, t.Any]] = queue.SimpleQueue()
        begun = time.monotonic()
        timeout = self.timeout if timeout is None else timeout
        for link in asked:
            reply = functools.partial(_put, replies, link.name)
            link.post(per_voter[link.name], timeout, {"resource": self._resource, **common}, reply)
        found: dict[str, Results | EnsembleError] = {}
        until = begun + timeout
        while len(found) < len(asked):
            try:
                name, outcome = replies.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if not isinstance(outcome, (list, EnsembleError)):
                raise outcome
            found[name] = outcome
            if isinstance(outcome, EnsembleError) and outcome.code in UNTRUSTED:
                self.untrusted[name] = outcome
            if enough(found):
                return found  # nobody waits for the rest, so nothing is said of it
            if nearly(found):
                took = time.monotonic() - begun
                until = min(until, time.monotonic() + _GRACE_S + _GRACE_TIMES * took)
        for link in asked:
            late = HypervisorError(f"{link.name} had not answered after {time.monotonic() - begun:.1f} s")
            found.setdefault(link.name, late)
        return found

    def part(self) -> None:
        """From now on over sessions of their own."""
        for link in self._links:
            link.part()

    def close(self) -> None:
        """End all sessions that are not somebody else's."""
        for link in self._links:
            link.close()


def _put(replies: queue.SimpleQueue[tuple[str, t.Any]], name: str, outcome: t.Any) -> None:
    replies.put((name, outcome))


def _first(batch: Results | EnsembleError) -> t.Mapping[str, t.Any] | str:
    """The value of a batch's only verb, or why there is none."""
    if isinstance(batch, EnsembleError):
        return batch.msg
    result = batch[0]
    return t.cast("t.Mapping[str, t.Any]", result["value"]) if result["ok"] else str(result["error"]["msg"])
