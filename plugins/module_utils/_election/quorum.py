# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The quorum lease as a protocol without I/O: what to ask the voters, and what follows from their answers.

Each step is a generator: it yields an `Ask`, is sent the answers that came, and returns or raises at the end. A driver
with threads runs it for real, and a simulator with any order, delay and loss of messages. With one voter this is a
plain lease on that host. The rules are numbered in docs/election.md.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._model.errors import LeaseError
from .store import SAFE_SHARE, Identity, Quorum, Token, View, Wanted

#: voter -> its answer, or the words why there is none
Answers = t.Mapping[str, "t.Mapping[str, t.Any] | str"]
_R = t.TypeVar("_R")
#: why a voter refuses that has, or lately had, something to do with somebody else
_OTHERS = ("held", "old_term", "founded", "abstains")
#: why a voter refuses that has, or lately had, something to do with somebody else
_OTHERS = ("held", "old_term", "founded", "abstains")


@dataclass(frozen=True)
class Ask:
    """A question to all voters at once.

    Attributes:
        enough: whether the answers so far decide it, so that nobody need wait for the rest.
        nearly: whether they decide it unless the rest comes soon.
    """

    verb: str
    fields: t.Mapping[str, t.Any]
    enough: t.Callable[[Answers], bool] = lambda _answers: False
    nearly: t.Callable[[Answers], bool] = lambda _answers: False


Step = t.Generator[Ask, Answers, _R]


@dataclass(frozen=True)
class Held:
    """A lease that was won or extended, from a moment before the first request (rule 4).

    Attributes:
        share: seconds that the lease lasts from then, before the margin for clock drift.
        founding: it is the first of all; the voters are to be pinned before anything else is done.
    """

    token: Token
    begun: float
    share: float
    quorum: Quorum
    wanted: Wanted | None
    founding: bool = False


