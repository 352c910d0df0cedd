# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What benchmarks start from: a simulated pool, or the demo's declaration on the test lab, its pool prepared."""

from __future__ import annotations

import functools
import subprocess
import sys
import typing as t
from pathlib import Path

from harness.controller import Controller, Run
from harness.lab import CHECKOUT, LAB_NAME, Lab, open_lab

LAB_TOOL = CHECKOUT / "tests" / "lab" / "ensemble_lab"
HYPERVISORS = "3"
MODULE = "ensemble.stacks.distributed_resource"


class Setting:
    """A controller; with the first figure that asks for it a lab and the demo on it, removed at the end."""

    def __init__(self, home: Path) -> None:
        self.controller = Controller(home)

    @functools.cached_property
    def lab(self) -> Lab:
        """The test lab, brought up if it is not."""
        command = [sys.executable, str(LAB_TOOL), "up", "--name", LAB_NAME, "--hypervisors", HYPERVISORS]
        subprocess.run(command, stdout=sys.stderr, check=True)
        return open_lab()

    @functools.cached_property
    def inventory(self) -> Path:
        """The demo's declaration on the lab, whose machines are hypervisors."""
        variables = {"torque_users": [{"name": "demo", "uid": 2000}], **self.lab.pool_variables()}
        inventory = self.controller.write(self.lab.demo(), **variables)
        self._play("pool", inventory)
        return inventory

    def __enter__(self) -> Setting:
        return self

    def __exit__(self, *_exc: t.Any) -> None:
        if "inventory" in vars(self):
            self.play("remove")

    def play(self, playbook: str) -> Run:
        """Run a playbook on the demo.

        Raises:
            RuntimeError: it failed; a figure of a failed run is none.
        """
        return self._play(playbook, self.inventory)

    def _play(self, playbook: str, inventory: Path) -> Run:
        run = self.controller.play(playbook, inventory)
        if run.code != 0:
            raise RuntimeError(f"{playbook} failed:\n{run.output}")
        return run

    def simulated(self, name: str, members: int, hypervisors: int) -> Path:
        """A declaration on a simulated pool of its own; written again with another size it is the same resource."""
        return self.controller.write(declaration(name, members, hypervisors))

    def start(self, declared: Path) -> dict[str, t.Any]:
        """One task that starts a resource."""
        return self.controller.task(MODULE, declaration=str(declared))


def declaration(name: str, members: int, hypervisors: int) -> dict[str, t.Any]:
    """A head, and the rest in equal parts kept apart by hypervisor and by rack; ten hypervisors stand in a rack."""
    pool = [
        {"name": f"hv{index}", "sim": f"pool/hv{index}", "labels": {"rack": f"r{index // 10}"}}
        for index in range(hypervisors)
    ]
    front = (members - 1) // 2
    return {
        "plugin": "ensemble.stacks.distributed_resource",
        "name": name,
        "pool": pool,
        "defaults": {"image": "node", "memory_mb": 256},
        "network": {"bridge": "br0", "cidr": "10.0.0.0/8", "range": "10.1.0.0-10.9.0.0"},
        "roles": {
            "head": {"count": 1},
            "front": {"count": front, "after": ["head"], "spread": "rack"},
            "compute": {"count": members - 1 - front, "after": ["head"], "spread": "hypervisor"},
        },
    }
