# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What benchmarks start from: a simulated pool, or the demo's declaration on the test lab, its pool prepared."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.ssh import connect
from harness.controller import Controller, Run
from harness.lab import CHECKOUT, LAB_NAME, STATE, Hypervisor, Lab, open_lab

LAB_TOOL = CHECKOUT / "tests" / "lab" / "ensemble_lab"
HYPERVISORS, WITNESSES = "3", "2"
IMPORT_TIMEOUT = 900.0
MODULE = "ensemble.stacks.distributed_resource"


class Setting:
    """A controller; with the first figure that asks for it a lab and the demo on it, removed at the end."""

    def __init__(self, home: Path) -> None:
        self.controller = Controller(home)
        #: what several figures share, by their own names for it; what is to be undone at the end
        self.shared: dict[str, t.Any] = {}
        self.undo = contextlib.ExitStack()

    @functools.cached_property
    def lab(self) -> Lab:
        """The test lab, brought up if it is not."""
        size = ["--hypervisors", HYPERVISORS, "--witnesses", WITNESSES]
        command = [sys.executable, str(LAB_TOOL), "up", "--name", LAB_NAME, *size]
        subprocess.run(command, stdout=sys.stderr, check=True)
        return open_lab()

    @functools.cached_property
    def hypervisors(self) -> tuple[Hypervisor, ...]:
        """The lab's machines, made hypervisors without any image."""
        variables = {**self.lab.pool_variables(), "hypervisor_images": []}
        self.play_on("pool", self.controller.write(self.lab.declaration("bench-pool"), **variables))
        return self.lab.hypervisors

    @functools.cached_property
    def prepared(self) -> Lab:
        """The lab, whose machines are hypervisors with the lab's images, and witnesses."""
        witnesses = [{"name": one.name, "address": one.address} for one in self.lab.witnesses]
        declaration = self.lab.declaration("bench-pool", election={"witnesses": witnesses})
        self.play_on("pool", self.controller.write(declaration, **self.lab.pool_variables()))
        return self.lab

    def pool(self, **capacity: int) -> list[dict[str, t.Any]]:
        """The lab's hypervisors for a declaration, each with a capacity of its own."""
        return [{"name": hv.name, "address": hv.address, "capacity": capacity} for hv in self.lab.hypervisors]

    def session(self, name: str) -> Session:
        """A session to one of the lab's hypervisors; the caller closes it."""
        resource = parse_declaration(self.lab.declaration("bench-session"))
        return connect(next(hv for hv in resource.pool if hv.name == name), resource.known_hosts)

    @contextlib.contextmanager
    def cached_image(self, name: str, body: bytes) -> t.Iterator[None]:
        """An image in every hypervisor's cache until the block ends."""
        with contextlib.ExitStack() as stack:
            for hv in self.hypervisors:
                make = functools.partial(_write, hv, body)
                stack.enter_context(self.made_image(hv, name, make))
            yield

    @contextlib.contextmanager
    def made_image(self, hv: Hypervisor, name: str, make: t.Callable[[str], t.Any]) -> t.Iterator[None]:
        """An image in one hypervisor's cache until the block ends.

        Args:
            make: makes the image's file at a path there; whatever it leaves beside is removed.
        """
        folder = f"{STATE}/{name}.image"
        path = f"{folder}/image"
        forget_image(hv, name, folder)  # of a benchmark that was killed
        try:
            hv.run("mkdir", folder)
            make(path)
            with contextlib.closing(self.session(hv.name)) as session:
                session.call("image_import", IMPORT_TIMEOUT, {"name": name, "path": path})
            hv.run("rm", "-rf", folder)
            yield
        finally:
            forget_image(hv, name, folder)

    def remove_resource(self, name: str) -> None:
        """Nothing of a resource stays on the lab, not even its tombstone."""
        pool = [{"name": hv.name, "address": hv.address, "ssh": self._access} for hv in self.hypervisors]
        known_hosts = str(self.lab.folder / "known_hosts")
        target = {"name": name, "pool": pool, "known_hosts": known_hosts}
        self.controller.task(MODULE, **target, state="absent", stop_timeout=5)
        for hv in self.hypervisors:
            hv.run("rm", "-rf", f"{STATE}/{name}")

    @property
    def _access(self) -> dict[str, str]:
        return {"private_key": str(self.lab.folder / "id_ed25519")}

    @functools.cached_property
    def inventory(self) -> Path:
        """The demo's declaration on the lab, whose machines are hypervisors."""
        variables = {"torque_users": [{"name": "demo", "uid": 2000}], **self.lab.pool_variables()}
        inventory = self.controller.write(self.lab.demo(), **variables)
        self.play_on("pool", inventory)
        return inventory

    def __enter__(self) -> Setting:
        return self

    def __exit__(self, *_exc: t.Any) -> None:
        with self.undo:
            if "inventory" in vars(self):
                self.play("remove")

    def play(self, playbook: str) -> Run:
        """Run a playbook on the demo.

        Raises:
            RuntimeError: it failed; a figure of a failed run is none.
        """
        return self.play_on(playbook, self.inventory)

    def play_on(self, playbook: str, inventory: Path, *options: str) -> Run:
        """Run a playbook on any declaration; raises as `play`."""
        run = self.controller.play(playbook, inventory, *options)
        if run.code != 0:
            raise RuntimeError(f"{playbook} failed:\n{run.output}")
        return run

    def simulated(self, name: str, members: int, hypervisors: int) -> Path:
        """A declaration on a simulated pool of its own; written again with another size it is the same resource."""
        return self.controller.write(declaration(name, members, hypervisors))

    def start(self, declared: Path) -> dict[str, t.Any]:
        """One task that starts a resource."""
        return self.controller.task(MODULE, declaration=str(declared))


def _write(hv: Hypervisor, body: bytes, path: str) -> None:
    hv.run("cp", "/dev/stdin", path, stdin=body)


def forget_image(hv: Hypervisor, name: str, *paths: str) -> None:
    """Remove an image from a hypervisor's cache, and files that it was made from."""
    names = f"{STATE}/images/names/{name}.json"
    stored = json.loads(hv.run("cat", names, check=False) or '{"value": {}}')["value"]
    folders = [f"{STATE}/images/{entry['sha256']}" for entry in stored.values()]
    hv.run("rm", "-rf", names, *folders, *paths)


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
