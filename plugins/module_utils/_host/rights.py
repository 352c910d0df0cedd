# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What a session may ask of this host: decided by the key with which it logged in, before anything else."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._model.errors import RefusedError
from .._model.protocol import AGENT, READ_ONLY, VOTING


@dataclass(frozen=True)
class Rights:
    """Attributes: verbs: None means all. resource: the only one, empty for any. whose: in words."""

    verbs: frozenset[str] | None = None
    resource: str = ""
    whose: str = "this key"

    def within(self, other: Rights) -> Rights:
        """These rights as far as others allow them, too."""
        if other.verbs is None:
            return self
        verbs = other.verbs if self.verbs is None else self.verbs & other.verbs
        return Rights(verbs, self.resource, other.whose)

    def refuse(self, host: str, resource: str, asked: t.Iterable[str]) -> None:
        """Refuse a whole batch when one of its verbs, or its resource, is not of this session.

        Raises:
            RefusedError: `no_right`; nothing was changed.
        """
        if self.resource and resource not in ("", self.resource):
            raise RefusedError(
                f"{host} serves only resource {self.resource} to {self.whose}, not {resource}. Nothing was changed; "
                "use a controller's key.",
                code="no_right",
            )
        if self.verbs is None:
            return
        more = sorted({verb[:40] for verb in asked} - self.verbs)
        if more:
            raise RefusedError(
                f"{host} serves only {', '.join(sorted(self.verbs))} to {self.whose}, not {', '.join(more)}. "
                "Nothing was changed; use a controller's key.",
                code="no_right",
            )


ALL = Rights()
BOOT = Rights(READ_ONLY, "", "this key")
WITNESS = Rights(VOTING, "", "anybody, since it is a witness")


def agent(resource: str) -> Rights:
    """Of the agents of one resource."""
    return Rights(AGENT, resource, "this key")
