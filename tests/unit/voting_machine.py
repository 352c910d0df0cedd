# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A voter in a folder, whose clock is set by hand."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.voter import Ballot
from ansible_collections.ensemble.stacks.plugins.module_utils._host import votes
from ansible_collections.ensemble.stacks.plugins.module_utils._host.voters import VoterAddress, Voters, VotersFile
from ansible_collections.ensemble.stacks.plugins.module_utils._host.votes import Voter


def voter_at(folder: pathlib.Path) -> Voter:
    return Voter(str(folder / "state"), "demo", str(folder / "run"))


@pytest.fixture
def voter(tmp_path: pathlib.Path) -> Voter:
    return voter_at(tmp_path)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The voter's clock: change the only item."""
    seconds = [100.0]
    monkeypatch.setattr(votes, "boottime", lambda: seconds[0])
    return seconds


def ballot(term: int, session: str = "a", epoch: int = 1, founding: bool = False) -> Ballot:
    return Ballot(epoch, term, session, session.upper(), 15.0, founding)


def config(epoch: int = 1) -> Voters:
    return Voters("hv1", tuple(VoterAddress(f"hv{n}", f"10.0.0.{n}", 22, "root") for n in (1, 2, 3)), epoch)


def pin(folder: pathlib.Path, epoch: int = 1) -> None:
    (folder / "state" / "demo").mkdir(parents=True, exist_ok=True)
    VotersFile(str(folder / "state"), "demo").write(config(epoch))


def state(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (folder / "state").rglob("*.json")}
