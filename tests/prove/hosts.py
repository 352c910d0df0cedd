# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The machines that vote and those that obey: what is on their disks survives, the rest does not."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.ensemble.stacks.plugins.module_utils._election import voter

from .checks import Checks, Token
from .world import Clock, World

Fields = t.Mapping[str, t.Any]
Answer = t.Dict[str, t.Any]


class VotingHost:
    """A voter: its grant and wish are on its disk.

    Attributes:
        fails_after_keeping: at its next write it reboots before it answers.
    """

    def __init__(self, world: World, name: str, clock: Clock) -> None:
        self.world = world
        self.name = name
        self.clock = clock
        self.grant: voter.Grant | None = None
        self.wish: voter.Wish | None = None
        self.down_until = 0.0
        self.lost_at = -1.0
        self.fails_after_keeping = False
        self._boots = 0
        self._boot: voter.Boot | None = None

    @property
    def boot(self) -> voter.Boot:
        """Begins with the first question after it."""
        if self._boot is None:
            self._boot = voter.Boot(f"{self.name}-{self._boots}", self.clock())
        return self._boot

    def reboot(self, seconds: float, anew: bool) -> None:
        """Down for a while; `anew`: its clock begins at zero, else runs on as that of a container."""
        self._boots += 1
        self._boot = None
        self.down_until = self.world.now + seconds
        if anew:
            self.clock = Clock(self.world, 0.0, self.clock.rate)

    def lose(self) -> None:
        """Its disk is empty."""
        self.grant = self.wish = None
        self.lost_at = self.world.now

    def handle(self, verb: str, fields: Fields) -> Answer | None:
        """The answer, or None when there is none."""
        if self.world.now < self.down_until:
            return None
        before = self.grant
        answer = getattr(self, "_" + verb)(self.clock(), fields)
        if self.fails_after_keeping and self.grant != before:
            self.fails_after_keeping = False
            self.reboot(0.5, anew=True)
            return None
        return answer

    # -- verbs

    def _lease_read(self, now: float, _fields: Fields) -> Answer:
        return self._shown(False, "read", voter.remaining(self.grant, now, self.boot), now)

    def _lease_request(self, now: float, fields: Fields) -> Answer:
        ballot = voter.Ballot(**fields)
        answer = voter.decide(self.grant, ballot, now, self.boot)
        if answer.granted:
            self.grant = answer.grant
        return self._shown(answer.granted, answer.reason, answer.expires_in, now)

    def _lease_release(self, now: float, fields: Fields) -> Answer:
        self.grant = voter.release(self.grant, fields["session"], fields["term"])
        return self._shown(False, "released", voter.remaining(self.grant, now, self.boot), now)

    def _lease_wish(self, now: float, fields: Fields) -> Answer:
        mine = (fields["session"], fields["holder"], fields["person"], fields["seconds"])
        self.wish = voter.decide_wish(self.wish, *mine, now, self.boot)
        return self._lease_read(now, fields)

    def _voter_join(self, now: float, fields: Fields) -> Answer:
        if self.grant is None:
            self.grant = voter.rejoin(fields["epoch"], fields["term"], fields["ttl"], now, self.boot)
        return self._lease_read(now, fields)

    def _voters_write(self, now: float, fields: Fields) -> Answer:
        """Who votes is pinned: this ends the founding."""
        if self.grant is not None:
            self.grant = replace(self.grant, founding=False)
        return self._lease_read(now, fields)

    def _shown(self, granted: bool, reason: str, expires_in: float, now: float) -> Answer:
        grant = self.grant
        kept = grant or voter.Grant(config_epoch=0)
        wanted = None
        if self.wish is not None and voter.wish_left(self.wish, now, self.boot) > 0:
            wish = self.wish
            wanted = {"session": wish.session, "holder": wish.holder, "person": wish.person, "for_s": now - wish.since}
        return {
            "granted": granted,
            "reason": reason,
            "expires_in": expires_in,
            "config_epoch": kept.config_epoch,
            "term": kept.term,
            "session": kept.session,
            "holder": kept.holder,
            "ttl": kept.ttl,
            "founding": kept.founding,
            "blank": grant is None,
            "wanted": wanted,
        }


class Target:
    """A hypervisor that obeys the highest token it has seen; it keeps that before it acts."""

    def __init__(self, world: World, name: str, checks: Checks) -> None:
        self.world = world
        self.name = name
        self.highest: Token = (0, 0)
        self.down_until = 0.0
        self._checks = checks

    def obey(self, token: Token) -> None:
        if self.world.now < self.down_until:
            return
        if token < self.highest:
            self._checks.counts["stale_refused"] += 1
            return
        self.highest = token
        self._checks.accepted(self.name, token, self.world.now)
