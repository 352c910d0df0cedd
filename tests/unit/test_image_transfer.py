# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Images on their way to the hypervisors: cut and resumed, wrong, too large, brought by two at once."""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import threading
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.caches import fill, survey_all
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.images import ensure_image
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError, HypervisorError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.image import ImageSource
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.pool import Pool
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session
from declared import parsed
from transfers import PIECE, Cut, cache, is_whole, parts, session, small_pieces, source, sum_of, tar, world
from world import World

__all__ = ["cache", "is_whole", "parts", "session", "small_pieces", "source", "sum_of", "tar", "world"]


def test_a_file_becomes_an_image_in_pieces(world: World, session: Session, tar: pathlib.Path) -> None:
    done = ensure_image(session, source(tar))
    assert (done.changed, done.bytes, done.before, done.sha256) == (True, tar.stat().st_size, None, sum_of(tar))
    assert is_whole(world, tar)
    assert parts(world) == {}
    assert world.exchanges == 2 + -(-tar.stat().st_size // PIECE)
    again = ensure_image(session, source(tar))
    assert (again.changed, again.bytes) == (False, 0)


@pytest.mark.parametrize("lost", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 6, 12])
def test_a_transfer_that_was_cut_goes_on(
    world: World, session: Session, tar: pathlib.Path, at: int, lost: bool
) -> None:
    Cut(world, at, lost)
    with pytest.raises(HypervisorError):
        ensure_image(session, source(tar))
    assert "golden" not in world.hosts["hv1"].images.names(), "a half image has a name"
    there = sum(parts(world).values())
    assert there == min(max(0, at - 2 + lost), 10 + 1) * PIECE or there == tar.stat().st_size
    done = ensure_image(session, source(tar))
    assert done.bytes == tar.stat().st_size - there
    assert is_whole(world, tar)


def test_one_run_outlives_broken_connections(world: World, tar: pathlib.Path) -> None:
    with Pool(parsed().pool, world.connect) as pool:
        found = survey_all(pool, [source(tar)])
        Cut(world, 9)
        done = fill(pool, [source(tar)], found)
    assert {transfer.hypervisor for transfer in done} == {"hv1", "hv2"}
    assert is_whole(world, tar, "hv1")
    assert is_whole(world, tar, "hv2")
    assert len(world.transports) == 3
    assert all(transport.closed for transport in world.transports)


def test_a_connection_that_breaks_again_and_again_ends_the_run(world: World, tar: pathlib.Path) -> None:
    def broken(name: str) -> None:
        if name == "hv1":
            raise HypervisorError("the connection broke", code="hypervisor_unreachable")

    with Pool(parsed().pool, world.connect) as pool:
        found = survey_all(pool, [source(tar)])
        world.before = broken
        with pytest.raises(EnsembleError) as caught:
            fill(pool, [source(tar)], found)
    assert caught.value.code == "hypervisor_unreachable"
    assert is_whole(world, tar, "hv2"), "one that cannot be reached keeps no other from its images"


def test_a_file_of_another_checksum_is_not_brought(world: World, session: Session, tar: pathlib.Path) -> None:
    with pytest.raises(EnsembleError) as caught:
        ensure_image(session, source(tar, checksum="0" * 64, place="defaults.image"))
    assert caught.value.code == "image_checksum"
    assert all(words in caught.value.msg for words in (sum_of(tar), "0" * 64, "defaults.image", str(tar)))
    assert parts(world) == {}


def test_bytes_that_went_wrong_on_the_way_are_removed(world: World, session: Session, tar: pathlib.Path) -> None:
    size = tar.stat().st_size
    fields = {"format": "tar", "checksum": sum_of(tar), "size": size, "offset": 0, "data": "AAAA"}
    session.call("image_upload", 5, fields)
    with pytest.raises(EnsembleError) as caught:
        session.call("image_take", 5, {"name": "golden", "format": "tar", "checksum": sum_of(tar)})
    assert caught.value.code == "image_checksum"
    assert sum_of(tar) in caught.value.msg
    assert hashlib.sha256(b"\0\0\0").hexdigest() in caught.value.msg
    assert parts(world) == {}
    assert "golden" not in world.hosts["hv1"].images.names()


def test_a_part_with_holes_is_brought_once_more(world: World, session: Session, tar: pathlib.Path) -> None:
    folder = cache(world) / "incoming"
    folder.mkdir(parents=True)
    (folder / f"{sum_of(tar)}.part").write_bytes(bytes(5 * PIECE))
    done = ensure_image(session, source(tar))
    assert done.bytes == 2 * tar.stat().st_size - 5 * PIECE
    assert is_whole(world, tar)


def test_a_part_longer_than_the_file_begins_anew(world: World, session: Session, tar: pathlib.Path) -> None:
    folder = cache(world) / "incoming"
    folder.mkdir(parents=True)
    (folder / f"{sum_of(tar)}.part").write_bytes(bytes(20 * PIECE))
    ensure_image(session, source(tar))
    assert is_whole(world, tar)


