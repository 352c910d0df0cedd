# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Faults of a member as its hypervisor has it: domain gone, suspended or forgotten, its cable out, its disk full."""

from __future__ import annotations

import contextlib
import typing as t

from .lab import Hypervisor
from .members import Member
from .waiting import wait_until

_SECONDS = 20
_FILLED_MIB = 1

# Puts a small file system with the same content in the place of a folder, and fills it to the last byte.
_FILL = """
import errno, os, subprocess, sys
folder, mib = sys.argv[1], int(sys.argv[2])
new = "/run/ensemble-lab-full"

def call(*argv):
    subprocess.run(argv, check=True, timeout=60)

os.makedirs(new, exist_ok=True)
used = int(subprocess.check_output(["du", "-sm", folder], text=True, timeout=60).split()[0])
call("mount", "-t", "tmpfs", "-o", f"size={used + mib + 1}m", "lab-full", new)
call("cp", "-a", f"{folder}/.", new)
call("mount", "--bind", new, folder)
call("umount", new)
with open(f"{folder}/.ballast", "wb", buffering=0) as handle:
    step = 1 << 20
    while step:
        try:
            written = handle.write(bytes(step))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            written = 0
        if written < step:
            step //= 2
"""

# What was written or changed meanwhile is carried over.
_EMPTY = """
import os, subprocess, sys
folder, kept = sys.argv[1], "/run/ensemble-lab-kept"

def call(*argv):
    subprocess.run(argv, check=True, timeout=60)

for mount in ("/run/ensemble-lab-full", folder):
    if any(line.split()[:2] == ["lab-full", mount] for line in open("/proc/mounts")):
        if mount == folder:
            if os.path.exists(f"{folder}/.ballast"):
                os.unlink(f"{folder}/.ballast")
            os.makedirs(kept)
            call("cp", "-a", f"{folder}/.", kept)
        call("umount", "--lazy", mount)
        if mount == folder:
            call("cp", "-a", f"{kept}/.", folder)
            call("rm", "-rf", kept)
"""


def _virsh(hypervisor: Hypervisor, *argv: str, check: bool = True, stdin: bytes | None = None) -> str:
    return hypervisor.run("virsh", "-q", "-c", "lxc:///system", *argv, check=check, stdin=stdin)


def state(member: Member) -> str:
    """As virsh has it: running, paused, shut off, ...; empty where the domain is not known."""
    return _virsh(member.hypervisor, "domstate", member.domain, check=False).strip()


def _await(member: Member, *wanted: str) -> None:
    wait_until(lambda: state(member) in wanted, _SECONDS, f"{member.domain} {' or '.join(wanted)}")


@contextlib.contextmanager
def _for_a_while(member: Member, verb: str, *states: str, back: str) -> t.Iterator[None]:
    """A domain in another state than running; at the end it is brought back, unless somebody has done so."""
    try:
        _virsh(member.hypervisor, verb, member.domain)
        _await(member, *states)
        yield
    finally:
        if state(member) == states[0]:
            _virsh(member.hypervisor, back, member.domain)
            _await(member, "running")


def destroyed(member: Member) -> t.ContextManager[None]:
    """A domain whose power was cut. At the end it is started, unless it is known no more."""
    return _for_a_while(member, "destroy", "shut off", "", back="start")


def suspended(member: Member) -> t.ContextManager[None]:
    """A domain that stands still, and goes on at the end."""
    return _for_a_while(member, "suspend", "paused", back="resume")


@contextlib.contextmanager
def undefined(member: Member) -> t.Iterator[None]:
    """A domain whose definition is gone while it runs, so that it is forgotten with its end.

    At the end it is defined as before, unless somebody has done so.
    """
    hypervisor, known = member.hypervisor, _virsh(member.hypervisor, "dumpxml", "--inactive", member.domain)
    try:
        _virsh(hypervisor, "undefine", member.domain)
        wait_until(lambda: not is_defined(member), _SECONDS, f"{member.domain} without a definition")
        yield
    finally:
        if not is_defined(member):
            _virsh(hypervisor, "define", "/dev/stdin", stdin=known.encode())


def is_defined(member: Member) -> bool:
    """Whether the hypervisor will know the domain when it has ended."""
    return member.domain in _virsh(member.hypervisor, "list", "--all", "--persistent", "--name").split()


@contextlib.contextmanager
def unplugged(member: Member) -> t.Iterator[None]:
    """A member without network: the hypervisor's ends of its cables are down, until it is restarted."""
    hypervisor = member.hypervisor
    listed = _virsh(hypervisor, "domiflist", member.domain).splitlines()
    cards = [line.split()[0] for line in listed if line.strip()]
    if not cards:
        raise RuntimeError(f"{member.domain} has no network card")
    try:
        for card in cards:
            hypervisor.run("ip", "link", "set", card, "down")
        yield
    finally:
        for card in cards:
            hypervisor.run("ip", "link", "set", card, "up", check=False)  # a new start has new ones


@contextlib.contextmanager
def full_folder(member: Member, folder: str) -> t.Iterator[None]:
    """Not a byte more can be written into a folder of a member, such as /var; what is there can be read.

    A small file system lies over it, with the same content. What is changed there stays at the end; what is removed
    comes back. Files that were open before are those of the former disk.
    """
    try:
        member.run("python3", "-c", _FILL, folder, str(_FILLED_MIB))
        yield
    finally:
        member.run("python3", "-c", _EMPTY, folder)
