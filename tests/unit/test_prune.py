# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What is removed from an image cache, and what is not."""

from __future__ import annotations

import hashlib
import os
import pathlib
import threading

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers import overlay
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.base import Seed
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.folder import standing_in
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.overlay import Overlay
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import CorruptStateError
from ansible_collections.ensemble.stacks.plugins.module_utils._host.images import ImageError, Images
from ansible_collections.ensemble.stacks.plugins.module_utils._host.incoming import ABANDONED_S, Incoming
from ansible_collections.ensemble.stacks.plugins.module_utils._host.prune import prune
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from declared import parsed

SPEC = parsed().members[0].spec
SEED = Seed("PRIVATE\n", "ssh-ed25519 AAAA", ())


@pytest.fixture
def state(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "state"


@pytest.fixture
def images(state: pathlib.Path) -> Images:
    return Images(str(state))


def disk_image(images: Images, folder: pathlib.Path, name: str, text: str = "") -> str:
    """A disk in the cache; its digest."""
    path = folder / f"{name}.qcow2"
    path.write_bytes(b"QFI\xfb\0\0\0\3".ljust(112, b"\0") + (text or name).encode())
    images.import_file(name, str(path), None)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_only_what_nobody_uses_or_keeps_is_removed(images: Images, tmp_path: pathlib.Path) -> None:
    used, kept, idle = (disk_image(images, tmp_path, name) for name in ("used", "kept", "idle"))
    former = disk_image(images, tmp_path, "moved", "one")
    moved = disk_image(images, tmp_path, "moved", "two")
    expected = {idle: ("idle",), former: (), moved: ("moved",)}
    told = prune(images, lambda: {used}, ["kept"], check=True)
    assert {each.sha256: each.names for each in told} == expected
    assert all(each.bytes > 0 for each in told)
    assert set(images.names()) == {"used", "kept", "idle", "moved"}, "check changes nothing"
    assert prune(images, lambda: {used}, ["kept"]) == told
    assert set(images.names()) == {"used", "kept"}
    assert set(images.contents()) == {used, kept}
    assert prune(images, lambda: {used}, ["kept"]) == []
    assert not [name for name in os.listdir(images.folder) if name.startswith(".")]


def test_a_name_stays_while_a_disk_stands_on_another_image_of_it(images: Images, tmp_path: pathlib.Path) -> None:
    old = disk_image(images, tmp_path, "node", "old")
    new = disk_image(images, tmp_path, "node", "new")
    prune(images, lambda: {old}, ["node"])
    assert set(images.contents()) == {old, new}
    prune(images, lambda: {old}, [])
    assert (set(images.contents()), images.names()) == ({old}, {})


def test_an_interrupted_transfer_goes_when_nobody_continues_it(images: Images) -> None:
    incoming = Incoming(images.folder)
    digest = "ab" * 32
    incoming.append(digest, "qcow2", 10, 0, b"12345")
    assert prune(images, set, []) == []
    path = os.path.join(images.folder, "incoming", digest + ".part")
    long_ago = os.stat(path).st_mtime - ABANDONED_S - 1
    os.utime(path, (long_ago, long_ago))
    with incoming.part(digest, 1):  # somebody works on it after all
        prune(images, set, [])
    assert incoming.have(digest) == 5
    [told] = prune(images, set, [])
    assert (told.sha256, told.format, told.bytes, incoming.have(digest)) == (digest, "", 5, 0)


def test_disks_of_all_resources_count_half_made_ones_too(
    state: pathlib.Path, images: Images, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = disk_image(images, tmp_path, "node")

    def broken(*_args: object) -> None:
        raise EnsembleError("no mount today")

    monkeypatch.setattr(images.__class__, "chosen", lambda *_args: digest)
    monkeypatch.setattr(overlay, "run", broken)
    with pytest.raises(EnsembleError):
        Overlay(str(state), "another", "head-0").prepare(SPEC, SEED)
    assert standing_in(str(state)) == {digest}
    monkeypatch.undo()
    Overlay(str(state), "another", "head-0").remove()
    assert standing_in(str(state)) == set()


def test_a_disk_that_does_not_tell_its_image_ends_it(
    state: pathlib.Path, images: Images, tmp_path: pathlib.Path
) -> None:
    digest = disk_image(images, tmp_path, "node")
    folder = state / "demo" / "members" / "head-0"
    folder.mkdir(parents=True)
    (folder / "prepared.json").write_text("{")
    with pytest.raises(CorruptStateError):
        prune(images, lambda: standing_in(str(state)), [])
    assert set(images.contents()) == {digest}


def test_no_image_goes_while_a_disk_chooses_it(images: Images, tmp_path: pathlib.Path) -> None:
    digest = disk_image(images, tmp_path, "node")
    standing: set[str] = set()
    asked = threading.Event()

    def ask() -> set[str]:
        asked.set()
        return set(standing)

    pruning = threading.Thread(target=prune, args=(images, ask, []))
    with images.choosing():
        pruning.start()
        assert not asked.wait(0.2), "it looked while an image was being chosen"
        standing.add(images.chosen("node", "qcow2", None))
    pruning.join(10)
    assert asked.is_set()
    assert set(images.contents()) == {digest}


def test_a_declared_checksum_counts_more_than_the_name(images: Images, tmp_path: pathlib.Path) -> None:
    old = disk_image(images, tmp_path, "node", "old")
    new = disk_image(images, tmp_path, "node", "new")
    assert images.chosen("node", "qcow2", None) == new
    assert images.chosen("node", "qcow2", old) == old
    with pytest.raises(ImageError, match=r"playbooks/images\.yml"):
        images.chosen("node", "qcow2", "0" * 64)
    with pytest.raises(ImageError):
        images.chosen("node", "tar", old)
