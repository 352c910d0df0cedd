# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The verbs of a voter: the lease, and what is kept on a majority. A witness has no others."""

from __future__ import annotations

import re
import typing as t

from .._election.voter import Ballot
from .._model.reader import Section
from .agent_keys import KEY_LINE, AgentKeys
from .armed import Arming
from .fence import check_readable
from .fields import Batch, checked
from .records import Records
from .voters import VotersFile, read_voters
from .votes import Voter

_SESSION = re.compile(r"[A-Za-z0-9_.:@/-]{1,200}")
_DIGEST = re.compile(r"[0-9a-f]{8,64}")
_HOLDER = re.compile(r"[ -~]{1,200}")
_SECRET_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,120}")
#: seconds; no lease is longer, and nobody waits longer for one
MAX_TTL_S = 3600
MAX_WISH_S = 300

Verb = t.Callable[[Batch, Section], t.Any]


class VoteVerbs:
    """Votes, the record, the secrets and the voters of the resources that this host votes for."""

    def __init__(self, state: str, run_dir: str, keys: AgentKeys) -> None:
        self._state = state
        self._run_dir = run_dir
        self._keys = keys

    def verbs(self) -> dict[str, Verb]:
        """Name -> what to do."""
        return {
            "lease_read": self._read,
            "lease_request": self._request,
            "lease_release": self._release,
            "lease_wish": self._wish,
            "voter_join": self._join,
            "voters_write": self._voters_write,
            "record_read": self._record_read,
            "record_write": self._record_write,
            "secrets_read": self._secrets_read,
            "secrets_write": self._secrets_write,
            "agent_key_write": self._key_write,
            "forget": self._forget,
        }

    def _voter(self, batch: Batch) -> Voter:
        return Voter(self._state, batch.resource, self._run_dir)

    # -- the lease

    def _read(self, batch: Batch, section: Section) -> t.Any:
        checked(section)
        # a host that obeys nobody says so, else no leader would know that it is to be told the tokens again
        check_readable(self._state, batch.resource)
        return {**self._voter(batch).read(), "agent_key": self._keys.key(batch.resource)}

    def _request(self, batch: Batch, section: Section) -> t.Any:
        ballot = Ballot(
            section.integer("epoch"),
            section.integer("term"),
            *_asker(section),
            section.number("ttl", 15, 3, MAX_TTL_S),
            section.flag("founding"),
            section.text("config", "", _DIGEST, "a digest"),
        )
        checked(section)
        return self._voter(batch).request(ballot)

    def _release(self, batch: Batch, section: Section) -> t.Any:
        session = section.text("session", pattern=_SESSION, what="a session's id")
        term = section.integer("term", minimum=0)
        checked(section)
        return self._voter(batch).release(session, term)

    def _wish(self, batch: Batch, section: Section) -> t.Any:
        session, holder = _asker(section)
        person = section.flag("person")
        seconds = section.number("seconds", 0, 0, MAX_WISH_S)
        checked(section)
        return self._voter(batch).wish(session, holder, person, seconds)

    # -- the voters

    def _join(self, batch: Batch, section: Section) -> t.Any:
        epoch, term = section.integer("epoch"), section.integer("term", minimum=0)
        ttl = section.number("ttl", 15, 3, MAX_TTL_S)
        founding = section.flag("founding")
        checked(section)
        return self._voter(batch).join(epoch, term, ttl, founding)

    def _voters_write(self, batch: Batch, section: Section) -> t.Any:
        voters = read_voters(section)
        checked(section)
        VotersFile(self._state, batch.resource).write(voters)
        return {}

    def _key_write(self, batch: Batch, section: Section) -> t.Any:
        key = section.text("key", None, KEY_LINE, "a public key")
        checked(section)
        return {"changed": self._keys.write(batch.resource, key)}

    # -- what is kept

    def _record_read(self, batch: Batch, section: Section) -> t.Any:
        checked(section)
        return Records(self._state, batch.resource).read()

    def _record_write(self, batch: Batch, section: Section) -> t.Any:
        record = section.section("record", "the record")
        data = {key: record.raw(key) for key in record.key_names()}
        checked(section)
        Records(self._state, batch.resource).write(data, batch.token)
        return {}

    def _secrets_read(self, batch: Batch, section: Section) -> t.Any:
        checked(section)
        return Records(self._state, batch.resource).secrets()

    def _secrets_write(self, batch: Batch, section: Section) -> t.Any:
        offered = section.section("secrets")
        version = section.integer("version")
        secrets = {}
        for name in offered.key_names():
            if not _SECRET_NAME.fullmatch(name):
                offered.fault(name, "a bad name", f"a name matching {_SECRET_NAME.pattern}")
            secrets[name] = offered.text(name)
        checked(section)
        Records(self._state, batch.resource).write_secrets(secrets, version, batch.token)
        return {}

    def _forget(self, batch: Batch, section: Section) -> t.Any:
        checked(section)
        self._keys.write(batch.resource, None)
        Arming(self._state, self._run_dir, batch.resource).forget()
        self._voter(batch).unpin()
        Records(self._state, batch.resource).forget(batch.token)
        return {}


def _asker(section: Section) -> tuple[str, str]:
    """Session and holder."""
    return (
        section.text("session", pattern=_SESSION, what="a session's id"),
        section.text("holder", pattern=_HOLDER, what="printable text"),
    )
