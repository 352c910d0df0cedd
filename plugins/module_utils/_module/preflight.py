# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Finding the one declaration among a run's inventory sources."""

from __future__ import annotations

import os
import typing as t

from .._model.declaration import Resource
from .._model.errors import DeclarationError, EnsembleError, Fault
from .._model.load import is_declaration, load_declaration
from .._model.parse import PLUGIN_NAME


def find_declaration(sources: t.Sequence[str], stack: str | None) -> tuple[str, Resource]:
    """The declaration's path and the resource.

    Raises:
        EnsembleError: none, or several.
        DeclarationError: with every fault found.
    """
    candidates = {os.path.realpath(path): path for source in sources for path in _files(source)}
    found = [path for path in candidates.values() if is_declaration(path)]
    if len(found) != 1:
        what = "no declaration is" if not found else f"{len(found)} declarations are"
        raise EnsembleError(
            f"{what} among the inventory sources ({', '.join(sources) or 'none'}). Expected one file with the line "
            f"`plugin: {PLUGIN_NAME}`. Nothing was changed; run again with -i path/to/resource.yml.",
            code="no_declaration",
            sources=list(sources),
        )
    resource = load_declaration(found[0])
    if stack is not None and resource.stack != stack:
        raise DeclarationError(
            found[0], [Fault("stack", repr(resource.stack), f"{stack}, which this playbook is made for")]
        )
    return found[0], resource


def _files(source: str) -> list[str]:
    if not os.path.isdir(source):
        return [source]
    return [os.path.join(source, name) for name in sorted(os.listdir(source))]
