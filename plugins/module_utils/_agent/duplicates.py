# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Whether another agent goes by this node's id (rule 10): each of the two would take the other's lease for its own."""

from __future__ import annotations

from .._election.store import View
from .errors import DuplicateNodeError

HOLDER = "ensemble-agent on "
#: renewals that must be seen: one may be a voter that counts a dead session's lease anew after its boot (rule 9)
_RENEWALS = 2


class DuplicateWatch:
    """Looks at the leases of other sessions of our own node id.

    One that this node held before its agent was restarted runs out and is never renewed; one that is renewed after we
    first saw it belongs to somebody who lives.

    Args:
        step: seconds by which the end of a lease must move to count as renewed, more than answers of voters differ by.
    """

    def __init__(self, node: str, step: float) -> None:
        self._node = node
        self._step = step
        self._session = ""
        self._end = 0.0
        self._renewals = 0

    def look(self, view: View, node: str, now: float) -> None:
        """Judge what the voters tell.

        Args:
            node: the node id in the holder's session.

        Raises:
            DuplicateNodeError: the holder goes by our node id and lives.
        """
        if not view.session or node != self._node or not view.holder.startswith(HOLDER):
            self._session = ""
            return
        end = now + view.expires_in
        if view.session != self._session:
            self._session, self._end, self._renewals = view.session, end, 0
        elif end > self._end + self._step:
            self._end, self._renewals = end, self._renewals + 1
        if self._renewals >= _RENEWALS:
            raise DuplicateNodeError(
                f"another agent goes by the node id {self._node}: its session {view.session} holds the lease and "
                "renews it. Nothing was run here. Give each candidate an id of its own (node_id, by default the "
                "host's name in the inventory), and remove machines that were copied with their settings.",
                other=view.session,
            )
