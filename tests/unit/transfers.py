# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""An image on the controller, and hypervisors in memory that are to have it."""

from __future__ import annotations

import hashlib
import pathlib
import tarfile
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine import images as engine
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import HypervisorError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.image import ImageSource
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session
from declared import parsed
from world import World

PIECE = 100_000


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MAX_CHUNK", PIECE)


@pytest.fixture
def tar(tmp_path: pathlib.Path) -> pathlib.Path:
    """An archive of about ten pieces."""
    (tmp_path / "blob").write_bytes(b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(10 * PIECE // 32)))
    with tarfile.open(tmp_path / "golden.tar", "w") as archive:
        archive.add(tmp_path / "blob", "blob")
    return tmp_path / "golden.tar"


@pytest.fixture
def world(tmp_path: pathlib.Path) -> World:
    return World(tmp_path / "world", parsed().pool)


@pytest.fixture
def session(world: World) -> Session:
    return world.connect(parsed().pool[0])


def source(tar: pathlib.Path, **more: t.Any) -> ImageSource:
    return ImageSource("golden", "tar", str(tar), **more)


def sum_of(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cache(world: World, hypervisor: str = "hv1") -> pathlib.Path:
    return pathlib.Path(world.hosts[hypervisor].images.folder)


def parts(world: World, hypervisor: str = "hv1") -> dict[str, int]:
    """Sizes of what is not whole yet."""
    return {path.name: path.stat().st_size for path in (cache(world, hypervisor) / "incoming").glob("*.part")}


def is_whole(world: World, tar: pathlib.Path, hypervisor: str = "hv1") -> bool:
    root = cache(world, hypervisor) / sum_of(tar) / "root"
    named = world.hosts[hypervisor].images.names().get("golden") == {"tar": sum_of(tar)}
    return named and (root / "blob").read_bytes() == (tar.parent / "blob").read_bytes()


class Cut:
    """Breaks the connection in place of the n-th exchange; after it when its answer shall be lost."""

    def __init__(self, world: World, at: int, lost: bool = False) -> None:
        self.left = at
        world.after, world.before = (self.count, world.before) if lost else (world.after, self.count)

    def count(self, _name: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise HypervisorError("the connection broke")