class QuorumProtocol:
    """One session's part of the protocol. `voters` are the configured ones: a majority counts all of them (rule 1)."""

    def __init__(
        self,
        voters: t.Sequence[str],
        epoch: int,
        identity: Identity,
        ttl: float,
        clock: t.Callable[[], float],
        config: str = "",
    ) -> None:
        self.config = config
        self.voters = tuple(voters)
        self.epoch = epoch
        self.identity = identity
        self.ttl = ttl
        self.clock = clock
        #: the highest term that this session has asked for: a late message of a campaign that failed is of no other
        self._asked = 0

    @property
    def needed(self) -> int:
        return len(self.voters) // 2 + 1

    def acquiring(self) -> Step[Held]:
        """Read first (rule 2), then campaign for a new term (rules 3 to 6).

        Raises:
            LeaseError: as `Lease.acquire`.
        """
        answers = yield Ask("lease_read", {}, nearly=self._answered)
        seen = self._seen(answers)
        founding = self._founding(answers)
        if not founding:
            self._need_majority(answers)
        held = [one for one in seen.values() if one["session"] not in ("", self.identity.session)]
        held = [one for one in held if one["expires_in"] > 0]
        if held:
            raise held_error(max(held, key=lambda one: float(one["expires_in"])))
        term = 1 + max((self._asked, *(int(one["term"]) for one in seen.values())))
        return (yield from self._campaigning(term, founding))

    def _campaigning(self, term: int, founding: bool) -> Step[Held]:
        # two controllers that declare different voters must not both win the first lease: so it takes all votes
        needed = len(self.voters) if founding else self.needed
        self._asked = term
        begun = self.clock()
        enough = self._all_asked if founding else self._granted_enough
        answers = yield Ask("lease_request", {**self._ballot(term), "founding": founding}, enough)
        granted = self._granted(answers)
        if granted >= needed and self.clock() <= begun + SAFE_SHARE * self.ttl:
            return Held((self.epoch, term), begun, self.ttl, self._quorum(answers), _wanted(answers), founding)
        yield from self.releasing(term)
        self._refuse_other_list(answers)
        refused = [one for one in _given(answers).values() if one["reason"] in _OTHERS]
        if refused and granted < needed:
            raise held_error(max(refused, key=lambda one: float(one["expires_in"])), contested=True)
        if founding and granted < needed:
            raise self._first_start(self._quorum(answers), granted)
        self._need_majority(answers)
        raise LeaseError(
            "the voters answered too late to hold the lease safely. Nothing was changed; look after the load of the "
            "hosts that vote, or declare a longer election.ttl.",
            code="no_quorum",
            quorum=self._quorum(answers).as_dict(),
        )

    def renewing(self, term: int) -> Step[Held]:
        """Extend the lease of a term that this session has won (rule 7).

        Raises:
            LeaseError: `lease_lost`.
        """
        begun = self.clock()
        answers = yield Ask("lease_request", self._ballot(term), self._granted_enough)
        quorum = self._quorum(answers)
        if self._granted(answers) < self.needed:
            others = sorted({one["holder"] for one in _given(answers).values() if not one["granted"] and one["holder"]})
            why = f"; {', '.join(others)} holds it" if others else ""
            raise LeaseError(
                f"the lease was lost: {self._granted(answers)} of {len(self.voters)} voters renewed it, "
                f"{self.needed} must{why}",
                code="lease_lost",
                quorum=quorum.as_dict(),
                definite=self._is_over(answers),
            )
        return Held((self.epoch, term), begun, self.ttl, quorum, _wanted(answers))

    def adopting(self, token: Token) -> Step[tuple[Held, str, float]]:
        """What is left of the lease that a token is of, its session and its ttl.

        Raises:
            LeaseError: `lease_lost` or `no_quorum`.
        """
        begun = self.clock()
        answers = yield Ask("lease_read", {}, nearly=self._answered)
        self._need_majority(answers)
        bound = [
            one
            for one in self._seen(answers).values()
            if (int(one["config_epoch"]), int(one["term"])) == token and one["session"] and one["expires_in"] > 0
        ]
        if len(bound) < self.needed:
            raise LeaseError(
                f"the fencing token {list(token)} is not that of a lease which a majority of the voters still grants. "
                "Nothing was changed; acquire the lease again.",
                code="lease_lost",
                token=list(token),
            )
        left = sorted((float(one["expires_in"]) for one in bound), reverse=True)[self.needed - 1]
        held = Held(token, begun, left, self._quorum(answers), _wanted(answers))
        return held, str(bound[0]["session"]), float(bound[0]["ttl"])

    def releasing(self, term: int) -> Step[None]:
        """Give the lease of that term, and of any before it, back on every voter that answers."""
        yield Ask("lease_release", {"session": self.identity.session, "term": term}, nearly=self._mostly)

    def wishing(self, seconds: float, person: bool) -> Step[None]:
        """Tell the holder that this session wants the lease (rule 11)."""
        mine = {"session": self.identity.session, "holder": self.identity.holder}
        yield Ask("lease_wish", {**mine, "person": person, "seconds": seconds}, nearly=self._mostly)

    def viewing(self) -> Step[View]:
        """What a majority says.

        Raises:
            LeaseError: `no_quorum` or `amnesiac`.
        """
        answers = yield Ask("lease_read", {}, nearly=self._answered)
        seen = list(self._seen(answers).values())
        if self._founding(answers):
            if not seen:
                return View("", "", (self.epoch, 0), 0.0, Quorum(self.needed, len(self.voters)), _wanted(answers))
        else:
            self._need_majority(answers)
        latest = max(seen, key=lambda one: (int(one["config_epoch"]), int(one["term"]), float(one["expires_in"])))
        token = (int(latest["config_epoch"]), int(latest["term"]))
        alive = bool(latest["session"]) and latest["expires_in"] > 0
        session, holder, left = (
            (str(latest["session"]), str(latest["holder"]), float(latest["expires_in"])) if alive else ("", "", 0.0)
        )
        return View(session, holder, token, left, self._quorum(answers), _wanted(answers))

    # -- answers

    def _ballot(self, term: int) -> dict[str, t.Any]:
        mine = {"session": self.identity.session, "holder": self.identity.holder}
        known = {"config": self.config} if self.config else {}
        return {"epoch": self.epoch, "term": term, **mine, "ttl": self.ttl, **known}

    def _is_over(self, answers: Answers) -> bool:
        """Whether so many voters have a later lease, or another list, that no majority can ever renew this one."""
        gone = [one for one in _given(answers).values() if one["reason"] in ("held", "old_term", "old_epoch")]
        return len(gone) > len(self.voters) - self.needed

    def _refuse_other_list(self, answers: Answers) -> None:
        if any(one["reason"] == "old_epoch" for one in _given(answers).values()):
            raise LeaseError(
                "the voters have changed while this run asked them. Nothing was changed; run again.", code="new_epoch"
            )

    def _granted(self, answers: Answers) -> int:
        return sum(bool(one["granted"]) for one in _given(answers).values())

    def _granted_enough(self, answers: Answers) -> bool:
        """Whether a majority has granted, or has refused."""
        granted = self._granted(answers)
        return granted >= self.needed or len(answers) - granted > len(self.voters) - self.needed

    def _answered(self, answers: Answers) -> bool:
        """Whether a majority has answered that has its memory."""
        return self._quorum(answers).acks >= self.needed

    def _mostly(self, answers: Answers) -> bool:
        return len(_given(answers)) >= self.needed

    def _all_asked(self, answers: Answers) -> bool:
        return len(answers) == len(self.voters)

    def _seen(self, answers: Answers) -> dict[str, t.Mapping[str, t.Any]]:
        """The answers of voters that have their memory.

        Raises:
            LeaseError: `new_epoch`, the voters are others than this session knows.
        """
        seen = {name: one for name, one in _given(answers).items() if not one["blank"]}
        newest = max((int(one["config_epoch"]) for one in seen.values()), default=self.epoch)
        if newest > self.epoch:
            raise LeaseError(
                f"the voters have changed: they are at epoch {newest}, this run knows {self.epoch}. "
                "Nothing was changed; run again.",
                code="new_epoch",
                epoch=newest,
            )
        return seen

    def _founding(self, answers: Answers) -> bool:
        """Whether all configured voters say that there never was a lease which all had granted."""
        given = _given(answers)
        return len(given) == len(self.voters) and all(
            one["blank"] or one.get("founding", False) for one in given.values()
        )

    def _quorum(self, answers: Answers) -> Quorum:
        given = _given(answers)
        silent = {name: str(why) for name, why in answers.items() if name not in given}
        silent.update({name: "it has lost its memory" for name, one in given.items() if one["blank"]})
        return Quorum(self.needed, len(given) - sum(bool(one["blank"]) for one in given.values()), silent)

    def _need_majority(self, answers: Answers) -> None:
        quorum = self._quorum(answers)
        if quorum.acks >= self.needed:
            return
        blank = [name for name, one in _given(answers).items() if one["blank"]]
        if len(blank) > len(self.voters) - self.needed:
            raise self._unknown(quorum, len(blank))
        raise LeaseError(
            f"{quorum.acks} of {len(self.voters)} voters answer, a majority is needed ({self.needed}). "
            f"Nothing was changed; look after the hosts that vote.{_reasons(quorum)}",
            code="no_quorum",
            quorum=quorum.as_dict(),
        )

    def _first_start(self, quorum: Quorum, granted: int) -> LeaseError:
        return LeaseError(
            f"{granted} of {len(self.voters)} voters gave their vote; at the first start of a resource all must. "
            f"Nothing was changed; look after the hosts that vote.{_reasons(quorum)}",
            code="no_quorum",
            quorum=quorum.as_dict(),
        )

    def _unknown(self, quorum: Quorum, blank: int) -> LeaseError:
        return LeaseError(
            f"{blank} of {len(self.voters)} voters know nothing of this resource, and not all of them answer. At its "
            "first start all must; later it means that their state was lost, which playbooks/recover.yml settles. "
            f"Nothing was changed.{_reasons(quorum)}",
            code="amnesiac",
            quorum=quorum.as_dict(),
        )


