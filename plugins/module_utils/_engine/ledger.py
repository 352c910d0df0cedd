# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What is kept on a majority of the voters: the resource's record and its secrets, each a versioned document.

A document carries the token of the leader who wrote it, and its version; the highest pair counts. Every write reaches
a majority, so every majority that is read has a voter which knows the last one. What fewer than a majority have, a
leader writes again under its own token before it acts on it: else a later one might read an earlier document.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from .._election.store import Lease
from .._host.voters import Voters, voters_from
from .._model.errors import EnsembleError, HypervisorError, LeaseError
from .._model.observed import Record, stamp_of
from .electorate import Electorate
from .links import Batches, Links, Results

_READ = ({"verb": "lease_read"}, {"verb": "record_read"}, {"verb": "secrets_read"})


@dataclass(frozen=True)
class Kept:
    """What one voter keeps.

    Attributes:
        mute: it has no memory of leases, or none that it can read.
        term: the highest that it has granted.
        founding: it is part of a first start, in which nothing was written yet.
        blank: nobody has told it who votes: it vouches for nothing.
    """

    mute: bool
    term: int
    founding: bool
    config: Voters | None
    record: t.Mapping[str, t.Any]
    secrets: t.Mapping[str, t.Any]

    @property
    def blank(self) -> bool:
        return self.config is None and not self.founding


@dataclass
class Ledger:
    """The documents of one resource, as this run knows them.

    Attributes:
        generation: of the declaration that this run's writes carry out.
    """

    links: Links
    electorate: Electorate
    record: Record = field(default_factory=Record)
    secrets: dict[str, str] = field(default_factory=dict)
    secrets_version: int = 0
    generation: int = 0

    # -- reading

    def read(self) -> dict[str, Kept]:
        """Learn the record and the secrets from a majority; writes nothing. Returns what each voter keeps.

        Raises:
            LeaseError: `no_quorum`.
        """
        batches = self.links.batch(_READ, nearly=lambda found: len(_vouching(found)) >= self.links.needed)
        kept = _vouching(batches)
        # where nobody was ever told who votes, nothing was ever written
        begun = any(one.config is not None for one in kept.values())
        sound = [one for one in kept.values() if not (begun and one.blank)]
        if len(sound) < self.links.needed:
            raise self._no_majority("keep the record", batches, len(sound))
        self._learn(sound)
        return kept

    def survey(self) -> dict[str, Kept]:
        """Learn what can be learnt from any voter that answers, majority or not."""
        kept = _vouching(self.links.batch(_READ))
        self._learn(list(kept.values()))
        return kept

    def _learn(self, sound: t.Sequence[Kept]) -> None:
        newest = max((one.record for one in sound), key=stamp_of, default={})
        secrets = max((one.secrets for one in sound), key=stamp_of, default={})
        self.record = Record.from_dict(newest)
        self.secrets, self.secrets_version = dict(secrets.get("secrets", {})), stamp_of(secrets)[1]
        self.generation = self.record.generation

    def _no_majority(self, what: str, batches: Batches, count: int, need: int | None = None) -> LeaseError:
        why = "".join(f"\n  - {name}: {_fault(batch)}" for name, batch in batches.items() if _fault(batch))
        return LeaseError(
            f"{count} of {len(batches)} voters {what}, {need or self.links.needed} must. Nothing more was changed; "
            f"look after the hosts that vote.{why}",
            code="no_quorum",
        )

    # -- writing; every one needs the lease

    def settle(self, lease: Lease) -> None:
        """Read, and bring every voter that answers to where the majority is.

        Voters without a memory are given it back and abstain for a ttl; the configuration is pinned where it is not.

        Raises:
            EnsembleError: no majority, or the lease was lost.
        """
        kept = self.read()
        if len(kept) < len(self.links.names) and not any(one.config for one in kept.values()):
            raise LeaseError(
                f"{len(kept)} of {len(self.links.names)} voters answer; at the first start of a resource all must. "
                "Nothing was changed; look after the hosts that vote.",
                code="no_quorum",
            )
        if not any(one.config for one in kept.values()):
            self._rejoin(lease, [name for name, one in kept.items() if one.mute], founding=True)
        newest = max((stamp_of(one.record) for one in kept.values() if not one.blank), default=((), 0))
        agree = [name for name, one in kept.items() if not one.blank and stamp_of(one.record) == newest]
        if len(agree) < len(kept) and self.record.version:
            self.write_record(self.record if len(agree) >= self.links.needed else self._again(), lease)
        latest = max((stamp_of(one.secrets) for one in kept.values() if not one.blank), default=((), 0))
        if self.secrets_version and any(stamp_of(one.secrets) != latest for one in kept.values()):
            self.write_secrets(self.secrets, lease)
        wanted = self.electorate.config("")
        behind = [name for name, one in kept.items() if not _same(one.config, wanted)]
        if behind:
            told = len(kept) - len(behind)
            self.pin(lease, self.electorate, behind, max(0, self.links.needed - told))
        # last: from then on they vouch for what they keep
        self._rejoin(lease, [name for name, one in kept.items() if one.mute])

    def tend(self, lease: Lease) -> None:
        """Give voters back what they lost, while a run under the same lease may be writing: nothing else is touched.

        Raises:
            EnsembleError: as `settle`.
        """
        lost = [name for name, one in self.read().items() if one.mute]
        if lost:
            self.join(lost, lease)

    def _again(self) -> Record:
        return replace(self.record, version=self.record.version + 1)

    def _rejoin(self, lease: Lease, names: t.Sequence[str], founding: bool = False) -> None:
        if not names:
            return
        lease.renew()  # a majority of the others grants the lease after the loss was seen
        lease.require(lease.ttl / 5)
        # one term less, so that the voter may renew this very lease when it has waited
        term = lease.token[1] - 1
        known = {"epoch": lease.token[0], "term": term, "ttl": lease.ttl, "founding": founding}
        verb = {"verb": "voter_join", **known}
        self.links.batch({name: [verb] for name in names}, **self._common(lease))

    def join(self, names: t.Sequence[str], lease: Lease) -> None:
        """Give voters that are new all that the others keep; they abstain for a ttl.

        Raises:
            LeaseError: `no_quorum`, one of them did not take it.
        """
        verbs: list[dict[str, t.Any]] = []
        if self.record.version:
            verbs.append({"verb": "record_write", "record": self.record.as_dict()})
        if self.secrets_version:
            verbs.append({"verb": "secrets_write", "secrets": self.secrets, "version": self.secrets_version})
        if verbs:
            self._write(lease, dict.fromkeys(names, tuple(verbs)), len(names))
        self.pin(lease, self.electorate, names, len(names))
        self._rejoin(lease, names)

    def pin(
        self, lease: Lease, electorate: Electorate, names: t.Sequence[str] | None = None, need: int | None = None
    ) -> None:
        """Tell voters who votes; without names all of them, and a majority must take it unless another number is said.

        Raises:
            LeaseError: `no_quorum`, `lease_lost`.
        """
        chosen = self.links.names if names is None else names
        verbs = {name: [{"verb": "voters_write", **electorate.config(name).as_dict()}] for name in chosen}
        self._write(lease, verbs, self.links.needed if need is None else need)

    def write_record(self, record: Record, lease: Lease) -> None:
        """Write the record on a majority.

        Raises:
            LeaseError: `no_quorum`, `lease_lost`.
            EnsembleError: `stale_token`, `record_changed`: another controller leads now.
        """
        self.generation = max(self.generation, record.generation)
        self._write(lease, [{"verb": "record_write", "record": record.as_dict()}])
        self.record = record

    def write_secrets(self, secrets: t.Mapping[str, str], lease: Lease) -> None:
        """Write all secrets on a majority; raises as `write_record`."""
        version = self.secrets_version + 1
        self._write(lease, [{"verb": "secrets_write", "secrets": dict(secrets), "version": version}])
        self.secrets, self.secrets_version = dict(secrets), version

    def forget(self, lease: Lease) -> None:
        """Leave nothing but the tombstone; raises as `write_record`."""
        self._write(lease, [{"verb": "forget"}])

    def _common(self, lease: Lease) -> dict[str, t.Any]:
        return {"generation": self.generation, "token": list(lease.token)}

    def _write(self, lease: Lease, verbs: t.Any, need: int | None = None) -> None:
        lease.require(lease.ttl / 5)
        least = self.links.needed if need is None else need

        def enough(batches: Batches) -> bool:
            return sum(not _fault(batch) for batch in batches.values()) >= least

        batches = dict(self.links.batch(verbs, nearly=enough, **self._common(lease)))
        broken = [name for name, batch in batches.items() if isinstance(batch, EnsembleError) and _unreadable(batch)]
        if broken:  # what it remembers of tokens; a leader may give that back
            self._rejoin(lease, broken)
            again = {name: verbs[name] if isinstance(verbs, dict) else verbs for name in broken}
            batches.update(self.links.batch(again, **self._common(lease)))
        refused = [batch for batch in batches.values() if isinstance(batch, EnsembleError) and _decides(batch)]
        if refused:
            raise refused[0]
        done = sum(not _fault(batch) for batch in batches.values())
        if done < least:
            raise self._no_majority("have taken what was written", batches, done, least)
        if lease.remaining() <= 0:
            raise LeaseError(
                "the lease ended while the voters were written to: a successor may have read them before. Run again.",
                code="lease_lost",
            )


