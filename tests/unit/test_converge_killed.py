# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A run that is killed at any step: the next one adopts, finishes or removes what it left."""

from __future__ import annotations

import pathlib
import time
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import Outcome, Request, converge
from ansible_collections.ensemble.stacks.plugins.module_utils._host.records import Records
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Election, Hypervisor
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import HypervisorError
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.wishes import NO_WISHES, Wishes
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session
from declared import BASE, parsed
from world import Killed, WatchedDriver, World

POOL = [*BASE["pool"], {"name": "hv3", "address": "10.0.0.3", "capacity": {"memory_mb": 4096, "vcpus": 4}}]
RESOURCE = parsed(pool=POOL, election={"ttl": 3})
GROWN = parsed(pool=POOL, election={"ttl": 3}, roles={"compute": {"count": 4}})
DRAINED = parsed(pool=[POOL[0], {**POOL[1], "state": "maintenance"}, POOL[2]], election={"ttl": 3})
RELOCATABLE = parsed(pool=POOL, election={"ttl": 3}, roles={"head": {"relocate": True}, "compute": {"relocate": True}})
REWIRED = parsed(pool=POOL, election={"ttl": 3}, network={"bridge": "br7"})
#: what is asked for -> the declaration that asks for it; to stop or remove, none is needed
DECLARED = {
    "started": RESOURCE,
    "grown": GROWN,
    "shrunk": RESOURCE,
    "drained": DRAINED,
    "replaced": RESOURCE,
    "restarted": REWIRED,
    "relocatable": RELOCATABLE,
    "lost": RELOCATABLE,
}
#: what is asked for -> what may happen to members that run
WISHES = {
    "shrunk": Wishes(remove=("compute-2", "compute-3")),
    "replaced": Wishes(replace=("compute-0", "head-0"), max_unavailable=2),
    "restarted": Wishes(allow_restart=True),
    "lost": Wishes(lost=("hv2",)),
}
#: far more than any run has
MANY = 80
#: what was there before, what was asked for, what is asked for next
STORIES = [
    ("absent", "started", "started"),
    ("absent", "started", "absent"),
    ("started", "stopped", "stopped"),
    ("started", "absent", "absent"),
    ("started", "absent", "started"),
    ("stopped", "started", "started"),
    ("started", "grown", "grown"),
    ("started", "grown", "stopped"),
    ("started", "grown", "absent"),
    ("grown", "absent", "grown"),
    ("grown", "shrunk", "shrunk"),
    ("grown", "shrunk", "absent"),
    ("started", "drained", "drained"),
    ("started", "drained", "started"),
    ("started", "replaced", "replaced"),
    ("started", "replaced", "started"),
    ("started", "restarted", "restarted"),
]


class Pool:
    """A pool whose voters' clock can be moved past the lease of a run that was killed."""

    def __init__(self, folder: pathlib.Path, patch: pytest.MonkeyPatch) -> None:
        self.world = World(folder, RESOURCE.pool)
        self.down: set[str] = set()
        self.ahead = 0.0
        real = time.clock_gettime
        patch.setattr(time, "clock_gettime", lambda clock: real(clock) + self.ahead)

    def run(self, state: str, wishes: Wishes | None = None) -> Outcome:
        declared = DECLARED.get(state)
        options: dict[str, t.Any] = {"wait": False, "lease_timeout": 0.0, "election": Election(ttl=3.0, op_timeout=0.6)}
        options["wishes"] = wishes or WISHES.get(state, NO_WISHES)
        return converge(
            Request("demo", RESOURCE.pool, "started" if declared else state, declared, **options), self._connect
        )

    def _connect(self, hypervisor: Hypervisor) -> Session:
        if hypervisor.name in self.down:
            raise HypervisorError(f"{hypervisor.name} is switched off.", hypervisor=hypervisor.name)
        return self.world.connect(hypervisor)

    def killed(self, state: str, arm: t.Callable[[], None]) -> bool:
        """Whether a run was killed, with everything it had open; its lease is over afterwards."""
        arm()
        try:
            self.run(state)
            return False
        except Killed:
            return True
        finally:
            self.ahead += 100.0
            self.world.before = self.world.after = lambda _name: None
            for driver in self.world.drivers.values():
                driver.tick = lambda: None

    def judge(self, state: str) -> None:
        """The next run ends well, and one more has nothing to do."""
        self.run(state)
        there = set(self.world.states())
        whole = {f"demo-{member}" for member, whole in self.world.disks().items() if whole}
        assert set(self.world.states().values()) <= {"running" if state in DECLARED else "shutoff"}
        if state in DECLARED:
            assert there == whole == {f"demo-{member.name}" for member in DECLARED[state].members}
        if state == "stopped":  # disks that were made already wait for the next start
            assert there <= whole
        if state == "absent":
            assert (there, self.world.disks()) == (set(), {})
        places = [key for driver in self.world.drivers.values() for key in driver.disks]
        assert len(places) == len(set(places)), "a member has disks on two hypervisors"
        if state == "drained":
            assert self.world.drivers["hv2"].disks == {}
        again = self.run(state, replace(WISHES.get(state, NO_WISHES), replace=()))
        assert (again.plan.actions, again.plan.record, again.plan.forget) == ((), None, False)
        if state == "absent":
            for host in self.world.hosts.values():
                assert Records(host.state, "demo").secrets().get("secrets", {}) == {}


