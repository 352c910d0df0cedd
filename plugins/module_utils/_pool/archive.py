# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The host program as one executable file (a zipapp), built reproducibly from the installed collection."""

from __future__ import annotations

import io
import os
import zipfile

from .._model.errors import EnsembleError

#: packages of module_utils that run on a hypervisor
PACKAGES = ("_model", "_election", "_host")
_ROOT = "ensemble"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_SHEBANG = b"#!/usr/bin/python3\n"
_MAIN = "import sys\n\nfrom ensemble._host.main import main\n\nsys.exit(main(sys.argv[1:]))\n"


def build(module_utils: str) -> bytes:
    """The file's bytes; the same sources give the same bytes.

    Args:
        module_utils: folder of the collection's module_utils.

    Raises:
        EnsembleError: the folder is not that of this collection.
    """
    sources = {"__main__.py": _MAIN.encode(), f"{_ROOT}/__init__.py": b""}
    for package in PACKAGES:
        folder = os.path.join(module_utils, package)
        if not os.path.isdir(folder):
            raise EnsembleError(
                f"{folder} is not there: is {module_utils} the collection's plugins/module_utils?", code="no_sources"
            )
        sources.update(_package(module_utils, folder))
    body = io.BytesIO(_SHEBANG)
    body.seek(0, io.SEEK_END)
    with zipfile.ZipFile(body, "a", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(sources):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, sources[name])
    return body.getvalue()


def _package(base: str, folder: str) -> dict[str, bytes]:
    found = {}
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".py"):
                path = os.path.join(parent, name)
                with open(path, "rb") as stream:
                    found[os.path.join(_ROOT, os.path.relpath(path, base))] = stream.read()
    return found