def test_two_writers_at_once_do_each_others_work(world: World, tar: pathlib.Path) -> None:
    gate = threading.Barrier(2, timeout=20)
    seen: set[int] = set()

    def together(_name: str) -> None:
        if threading.get_ident() not in seen:  # both have asked what is there before either brings anything
            seen.add(threading.get_ident())
            gate.wait()

    world.after = together
    sessions = [world.connect(parsed().pool[0]) for _each in range(2)]
    found: list[t.Any] = [None, None]

    def work(index: int) -> None:
        found[index] = ensure_image(sessions[index], source(tar))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(done is not None and done.changed for done in found), "one of them failed"
    assert is_whole(world, tar)
    assert parts(world) == {}
    assert list(cache(world).glob(".half-*")) == []


def test_who_is_slower_finds_the_work_done(world: World, session: Session, tar: pathlib.Path) -> None:
    ensure_image(session, source(tar))
    size, fields = tar.stat().st_size, {"format": "tar", "checksum": sum_of(tar)}
    for offset in (0, 5 * PIECE):
        piece = {**fields, "size": size, "offset": offset, "data": "AAAA"}
        assert session.call("image_upload", 5, piece) == {"have": size}
    assert session.call("image_download", 5, {**fields, "url": "http://127.0.0.1:9/"})["done"] is True
    assert parts(world) == {}
    (cache(world) / "incoming" / f"{sum_of(tar)}.part").write_bytes(b"left by one who was slower still")
    session.call("image_take", 5, {"name": "golden", **fields})
    assert parts(world) == {}
    assert is_whole(world, tar)


def test_no_space_is_said_before_anything_is_brought(
    world: World, session: Session, tar: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=64 * 1024 * 1024 + tar.stat().st_size)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(EnsembleError) as caught:
        ensure_image(session, source(tar))
    assert caught.value.code == "no_space"
    assert "65 MiB are free" in caught.value.msg or "64 MiB are free" in caught.value.msg
    assert caught.value.details["needed"] == 2 * tar.stat().st_size + 64 * 1024 * 1024
    assert parts(world) == {}
    assert world.exchanges == 2, "status and the first piece"


def test_a_disk_that_is_full_meanwhile_keeps_what_is_there(
    world: World, session: Session, tar: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_name: str) -> None:
        if world.exchanges == 5:
            monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)

    usage = shutil.disk_usage("/")._replace(free=0)
    world.before = full
    with pytest.raises(EnsembleError) as caught:
        ensure_image(session, source(tar))
    assert caught.value.code == "no_space"
    assert sum(parts(world).values()) == 3 * PIECE
    monkeypatch.undo()
    assert ensure_image(session, source(tar)).changed
    assert is_whole(world, tar)


@pytest.mark.parametrize("declared", ["tar", "qcow2"])
def test_what_is_no_image_of_its_format_never_becomes_one(
    world: World, session: Session, tar: pathlib.Path, declared: str
) -> None:
    if declared == "tar":
        tar.write_bytes(b"no archive" * 1000)
    with pytest.raises(EnsembleError) as caught:
        ensure_image(session, ImageSource("golden", declared, str(tar)))
    assert caught.value.code == "bad_image"
    assert (parts(world), world.hosts["hv1"].images.contents()) == ({}, {})
    assert "golden" not in world.hosts["hv1"].images.names()


def test_a_disk_is_moved_and_not_copied(world: World, session: Session, tmp_path: pathlib.Path) -> None:
    disk = tmp_path / "golden.qcow2"
    disk.write_bytes(b"QFI\xfb\0\0\0\3" + bytes(3 * PIECE))
    inodes: list[int] = []
    world.before = lambda _name: inodes.extend(path.stat().st_ino for path in cache(world).glob("incoming/*.part"))
    ensure_image(session, ImageSource("golden", "qcow2", str(disk)))
    cached = cache(world) / sum_of(disk) / "disk.qcow2"
    assert inodes[-1] == cached.stat().st_ino
    assert cached.read_bytes() == disk.read_bytes()
    assert cached.stat().st_mode & 0o777 == 0o444
    assert parts(world) == {}


def test_a_file_that_is_not_there_is_named(session: Session, tmp_path: pathlib.Path) -> None:
    for path in (tmp_path / "nothing.tar", tmp_path):
        with pytest.raises(EnsembleError) as caught:
            ensure_image(session, source(path))
        assert caught.value.code == "no_image_file"
        assert str(path) in caught.value.msg


def test_a_known_image_needs_no_file_here(world: World, session: Session, tar: pathlib.Path) -> None:
    known = source(tar, checksum=sum_of(tar))
    ensure_image(session, known)
    tar.unlink()
    assert ensure_image(session, known).changed is False


def test_a_second_name_moves_nothing(world: World, session: Session, tar: pathlib.Path) -> None:
    ensure_image(session, source(tar))
    done = ensure_image(session, ImageSource("other", "tar", str(tar)))
    assert (done.changed, done.bytes) == (True, 0)
    assert world.hosts["hv1"].images.digest("other", "tar") == sum_of(tar)


def test_time_is_bounded(session: Session, tar: pathlib.Path) -> None:
    with pytest.raises(EnsembleError) as caught:
        ensure_image(session, source(tar), timeout=0.0)
    assert caught.value.code == "image_timeout"