class Bomb:
    """Goes off at the n-th call, and at every later one: the dead do not act."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, *_args: t.Any) -> None:
        self.left -= 1
        if self.left <= 0:
            raise Killed


def at_exchange(pool: Pool, number: int) -> None:
    pool.world.before = Bomb(number)


def after_exchange(pool: Pool, number: int) -> None:
    bomb = Bomb(number)
    pool.world.after = bomb
    pool.world.before = lambda _name: bomb() if bomb.left <= 0 else None


def within_a_hypervisor(pool: Pool, number: int) -> None:
    """The power goes while a hypervisor works: the driver's n-th change is the last one anywhere."""
    bomb = Bomb(number)
    for driver in pool.world.drivers.values():
        driver.tick = bomb
    pool.world.before = lambda _name: bomb() if bomb.left <= 0 else None


@pytest.mark.parametrize("moment", [at_exchange, after_exchange, within_a_hypervisor])
@pytest.mark.parametrize(("first", "asked", "then"), STORIES)
def test_killed_at_every_step(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: t.Callable[[Pool, int], None],
    first: str,
    asked: str,
    then: str,
) -> None:
    for number in range(1, MANY):
        with monkeypatch.context() as patch:
            pool = Pool(tmp_path / str(number), patch)
            if first == "stopped":
                pool.run("started")
            if first != "absent":
                pool.run(first)
            was_killed = pool.killed(asked, lambda pool=pool, number=number: moment(pool, number))  # type: ignore[misc]
            pool.judge(then)
        if not was_killed:
            assert number > 3, "the run has hardly any steps"
            return
    pytest.fail(f"a run has more than {MANY} steps")


def stop_times(driver: WatchedDriver) -> list[float]:
    """Filled with the seconds that each member is given to stop."""
    times: list[float] = []
    real = driver.stop

    def stop(resource: str, member: str, timeout: float) -> bool:
        times.append(timeout)
        return real(resource, member, timeout)

    driver.stop = stop  # type: ignore[method-assign]
    return times


@pytest.mark.parametrize("moment", [at_exchange, after_exchange, within_a_hypervisor])
@pytest.mark.parametrize("comes_back", ["before the next run", "after the next run"])
def test_killed_at_every_step_while_a_hypervisor_is_given_up(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, moment: t.Callable[[Pool, int], None], comes_back: str
) -> None:
    """The member that was lost is made anew once, and what comes back with its hypervisor goes and is never started."""
    for number in range(1, MANY):
        with monkeypatch.context() as patch:
            pool = Pool(tmp_path / str(number), patch)
            pool.run("relocatable")
            former = pool.world.drivers["hv2"]
            assert len(former.disks) == 1
            former.calls.clear()
            pool.down = {"hv2"}
            was_killed = pool.killed("lost", lambda pool=pool, number=number: moment(pool, number))  # type: ignore[misc]
            if comes_back == "after the next run":
                pool.run("lost")
                [member] = {name for _owner, name in former.disks}
                pool.down = set()
                times = stop_times(former)
                pool.run("relocatable")
                assert times == [0], "by force: it has the member's address"
                assert [call for call in former.calls if call[0] in ("prepare", "start")] == []
                assert ("stop", member) in former.calls
                assert former.disks == {}
            pool.down = set()
            pool.judge("relocatable")
        if not was_killed:
            assert number > 3, "the run has hardly any steps"
            return
    pytest.fail(f"a run has more than {MANY} steps")


def test_killed_again_and_again_it_ends_in_the_declared_state(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(tmp_path, monkeypatch)
    for number in [6, 9, 10, 11, 12, 13]:
        pool.killed("started", lambda number=number: after_exchange(pool, number))  # type: ignore[misc]
    pool.judge("started")


def test_the_lease_of_the_dead_is_waited_for_by_others(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(tmp_path, monkeypatch)
    assert pool.killed("started", lambda: within_a_hypervisor(pool, 2))
    pool.ahead -= 100.0
    with pytest.raises(Exception, match="is at work on this resource"):
        pool.run("started")
    pool.ahead += 100.0
    pool.judge("started")
