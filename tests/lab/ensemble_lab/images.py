# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Building and caching the images. What counts as built is complete: results appear by rename or tag at the end."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ensemble_lab import disks, machine, mounts, recipes
from ensemble_lab.engine import docker
from ensemble_lab.layout import CACHE, EXPORT, IMAGES_IN_HYPERVISOR, WORK
from ensemble_lab.processes import Process
from ensemble_lab.recipes import Recipe
from ensemble_lab.system import LabError, last_lines, say, step, write_atomically

REPOSITORY = f"{CACHE.name}-"
_BUILDERS = 2
_BUILD_SECONDS = 1500


def tag_of(recipe: Recipe) -> str:
    """Return the engine's name of an image."""
    return f"{REPOSITORY}{recipe.name}:{recipe.digest}"


def file_of(recipe: Recipe) -> Path:
    """Return the cached file of a tar or disk image."""
    return CACHE / f"{recipe.name}-{recipe.digest}.{recipe.format}"


def ensure_all(options: Sequence[str] = ()) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Build what is not cached; return the description of every image, and the names of those built.

    ``options`` names groups of optional images; such an image is also described, though never built, when it is cached.
    """
    asked = [name for option in options for name in recipes.OPTIONAL[option]]
    in_engine = _tags()
    wanted = [recipes.load(name) for name in (*recipes.NAMES, *asked)]
    others = [recipes.load(name) for names in recipes.OPTIONAL.values() for name in names if name not in asked]
    for recipe in others:
        if _is_cached(recipe, in_engine):
            wanted.append(recipe)
        else:  # a former one would pass for what the recipe says now
            (EXPORT / recipe.export).unlink(missing_ok=True)
    missing = [recipe for recipe in wanted if not _is_cached(recipe, in_engine)]
    if missing:
        _build_all(missing)
    for recipe in wanted:
        if recipe.export:
            _export(recipe)
    return {recipe.name: _describe(recipe) for recipe in wanted}, [recipe.name for recipe in missing]


def _tags() -> set[str]:
    """Return the engine's images that are ours."""
    lines = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    return {line for line in lines if line.startswith(REPOSITORY)}


def _is_cached(recipe: Recipe, in_engine: set[str]) -> bool:
    if recipe.format == "engine":
        return tag_of(recipe) in in_engine
    return file_of(recipe).is_file() and _record(recipe).is_file()


def _record(recipe: Recipe) -> Path:
    return file_of(recipe).with_suffix(".json")


def _describe(recipe: Recipe) -> dict[str, Any]:
    if recipe.format == "engine":
        return {"digest": recipe.digest, "tag": tag_of(recipe)}
    record: dict[str, Any] = json.loads(_record(recipe).read_text(encoding="utf-8"))
    path = f"{IMAGES_IN_HYPERVISOR}/{recipe.export}"
    return {"digest": recipe.digest, "file": str(file_of(recipe)), "path": path, **record}


def _build_all(missing: list[Recipe]) -> None:
    clear_work()
    mirror = machine.debian_mirror()
    machine.require_mirror(mirror)
    CACHE.mkdir(parents=True, exist_ok=True)
    say(f"  images to build: {', '.join(recipe.name for recipe in missing)} (about two minutes, from {mirror})")
    try:
        with ThreadPoolExecutor(_BUILDERS) as pool:
            futures = [pool.submit(_build, recipe, mirror) for recipe in missing]
            try:
                for future in futures:
                    future.result()
            except KeyboardInterrupt:  # else the pool would let the builders go on to their end
                pool.shutdown(wait=False, cancel_futures=True)
                _end_builders()
                raise
    finally:
        clear_work()


def _build(recipe: Recipe, mirror: str) -> None:
    work = WORK / recipe.name
    target = work / "root.tar"
    hook = recipe.stage(work / "recipe")
    with step(f"building image {recipe.name}"):
        _bootstrap(recipe, [hook, target], mirror, work)
    if recipe.format == "engine":
        with step(f"importing image {recipe.name} into the engine"):
            docker("import", str(target), tag_of(recipe), timeout=600)
        target.unlink()
        return
    if recipe.format == "qcow2":
        with step(f"making the disk of image {recipe.name}"):
            target = disks.bootable(target, work)
    with open(target, "rb") as handle:
        digest = hashlib.sha256()
        while block := handle.read(1 << 20):
            digest.update(block)
        os.fsync(handle.fileno())
    content = {"sha256": digest.hexdigest(), "size_bytes": target.stat().st_size}
    write_atomically(_record(recipe), json.dumps(content) + "\n")
    target.rename(file_of(recipe))


def _bootstrap(recipe: Recipe, paths: list[Path], mirror: str, work: Path) -> None:
    """Run mmdebstrap in a session of its own, recorded, so that a later run can end an orphan."""
    hook, target = paths
    temporary = work / "tmp"
    temporary.mkdir(mode=0o755)
    command = [
        "mmdebstrap",
        *recipes.BUILDER_OPTIONS,
        f"--include={','.join(recipe.lists['packages'])}",
        f"--customize-hook={hook}",
        recipe.suite,
        str(target),
        mirror,
    ]
    log = work / "log"
    with open(log, "wb") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "TMPDIR": str(temporary), "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        process = Process.of(child.pid)
        if process is not None:
            process.save(work / "builder.json")
        try:
            status = child.wait(timeout=_BUILD_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"image {recipe.name}: not built within {_BUILD_SECONDS} s") from error
        finally:
            if process is not None and child.poll() is None:
                process.end(grace=5, group=True)
                child.wait()
    if status != 0:
        words = last_lines(log.read_text(encoding="utf-8", errors="replace"), 15)
        raise LabError(f"image {recipe.name}: mmdebstrap ended with status {status}:\n{words}")


def _export(recipe: Recipe) -> None:
    """Give the file its stable name in the directory that hypervisors see; a hard link costs nothing."""
    name = EXPORT / recipe.export
    if name.exists() and name.samefile(file_of(recipe)):
        return
    EXPORT.mkdir(parents=True, exist_ok=True)
    temporary = EXPORT / f".{recipe.name}"
    temporary.unlink(missing_ok=True)
    os.link(file_of(recipe), temporary)
    temporary.replace(name)


def remove_outdated() -> None:
    """Remove former digests of the same images. One that another lab still uses stays until a later call."""
    wanted = [
        recipes.load(name) for name in (*recipes.NAMES, *(n for names in recipes.OPTIONAL.values() for n in names))
    ]
    in_engine = _tags()
    current = {tag_of(recipe) for recipe in wanted}
    for tag in in_engine - current:
        docker("image", "rm", tag, check=False)
    keep = {path for recipe in wanted for path in (file_of(recipe), _record(recipe))}
    for recipe in wanted:
        for path in CACHE.glob(f"{recipe.name}-*.*"):
            if path not in keep:
                path.unlink()


def clear_work() -> bool:
    """End orphaned builders and remove half-built images; return whether there was anything."""
    _end_builders()
    return mounts.remove_tree(WORK)


def _end_builders() -> None:
    for record in WORK.glob("*/builder.json"):
        process = Process.load(record)
        if process is not None:
            process.end(grace=5, group=True)


def purge() -> list[str]:
    """Remove every image of the lab from the cache and the engine; return what was removed."""
    removed = sorted(_tags())
    if removed:
        docker("image", "rm", *removed, timeout=300)
    if mounts.remove_tree(CACHE):
        removed.append(str(CACHE))
    return removed
