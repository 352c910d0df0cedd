# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Eight ways to get the protocol wrong; the simulator must find each. They are made at run time, never in plugins/."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass, replace
from unittest import mock

from ansible_collections.ensemble.stacks.plugins.module_utils._election import quorum, store, voter
from ansible_collections.ensemble.stacks.plugins.module_utils._election.quorum import Held, QuorumProtocol, Step

from .simulation import Simulation

Patches = t.Iterable[t.Any]


@dataclass(frozen=True)
class Mutant:
    """A wrong protocol and the rule of docs/election.md that it breaks."""

    name: str
    rule: int
    patches: t.Callable[[], Patches]

    @contextlib.contextmanager
    def alive(self) -> t.Iterator[None]:
        with contextlib.ExitStack() as stack:
            for patch in self.patches():
                stack.enter_context(patch)
            yield


def _majority_of_reachable() -> Patches:
    """Whoever answers counts, the others do not."""
    acquiring, renewing = QuorumProtocol.acquiring, QuorumProtocol.renewing

    def among_those_that_answer(protocol: QuorumProtocol, step: Step[Held]) -> Step[Held]:
        everybody = protocol.voters
        try:
            question = step.send(None)  # type: ignore[arg-type] # as the first step of every generator
            while True:
                protocol.voters = everybody
                answers = yield replace(question, enough=lambda _answers: False)
                heard = {name: one for name, one in answers.items() if not isinstance(one, str)}
                protocol.voters = tuple(heard) or everybody
                question = step.send(heard)
        except StopIteration as end:
            return t.cast("Held", end.value)
        finally:
            protocol.voters = everybody

    yield mock.patch.object(QuorumProtocol, "acquiring", lambda self: among_those_that_answer(self, acquiring(self)))
    yield mock.patch.object(
        QuorumProtocol, "renewing", lambda self, term: among_those_that_answer(self, renewing(self, term))
    )


def _node_as_session() -> Patches:
    """Two runs on one node are taken for one."""
    yield mock.patch.object(Simulation, "session_of", staticmethod(lambda node, _run: node))


def _no_lease() -> Patches:
    """A higher term always wins: what was granted binds nobody."""
    yield mock.patch.object(voter, "remaining", return_value=0.0)


def _same_term_again() -> Patches:
    """`>=` on terms: a term that was granted before may be granted to another session."""
    decide = voter.decide

    def lenient(grant: voter.Grant | None, ballot: voter.Ballot, now: float, boot: voter.Boot) -> voter.Answer:
        answer = decide(grant, ballot, now, boot)
        if grant is not None and answer.reason == "old_term" and ballot.term == grant.term:
            answer = decide(replace(grant, term=grant.term - 1), ballot, now, boot)
            return answer if answer.granted else replace(answer, grant=grant)
        return answer

    yield mock.patch.object(voter, "decide", lenient)


def _counted_from_the_reply() -> Patches:
    """The lease begins when the answers are in."""
    acquiring, renewing = QuorumProtocol.acquiring, QuorumProtocol.renewing

    def late(protocol: QuorumProtocol, step: Step[Held]) -> Step[Held]:
        held = yield from step
        return replace(held, begun=protocol.clock())

    yield mock.patch.object(QuorumProtocol, "acquiring", lambda self: late(self, acquiring(self)))
    yield mock.patch.object(QuorumProtocol, "renewing", lambda self, term: late(self, renewing(self, term)))


def _no_margin() -> Patches:
    """The whole ttl is trusted, as if all clocks ran alike."""
    for module in (store, quorum):
        yield mock.patch.object(module, "SAFE_SHARE", 1.0)


def _amnesiac_votes() -> Patches:
    """A voter without a memory grants whatever it is asked for, and counts as any other."""
    decide = voter.decide
    seen, quorum_of = QuorumProtocol._seen, QuorumProtocol._quorum

    def trusting(answers: quorum.Answers) -> quorum.Answers:
        return {name: one if isinstance(one, str) else {**one, "blank": False} for name, one in answers.items()}

    yield mock.patch.object(
        voter,
        "decide",
        lambda grant, ballot, now, boot: decide(grant or voter.Grant(config_epoch=0), ballot, now, boot),
    )
    yield mock.patch.object(QuorumProtocol, "_seen", lambda self, answers: seen(self, trusting(answers)))
    yield mock.patch.object(QuorumProtocol, "_quorum", lambda self, answers: quorum_of(self, trusting(answers)))


def _reboot_forgets() -> Patches:
    """What was granted before a reboot binds no longer."""
    remaining = voter.remaining
    yield mock.patch.object(
        voter,
        "remaining",
        lambda grant, now, boot: (
            remaining(grant, now, boot) if grant is not None and grant.boot_id == boot.boot_id else 0.0
        ),
    )


ALL = (
    Mutant("majority of reachable voters", 1, _majority_of_reachable),
    Mutant("node id as session", 10, _node_as_session),
    Mutant("no lease", 5, _no_lease),
    Mutant(">= on terms", 5, _same_term_again),
    Mutant("lease counted from the reply", 4, _counted_from_the_reply),
    Mutant("no drift margin", 6, _no_margin),
    Mutant("amnesiac voter votes", 9, _amnesiac_votes),
    Mutant("reboot rule dropped", 9, _reboot_forgets),
)
