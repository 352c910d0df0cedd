# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A member's disk on one of the lab's hypervisors: how long a clone of a large image takes, and what it occupies."""

from __future__ import annotations

import contextlib
import functools
import time
import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import MemberSpec
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.keys import generate_key_pair
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session
from harness.lab import STATE, Hypervisor

from .figures import Figure
from .setting import Setting

CLONES = 10
NAME = "bench-clone"
GIB = 1024 * 1024 * 1024
_PARTS = 16
_TIMEOUT = 60.0
#: the lowest there is, so that the run which removes the clones, and knows of no declaration, is not refused
_FENCE: dict[str, t.Any] = {"resource": NAME, "generation": 0, "token": [0, 0]}


class Clones(t.NamedTuple):
    """What each clone took, in seconds, and occupies, in bytes."""

    seconds: list[float]
    sizes: list[float]


def clones(setting: Setting) -> t.Iterator[Figure]:
    """The verb `prepare` over an open session, from the request to the answer, on an image of 1 GiB of random bytes."""
    for driver, fill in (("lxc", _archive), ("qemu", _disk)):
        made = _clones(setting, driver, fill)
        yield f"clone_s.{driver}", "s", 1, made.seconds
        yield f"clone_bytes.{driver}", "bytes", 1024 * 1024, made.sizes


def _clones(setting: Setting, driver: str, fill: t.Callable[[Hypervisor, str], None]) -> Clones:
    hypervisor = setting.hypervisors[0]
    made = Clones([], [])
    setting.remove_resource(NAME)  # what a killed benchmark left
    with contextlib.ExitStack() as stack:
        stack.enter_context(setting.made_image(hypervisor, NAME, functools.partial(fill, hypervisor)))
        stack.callback(setting.remove_resource, NAME)
        session = stack.enter_context(contextlib.closing(setting.session(hypervisor.name)))
        spec = _spec(setting, driver)
        for index in range(CLONES):
            made.seconds.append(_clone(session, f"clone-{index}", spec))
            made.sizes.append(_occupied(hypervisor, f"clone-{index}"))
    return made


def _spec(setting: Setting, driver: str) -> MemberSpec:
    declared = setting.lab.declaration(NAME, defaults={"driver": driver, "image": NAME})
    return parse_declaration(declared).members[0].spec


def _clone(session: Session, member: str, spec: MemberSpec) -> float:
    """Seconds of one clone, its seed with it."""
    key = generate_key_pair()
    seed = {"host_key": key.private, "host_key_public": key.public, "authorized_keys": [key.public]}
    begun = time.monotonic()
    session.call("prepare", _TIMEOUT, {"member": member, "spec": spec.as_dict(), "seed": seed}, **_FENCE)
    return time.monotonic() - begun


def _occupied(hypervisor: Hypervisor, member: str) -> float:
    """Bytes on the disk of all that was made for a member; a mounted root is another file system and not counted."""
    folder = f"{STATE}/{NAME}/members/{member}"
    words = hypervisor.run("du", "--summarize", "--one-file-system", "--block-size=1", folder).split()
    return float(words[0])


def _archive(hypervisor: Hypervisor, path: str) -> None:
    """A tar archive of 1 GiB: a tree with the folders that a root has, and files that nothing can compress."""
    root = f"{path}.root"
    hypervisor.run("mkdir", "-p", *(f"{root}/{name}" for name in ("etc/ssh", "root", "var/data")))
    for part in range(_PARTS):
        _random(hypervisor, f"{root}/var/data/{part}", GIB // _PARTS)
    hypervisor.run("tar", "--create", "--file", path, "--directory", root, ".")


def _disk(hypervisor: Hypervisor, path: str) -> None:
    """A qcow2 disk of 1 GiB, all of it written."""
    _random(hypervisor, f"{path}.raw", GIB)
    hypervisor.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", f"{path}.raw", path)


def _random(hypervisor: Hypervisor, path: str, size: int) -> None:
    hypervisor.run("dd", "if=/dev/urandom", f"of={path}", "bs=4M", f"count={size // (4 * 1024 * 1024)}", "status=none")


ALL: dict[str, t.Callable[[Setting], t.Iterator[Figure]]] = {"clone_s": clones}
