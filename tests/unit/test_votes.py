# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A voter's memory: on disk before it is told, bound to its boot, pinned, unpinned, lost and given back."""

from __future__ import annotations

import pathlib
import stat
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host import files
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import CorruptStateError
from ansible_collections.ensemble.stacks.plugins.module_utils._host.votes import Voter, this_boot
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import RefusedError
from voting_machine import ballot, config, now, pin, state, voter, voter_at

__all__ = ["ballot", "config", "now", "pin", "state", "voter", "voter_at"]


# -- grants


def test_a_vote_is_on_disk_before_it_is_told(voter: Voter, now: list[float], tmp_path: pathlib.Path) -> None:
    assert (voter.read()["term"], voter.read()["blank"]) == (0, True)
    assert not (tmp_path / "state").exists(), "reading leaves nothing"
    answer = voter.request(ballot(1, "s", founding=True))
    assert (answer["granted"], answer["reason"], answer["expires_in"]) == (True, "granted", 15.0)
    again = voter_at(tmp_path).read()
    assert (again["term"], again["session"], again["holder"], again["granted"]) == (1, "s", "S", False)
    assert stat.S_IMODE((tmp_path / "state" / "demo" / "lease.json").stat().st_mode) == 0o600


def test_what_cannot_be_written_is_not_granted(
    voter: Voter, now: list[float], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voter.request(ballot(1, founding=True))
    now[0] += 15
    before = state(tmp_path)

    def full(*_args: t.Any, **_more: t.Any) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "rename", full)
    with pytest.raises(OSError, match="No space"):
        voter.request(ballot(2, "b"))
    assert state(tmp_path) == before
    assert (voter_at(tmp_path).read()["term"], voter_at(tmp_path).read()["session"]) == (1, "a")


def test_votes_expire_and_are_given_back(voter: Voter, now: list[float]) -> None:
    voter.request(ballot(1, founding=True))
    assert voter.request(ballot(2, "b"))["reason"] == "held"
    assert voter.release("b", 9)["session"] == "a"
    now[0] += 15
    assert voter.request(ballot(2, "b"))["reason"] == "granted"
    assert voter.release("b", 2)["session"] == ""
    assert voter.read()["term"] == 2
    assert voter.request(ballot(2, "c"))["reason"] == "old_term"


def test_a_release_that_comes_late_frees_nothing_of_a_later_term(voter: Voter, now: list[float]) -> None:
    voter.request(ballot(1, founding=True))
    now[0] += 15
    voter.request(ballot(2))
    assert voter.release("a", 1)["session"] == "a"
    assert voter.release("a", 2)["session"] == ""


def test_a_renewal_lasts_from_then_on(voter: Voter, now: list[float]) -> None:
    voter.request(ballot(1, founding=True))
    now[0] += 10
    assert voter.request(ballot(1))["reason"] == "renewed"
    now[0] += 10
    assert voter.request(ballot(2, "b"))["reason"] == "held"
    now[0] += 5
    assert voter.request(ballot(1))["granted"] is False, "a lease that has ended is no lease"


def test_releasing_what_was_never_granted_leaves_nothing(voter: Voter, tmp_path: pathlib.Path) -> None:
    assert voter.release("a", 1)["term"] == 0
    assert not (tmp_path / "state").exists()


def test_a_rebooted_voter_waits_one_ttl(voter: Voter, now: list[float], tmp_path: pathlib.Path) -> None:
    voter.request(ballot(1, founding=True))
    now[0] = 0.0
    rebooted = Voter(str(tmp_path / "state"), "demo", str(tmp_path / "run-after-boot"))
    now[0] = 3.0
    assert rebooted.request(ballot(2, "b"))["reason"] == "held"
    now[0] = 17.9
    assert rebooted.request(ballot(2, "b"))["reason"] == "held"
    now[0] = 18.0
    assert rebooted.request(ballot(2, "b"))["reason"] == "granted"


@pytest.mark.parametrize("body", [b"", b"\0" * 300, b"garbage", b'{"sha256":"x","value":{}}\n'])
@pytest.mark.parametrize("name", ["lease.json", "voters.json"])
def test_a_corrupt_memory_abstains(voter: Voter, tmp_path: pathlib.Path, name: str, body: bytes) -> None:
    voter.request(ballot(1, founding=True))
    pin(tmp_path)
    (tmp_path / "state" / "demo" / name).write_bytes(body)
    for ask in (voter.read, lambda: voter.request(ballot(9, "b")), lambda: voter.release("a", 1), voter.unpin):
        with pytest.raises(CorruptStateError):
            ask()


def test_a_boot_has_one_id(tmp_path: pathlib.Path) -> None:
    first = this_boot(str(tmp_path / "a"))
    assert this_boot(str(tmp_path / "a")) == first != this_boot(str(tmp_path / "b"))
    assert len(first.boot_id) == 36


# -- founding, pinning


def test_without_memory_only_a_founding_is_granted(voter: Voter, now: list[float], tmp_path: pathlib.Path) -> None:
    assert voter.request(ballot(7))["reason"] == "amnesiac"
    assert state(tmp_path) == {}
    assert voter.request(ballot(7, founding=True))["reason"] == "granted"
    assert voter.read()["founding"] is True


