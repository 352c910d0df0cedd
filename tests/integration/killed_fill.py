# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Filling image caches by a run that kills itself in the middle.

usage: killed_fill.py DECLARATION BOUNDARY, the boundary as in killed_run.py.
"""

from __future__ import annotations

import sys

from ansible_collections.ensemble.stacks.plugins.module_utils._engine.caches import fill, survey_all
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Hypervisor
from ansible_collections.ensemble.stacks.plugins.module_utils._model.load import load_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.pool import Pool
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.ssh import connect
from killed_run import Boundary, Watched


def main(path: str, at: int) -> None:
    resource = load_declaration(path)
    boundary = Boundary(at)

    def watched(hypervisor: Hypervisor) -> Session:
        session = connect(hypervisor, resource.known_hosts)
        return Session(session.hypervisor, Watched(session.transport, boundary))

    sources = list(resource.images.values())
    with Pool(resource.pool, watched) as pool:
        fill(pool, sources, survey_all(pool, sources))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
