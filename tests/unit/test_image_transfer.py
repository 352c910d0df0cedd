# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Images on their way to the hypervisors: cut and resumed, wrong, too large, brought by two at once."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import tarfile
import threading
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine import images as engine
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.caches import fill, prune, survey_all
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.images import ensure_image
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.images_report import filled_facts, pruned_facts
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError, HypervisorError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.image import ImageSource
from ansible_collections.ensemble.stacks.plugins.module_utils._pool import sim
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.pool import Pool
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session
from declared import parsed
from harness.webserver import serving
from simulated import Simulated
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


# -- downloads


def at(url: str, tar: pathlib.Path) -> ImageSource:
    return ImageSource("golden", "tar", url=url, checksum=sum_of(tar))


def test_a_download(world: World, session: Session, tar: pathlib.Path) -> None:
    with serving(tar.read_bytes()) as server:
        done = ensure_image(session, at(server.url, tar))
        again = ensure_image(session, at(server.url, tar))
    assert (done.bytes, again.changed, server.asked) == (tar.stat().st_size, False, [None])
    assert is_whole(world, tar)


def test_a_download_that_breaks_off_goes_on(world: World, session: Session, tar: pathlib.Path) -> None:
    with serving(tar.read_bytes()) as server:
        server.cut = [3 * PIECE, 2 * PIECE]
        ensure_image(session, at(server.url, tar))
    assert server.asked == [None, f"bytes={3 * PIECE}-", f"bytes={5 * PIECE}-"]
    assert is_whole(world, tar)


def test_a_server_without_ranges_sends_it_anew(world: World, session: Session, tar: pathlib.Path) -> None:
    with serving(tar.read_bytes()) as server:
        server.ranges = False
        server.cut = [3 * PIECE]
        ensure_image(session, at(server.url, tar))
    assert len(server.asked) == 2
    assert is_whole(world, tar)


def test_a_download_that_only_needs_to_be_taken(world: World, session: Session, tar: pathlib.Path) -> None:
    folder = cache(world) / "incoming"
    folder.mkdir(parents=True)
    shutil.copy(tar, folder / f"{sum_of(tar)}.part")
    with serving(tar.read_bytes()) as server:
        assert ensure_image(session, at(server.url, tar)).bytes == 0
    assert is_whole(world, tar)


def test_a_download_that_never_goes_on_ends(session: Session, tar: pathlib.Path) -> None:
    with serving(tar.read_bytes()) as server:
        server.cut = [PIECE] + [0] * 50
        with pytest.raises(EnsembleError) as caught:
            ensure_image(session, at(server.url, tar))
    assert caught.value.code == "image_download"
    assert str(PIECE) in caught.value.msg


def test_other_bytes_than_declared_are_removed(world: World, session: Session, tar: pathlib.Path) -> None:
    with serving(b"something else") as server, pytest.raises(EnsembleError) as caught:
        ensure_image(session, at(server.url, tar))
    assert caught.value.code == "image_checksum"
    assert hashlib.sha256(b"something else").hexdigest() in caught.value.msg
    assert parts(world) == {}


@pytest.mark.parametrize("path", ["/nothing.tar", "/elsewhere.tar"])
def test_what_the_server_refuses_and_where_it_must_not_lead(session: Session, tar: pathlib.Path, path: str) -> None:
    with serving(b"") as server, pytest.raises(EnsembleError) as caught:
        ensure_image(session, at(server.url.replace("/node.tar", path), tar))
    assert caught.value.code == "image_download"
    assert path in caught.value.msg


def test_no_space_for_a_download(session: Session, tar: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with serving(tar.read_bytes()) as server, pytest.raises(EnsembleError) as caught:
        ensure_image(session, at(server.url, tar))
    assert caught.value.code == "no_space"


# -- the caches of a pool


def test_the_survey_decides_what_changes(world: World, tar: pathlib.Path) -> None:
    with Pool(parsed().pool, world.connect) as pool:
        ensure_image(pool.sessions["hv1"], source(tar))
        found = survey_all(pool, [source(tar)])
        check = filled_facts(found, [])
        run = filled_facts(found, fill(pool, [source(tar)], [each for each in found if each.changed]))
        after = filled_facts(survey_all(pool, [source(tar)]), [])
    assert [hv["changed"] for hv in check["hypervisors"]] == [False, True]
    assert (check["changed"], check["diff"]) == (run["changed"], run["diff"])
    assert check["diff"] == {"before": "hv2 golden tar: absent\n", "after": f"hv2 golden tar: {sum_of(tar)}\n"}
    assert [hv["bytes"] for hv in run["hypervisors"]] == [0, tar.stat().st_size]
    assert (after["changed"], after["diff"]) == (False, {"before": "", "after": ""})


def test_pruning_tells_first_and_then_removes_the_same(world: World, tar: pathlib.Path) -> None:
    with Pool(parsed().pool, world.connect) as pool:
        ensure_image(pool.sessions["hv2"], source(tar))
        kept = pruned_facts(prune(pool, ["golden"], False))
        check = pruned_facts(prune(pool, [], True))
        run = pruned_facts(prune(pool, [], False))
        after = pruned_facts(prune(pool, [], False))
    assert (kept["changed"], check, after["changed"]) == (False, run, False)
    assert run["diff"] == {"before": f"hv2 golden tar: {sum_of(tar)}\n", "after": ""}
    assert json.dumps(run)
    assert not os.path.exists(cache(world, "hv2") / sum_of(tar))


def test_pruning_goes_on_where_it_was_killed(world: World, tar: pathlib.Path) -> None:
    """What it had renamed away is in the way of nothing, not even of the same image that came back since."""
    left = cache(world, "hv2") / f".gone-{sum_of(tar)}"
    with Pool(parsed().pool, world.connect) as pool:
        ensure_image(pool.sessions["hv2"], source(tar))
        left.mkdir()
        (left / "half").touch()
        prune(pool, [], False)
    assert not os.path.exists(cache(world, "hv2") / sum_of(tar))
    assert not left.exists()


def test_a_simulated_hypervisor_takes_any_file_as_its_image(tmp_path: pathlib.Path, tar: pathlib.Path) -> None:
    simulated = Simulated(tmp_path, defaults={"image": {"path": str(tar), "checksum": sum_of(tar)}})
    for name in ("hv1", "hv2", "hv3"):
        simulated.settings(name, images=[])
    sources = list(simulated.resource.images.values())
    with Pool(simulated.resource.pool[:1], sim.connect) as pool:
        fill(pool, sources, survey_all(pool, sources))
        assert not any(transfer.changed for transfer in survey_all(pool, sources))
    actions = simulated.run().plan.actions
    assert {action.hypervisor for action in actions if action.verb == "fetch"} == {"hv2"}
    assert sorted(simulated.states()) == sorted(simulated.names())
    assert simulated.run().plan.actions == ()
    with Pool(simulated.resource.pool, sim.connect) as pool:
        gone = prune(pool, [], True)
    standing = {name for name, entries in gone.items() if not entries}
    assert standing, "members stand on their images"
