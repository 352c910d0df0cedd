# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Voters are asked side by side: the slow delay nobody for long, the broken are asked anew, nothing is swallowed."""

from __future__ import annotations

import threading
import time
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.quorum import Ask
from ansible_collections.ensemble.stacks.plugins.module_utils._engine import links as links_module
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.links import Batches, Link, Links
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError, HypervisorError
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session

LONG = 30.0
HELLO = [{"verb": "hello"}]


class Gate:
    """Sessions to one voter that answer when they are let.

    Attributes:
        opened: every session that was opened.
        asked: the verbs of each batch, with what is common to them.
        patience: seconds for which each of them was waited for.
        failing: raised by the next questions, first in first out; None answers.
    """

    def __init__(self, name: str, open_now: bool = True) -> None:
        self.name = name
        self.free = threading.Event()
        self.arrived = threading.Semaphore(0)
        if open_now:
            self.free.set()
        self.opened: list[GatedSession] = []
        self.asked: list[tuple[list[t.Any], dict[str, t.Any]]] = []
        self.patience: list[float] = []
        self.failing: list[BaseException | None] = []
        self.refuses = False

    def connect(self) -> Session:
        if self.refuses:
            raise HypervisorError(f"{self.name} does not let us in")
        self.opened.append(GatedSession(self))
        return t.cast(Session, self.opened[-1])


class GatedSession:
    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.closed = False

    def batch(self, verbs: t.Any, timeout: float, **common: t.Any) -> list[dict[str, t.Any]]:
        gate = self.gate
        gate.asked.append((list(verbs), common))
        gate.patience.append(timeout)
        gate.arrived.release()
        assert gate.free.wait(LONG)
        error = gate.failing.pop(0) if gate.failing else None
        if error is not None:
            raise error
        return [{"ok": True, "value": {"name": gate.name}} for _verb in verbs]

    def close(self) -> None:
        self.closed = True


class Voters:
    """Some gates and the links to them."""

    def __init__(self, *gates: Gate, timeout: float = LONG) -> None:
        self.gates = gates
        self.links = Links("demo", [Link(gate.name, gate.connect) for gate in gates], timeout)

    def batch(self, *args: t.Any, **more: t.Any) -> Batches:
        return self.links.batch(*args, **more)

    def close(self) -> None:
        for gate in self.gates:
            gate.free.set()
        self.links.close()


@pytest.fixture
def make() -> t.Iterator[t.Callable[..., Voters]]:
    made: list[Voters] = []

    def voters(*gates: Gate, **more: t.Any) -> Voters:
        made.append(Voters(*gates, **more))
        return made[-1]

    yield voters
    for one in made:
        one.close()


def three() -> tuple[Gate, Gate, Gate]:
    return Gate("a"), Gate("b"), Gate("c")


def silent(found: Batches) -> list[str]:
    return sorted(name for name, batch in found.items() if isinstance(batch, EnsembleError))


def test_all_are_asked_at_the_same_time(make: t.Callable[..., Voters]) -> None:
    gates = [Gate(name, open_now=False) for name in "abc"]
    voters = make(*gates)
    found: dict[str, t.Any] = {}
    asker = threading.Thread(target=lambda: found.update(voters.batch(HELLO, generation=3, token=[1, 2])))
    asker.start()
    for gate in gates:  # nobody has answered anybody yet
        assert gate.arrived.acquire(timeout=LONG)
    for gate in gates:
        gate.free.set()
    asker.join(LONG)
    assert sorted(found) == ["a", "b", "c"]
    assert gates[0].asked == [(HELLO, {"resource": "demo", "generation": 3, "token": [1, 2]})]


def test_only_those_are_asked_that_are_named(make: t.Callable[..., Voters]) -> None:
    gates = three()
    found = make(*gates).batch({"c": [{"verb": "one"}], "a": [{"verb": "two"}]})
    assert sorted(found) == ["a", "c"]
    assert [len(gate.asked) for gate in gates] == [1, 0, 1]
    assert gates[2].asked[0][0] == [{"verb": "one"}]


def test_who_does_not_answer_in_time_is_told_as_silent(make: t.Callable[..., Voters]) -> None:
    found = make(Gate("a"), Gate("b", open_now=False), timeout=0.2).batch(HELLO)
    assert silent(found) == ["b"]
    assert "b had not answered after 0.2 s" in str(found["b"])


