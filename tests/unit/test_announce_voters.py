# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Hypervisors are told who keeps the record, once."""

from __future__ import annotations

import pathlib
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.boot import announce_voters
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.electorate import Electorate
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.observe import observe
from ansible_collections.ensemble.stacks.plugins.module_utils._host.voters import VotersFile
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Access
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import Record
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.pool import Pool
from declared import parsed
from world import World

POOL = parsed().pool


VOTER = {"name": "hv1", "address": "10.0.0.1", "port": 22, "user": "root"}
#: what every hypervisor is told besides its own name and the voters
KNOWN = {"epoch": 1, "backend": "quorum", "cluster": ""}


class Told:
    """A pool whose hypervisors are told through sessions, as a run would."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.world = World(folder, POOL)

    def announce(
        self, voters: t.Sequence[t.Any] = POOL[:1], pool: t.Sequence[t.Any] = POOL, epoch: int = 1
    ) -> list[str]:
        with Pool(POOL, self.world.connect) as sessions:

            def call(hypervisor: str, verb: str, fields: t.Mapping[str, t.Any]) -> t.Any:
                common: dict[str, t.Any] = {"resource": "demo", "generation": 1, "token": [1, 1]}
                return sessions.sessions[hypervisor].call(verb, 5.0, fields, **common)

            seen = observe(sessions, "demo", Record())
            return announce_voters(call, pool, Electorate(tuple(voters), epoch), seen)

    def known(self, name: str) -> t.Any:
        voters = VotersFile(self.world.hosts[name].state, "demo").read()
        assert voters is not None
        return voters.as_dict()


@pytest.fixture
def told(tmp_path: pathlib.Path) -> Told:
    return Told(tmp_path)


def test_each_is_told_once(told: Told) -> None:
    assert told.announce() == ["hv1", "hv2"]
    assert told.known("hv1") == {"self": "hv1", "voters": [VOTER], **KNOWN}
    assert told.known("hv2") == {"self": "hv2", "voters": [VOTER], **KNOWN}
    before = told.world.exchanges
    assert told.announce() == []
    assert told.world.exchanges - before == len(POOL)  # the observation itself


def test_other_voters_are_told_anew(told: Told) -> None:
    told.announce()
    moved = replace(POOL[0], access=Access(port=2222, user="ops"))
    assert told.announce([moved, POOL[1]]) == ["hv1", "hv2"]
    assert [voter["port"] for voter in told.known("hv2")["voters"]] == [2222, 22]


def test_only_what_differs_is_told(told: Told) -> None:
    told.announce()
    VotersFile(told.world.hosts["hv2"].state, "demo").forget()
    assert told.announce() == ["hv2"]


def test_a_later_epoch_is_told_although_the_voters_are_the_same(told: Told) -> None:
    told.announce()
    assert told.announce(epoch=2) == ["hv1", "hv2"]
    assert told.known("hv2") == {"self": "hv2", "voters": [VOTER], **KNOWN, "epoch": 2}


def test_an_older_epoch_is_refused_and_named(told: Told) -> None:
    told.announce(epoch=3)
    with pytest.raises(EnsembleError) as caught:
        told.announce(epoch=2)
    assert caught.value.code == "old_epoch"
    assert told.known("hv1")["epoch"] == 3


def test_simulated_hypervisors_are_known_by_name_only(told: Told) -> None:
    simulated = [replace(hv, sim="/nowhere", address="") for hv in POOL]
    assert told.announce(simulated[:1], simulated) == ["hv1", "hv2"]
    assert told.known("hv2")["voters"] == [{**VOTER, "address": "simulated"}]