def _reasons(quorum: Quorum) -> str:
    return "".join(f"\n  - {name}: {words}" for name, words in quorum.silent.items())


def _given(answers: Answers) -> dict[str, t.Mapping[str, t.Any]]:
    return {name: one for name, one in answers.items() if not isinstance(one, str)}


def _wanted(answers: Answers) -> Wanted | None:
    """Who wants the lease: a person before a candidate, the first one of them."""
    found = [
        Wanted(str(one["session"]), str(one["holder"]), bool(one["person"]), float(one["for_s"]))
        for one in (answer["wanted"] for answer in _given(answers).values())
        if one
    ]
    return max(found, key=lambda wish: (wish.person, wish.for_s), default=None)


def held_error(answer: t.Mapping[str, t.Any], contested: bool = False) -> LeaseError:
    """What somebody is told who finds the lease held.

    Args:
        contested: it was free a moment ago; perhaps the votes were split and nobody has won.
    """
    if answer.get("reason") == "abstains":
        return LeaseError(
            f"voters that were given back their memory abstain for {answer['expires_in']:.0f} s more. Nothing was "
            "changed; run again then.",
            code="amnesiac",
            expires_in=answer["expires_in"],
        )
    return LeaseError(
        f"{answer['holder'] or 'somebody'} is at work on this resource (for at most {answer['expires_in']:.0f} s more "
        "unless renewed). Nothing was changed; run again when it is done.",
        code="lease_held",
        holder=answer["holder"],
        session=answer.get("session", ""),
        expires_in=answer["expires_in"],
        contested=contested,
    )
