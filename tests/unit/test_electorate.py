# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Who votes: what is pinned counts, wherever it is known; what is declared only while nothing is."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.electorate import (
    Electorate,
    addresses,
    cluster_of,
    find_electorate,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.links import Links
from ansible_collections.ensemble.stacks.plugins.module_utils._host.voters import Voters, VotersFile
from ansible_collections.ensemble.stacks.plugins.module_utils._host.votes import Voter
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import (
    Access,
    Election,
    Etcd,
    Hypervisor,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import (
    EnsembleError,
    HypervisorError,
    LeaseError,
)
from ledgers import OneByOne
from world import World

HOSTS = {f"hv{n}": Hypervisor(f"hv{n}", f"10.0.0.{n}", Access(port=2200 + n)) for n in range(1, 8)}
POOL = tuple(HOSTS.values())


class Noting(OneByOne):
    """Links that tell whom they asked."""

    def __init__(self, known: Known, asked: t.Sequence[Hypervisor]) -> None:
        super().__init__(known.world, down=known.down | known.slow, voters=asked)
        known.slow = set()
        self._known = known
        for name in sorted(known.strange & set(self.names)):
            self.untrusted[name] = HypervisorError(f"{name}'s key is unknown.", code="host_key_unknown")

    def batch(self, *args: t.Any, **more: t.Any) -> t.Any:
        self._known.asked.append(self.names)
        return super().batch(*args, **more)


class Known:
    """Seven hosts that know what they were told; who is asked for it is noted."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.world = World(folder, POOL)
        self.asked: list[tuple[str, ...]] = []
        self.down: set[str] = set()
        self.strange: set[str] = set()
        self.slow: set[str] = set()  # not heard when they are asked for the first time

    def voter(self, name: str) -> Voter:
        host = self.world.hosts[name]
        return Voter(host.state, "demo", host.run_dir)

    def tell(self, names: str, voters: str, epoch: int, **more: t.Any) -> None:
        """Some hosts, each by its digit, are told that others vote."""
        for name in hosts(names):
            state = self.world.hosts[name].state
            (pathlib.Path(state) / "demo").mkdir(exist_ok=True)
            config = Voters(name, addresses(HOSTS[voter] for voter in hosts(voters)), epoch, **more)
            VotersFile(state, "demo").write(config)

    def links(self, asked: t.Sequence[Hypervisor]) -> Links:
        return Noting(self, asked)

    def find(self, declared: str = "123", known: str = "1234567", strict: bool = True, **more: t.Any) -> Electorate:
        election = Election(voters=hosts(declared), **more)
        reached = {name: HOSTS[name] for name in hosts(known)}
        return find_electorate(election, POOL, reached, self.links, strict)


def hosts(digits: str) -> tuple[str, ...]:
    return tuple(f"hv{digit}" for digit in digits)


@pytest.fixture
def known(tmp_path: pathlib.Path) -> Known:
    return Known(tmp_path)


def test_before_the_first_start_the_declared_vote_and_everybody_was_asked(known: Known) -> None:
    found = known.find()
    assert (found.names, found.epoch, found.pinned) == (hosts("123"), 1, None)
    assert known.asked == [hosts("123"), hosts("4567")]


def test_where_everybody_votes_nobody_else_is_asked(known: Known) -> None:
    assert known.find("1234567").names == hosts("1234567")
    assert known.asked == [hosts("1234567")]


def test_a_later_run_costs_one_question(known: Known) -> None:
    known.tell("1234567", "123", 1)
    found = known.find()
    assert (found.names, found.epoch, found.pinned is not None) == (hosts("123"), 1, True)
    assert known.asked == [hosts("123")]


def test_what_is_pinned_wins_over_what_is_declared(known: Known) -> None:
    known.tell("123", "123", 1)
    found = known.find("345")
    assert (found.names, found.epoch) == (hosts("123"), 1)


def test_any_host_of_the_pool_may_be_the_one_that_knows(known: Known) -> None:
    """Whoever founds a resource anew by other voters would make two of it."""
    known.tell("7", "456", 1)
    found = known.find("123")
    assert (found.names, found.pinned is not None) == (hosts("456"), True)
    assert known.asked == [hosts("123"), hosts("4567")], "its voters are among them"


@pytest.mark.parametrize("down", ["1", "2", "12"])
def test_one_that_answers_suffices_to_know(known: Known, down: str) -> None:
    known.tell("123", "123", 4)
    known.down = set(hosts(down))
    assert (known.find().names, known.find().epoch) == (hosts("123"), 4)


def test_the_latest_of_several_counts(known: Known) -> None:
    known.tell("12", "123", 1)
    known.tell("3", "134", 2)
    known.tell("4", "134", 2)
    found = known.find()
    assert (found.names, found.epoch) == (hosts("134"), 2)
    assert known.asked == [hosts("123"), hosts("134")]


def test_a_later_one_that_only_its_own_voters_know(known: Known) -> None:
    """The declaration is two changes behind."""
    known.tell("12", "123", 1)
    known.tell("3", "345", 2)
    known.tell("45", "456", 3)
    found = known.find()
    assert (found.names, found.epoch) == (hosts("456"), 3)


def test_of_two_lists_of_one_epoch_that_on_a_majority_counts(known: Known) -> None:
    """Two leaders changed the voters; only one of them reached so many that it could lead by its list."""
    known.tell("1", "1234", 2)
    known.tell("235", "1235", 2)
    for declared in ("123", "1234", "1235"):
        assert (known.find(declared).names, known.find(declared).epoch) == (hosts("1235"), 2)


@pytest.mark.parametrize("told", ["1", "3", "4", "12", "123", "14"])
def test_a_change_that_ended_half_way_is_gone_on_with(known: Known, told: str) -> None:
    known.tell("123", "123", 1)
    known.tell(told, "1234", 2)
    found = known.find("123" if told != "4" else "1234")
    assert (found.names, found.epoch) == (hosts("1234"), 2)


def test_a_resource_that_was_removed_is_founded_under_its_last_epoch(known: Known) -> None:
    voter = known.voter("hv6")
    voter.join(7, 3, 15.0)
    assert (known.find().epoch, known.find().pinned) == (7, None)


def test_a_former_voter_that_missed_the_removal_is_no_reason_for_its_old_list(known: Known) -> None:
    """It was one of three, was replaced, and was away when the resource was removed."""
    known.tell("4", "124", 9)
    for name in ("hv1", "hv2", "hv5"):
        known.voter(name).join(10, 3, 15.0)
    found = known.find("123")
    assert (found.names, found.epoch, found.pinned) == (hosts("123"), 10, None)
    known.tell("125", "125", 10)
    found = known.find("125")
    assert (found.names, found.epoch) == (hosts("125"), 10)
    assert found.pinned is not None


def test_before_a_first_start_a_slow_voter_is_waited_for(known: Known) -> None:
    """It may be the one that remembers under which epoch the resource was removed."""
    known.voter("hv3").join(7, 3, 15.0)
    known.slow = {"hv3"}
    assert known.find().epoch == 7
    assert known.asked == [hosts("123"), hosts("34567")]


def test_nobody_answers(known: Known) -> None:
    known.down = set(HOSTS)
    found = known.find()
    assert (found.names, found.epoch, found.pinned) == (hosts("123"), 1, None), "the lease will find no majority"


def test_every_host_that_is_not_trusted_is_named_unless_it_may_be_silent(known: Known) -> None:
    known.strange = {"hv1", "hv3"}
    with pytest.raises(EnsembleError) as caught:
        known.find()
    assert caught.value.code == "host_key_unknown"
    assert [name for name in HOSTS if f"{name}'s key" in caught.value.msg] == ["hv1", "hv3"]
    assert known.find(strict=False).names == hosts("123")


def test_a_voter_that_only_a_list_names_may_be_strange_to_this_controller(known: Known) -> None:
    known.tell("1", "145", 1)
    known.tell("4", "456", 2)
    known.strange = {"hv5"}
    assert known.find("1").names == hosts("456")


def test_a_list_that_always_names_somebody_else_is_no_list(known: Known) -> None:
    for number in range(1, 7):
        known.tell(str(number), str(number + 1), number)
    with pytest.raises(LeaseError) as caught:
        known.find("1")
    assert caught.value.code == "new_epoch"
    assert len(known.asked) == 4


def test_a_pinned_voter_is_reached_as_declared_else_as_it_was(known: Known) -> None:
    known.tell("123", "124", 1)
    found = known.find("123", known="123")
    assert [voter.access.port for voter in found.voters] == [2201, 2202, 2204]
    assert found.voters[0] is HOSTS["hv1"]
    assert found.voters[2] == Hypervisor("hv4", "10.0.0.4", Access("root", 2204))


def test_what_keeps_the_lease_is_pinned_too(known: Known) -> None:
    etcd = Etcd(("http://b:2379", "http://a:2379"))
    cluster = "http://a:2379,http://b:2379"
    fresh = known.find(backend="etcd", etcd=etcd)
    assert (fresh.backend, fresh.cluster) == ("etcd", cluster) == ("etcd", cluster_of(etcd))
    known.tell("123", "123", 1, backend="etcd", cluster=cluster)
    found = known.find()
    assert (found.backend, found.cluster) == ("etcd", cluster), "although the declaration says otherwise"


def test_every_host_is_told_the_same_but_its_own_name() -> None:
    voters = Electorate(tuple(POOL[:3]), 4, "etcd", "c")
    assert voters.config("hv9").as_dict() == {**voters.config("hv1").as_dict(), "self": "hv9"}
    assert (voters.config("hv9").epoch, voters.config("hv9").backend, voters.config("hv9").cluster) == (4, "etcd", "c")
