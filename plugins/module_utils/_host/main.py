# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The host program's command line: no argument serves requests, `--version` tells what this is."""

from __future__ import annotations

import functools
import json
import signal
import sys
import typing as t

from .._model.errors import EnsembleError
from .._model.protocol import COMMAND, PROTOCOL, VERSION
from .drivers.base import Driver
from .files import STATE_DIR
from .serve import serve
from .settings import Settings, read_settings
from .verbs import Host

USAGE = f"usage: {COMMAND} [--version]   (without an argument: one JSON request per line on standard input)"


def main(argv: t.Sequence[str]) -> int:
    """Exit code 0 when the input ended, 2 for a wrong call, 1 for bad settings."""
    if list(argv) == ["--version"]:
        sys.stdout.write(json.dumps({"version": VERSION, "protocol": PROTOCOL}) + "\n")
        return 0
    if argv:
        sys.stderr.write(USAGE + "\n")
        return 2
    # a controller that went away must end the session between two answers, not leave a broken pipe's trace
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        settings = read_settings()
    except EnsembleError as error:
        sys.stderr.write(error.msg + "\n")
        return 1
    serve(Host(LibvirtDrivers(settings)), sys.stdin.buffer, sys.stdout.buffer)
    return 0


class LibvirtDrivers(t.Mapping[str, Driver]):
    """The drivers by name, loaded when the first verb asks for one.

    libvirt's bindings take longer to load than all else, and a session that only votes never needs them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @functools.cached_property
    def _loaded(self) -> dict[str, Driver]:
        from .drivers.lxc import LxcDriver
        from .drivers.qemu import QemuDriver

        return {driver.name: driver(STATE_DIR, self._settings) for driver in (LxcDriver, QemuDriver)}

    def __getitem__(self, name: str) -> Driver:
        return self._loaded[name]

    def __iter__(self) -> t.Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)
