# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Recipes: how each image is made, read from ``tests/lab/images``, and the digest that names the result."""

from __future__ import annotations

import configparser
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from ensemble_lab.layout import RECIPES
from ensemble_lab.system import LabError

# Documentation and translations are a third of a small root file system, and nobody reads them there.
BUILDER_OPTIONS = (
    "--mode=root",
    "--variant=minbase",
    "--format=tar",
    "--components=main",
    "--aptopt=Acquire::Retries 3",
    "--aptopt=APT::Install-Recommends false",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-include=/usr/share/locale/locale.alias",
)
NAMES = ("hypervisor", "batch-node", "plain")
#: built when asked for only: option of `up` -> recipes
OPTIONAL = {"vm": ("batch-vm",)}
_LISTS = ("packages", "disable", "enable", "mask")
_DIGITS = 12


@dataclass(frozen=True)
class Recipe:
    """One image: its layers (base first) and the lists of all layers together."""

    name: str
    suite: str
    format: (
        str  # "engine" (an image of the container engine), "tar" (a root file system) or "qcow2" (a disk that boots)
    )
    export: str  # file name under which hypervisors see it; empty for an image of the engine
    layers: tuple[Path, ...]
    lists: dict[str, tuple[str, ...]]

    @property
    def digest(self) -> str:
        """Digest of all that the result depends on, apart from what the mirror offers that day."""
        total = hashlib.sha256(repr(BUILDER_OPTIONS).encode())
        for file in [RECIPES / "apply", *(file for layer in self.layers for file in _files(layer))]:
            executable = bool(file.stat().st_mode & 0o100)
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            total.update(f"{file.relative_to(RECIPES)}\0{executable}\0{content}\n".encode())
        return total.hexdigest()[:_DIGITS]

    def stage(self, directory: Path) -> Path:
        """Copy the recipe for the builder, with modes that no umask has touched; return the hook's path."""
        directory.mkdir(parents=True)
        for index, layer in enumerate(self.layers):
            for file in _files(layer):
                _copy(file, directory / f"layer-{index}-{layer.name}" / file.relative_to(layer))
        for verb in _LISTS[1:]:
            (directory / verb).write_text("".join(f"{unit}\n" for unit in self.lists[verb]), encoding="utf-8")
        _copy(RECIPES / "apply", directory / "apply")
        return directory / "apply"


def load(name: str) -> Recipe:
    """Read a recipe and its bases. Raises LabError on a recipe that is incomplete."""
    sections: list[configparser.SectionProxy] = []
    layers: list[Path] = []
    following: str | None = name
    while following:
        layer = RECIPES / following
        parser = configparser.ConfigParser(interpolation=None)
        if not parser.read(layer / "recipe.ini", encoding="utf-8") or "image" not in parser:
            raise LabError(f"{layer}/recipe.ini: expected a file with a section [image]")
        sections.insert(0, parser["image"])
        layers.insert(0, layer)
        following = parser["image"].get("base")
    top = sections[-1]
    for key, allowed in {"suite": None, "format": ("engine", "tar", "qcow2")}.items():
        if key not in top or (allowed and top[key] not in allowed):
            raise LabError(f"{layers[-1]}/recipe.ini: {key}: expected {' or '.join(allowed or ['a value'])}")
    lists = {key: tuple(" ".join(section.get(key, "") for section in sections).split()) for key in _LISTS}
    export = "" if top["format"] == "engine" else f"{top.get('export', name)}.{top['format']}"
    return Recipe(name=name, suite=top["suite"], format=top["format"], export=export, layers=tuple(layers), lists=lists)


def _files(layer: Path) -> list[Path]:
    return sorted(path for path in layer.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _copy(source: Path, target: Path) -> None:
    for parent in reversed(target.parents):
        if not parent.exists():
            parent.mkdir()
            parent.chmod(0o755)
    shutil.copyfile(source, target)
    target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
