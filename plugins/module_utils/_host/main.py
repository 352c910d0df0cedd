# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The host program's command line: without an argument it serves requests."""

from __future__ import annotations

import functools
import json
import signal
import sys
import typing as t

from .._model.errors import EnsembleError
from .._model.identity import RESOURCE_NAME
from .._model.protocol import COMMAND, PROTOCOL, READ_ONLY, VERSION
from .drivers.base import Driver
from .files import RUN_DIR, STATE_DIR
from .rights import ALL, BOOT, WITNESS, Rights, agent
from .serve import serve
from .settings import Settings, read_settings
from .verbs import Host

USAGE = f"""usage: {COMMAND} [--read-only | --resource NAME | --boot | --guard | --check-template FILE | --version]
  (nothing)         answer one JSON request per line on standard input
  --read-only       the same, but only {" and ".join(sorted(READ_ONLY))}
  --resource NAME   the same, but only for one resource, and not who may log in
  --boot            start the members that are wanted here after this machine's boot
  --guard           destroy members here of which no leader is heard any more, as far as one has asked for it
  --check-template  tell whether a domain template is of use"""


def main(argv: t.Sequence[str]) -> int:
    """Exit code 0 when all went well, 2 for a wrong call, 1 for bad settings, a bad template or no decision."""
    if list(argv) == ["--version"]:
        sys.stdout.write(json.dumps({"version": VERSION, "protocol": PROTOCOL}) + "\n")
        return 0
    if len(argv) == 2 and argv[0] == "--check-template":
        return _check_template(argv[1])
    rights = _rights(argv)
    if rights is None and _unit(argv) is None:
        sys.stderr.write(USAGE + "\n")
        return 2
    # a controller that went away must end the session between two answers, not leave a broken pipe's trace
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        settings = read_settings()
    except EnsembleError as error:
        sys.stderr.write(error.msg + "\n")
        return 1
    drivers = LibvirtDrivers(settings)
    unit = _unit(argv)
    if unit is not None:
        return 0 if unit(drivers) else 1
    granted = (rights or ALL).within(WITNESS if settings.witness else ALL)
    host = Host(drivers, rights=granted, authorized_keys=settings.authorized_keys)
    serve(host, sys.stdin.buffer, sys.stdout.buffer)
    return 0


def _rights(argv: t.Sequence[str]) -> Rights | None:
    """What a session with these arguments may ask; None when they make no sense."""
    if not argv:
        return ALL
    if list(argv) == ["--read-only"]:
        return BOOT
    if len(argv) == 2 and argv[0] == "--resource" and RESOURCE_NAME.fullmatch(argv[1]):
        return agent(argv[1])
    return None


def _unit(argv: t.Sequence[str]) -> t.Callable[[t.Mapping[str, Driver]], bool] | None:
    """What a unit of this machine has started with these arguments; None when no unit did."""
    if list(argv) == ["--boot"]:
        return _boot
    if list(argv) == ["--guard"]:
        return _watch
    if len(argv) == 2 and argv[0] == "--guard" and RESOURCE_NAME.fullmatch(argv[1]):
        return lambda drivers: _destroy(drivers, argv[1])
    return None


def _boot(drivers: t.Mapping[str, Driver]) -> bool:
    from .boot import Boot

    return Boot(drivers, STATE_DIR, _say).run()


def _watch(_drivers: t.Mapping[str, Driver]) -> t.NoReturn:
    from .guard import Guard

    Guard(STATE_DIR, RUN_DIR, _say).run()


def _destroy(drivers: t.Mapping[str, Driver], resource: str) -> bool:
    from .guard import carry_out

    return carry_out(drivers, STATE_DIR, RUN_DIR, resource, _say)


def _check_template(path: str) -> int:
    from .drivers.lxc import LxcDriver
    from .drivers.qemu import QemuDriver
    from .drivers.templates import refuse_useless

    try:
        refuse_useless(path, [LxcDriver.rules, QemuDriver.rules])
    except EnsembleError as error:
        sys.stderr.write(error.msg + "\n")
        return 1
    return 0


def _say(line: str) -> None:
    """One line for the journal, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


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
