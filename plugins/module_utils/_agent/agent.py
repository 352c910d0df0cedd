# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The agent: it follows whoever leads, campaigns when nobody does, and leads for a term when it wins."""

from __future__ import annotations

import contextlib
import typing as t

from .._election.policy import campaign_delay, rank_of
from .._election.store import Identity, Lease, View, Wanted, node_of
from .._model.errors import EnsembleError
from .duplicates import DuplicateWatch
from .errors import DuplicateNodeError, FatalError
from .journal import Journal, Status
from .leadership import ASKED, FAILING, LOST, PREEMPTED, STOPPED, Leadership, Runs
from .settings import Settings
from .world import World

#: seconds after the end of another's lease at which it is looked at again
_AFTER_END = 0.05
#: share of the ttl at which a follower looks at the latest, so that it notices wishes and losses
_LOOK_SHARE = 1 / 3
#: share of the ttl that is waited before voters that do not answer are asked again, doubled this often at most
_FIRST_SHARE, _MOST_DOUBLINGS = 1 / 60, 6
#: ttls within which the service manager must hear from a follower: it asks voters that may not answer
_WATCHDOG_TTLS = 4
#: what a term ended with -> how the event is called
_EVENTS = {LOST: "lost"}
#: shares of the ttl after which an undecided campaign is looked at again, the second one by chance
_SOON_SHARES = (1 / 30, 1 / 15)