def test_a_founding_that_died_may_be_repeated_until_the_voters_are_pinned(
    voter: Voter, now: list[float], tmp_path: pathlib.Path
) -> None:
    voter.request(ballot(1, founding=True))
    now[0] += 15
    assert voter.request(ballot(2, "b", founding=True))["reason"] == "granted"
    pin(tmp_path)
    assert voter.read()["founding"] is False
    now[0] += 15
    assert voter.request(ballot(3, "c", founding=True))["reason"] == "founded"
    assert voter.request(ballot(3, "c"))["reason"] == "granted"


def test_only_being_told_who_votes_ends_the_founding(voter: Voter, now: list[float], tmp_path: pathlib.Path) -> None:
    voter.request(ballot(1, founding=True))
    now[0] += 15
    assert voter.request(ballot(2, "b"))["reason"] == "granted"
    assert voter.read()["founding"] is True
    pin(tmp_path)
    now[0] += 15
    assert voter.request(ballot(3, "c", founding=True))["reason"] == "founded"


def test_the_epoch_counts_as_soon_as_it_is_written(voter: Voter, now: list[float], tmp_path: pathlib.Path) -> None:
    voter.request(ballot(1, founding=True))
    pin(tmp_path, 2)
    assert voter.read()["config_epoch"] == 2
    assert voter.request(ballot(1))["reason"] == "old_epoch", "not even its holder renews"
    now[0] += 15
    assert voter.request(ballot(5, "b"))["reason"] == "old_epoch"
    assert voter.request(ballot(5, "b", epoch=2))["reason"] == "granted"


def test_of_two_lists_of_one_epoch_only_the_one_that_is_pinned_wins(
    voter: Voter, now: list[float], tmp_path: pathlib.Path
) -> None:
    voter.request(ballot(1, founding=True))
    now[0] += 15
    pin(tmp_path, 2)
    ask = ballot(2, "b", epoch=2)
    assert voter.request(replace(ask, config="0" * 16))["reason"] == "old_epoch"
    assert voter.request(replace(ask, config=config(2).list_digest))["reason"] == "granted"


def test_a_later_list_wins_before_it_is_written_here_and_no_other_one_after_it(
    voter: Voter, now: list[float], tmp_path: pathlib.Path
) -> None:
    """Whoever changed the voters died when some had been told: the others must be able to follow."""
    voter.request(ballot(1, founding=True))
    pin(tmp_path, 1)
    now[0] += 15
    later, other = replace(ballot(2, "b", epoch=2), config="a" * 16), replace(ballot(3, "c", epoch=2), config="b" * 16)
    assert voter.request(later)["reason"] == "granted"
    assert voter.request(later)["reason"] == "renewed"
    now[0] += 15
    assert voter.request(other)["reason"] == "old_epoch"
    assert voter.request(replace(other, epoch=1, config=config(1).list_digest))["reason"] == "old_epoch"
    assert voter.request(replace(later, term=3))["reason"] == "granted"


def test_a_lease_is_renewed_into_a_later_epoch(voter: Voter, now: list[float], tmp_path: pathlib.Path) -> None:
    voter.request(ballot(1, founding=True))
    pin(tmp_path, 2)
    assert voter.request(ballot(1, epoch=2))["reason"] == "renewed"
    (tmp_path / "state" / "demo" / "voters.json").unlink()
    assert voter.read()["config_epoch"] == 2, "the grant itself remembers it"


def test_an_older_list_of_voters_is_refused(voter: Voter, tmp_path: pathlib.Path) -> None:
    pin(tmp_path, 3)
    with pytest.raises(RefusedError) as caught:
        pin(tmp_path, 2)
    assert (caught.value.code, caught.value.details) == ("old_epoch", {"epoch": 2, "stored": 3})
    pin(tmp_path, 3)
    pin(tmp_path, 4)
    assert voter.read()["config"] == config(4).as_dict()


def test_unpinning_lets_others_found_it_again_with_higher_terms(
    voter: Voter, now: list[float], tmp_path: pathlib.Path
) -> None:
    voter.request(ballot(8, founding=True))
    pin(tmp_path, 2)
    voter.request(ballot(8, epoch=2))
    voter.release("a", 8)
    voter.unpin()
    seen = voter.read()
    assert (seen["founding"], seen["config"], seen["term"], seen["config_epoch"]) == (True, None, 8, 2)
    assert voter.request(ballot(8, "b", epoch=2, founding=True))["reason"] == "old_term"
    assert voter.request(ballot(9, "b", epoch=1, founding=True))["reason"] == "old_epoch"
    assert voter.request(ballot(9, "b", epoch=2, founding=True))["reason"] == "granted"


def test_unpinning_keeps_the_lease_of_who_does_it(voter: Voter, now: list[float], tmp_path: pathlib.Path) -> None:
    voter.request(ballot(1, founding=True))
    pin(tmp_path)
    voter.unpin()
    assert voter.request(ballot(2, "b", founding=True))["reason"] == "held"
    assert voter.request(ballot(1))["reason"] == "renewed"


def test_unpinning_what_was_never_pinned_remembers_nothing(voter: Voter, tmp_path: pathlib.Path) -> None:
    voter.unpin()
    assert (voter.read()["blank"], state(tmp_path)) == (True, {})