def _vouching(batches: Batches) -> dict[str, Kept]:
    """What the voters keep that answer; one whose memory cannot be read is blank."""
    kept = {}
    for name, batch in batches.items():
        if isinstance(batch, EnsembleError):
            continue
        if _fault(batch):
            if "corrupt_state" in _codes(batch):
                kept[name] = Kept(True, 0, False, None, {}, {})
            continue
        lease, record, secrets = (result["value"] for result in batch)
        config = voters_from(lease["config"]) if lease["config"] else None
        kept[name] = Kept(bool(lease["blank"]), int(lease["term"]), bool(lease["founding"]), config, record, secrets)
    return kept


def _same(config: Voters | None, wanted: Voters) -> bool:
    return config is not None and replace(config, me="") == wanted


def _codes(batch: Results) -> list[str]:
    return [str(result["error"]["code"]) for result in batch if not result["ok"]]


def _fault(batch: Results | EnsembleError) -> str:
    """Why a batch was not done; empty when it was."""
    if isinstance(batch, EnsembleError):
        return batch.msg
    return "; ".join(str(result["error"]["msg"]) for result in batch if not result["ok"])


def _unreadable(error: EnsembleError) -> bool:
    return error.code == "corrupt_state"


def _decides(error: EnsembleError) -> bool:
    """Whether a refusal means that another controller leads, whatever the majority says."""
    return not isinstance(error, HypervisorError) and error.code in ("stale_token", "stale_generation")
