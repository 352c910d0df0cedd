# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Real voters over temporary folders, asked one after another, and leaders that die between any two of them."""

from __future__ import annotations

import pathlib
import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._election.store import (
    Identity,
    Lease,
    Quorum,
    Token,
    View,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.electorate import Electorate
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.ledger import Ledger
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.links import Batches, Link, Links, Results
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Hypervisor
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import (
    EnsembleError,
    HypervisorError,
    LeaseError,
)
from world import Killed, World

NAMES = ("hv1", "hv2", "hv3")
VOTERS = tuple(Hypervisor(name, f"10.0.0.{number}") for number, name in enumerate(NAMES, 1))
#: what may become of one question to one voter; a leader that is killed asks nothing more
FATES = ("done", "lost_request", "lost_answer", "killed_before", "killed_after")


class StandIn(Lease):
    """A lease that its leader simply has; the protocol has tests of its own."""

    def __init__(self, token: Token, seconds: float = 15.0) -> None:
        super().__init__(Identity(f"leader/{token[1]}", "leader"), 15.0, lambda: 0.0)
        self.token = token
        self._until = seconds

    def end(self) -> None:
        self._until = 0.0

    def acquire(self) -> None:
        raise NotImplementedError

    def renew(self) -> None:
        if self.remaining() <= 0:
            raise LeaseError("it ended", code="lease_lost")

    def adopt(self, token: Token) -> None:
        raise NotImplementedError

    def release(self) -> None:
        raise NotImplementedError

    def view(self) -> View:
        return View("", "", self.token, 0.0, Quorum(2, 3))

    def wish(self, seconds: float, person: bool) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


class OneByOne(Links):
    """Asks in the order of the voters; what becomes of each question is told beforehand, later ones are done.

    Attributes:
        down: voters that answer nothing.
        between: called with a voter's name before it is asked.
    """

    def __init__(
        self,
        world: World,
        fates: t.Iterable[str] = (),
        down: t.Collection[str] = (),
        voters: t.Sequence[Hypervisor] = VOTERS,
    ) -> None:
        def opens(voter: Hypervisor) -> Link:
            return Link(voter.name, lambda: world.connect(voter))

        super().__init__("demo", [opens(voter) for voter in voters], 5.0)
        self._sessions = {voter.name: world.connect(voter) for voter in voters}
        self._fates = iter(fates)
        self.down = set(down)
        self.between: t.Callable[[str], None] = lambda _name: None

    def batch(
        self,
        verbs: t.Any,
        enough: t.Callable[[Batches], bool] = lambda _batches: False,
        nearly: t.Callable[[Batches], bool] = lambda _batches: False,
        timeout: float | None = None,
        **common: t.Any,
    ) -> Batches:
        per_voter = verbs if isinstance(verbs, t.Mapping) else dict.fromkeys(self.names, verbs)
        found: dict[str, Results | EnsembleError] = {}
        for name in (name for name in self.names if name in per_voter):
            self.between(name)
            found[name] = self._one(name, per_voter[name], common)
        return found

    def _one(self, name: str, verbs: t.Any, common: t.Mapping[str, t.Any]) -> Results | EnsembleError:
        fate = "lost_request" if name in self.down else next(self._fates, "done")
        if fate == "killed_before":
            raise Killed
        if fate == "lost_request":
            return HypervisorError(f"{name} is away")
        try:
            answer: Results | EnsembleError = self._sessions[name].batch(verbs, 5.0, resource="demo", **common)
        except EnsembleError as error:
            answer = error
        if fate == "killed_after":
            raise Killed
        return answer if fate == "done" else HypervisorError(f"{name}: its answer was lost")


class Keepers:
    """Three voters of one resource."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.world = World(folder, VOTERS)
        self.electorate = Electorate(VOTERS, 1)

    def folder(self, name: str) -> pathlib.Path:
        """What a voter keeps of the resource."""
        return pathlib.Path(self.world.hosts[name].state) / "demo"

    def ledger(self, fates: t.Iterable[str] = (), down: t.Collection[str] = ()) -> Ledger:
        return Ledger(OneByOne(self.world, fates, down), self.electorate)

    def found(self) -> None:
        """The first leader of all was granted term 1 by everybody and has told them who votes."""
        lease = StandIn((1, 1))
        ledger = self.ledger()
        ask = {"verb": "lease_request", "epoch": 1, "term": 1, "ttl": 15.0, "founding": True}
        who = {"session": lease.identity.session, "holder": lease.identity.holder}
        for answer in ledger.links.batch([{**ask, **who}]).values():
            assert isinstance(answer, list)
            assert answer[0]["value"]["granted"]
        ledger.settle(lease)
