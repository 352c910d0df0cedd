# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What the agents of these tests run: batches under the leader's token to every hypervisor, one after the other.

usage: fenced_work.py RESOURCE SECONDS
It never looks at the lease: to stop it in time is the agent's part, to refuse it the hypervisors'. Each batch would
change something if there were anything to change, so that the hypervisors log its token; and it repairs nothing. Exit
status 1: every hypervisor that answered refused.
"""

from __future__ import annotations

import ast
import os
import sys
import threading
import time
from dataclasses import replace

# where the packages are that the role has brought: what the agent's own program says
with open("/usr/local/bin/ensemble-agent", encoding="utf-8") as program:
    paths = next(line for line in program if line.startswith("sys.path[:0] = "))
sys.path[:0] = ast.literal_eval(paths.partition(" = ")[2])

from ansible_collections.ensemble.stacks.plugins.module_utils._agent.opening import host_of
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.settings import SETTINGS_DIR, Voter, load
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.ssh import connect

STEP_S = 0.2
VERBS = [{"verb": "undefine", "member": "nobody-0", "driver": "lxc"}]


class Work:
    """The batches to one hypervisor until a deadline."""

    def __init__(self, resource: str, voter: Voter, deadline: float) -> None:
        self._settings = load(f"{SETTINGS_DIR}/{resource}.json")[0]
        host = host_of(voter, self._settings)
        self._host = replace(host, access=replace(host.access, timeout=5.0))
        self._deadline = deadline
        self.done = self.refused = 0

    def run(self) -> None:
        words = os.environ["ENSEMBLE_FENCING_TOKEN"].split(",")
        common = {"resource": self._settings.resource, "token": [int(word) for word in words]}
        while time.monotonic() < self._deadline:
            try:
                session = connect(self._host, self._settings.known_hosts)
                try:
                    generation = session.call("record_read", 5.0, resource=self._settings.resource)["generation"]
                    while time.monotonic() < self._deadline:
                        session.batch(VERBS, 5.0, generation=generation, **common)
                        self.done += 1
                        time.sleep(STEP_S)
                finally:
                    session.close()
            except (EnsembleError, KeyError) as error:
                self.refused += getattr(error, "code", "") == "stale_token"
                print(f"{self._host.name}: {error}", flush=True)
                time.sleep(STEP_S)


def main(resource: str, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    settings = load(f"{SETTINGS_DIR}/{resource}.json")[0]
    voters = [voter for voter in settings.voters if voter.name.startswith("hv")]  # witnesses carry no members
    works = [Work(resource, voter, deadline) for voter in voters]
    threads = [threading.Thread(target=work.run, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 10)
    return 1 if any(work.refused for work in works) and not any(work.done for work in works) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
