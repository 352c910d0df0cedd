# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The member's program as it is sent: its modules in one line, for a command that is always the same."""

from __future__ import annotations

import base64
import functools
import types
import typing as t
import zlib

from .._host import fence, files
from .._model import errors, identity
from . import carried, commands, member, restart, resume, units

_ROOT = "ensemble"
#: what runs on a member; empty packages are made up. Imported here, so that Ansible packs them with its modules, too
_MODULES = {
    **{"_probe.member": member, "_probe.commands": commands, "_probe.units": units, "_probe.restart": restart},
    "_probe.resume": resume,
    **{"_host.fence": fence, "_host.files": files, "_model.errors": errors, "_model.identity": identity},
}
_ENTRY = f"{_ROOT}._probe.member"
#: takes the program from the first line of stdin; nothing of it is written anywhere
BOOT = "import sys,zlib,base64;exec(zlib.decompress(base64.b64decode(sys.stdin.buffer.readline())))"
#: the distribution's own, isolated from modules of the account and without site packages: that halves the time to start
PYTHON = ("/usr/bin/python3", "-I", "-S", "-B", "-c")
COMMAND = f"exec {' '.join(PYTHON)} '{BOOT}'"
#: for an account that is not root
SUDO_COMMAND = f"exec sudo -n {' '.join(PYTHON)} '{BOOT}'"


@functools.lru_cache(maxsize=1)
def program() -> bytes:
    """The line that is sent ahead of the first request."""
    sources = dict.fromkeys((_ROOT, f"{_ROOT}._probe", f"{_ROOT}._host", f"{_ROOT}._model"), "")
    for name, module in _MODULES.items():
        sources[f"{_ROOT}.{name}"] = _text(module)
    whole = f"{_text(carried)}\nENTRY = {_ENTRY!r}\nSOURCES = {sources!r}\nstart()\n"
    return base64.b64encode(zlib.compress(whole.encode(), 9)) + b"\n"


def _text(module: types.ModuleType) -> str:
    """From a file, or from the archive in which Ansible runs modules."""
    return str(t.cast("t.Any", module.__loader__).get_source(module.__name__))
