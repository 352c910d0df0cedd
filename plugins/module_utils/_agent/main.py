# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The program ensemble-agent: `run` is the service; `status`, `events` and `release` are for people."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import typing as t
import uuid

from .._election.store import Identity, Lease
from .._host.files import BusyError, locked
from .._host.votes import boottime, this_boot
from .._model.errors import EnsembleError
from .agent import Agent
from .duplicates import HOLDER
from .errors import DuplicateNodeError, FatalError
from .events import LINES, Wish, tell
from .journal import RUN_DIR, Journal, Status, status_path
from .processes import adopt_orphans, start_of
from .release import release
from .report import report
from .settings import Settings, find, load
from .world import RealWorld

#: exit status: nobody leads, or a node id that another agent has
NONE_LEADS = DUPLICATE = 3

Opener = t.Callable[[Settings, Identity], Lease]


def open_lease(settings: Settings, identity: Identity) -> Lease:
    """The lease that the settings mean."""
    from .opening import opened  # paramiko, which a wrong command line need not load

    return opened(settings, identity)


def this_run(settings: Settings, run_dir: str) -> Identity:
    """A session of its own: node, boot and run (rule 10). The boot is not the kernel's, which containers share."""
    node = settings.node_id
    boot = this_boot(run_dir).boot_id
    return Identity(f"{node}/{boot}/{uuid.uuid4()}", f"{HOLDER}{node} (pid {os.getpid()})")


def run(path: str, opener: Opener, run_dir: str) -> None:
    """Be the agent until it is told to stop.

    Raises:
        EnsembleError: settings with faults, an agent that runs already, or one that must end.
    """
    settings, warnings = load(path)
    world = RealWorld()
    world.listen()
    adopt_orphans()
    folder = os.path.join(run_dir, "agent")
    os.makedirs(folder, mode=0o755, exist_ok=True)
    with _alone(os.path.join(folder, f"{settings.resource}.lock"), settings.resource):
        journal = Journal(
            settings.resource, settings.node_id, world.clock, sys.stdout, settings.journal, settings.debug
        )
        first = {"resource": settings.resource, "node": settings.node_id, "rank": settings.rank, "pid": os.getpid()}
        status = Status(
            status_path(settings.resource, folder), {**first, "pid_start": start_of(os.getpid()), "role": "starting"}
        )
        for words in warnings:
            journal.event("warning", "", (0, 0), msg=words)

        def fresh(identity: Identity) -> Lease:
            return opener(load(path)[0], identity)  # voters may have changed

        Agent(settings, fresh, lambda: this_run(settings, run_dir), world, journal, status).serve()


@contextlib.contextmanager
def _alone(lock: str, resource: str) -> t.Iterator[None]:
    try:
        with locked(lock, 0.0):
            yield
    except BusyError as error:
        raise FatalError(
            f"the agent of {resource} runs on this node already; see systemctl status ensemble-agent@{resource}",
            code="already_running",
        ) from error


def main(argv: t.Sequence[str], opener: Opener = open_lease, run_dir: str = os.path.dirname(RUN_DIR)) -> int:
    """The exit status: 0 done (status: somebody leads), 1 an error, 2 a wrong command line, 3 nobody leads or, of the
    service, a node id that another agent has."""
    arguments = _parser().parse_args(argv)
    try:
        path = find(arguments.settings, arguments.resource)
        if arguments.command == "run":
            run(path, opener, run_dir)
            return 0
        settings, warnings = load(path)
        if arguments.command == "watch":
            from .command import watch  # with the whole engine

            return watch(settings)
        if arguments.command == "check":
            _say({"resource": settings.resource, "warnings": warnings})
            return 0
        if arguments.command == "events":
            return tell(
                settings.journal,
                Wish(arguments.lines, arguments.since, arguments.follow, arguments.json),
                sys.stdout,
            )
        folder = os.path.join(run_dir, "agent")

        def opened() -> Lease:
            return opener(settings, this_run(settings, run_dir))

        if arguments.command == "release":
            told = release(settings, opened, folder, time.monotonic)
        else:
            told = report(settings, opened, folder, boottime)
    except EnsembleError as error:
        if arguments.json:
            _say({"error": error.as_dict()})
        sys.stderr.write(f"ensemble-agent: {error.msg}\n")
        return DUPLICATE if isinstance(error, DuplicateNodeError) else 1
    _say(told.data if arguments.json else told.text)
    return told.code


def _say(words: t.Any) -> None:
    """One line on standard output: text for people, all else for programs."""
    sys.stdout.write((words if isinstance(words, str) else json.dumps(words)) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ensemble-agent",
        description="The agent of ensemble.stacks on this node: it campaigns for the lease of a resource and runs a "
        "command while it leads.",
    )
    common = argparse.ArgumentParser(add_help=False)
    which = common.add_mutually_exclusive_group()
    which.add_argument("--settings", metavar="FILE", help="settings; by default the only one in /etc/ensemble/agents")
    which.add_argument("--resource", metavar="NAME", help="the resource whose agent is meant")
    common.add_argument("--json", action="store_true", help="for programs")
    commands = parser.add_subparsers(dest="command", required=True, metavar="status|events|release|check|run|watch")
    commands.add_parser("status", parents=[common], help="who leads; exit status 3 when nobody does")
    events = commands.add_parser("events", parents=[common], help="what the agent of this node has told of itself")
    much = events.add_mutually_exclusive_group()
    much.add_argument("--lines", metavar="N", type=_count, help=f"the latest ones; {LINES} by default")
    much.add_argument("--since", metavar="SECONDS", type=_seconds, help="those of so many seconds until now")
    events.add_argument("--follow", action="store_true", help="and those to come, until it is interrupted")
    commands.add_parser("run", parents=[common], help="be the agent (the service does this)")
    commands.add_parser("watch", parents=[common], help="look after the resource (the agent runs this while it leads)")
    commands.add_parser("release", parents=[common], help="let another candidate lead")
    commands.add_parser("check", parents=[common], help="whether the settings are sound; starts nothing")
    return parser


def _count(word: str) -> int:
    number = int(word)
    if number < 0:
        raise ValueError
    return number


def _seconds(word: str) -> float:
    seconds = float(word)
    if not 0 <= seconds < float("inf"):
        raise ValueError
    return seconds


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
