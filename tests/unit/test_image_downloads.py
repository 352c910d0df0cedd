# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Images that hypervisors fetch by themselves, and the caches of a pool."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.caches import fill, prune, survey_all
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.images import ensure_image
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.images_report import filled_facts, pruned_facts
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.image import ImageSource
from ansible_collections.ensemble.stacks.plugins.module_utils._pool import sim
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.pool import Pool
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session
from declared import parsed
from harness.webserver import serving
from simulated import Simulated
from transfers import PIECE, cache, is_whole, parts, session, small_pieces, source, sum_of, tar, world
from world import World

__all__ = ["cache", "is_whole", "parts", "session", "small_pieces", "source", "sum_of", "tar", "world"]


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
