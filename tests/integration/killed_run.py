# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A run of the engine that kills itself at one boundary of its conversation with the hypervisors.

usage: killed_run.py DECLARATION STATE BOUNDARY
Boundary 2n is before the n-th request is sent, 2n+1 after it was carried out and before its answer is read; the run
ends by SIGKILL there. Exit code 0: the run was over before.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import Request, converge
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Hypervisor
from ansible_collections.ensemble.stacks.plugins.module_utils._model.load import load_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session, Transport
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.ssh import connect


class Boundary:
    """Counts requests over all sessions and kills the run at its turn."""

    def __init__(self, at: int) -> None:
        self._at = at
        self._count = 0
        self._guard = threading.Lock()

    def next(self) -> int:
        """The number of a request that begins."""
        with self._guard:
            self._count += 1
            return 2 * (self._count - 1)

    def reached(self, number: int) -> None:
        """Kill the run if this is the boundary."""
        if number == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


class Watched(Transport):
    """A transport whose requests pass the boundary."""

    def __init__(self, inner: Transport, boundary: Boundary) -> None:
        self._inner = inner
        self._boundary = boundary

    def exchange(self, line: bytes, timeout: float) -> bytes:
        number = self._boundary.next()
        self._boundary.reached(number)
        answer = self._inner.exchange(line, timeout)
        self._boundary.reached(number + 1)
        return answer

    def close(self) -> None:
        self._inner.close()


def main(path: str, state: str, at: int) -> None:
    resource = load_declaration(path)
    boundary = Boundary(at)

    def watched(hypervisor: Hypervisor) -> Session:
        session = connect(hypervisor, resource.known_hosts)
        return Session(session.hypervisor, Watched(session.transport, boundary))

    request = Request(resource.name, resource.pool, state, resource, wait=False, election=resource.election)
    converge(request, watched)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
