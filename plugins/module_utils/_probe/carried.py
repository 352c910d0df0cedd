# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Runs modules that came as text, in memory; sent ahead of them, what stands below it is set by `program.py`."""

from __future__ import annotations

import sys
import typing as t
from importlib.machinery import ModuleSpec

#: dotted name -> text, and the name of the module whose `main` is called
SOURCES: dict[str, str] = {}
ENTRY = ""


class Carried:
    """Finds and loads what `SOURCES` holds; a package is a name with an empty text."""

    @classmethod
    def find_spec(cls, name: str, _path: t.Any = None, _target: t.Any = None) -> ModuleSpec | None:
        if name not in SOURCES:
            return None
        return ModuleSpec(name, t.cast(t.Any, cls), is_package=not SOURCES[name])

    @classmethod
    def create_module(cls, _spec: ModuleSpec) -> None:
        return None

    @classmethod
    def exec_module(cls, module: t.Any) -> None:
        # this program's own text, from the collection of whoever opened the channel
        exec(compile(SOURCES[module.__name__], module.__name__, "exec"), module.__dict__)  # noqa: S102


def start() -> None:
    """Import the entry's module and call its `main` with this program's arguments."""
    sys.meta_path.insert(0, t.cast(t.Any, Carried))
    __import__(ENTRY)
    sys.modules[ENTRY].main(sys.argv[1:])
