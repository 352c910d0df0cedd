# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members on the lab's hypervisors, entered from the hypervisor: that works whatever a fault does to the network."""

from __future__ import annotations

import json
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .lab import Hypervisor, Lab

# All processes of a unit, oldest first, so that the first is the main one. A hypervisor sees its members' processes,
# and a process's cgroup names the domain and the unit on every layout of cgroups.
_PIDS_OF_UNIT = """
import os, sys
unit, domain = sys.argv[1:]
found = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/cgroup") as handle:
            places = [line.rstrip("\\n").split(":", 2)[2].split("/") for line in handle]
        with open(f"/proc/{pid}/stat") as handle:
            state, *_, start = handle.read().rpartition(") ")[2].split()[:20]
    except (FileNotFoundError, ProcessLookupError):
        continue
    members = {part for place in places for part in place if part.endswith(".libvirt-lxc")}
    if any(unit in place for place in places) and state not in "ZX":
        if any(part.endswith(f"-{domain}.libvirt-lxc") for part in members) if domain else not members:
            found.append((int(start), int(pid)))
print(*(pid for _start, pid in sorted(found)))
"""

_INIT_OF_DOMAIN = """
import sys
with open(f"/run/libvirt/lxc/{sys.argv[1]}.pid") as handle:
    controller = int(handle.read())
with open(f"/proc/{controller}/task/{controller}/children") as handle:
    print(*handle.read().split())
"""


@dataclass(frozen=True)
class Member:
    """One running LXC domain."""

    domain: str
    hypervisor: Hypervisor

    @property
    def init(self) -> int:
        """Its init, by the hypervisor's numbers.

        Raises:
            RuntimeError: the domain does not run.
        """
        return int(self.hypervisor.run("python3", "-c", _INIT_OF_DOMAIN, self.domain).split()[0])

    @property
    def address(self) -> str:
        """Its IPv4 address, as it says itself."""
        shown = self.run("ip", "-json", "-4", "address", "show", "scope", "global")
        return next(str(one["local"]) for card in json.loads(shown) for one in card["addr_info"])

    def run(self, *argv: str, check: bool = True, stdin: bytes | None = None) -> str:
        """Standard output of a command in it."""
        enter = ("nsenter", f"--target={self.init}", "--mount", "--uts", "--ipc", "--net", "--pid", "--")
        return self.hypervisor.run(*enter, *argv, check=check, stdin=stdin)

    def pids(self, unit: str) -> list[int]:
        """A unit's processes, oldest first, by the hypervisor's numbers."""
        return pids_of_unit(self.hypervisor, unit, self.domain)


def find_member(lab: Lab, domain: str) -> Member:
    """The member of that name, wherever it runs.

    Raises:
        LookupError: it runs nowhere.
    """
    for hypervisor in lab.hypervisors:
        if domain in hypervisor.domains():
            return Member(domain, hypervisor)
    raise LookupError(f"{domain} runs on none of {', '.join(hv.name for hv in lab.hypervisors)}")


def pids_of_unit(hypervisor: Hypervisor, unit: str, domain: str = "") -> list[int]:
    """Processes of a systemd unit of a hypervisor, or of a member of it, oldest first."""
    return [int(word) for word in hypervisor.run("python3", "-c", _PIDS_OF_UNIT, unit, domain).split()]


def run_everywhere(machines: t.Sequence[Hypervisor], *argv: str, stdin: bytes | None = None) -> dict[str, str]:
    """The same command on several machines at once; machine name -> standard output."""
    with ThreadPoolExecutor(len(machines)) as pool:
        return dict(zip([one.name for one in machines], pool.map(lambda one: one.run(*argv, stdin=stdin), machines)))
