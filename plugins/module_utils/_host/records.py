# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The resource's record and its secrets on a voter: compare-and-set, and first writer wins."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._model.errors import RefusedError
from .drivers.folder import members_dir, remove_asides
from .fence import Token
from .files import CorruptStateError, read_json, resource_dir, write_json


class Records:
    """What one voter stores for a resource. Writing is allowed only inside `fence.fenced`."""

    def __init__(self, root: str, resource: str) -> None:
        self._folder = resource_dir(root, resource)
        self._record = os.path.join(self._folder, "record.json")
        self._secrets = os.path.join(self._folder, "secrets.json")
        self._root, self._resource = root, resource

    def read(self) -> dict[str, t.Any]:
        """The record, empty when none was ever written; its key `token` is that of the leader who wrote it."""
        return t.cast("dict[str, t.Any]", read_json(self._record) or {})

    def write(self, record: t.Mapping[str, t.Any], token: Token) -> None:
        """Compare-and-set: a leader's own versions follow each other, and a later leader's counts whatever stands here.

        What an earlier leader wrote here and on no majority is nobody's word: its successor could not see it.

        Raises:
            RefusedError: `record_changed`, the same leader wrote in between.
        """
        self._advance(self._record, {**record, "token": list(token)}, "record")

    def secrets(self) -> dict[str, t.Any]:
        """`secrets`: name -> text, with the version and the token of the leader who wrote them; empty before."""
        stored = read_json(self._secrets) or {}
        # before versions were kept, the names stood there alone
        return stored if not stored or "secrets" in stored else {"version": 1, "token": [0, 0], "secrets": stored}

    def write_secrets(self, secrets: t.Mapping[str, str], version: int, token: Token) -> None:
        """Replace all secrets, as `write` does the record; the leader has read a majority's before.

        Raises:
            RefusedError: `record_changed`.
        """
        self._advance(
            self._secrets, {"version": version, "token": list(token), "secrets": dict(secrets)}, "list of secrets"
        )

    def _advance(self, path: str, document: dict[str, t.Any], what: str) -> None:
        try:
            stored = read_json(path) or {}
        except CorruptStateError:  # whoever leads has read a majority of the others
            stored = {}
        was = tuple(stored.get("token", (0, 0)))
        version = stored.get("version", 0)
        offered = document.get("version")
        if stored == document:  # the answer to the first attempt was lost
            return
        number = isinstance(offered, int) and not isinstance(offered, bool)
        if not number or (was, version) >= (tuple(document["token"]), offered):
            raise RefusedError(
                f"the {what} of {self._resource} is at version {version}; version {offered!r} does not "
                "follow it: somebody else changed it. Nothing was changed; run again.",
                code="record_changed",
                stored=version,
            )
        write_json(path, document)

    def forget(self, token: Token) -> None:
        """Leave only a tombstone: versions and desired state, no declaration, no secrets."""
        if os.path.exists(self._secrets):
            # not removed: a voter that was away would else be the only one to know, and its secrets would count
            with contextlib.suppress(CorruptStateError):
                version = int(self.secrets().get("version", 0))
                write_json(self._secrets, {"version": version + 1, "token": list(token), "secrets": {}})
        remove_asides(self._root, self._resource)
        with contextlib.suppress(OSError):  # some member still has its folder in there, or there is none
            os.rmdir(members_dir(self._root, self._resource))
        record = self.read()
        if record.get("declaration"):
            tombstone = {
                **record,
                "declaration": {},
                "placement": {},
                "stateful": [],
                "moving": {},
                "removed": [],
                "digest": "",
                "version": record["version"] + 1,
                "token": list(token),
            }
            write_json(self._record, tombstone)
