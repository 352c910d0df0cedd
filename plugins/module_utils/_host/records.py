# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The resource's record and its secrets on a voter: compare-and-set, and first writer wins."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._model.errors import RefusedError
from .drivers.folder import members_dir, remove_asides
from .files import read_json, resource_dir, write_json


class Records:
    """What one voter stores for a resource. Writing is allowed only inside `fence.fenced`."""

    def __init__(self, root: str, resource: str) -> None:
        self._folder = resource_dir(root, resource)
        self._record = os.path.join(self._folder, "record.json")
        self._secrets = os.path.join(self._folder, "secrets.json")
        self._root, self._resource = root, resource

    def read(self) -> dict[str, t.Any]:
        """The record, empty when none was ever written."""
        return t.cast("dict[str, t.Any]", read_json(self._record) or {})

    def write(self, record: t.Mapping[str, t.Any]) -> None:
        """Compare-and-set: the new version must be the stored one + 1.

        Raises:
            RefusedError: `record_changed`, somebody else wrote in between.
        """
        stored = int(self.read().get("version", 0))
        if record.get("version") != stored + 1:
            raise RefusedError(
                f"the record of {self._resource} is at version {stored}; version {record.get('version')!r} does not "
                "follow it: somebody else changed it. Nothing was changed; run again.",
                code="record_changed",
                stored=stored,
            )
        write_json(self._record, dict(record))

    def secrets(self) -> dict[str, str]:
        """Name -> secret text."""
        return t.cast("dict[str, str]", read_json(self._secrets) or {})

    def add_secrets(self, offered: t.Mapping[str, str]) -> dict[str, str]:
        """Keep the offered secrets under names that have none yet, and return all that hold now."""
        kept = self.secrets()
        merged = {**offered, **kept}
        if merged != kept:
            write_json(self._secrets, merged)
        return merged

    def forget(self) -> None:
        """Leave only a tombstone: versions and desired state, no declaration, no secrets."""
        if os.path.exists(self._secrets):
            os.unlink(self._secrets)
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
            }
            write_json(self._record, tombstone)
