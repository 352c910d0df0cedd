# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The command line."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from ensemble_lab import commands
from ensemble_lab.layout import DEFAULT_NAME, DEFAULT_SUBNET, checked_name
from ensemble_lab.recipes import OPTIONAL
from ensemble_lab.system import LabError

_FAILED = 1
_MOST_WITNESSES = 4
_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status: 0 done, 1 failed, 3 (status) not all up, 130 interrupted."""
    asked = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        name = checked_name(asked.name)
        if asked.command == "up":
            if not 1 <= asked.hypervisors <= 40:
                raise LabError(f"--hypervisors {asked.hypervisors}: expected 1 to 40")
            if not 0 <= asked.witnesses <= _MOST_WITNESSES:
                raise LabError(f"--witnesses {asked.witnesses}: expected 0 to {_MOST_WITNESSES}")
            return commands.up(name, asked.hypervisors, asked.subnet, asked.images, asked.witnesses)
        if asked.command == "down":
            return commands.down(name)
        if asked.command == "status":
            return commands.status(name, asked.hypervisors)
        return commands.purge()
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print("interrupted; `up` goes on from here, `down` ends what is there", file=sys.stderr)
        return _INTERRUPTED


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ensemble_lab",
        description="Real hypervisors for the tests: system containers with libvirtd, on one machine.",
    )
    parser.add_argument("command", choices=("up", "down", "status", "purge"))
    parser.add_argument("--name", default=DEFAULT_NAME, help="name of the lab (default: %(default)s)")
    parser.add_argument("--hypervisors", type=int, default=3, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument(
        "--witnesses", type=int, default=0, metavar="N", help="machines that only vote (default: %(default)s)"
    )
    parser.add_argument(
        "--subnet",
        help=f"IPv4 network (default: {DEFAULT_SUBNET} for the lab {DEFAULT_NAME}, else the first free 172.30.N.0/24)",
    )
    parser.add_argument(
        "--images",
        action="append",
        default=[],
        choices=sorted(OPTIONAL),
        help="build optional images too: vm is a disk that boots, for members of the driver qemu",
    )
    return parser