def test_the_deadline_is_one_for_all(make: t.Callable[..., Voters]) -> None:
    begun = time.monotonic()
    found = make(*(Gate(name, open_now=False) for name in "abcde"), timeout=0.3).batch(HELLO)
    assert len(silent(found)) == 5
    assert time.monotonic() - begun < 5 * 0.3


def test_what_is_decided_waits_for_nobody(make: t.Callable[..., Voters]) -> None:
    begun = time.monotonic()
    found = make(Gate("a"), Gate("b"), Gate("c", open_now=False)).batch(HELLO, enough=lambda seen: len(seen) >= 2)
    assert sorted(found) == ["a", "b"], "and nothing is said of the rest"
    assert time.monotonic() - begun < LONG / 2


def test_what_is_nearly_decided_gives_the_rest_a_little_time(
    make: t.Callable[..., Voters], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that comes within the grace is heard, one that does not is not waited for."""
    monkeypatch.setattr(links_module, "_GRACE_S", LONG)
    late = Gate("c", open_now=False)
    asked_for_it = threading.Event()

    def nearly(seen: Batches) -> bool:
        if len(seen) == 2:
            asked_for_it.set()
            late.free.set()
        return len(seen) >= 2

    found = make(Gate("a"), Gate("b"), late).batch(HELLO, nearly=nearly)
    assert (silent(found), asked_for_it.is_set()) == ([], True)
    monkeypatch.setattr(links_module, "_GRACE_S", 0.05)
    begun = time.monotonic()
    found = make(Gate("a"), Gate("b"), Gate("c", open_now=False)).batch(HELLO, nearly=lambda seen: len(seen) >= 2)
    assert silent(found) == ["c"]
    assert time.monotonic() - begun < LONG / 2


def test_a_voter_owes_two_answers_at_most(make: t.Callable[..., Voters]) -> None:
    slow = Gate("a", open_now=False)
    voters = make(slow, timeout=0.05)
    for _question in range(2):
        assert "had not answered" in str(voters.batch(HELLO)["a"])
    begun = time.monotonic()
    assert "a still owes the answers to 2 questions" in str(make_patient(voters).batch(HELLO)["a"])
    assert time.monotonic() - begun < LONG / 2, "it is told at once"
    slow.free.set()
    deadline = time.monotonic() + LONG
    while silent(voters.batch(HELLO)) and time.monotonic() < deadline:
        pass
    assert silent(make_patient(voters).batch(HELLO)) == [], "once it has answered it is asked again"


def make_patient(voters: Voters) -> Voters:
    """The same voters, waited for long."""
    voters.links.timeout = LONG
    return voters


def test_an_answer_that_comes_late_is_not_taken_for_the_next_ones(make: t.Callable[..., Voters]) -> None:
    slow = Gate("a", open_now=False)
    slow.failing = [EnsembleError("of the first question", code="first")]
    voters = make(slow, timeout=0.05)
    voters.batch(HELLO)
    slow.free.set()
    assert silent(make_patient(voters).batch(HELLO)) == []


def test_a_session_that_broke_is_closed_and_the_next_question_opens_another(make: t.Callable[..., Voters]) -> None:
    gate = Gate("a")
    voters = make(gate)
    voters.batch(HELLO)
    voters.batch(HELLO)
    assert len(gate.opened) == 1
    gate.failing = [HypervisorError("the connection broke")]
    assert "the connection broke" in str(voters.batch(HELLO)["a"])
    assert gate.opened[0].closed
    assert silent(voters.batch(HELLO)) == []
    assert [session.closed for session in gate.opened] == [True, False]


def test_a_session_that_is_new_gets_longer_for_its_first_answer(make: t.Callable[..., Voters]) -> None:
    """Else hosts that are busy would be asked to begin another session again and again, and never answer."""
    gate = Gate("a")
    voters = make(gate, timeout=0.5)
    voters.batch(HELLO)
    voters.batch(HELLO)
    gate.failing = [HypervisorError("too late", code="hypervisor_timeout")]
    for _time in range(3):
        voters.batch(HELLO)
    assert gate.patience == [links_module.FIRST_S, 0.5, 0.5, links_module.FIRST_S, 0.5]


def test_one_that_lets_nobody_in_is_silent_and_tried_again(make: t.Callable[..., Voters]) -> None:
    gate = Gate("a")
    voters = make(gate)
    gate.refuses = True
    for _time in range(3):
        assert "does not let us in" in str(voters.batch(HELLO)["a"])
    gate.refuses = False
    assert silent(voters.batch(HELLO)) == []


def test_a_refusal_is_an_answer_and_keeps_the_session(make: t.Callable[..., Voters]) -> None:
    gate = Gate("a")
    gate.failing = [EnsembleError("another leads", code="stale_token")]
    voters = make(gate)
    found = voters.batch(HELLO)["a"]
    assert isinstance(found, EnsembleError)
    assert found.code == "stale_token"
    assert not gate.opened[0].closed


def test_a_fault_of_ours_surfaces_where_it_was_asked(make: t.Callable[..., Voters]) -> None:
    gates = three()
    gates[1].failing = [ZeroDivisionError("ours")]
    voters = make(*gates)
    with pytest.raises(ZeroDivisionError, match="ours"):
        voters.batch(HELLO)
    assert silent(voters.batch(HELLO)) == [], "and the thread lives on"


class Borrowed:
    """A link that begins with the work's session."""

    def __init__(self) -> None:
        self.work, self.own = Gate("work"), Gate("own")
        self.shared = t.cast(GatedSession, self.work.connect())
        self.links = Links("demo", [Link("a", self.own.connect, t.cast(Session, self.shared))], LONG)

    def ask(self) -> str:
        return str(self.links.ask(Ask("hello", {}))["a"])


@pytest.fixture
def borrowed() -> t.Iterator[Borrowed]:
    found = Borrowed()
    yield found
    found.links.close()


def test_the_works_session_is_borrowed_and_never_closed(borrowed: Borrowed) -> None:
    assert "work" in borrowed.ask()
    assert borrowed.own.opened == []
    borrowed.links.part()
    assert "own" in borrowed.ask()
    borrowed.links.close()
    assert (borrowed.shared.closed, borrowed.own.opened[0].closed) == (False, True)


def test_who_is_asked_over_the_works_broken_session_is_asked_again_over_its_own(borrowed: Borrowed) -> None:
    borrowed.work.failing = [HypervisorError("the connection broke")]
    assert "own" in borrowed.ask()
    assert "own" in borrowed.ask()
    assert (len(borrowed.work.asked), len(borrowed.own.opened), borrowed.shared.closed) == (1, 1, False)


def test_who_took_too_long_over_the_works_session_is_not_waited_for_twice(borrowed: Borrowed) -> None:
    borrowed.work.failing = [HypervisorError("too late", code="hypervisor_timeout")]
    assert borrowed.ask() == "too late"
    assert borrowed.own.asked == []
    assert "own" in borrowed.ask()


def test_closing_ends_the_sessions_and_may_be_repeated(make: t.Callable[..., Voters]) -> None:
    gates = three()
    voters = make(*gates)
    voters.batch(HELLO)
    for _time in range(2):
        voters.links.close()
    assert [session.closed for gate in gates for session in gate.opened] == [True] * 3
    assert silent(voters.batch(HELLO)) == [], "and opens again for whoever has one more question"


def test_a_verb_is_told_as_its_value_or_in_words(make: t.Callable[..., Voters]) -> None:
    gates = three()
    gates[2].failing = [HypervisorError("gone")]
    seen: list[int] = []

    def enough(answers: t.Mapping[str, t.Any]) -> bool:
        seen.append(len(answers))
        return False

    answers = make(*gates).links.ask(Ask("lease_read", {"x": 1}, enough))
    assert answers == {"a": {"name": "a"}, "b": {"name": "b"}, "c": "gone"}
    assert seen == [1, 2, 3]
    assert gates[0].asked[0][0] == [{"verb": "lease_read", "x": 1}]


@pytest.mark.parametrize(("count", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_majority_counts_all_of_them(count: int, needed: int) -> None:
    gates = [Gate(str(number)) for number in range(count)]
    assert Voters(*gates).links.needed == needed
