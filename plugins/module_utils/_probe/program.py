# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The member's program as it is sent: its modules in one line, for a command that is always the same."""

from __future__ import annotations

import base64
import functools
import os
import zlib

_ROOT = "ensemble"
#: what runs on a member; empty packages are made up
_MODULES = (
    *("_probe.member", "_probe.commands", "_probe.units", "_probe.restart"),
    *("_host.fence", "_host.files", "_model.errors", "_model.identity"),
)
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
    base = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sources = dict.fromkeys((_ROOT, f"{_ROOT}._probe", f"{_ROOT}._host", f"{_ROOT}._model"), "")
    for module in _MODULES:
        sources[f"{_ROOT}.{module}"] = _text(base, module)
    whole = f"{_text(base, '_probe.carried')}\nENTRY = {_ENTRY!r}\nSOURCES = {sources!r}\nstart()\n"
    return base64.b64encode(zlib.compress(whole.encode(), 9)) + b"\n"


def _text(base: str, module: str) -> str:
    with open(os.path.join(base, *module.split(".")) + ".py", encoding="utf-8") as stream:
        return stream.read()
