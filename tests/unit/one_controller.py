# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A controller as a process of its own: says that it is ready, starts a resource when told to, says how it ended.

usage: one_controller.py <declaration> <seconds to wait for the lease>
"""

from __future__ import annotations

import json
import sys

from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import Request, converge
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.load import load_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._pool import sim


def main() -> None:
    path, patience = sys.argv[1:]
    resource = load_declaration(path)
    request = Request(resource.name, resource.pool, "started", resource, lease_timeout=float(patience))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    try:
        outcome = converge(request, lambda hv: sim.connect(hv, ["node"]))
        end = {"code": "", "actions": len(outcome.plan.actions)}
    except EnsembleError as error:
        end = {"code": error.code, "msg": error.msg}
    sys.stdout.write(json.dumps(end) + "\n")


if __name__ == "__main__":
    main()
