# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Images brought to real hypervisors: pushed in parallel, cut and resumed, downloaded, and removed when unused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest
from harness.controller import Controller
from harness.lab import STATE, Hypervisor, Lab
from harness.webserver import serving

MIB = 1024 * 1024
CACHE = f"{STATE}/images"
Facts = t.Dict[str, t.Dict[str, t.Any]]


def archive(path: Path, size: int) -> str:
    """A root file system that holds little but random bytes; its sha256."""
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("blob")
        entry.size = size
        tar.addfile(entry, io.BytesIO(os.urandom(size)))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def keep(lab: Lab, controller: Controller) -> t.Iterator[list[str]]:
    """Names of the lab's own images; all others are gone at the end."""
    names = sorted({Path(path).stem for path in lab.images})
    yield names
    assert prune(controller, controller.write(lab.declaration("img-end")), names)[0] == 0


def facts(run_output: list[dict[str, t.Any]]) -> Facts:
    """Hypervisor -> what the module image_cache said of it."""
    return {entry["name"]: entry for entry in run_output[-1]["hypervisors"]}


def prune(controller: Controller, inventory: Path, keep: list[str], *options: str) -> tuple[int, Facts]:
    variables = json.dumps({"ensemble_images_state": "pruned", "ensemble_images_keep": keep})
    run = controller.play("images", inventory, "-e", variables, *options)
    return run.code, facts(run.results("hypervisors"))


def removed(found: Facts) -> dict[str, list[str]]:
    return {name: [entry["sha256"] for entry in hv["removed"]] for name, hv in found.items()}


def part_size(hypervisor: Hypervisor, digest: str) -> int:
    return int(hypervisor.run("stat", "--format", "%s", f"{CACHE}/incoming/{digest}.part", check=False) or 0)


def names(hypervisor: Hypervisor) -> set[str]:
    return {name[: -len(".json")] for name in hypervisor.run("ls", f"{CACHE}/names").split()}


def cut_in_the_middle(lab: Lab, controller: Controller, inventory: Path, digest: str) -> dict[str, int]:
    """Kill a run before its 18th request, of about 36; what is there of the file on each hypervisor."""
    command = [sys.executable, str(Path(__file__).with_name("killed_fill.py")), str(inventory), str(2 * 17)]
    done = subprocess.run(command, env=controller.environment, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, "it was over before it could be killed"
    return {hv.name: part_size(hv, digest) for hv in lab.hypervisors}


def test_an_image_of_the_controller_reaches_every_hypervisor(lab: Lab, controller: Controller, keep: list[str]) -> None:
    declaration = lab.declaration("img-push", defaults={"image": {"path": "pushed.tar"}}, roles={"head": {"count": 1}})
    inventory = controller.write(declaration)
    size = 32 * MIB
    digest = archive(inventory.parent / "pushed.tar", size)
    there = cut_in_the_middle(lab, controller, inventory, digest)
    assert all(0 < part < size for part in there.values()), there
    assert all("pushed" not in names(hv) for hv in lab.hypervisors), "a half image has a name"

    run = controller.play("images", inventory)
    second = controller.play("images", inventory)
    assert [run.code, second.code] == [0, 0], run.output
    whole = (inventory.parent / "pushed.tar").stat().st_size
    for name, hv in facts(run.results("hypervisors")).items():
        assert hv["changed"]
        # the host program may have written one more piece after its controller was killed
        assert 0 < hv["bytes"] <= whole - there[name]
    assert not any(hv["changed"] for hv in facts(second.results("hypervisors")).values())
    for hypervisor in lab.hypervisors:
        assert hypervisor.run("stat", "--format", "%s", f"{CACHE}/{digest}/root/blob").strip() == str(size)
        assert part_size(hypervisor, digest) == 0
    pruned_when_nothing_stands_on_it(lab, controller, inventory, keep, digest)


def pruned_when_nothing_stands_on_it(
    lab: Lab, controller: Controller, inventory: Path, keep: list[str], digest: str
) -> None:
    """A member's disk keeps the image on its hypervisor, even that of a member that cannot start."""
    run = controller.play("start", inventory)
    assert run.code != 0, "there is no init in this image"
    disks = {
        hv.name: hv.run("cat", f"{STATE}/img-push/members/head-0/prepared.json", check=False) for hv in lab.hypervisors
    }
    [home] = [name for name, marker in disks.items() if digest in marker]
    code, found = prune(controller, inventory, keep, "--check")
    assert (code, {name for name, gone in removed(found).items() if digest in gone}) == (0, set(disks) - {home})
    assert controller.play("remove", inventory).code == 0
    expected = {hv.name: [digest] for hv in lab.hypervisors}
    assert removed(prune(controller, inventory, keep)[1]) == expected
    assert not any(hv["changed"] for hv in prune(controller, inventory, keep)[1].values())
    assert all(names(hv) == set(keep) for hv in lab.hypervisors)


def test_hypervisors_download_by_themselves(lab: Lab, controller: Controller, keep: list[str], tmp_path: Path) -> None:
    digest = archive(tmp_path / "node.tar", 4 * MIB)
    body = (tmp_path / "node.tar").read_bytes()
    with serving(body, lab.address(1)) as server:
        server.cut = [MIB, MIB]  # the first two answers break off
        image = {"name": "fetched", "url": server.url, "checksum": digest}
        inventory = controller.write(lab.declaration("img-fetch", defaults={"image": image}))
        run = controller.play("images", inventory)
        asked = len(server.asked)
        second = controller.play("images", inventory)
        assert len(server.asked) == asked, "what is there is not downloaded again"
        wrong = {**image, "name": "wrong", "checksum": "0" * 64}
        refused = controller.play("images", controller.write(lab.declaration("img-wrong", defaults={"image": wrong})))
    assert (run.code, second.code) == (0, 0), run.output
    assert asked == len(lab.hypervisors) + 2
    assert sum(hv["bytes"] for hv in facts(run.results("hypervisors")).values()) == len(lab.hypervisors) * len(body)
    assert not any(hv["changed"] for hv in facts(second.results("hypervisors")).values())
    assert refused.code != 0
    assert refused.failure["code"] == "image_checksum"
    assert digest in refused.failure["msg"]
    for hypervisor in lab.hypervisors:
        assert "fetched" in names(hypervisor)
        assert "wrong" not in names(hypervisor)
        assert part_size(hypervisor, "0" * 64) == 0
