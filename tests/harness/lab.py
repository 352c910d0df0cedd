# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The lab as its state file describes it; commands in a hypervisor go through the container engine."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
#: not the demo's lab, so that a demo that runs on this machine is left alone
LAB_NAME = os.environ.get("ENSEMBLE_TEST_LAB", "ensemble-test")
COMMAND_TIMEOUT = 120
STATE = "/var/lib/ensemble"


@dataclass(frozen=True)
class Hypervisor:
    """One container that is a hypervisor, or a witness."""

    name: str
    address: str
    container: str

    def run(self, *argv: str, check: bool = True, stdin: bytes | None = None) -> str:
        """Standard output of a command in it."""
        command = ["docker", "exec", *(["-i"] if stdin is not None else []), self.container, *argv]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=COMMAND_TIMEOUT, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{self.name}: {argv}: exit {done.returncode}: {done.stderr.decode()[-500:]}")
        return done.stdout.decode()

    def domains(self, *options: str, driver: str = "lxc") -> set[str]:
        """Names of its domains of one driver; `--all` includes those that do not run."""
        return set(self.run("virsh", "-q", "-c", f"{driver}:///system", "list", "--name", *options).split())


@dataclass(frozen=True)
class Lab:
    """A lab that is up."""

    name: str
    subnet: ipaddress.IPv4Network
    hypervisors: tuple[Hypervisor, ...]
    folder: Path
    images: tuple[str, ...]  # paths in the hypervisors
    witnesses: tuple[Hypervisor, ...] = ()  # they vote and carry no members

    @property
    def machines(self) -> tuple[Hypervisor, ...]:
        """Hypervisors and witnesses."""
        return (*self.hypervisors, *self.witnesses)

    def address(self, last: int) -> str:
        """An address of the lab's network by its last number."""
        return str(self.subnet.network_address + last)

    def running(self) -> dict[str, set[str]]:
        """Hypervisor name -> names of running domains."""
        return {hv.name: hv.domains() for hv in self.hypervisors}

    def defined(self) -> set[str]:
        """Names of all domains on all hypervisors."""
        return {name for hv in self.hypervisors for name in hv.domains("--all")}

    def leftovers(self, resource: str) -> list[str]:
        """What a resource has on the hypervisors besides its tombstones: domains, members' files, mounts, keys."""
        found = []
        for hv in self.hypervisors:
            names = hv.domains("--all") | hv.domains("--all", driver="qemu")
            found += [f"{hv.name} domain {name}" for name in names if name.startswith(f"{resource}-")]
            mounts = hv.run("cat", "/proc/mounts")
            found += [f"{hv.name} mount {line}" for line in mounts.splitlines() if f"{STATE}/{resource}/" in line]
            files = hv.run("find", f"{STATE}/{resource}", "-type", "f", check=False).split()
            found += [f"{hv.name} {path}" for path in files if "/members/" in path]
            kept = hv.run("cat", f"{STATE}/{resource}/secrets.json", check=False)
            # what is empty tells a voter that was away that its secrets count no more
            if kept and json.loads(kept)["value"]["secrets"]:
                found.append(f"{hv.name} secrets")
        return found

    def declaration(self, name: str, **changes: t.Any) -> dict[str, t.Any]:
        """A declaration on this lab: a head and two compute nodes, unless changed."""
        return {
            "plugin": "ensemble.stacks.distributed_resource",
            "name": name,
            "stack": "custom",
            "pool": [
                {"name": hv.name, "address": hv.address, "capacity": {"memory_mb": 6144, "vcpus": 2}}
                for hv in self.hypervisors
            ],
            "known_hosts": str(self.folder / "known_hosts"),
            "ssh": {"private_key": str(self.folder / "id_ed25519")},
            "defaults": {"driver": "lxc", "image": "plain", "vcpus": 1, "memory_mb": 256},
            "network": {
                "bridge": "br0",
                "cidr": str(self.subnet),
                "range": f"{self.address(100)}-{self.address(239)}",
                "gateway": self.address(1),
            },
            "roles": {"head": {"count": 1}, "compute": {"count": 2, "after": ["head"], "spread": "hypervisor"}},
            **changes,
        }

    def pool_variables(self) -> dict[str, t.Any]:
        """What role `hypervisor` must know of this lab's machines."""
        return {
            "hypervisor_bridge_port": "eth0",
            "hypervisor_partition": f"/ensemble-{self.name}-{{{{ inventory_hostname }}}}",
            "hypervisor_images": [{"name": Path(path).stem, "path": path} for path in self.images],
        }

    def demo(self) -> dict[str, t.Any]:
        """The demo's own declaration, on this lab's network."""
        text = (CHECKOUT / "inventories/demo/resource.yml").read_text()
        text = text.replace("172.30.0.", str(self.subnet.network_address).rsplit(".", 1)[0] + ".")
        demo = t.cast("dict[str, t.Any]", yaml.safe_load(text))
        demo["known_hosts"] = str(self.folder / "known_hosts")
        demo["ssh"] = {"private_key": str(self.folder / "id_ed25519")}
        return demo


def open_lab(name: str = LAB_NAME) -> Lab:
    """The lab of that name.

    Raises:
        RuntimeError: it is not up.
    """
    folder = CHECKOUT / ".lab" / name
    path = folder / "lab.json"
    if not path.exists():
        raise RuntimeError(f"the lab {name} is not up; run: make lab-up LAB={name}")
    data = json.loads(path.read_text())
    hypervisors, witnesses = (
        tuple(Hypervisor(one["name"], one["address"], one["container"]) for one in data.get(kind, []))
        for kind in ("hypervisors", "witnesses")
    )
    images = tuple(image["path"] for image in data["images"].values() if "path" in image)
    return Lab(name, ipaddress.IPv4Network(data["subnet"]), hypervisors, folder, images, witnesses)
