# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The host program's command line: without an argument it serves requests."""

from __future__ import annotations

import json
import signal
import sys
import typing as t

from .._model.errors import EnsembleError
from .._model.protocol import COMMAND, PROTOCOL, VERSION
from .drivers.lxc import LxcDriver
from .drivers.qemu import QemuDriver
from .drivers.templates import refuse_useless
from .files import STATE_DIR
from .serve import serve
from .settings import read_settings
from .verbs import Host

USAGE = (
    f"usage: {COMMAND} [--version | --check-template FILE]"
    "   (without an argument: one JSON request per line on standard input)"
)
_DRIVERS = (LxcDriver, QemuDriver)


def main(argv: t.Sequence[str]) -> int:
    """Exit code 0 when the input ended or the template is good, 2 for a wrong call, 1 for bad settings or a bad one."""
    if list(argv) == ["--version"]:
        sys.stdout.write(json.dumps({"version": VERSION, "protocol": PROTOCOL}) + "\n")
        return 0
    if len(argv) == 2 and argv[0] == "--check-template":
        return _check_template(argv[1])
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
    drivers = {driver.name: driver(STATE_DIR, settings) for driver in _DRIVERS}
    serve(Host(drivers), sys.stdin.buffer, sys.stdout.buffer)
    return 0


def _check_template(path: str) -> int:
    try:
        refuse_useless(path, [driver.rules for driver in _DRIVERS])
    except EnsembleError as error:
        sys.stderr.write(error.msg + "\n")
        return 1
    return 0
