# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The agent's own command, `ensemble-agent watch`: the term's work, wired to this node."""

from __future__ import annotations

import faulthandler
import os
import sys
import typing as t

from .._election.store import Identity
from .._engine.keeper import boottime
from .._engine.leases import voting
from .._model.declaration import Resource
from .._model.errors import EnsembleError
from .._pool import existing, ssh
from .._pool.pool import Connect
from .duplicates import HOLDER
from .journal import Journal
from .opening import election_of, host_of
from .playbook import Playbook
from .settings import STATE_DIR, Settings
from .show import Show
from .watch import Orders, Watch


def watch(settings: Settings) -> int:
    """Look after the resource for as long as the agent that started this leads; the exit status.

    Raises:
        EnsembleError: `no_agent`, nobody leads for whom this could work.
    """
    identity, token = _inherited(settings)
    orders = Orders()
    orders.listen()
    playbook = Playbook(settings, STATE_DIR)
    journal = Journal(settings.resource, settings.node_id, boottime, sys.stdout, settings.journal, settings.debug)
    hosts = [host_of(host, settings) for host in settings.voters]

    def votes() -> t.Any:
        return voting(settings.resource, hosts, election_of(settings), lambda hv: ssh.connect(hv, settings.known_hosts))

    show = Show(settings, token)
    try:
        work = Watch(settings, votes, playbook.resource, _connect, playbook, journal, show, identity, token, _alive)
        return work.serve(orders)
    finally:
        faulthandler.cancel_dump_traceback_later()
        show.close()


def _alive(seconds: float) -> None:
    """From now on, this process ends after so many seconds, saying on stderr where it was; the agent starts it anew.

    Everything here has a deadline of its own. A leader that stands still all the same renews its lease and does
    nothing, so that nobody else does.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)


def _inherited(settings: Settings) -> tuple[Identity, tuple[int, int]]:
    resource = settings.resource
    words = os.environ.get("ENSEMBLE_FENCING_TOKEN", "").split(",")
    session = os.environ.get("ENSEMBLE_SESSION", "")
    good = len(words) == 2 and all(word.isdigit() for word in words) and session
    if not good or os.environ.get("ENSEMBLE_RESOURCE") != resource:
        raise EnsembleError(
            f"there is no lease of {resource} under which this could work: the agent runs it while it leads. "
            "See systemctl status ensemble-agent@" + resource,
            code="no_agent",
        )
    return Identity(session, f"{HOLDER}{settings.node_id}"), (int(words[0]), int(words[1]))


def _connect(resource: Resource) -> Connect:
    def connect(hv: t.Any) -> t.Any:
        if hv.name in resource.machines:
            return existing.connect(resource, *resource.machines[hv.name])
        return ssh.connect(hv, resource.known_hosts)

    return connect