class Agent:
    """The loop of one candidate, without any I/O of its own.

    Args:
        open_lease: opens the lease store for a session; it reads anew who votes.
        new_identity: a session that never was before.
    """

    def __init__(
        self,
        settings: Settings,
        open_lease: t.Callable[[Identity], Lease],
        new_identity: t.Callable[[], Identity],
        world: World,
        journal: Journal,
        status: Status,
    ) -> None:
        self._settings = settings
        self._open = open_lease
        self._new_identity = new_identity
        self._world = world
        self._journal = journal
        self._status = status
        self._identity = new_identity()
        self._lease: Lease | None = None
        self._runs = Runs()
        self._duplicates = DuplicateWatch(settings.node_id, max(settings.timings.op_timeout, settings.timings.ttl / 6))
        self._look_every = settings.timings.ttl * _LOOK_SHARE
        self._hold_back_until = 0.0
        self._said = ""
        self._failures = 0
        self._follows: tuple[str, t.Any] = ("", None)

    @property
    def eligible(self) -> bool:
        """Healthy as far as this node knows: its last run went well, or there was none yet."""
        return self._runs.last_ok is not False

    def serve(self) -> None:
        """Until it is told to stop.

        Raises:
            DuplicateNodeError: another agent goes by this node's id.
            StuckProcessError: a process of the command cannot be killed; the lease is not given back.
        """
        self._event("started", until=None, candidates=list(self._settings.candidates))
        try:
            while not self._world.orders.stop:
                self._world.alive("follows", _WATCHDOG_TTLS * self._settings.timings.ttl)
                self._world.pause(self._once())
        except FatalError as error:
            name = "duplicate" if isinstance(error, DuplicateNodeError) else "stuck"
            self._event(name, until=None, code=error.code, msg=error.msg, **error.details)
            raise
        finally:
            self._close()
            self._status.update(role="stopped", leader=None, token=None, until=None)
            self._event("stopped", until=None)

    def _once(self) -> float:
        """One look, and what follows from it; returns the seconds until the next."""
        self._world.orders.release = False  # it was for a term that is over
        try:
            lease = self._lease = self._lease or self._open(self._identity)
            view = lease.view()
            self._duplicates.look(view, node_of(view.session), self._world.clock())
            delay = self._follow(lease, view)
            self._heard()
            return delay
        except FatalError:
            raise
        except (EnsembleError, OSError) as error:
            return self._back_off(error)

    # -- following

    def _follow(self, lease: Lease, view: View) -> float:
        if view.session == self._identity.session:
            lease.release()  # voters granted what this session could not hold; nobody need wait for its end
            return self._soon()
        if view.session:
            self._note_leader(view)
            self._tell_preference(lease, view)
            return min(view.expires_in + _AFTER_END, self._look_every)
        self._note_leader(view)
        if not self._may_campaign(view.wanted):
            return self._look_every
        timings = self._settings.timings
        self._world.pause(campaign_delay(self._settings.rank, self.eligible, timings, self._world.chance()))
        if self._world.orders.stop:
            return 0.0
        again = lease.view()
        if again.session or not self._may_campaign(again.wanted):
            self._note_leader(again)
            return min(again.expires_in + _AFTER_END, self._look_every) if again.session else self._look_every
        lease.acquire()
        self._heard()
        self._lead(lease)
        return 0.0

    def _may_campaign(self, wanted: Wanted | None) -> bool:
        """Whether nobody is to be let go first."""
        if self._world.clock() < self._hold_back_until:
            return False
        if wanted is None or wanted.session == self._identity.session:
            return True
        if wanted.person:
            return False
        preferred = rank_of(node_of(wanted.session), self._settings.candidates) < self._settings.rank
        return not (self._settings.preempt and preferred)

    def _tell_preference(self, lease: Lease, view: View) -> None:
        """A candidate that is to be preferred keeps saying that it is there (rule 11); persons' runs are let be."""
        settings, holder = self._settings, node_of(view.session)
        if not settings.preempt or not self.eligible or holder not in settings.candidates:
            return
        if settings.rank < rank_of(holder, settings.candidates):
            with contextlib.suppress(EnsembleError):  # the next look tells what is wrong
                lease.wish(settings.timings.ttl, person=False)

    def _note_leader(self, view: View) -> None:
        now = self._world.clock()
        leader = {"session": view.session, "node": node_of(view.session), "holder": view.holder}
        until = now + view.expires_in if view.session else None
        if (view.session, view.token) != self._follows:
            self._follows = (view.session, view.token)
            self._status.update(since=round(now, 3))
            if view.session:
                self._event("follows", until=until, token=view.token, leader=view.session, holder=view.holder)
            else:
                self._event("free", until=None, token=view.token)
        self._status.update(
            role="follower",
            leader=leader if view.session else None,
            token=list(view.token),
            until=None if until is None else round(until, 3),
            quorum=view.quorum.as_dict(),
            error=None,
        )

    # -- leading

    def _lead(self, lease: Lease) -> None:
        clock = self._world.clock
        until = clock() + lease.remaining()
        session, token = self._identity.session, lease.token
        self._journal.event("elected", session, token, until, rank=self._settings.rank, quorum=lease.quorum.as_dict())
        leader = {"session": session, "node": self._settings.node_id, "holder": self._identity.holder}
        self._status.update(
            role="leader", leader=leader, token=list(token), until=round(until, 3), since=round(clock(), 3), error=None
        )
        term = Leadership(lease, self._settings, self._world, self._journal, self._status, self._runs)
        why = term.serve()
        self._world.alive("gives the lease back", _WATCHDOG_TTLS * self._settings.timings.ttl)
        # told before it is given back, so that no other's term begins before the end of ours
        self._journal.event(_EVENTS.get(why, "released"), session, token, term.renewals.until, why=why)
        with contextlib.suppress(EnsembleError, OSError):
            lease.release()
        self._status.update(role="follower", leader=None, token=None, until=None, run=None)
        if why in (ASKED, FAILING, PREEMPTED):  # all others look at least once meanwhile
            self._hold_back_until = clock() + self._settings.timings.ttl
        self._follows = ("", None)
        self._reopen()
        if why == STOPPED:
            self._world.orders.stop = True

    # -- the store

    def _reopen(self) -> None:
        """A new session: one that has led or was lost never comes back."""
        self._close()
        self._identity = self._new_identity()

    def _close(self) -> None:
        if self._lease is not None:
            with contextlib.suppress(EnsembleError, OSError):
                self._lease.close()
            self._lease = None

    def _back_off(self, error: EnsembleError | OSError) -> float:
        """Nothing that the store says ends the agent; each change is told once."""
        code = error.code if isinstance(error, EnsembleError) else "network"
        msg = error.msg if isinstance(error, EnsembleError) else str(error)
        if code == "lease_held":  # another one was faster, or none won and all try again
            return self._soon()
        details = error.details if isinstance(error, EnsembleError) else {}
        quorum = details.get("quorum")
        if code != self._said:
            self._said = code
            self._event(code, until=None, msg=msg, quorum=quorum)
        self._follows = ("", None)
        self._status.update(role="follower", leader=None, token=None, until=None, error={"code": code, "msg": msg})
        if code == "new_epoch":
            self._reopen()
        # sessions that could not be opened in time are often there a moment later
        self._failures = min(self._failures + 1, _MOST_DOUBLINGS)
        return min(self._look_every, self._settings.timings.ttl * _FIRST_SHARE * 2.0**self._failures)

    def _soon(self) -> float:
        fixed, spread = _SOON_SHARES
        return self._settings.timings.ttl * (fixed + spread * self._world.chance())

    def _heard(self) -> None:
        self._failures = 0
        if self._said:
            self._said = ""
            self._event("answered", until=None)

    def _event(self, name: str, until: float | None, token: t.Any = None, **more: t.Any) -> None:
        own = self._lease.token if self._lease is not None else (0, 0)
        self._journal.event(name, self._identity.session, token or own, until, **more)
