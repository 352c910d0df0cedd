# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A controller: a home folder of its own and the playbooks of the checkout, run as a person would."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

import yaml

from .lab import CHECKOUT

PLAYBOOK_TIMEOUT = 600
_RESULT = re.compile(r"^(?:ok|changed|fatal): \[(?P<host>[^\]]+)\](?:: FAILED!)? => (?P<data>\{.*\})$", re.MULTILINE)
_RECAP = re.compile(r"^(?P<host>\S+)\s+: ok=(?P<ok>\d+)\s+changed=(?P<changed>\d+)\s", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """A playbook's end."""

    code: int
    output: str

    def recap(self, count: str) -> dict[str, int]:
        """Host -> a number of the recap, e.g. `changed`."""
        return {found["host"]: int(found[count]) for found in _RECAP.finditer(self.output)}

    def results(self, key: str) -> list[dict[str, t.Any]]:
        """Task results that have a key, in order."""
        found = []
        for match in _RESULT.finditer(self.output):
            try:
                data = json.loads(match["data"])
            except ValueError:
                continue
            if key in data:
                found.append(data)
        return found

    @property
    def resource(self) -> dict[str, t.Any]:
        """What the module distributed_resource returned."""
        return self.results("actions")[-1]

    @property
    def diff(self) -> str:
        """The first diff that was shown; with `--diff` that of distributed_resource, which comes first."""
        found = re.search(r"^--- before\n.*?\n\n", self.output, re.MULTILINE | re.DOTALL)
        if found is None:
            raise ValueError("no diff in the output")
        return found[0]

    @property
    def failure(self) -> dict[str, t.Any]:
        """What the module that failed the run returned."""
        return self.results("code")[-1]


def _descendants(pid: int) -> list[int]:
    """Children of a process, their children, and so on."""
    with contextlib.suppress(FileNotFoundError):
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        children = [int(word) for task in tasks for word in task.read_text().split()]
        return [*children, *(found for child in children for found in _descendants(child))]
    return []


class Controller:
    """One controller, empty at first."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.home),
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def write(self, declaration: dict[str, t.Any], name: str = "resource.yml", **variables: t.Any) -> Path:
        """Write a declaration, with variables for all hosts beside it, and return its path."""
        folder = self.home / str(declaration.get("name", "nameless"))
        (folder / "group_vars").mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_text(yaml.safe_dump(declaration, sort_keys=False))
        (folder / "group_vars" / "all.yml").write_text(yaml.safe_dump(variables))
        return path

    def start(self, playbook: str, inventory: Path, *options: str) -> subprocess.Popen[str]:
        """A playbook that runs in a process group of its own."""
        path = CHECKOUT / "playbooks" / f"{playbook}.yml"
        command = ["ansible-playbook", "-v", "-i", str(inventory), str(path), *options]
        return subprocess.Popen(
            command,
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @staticmethod
    def kill(process: subprocess.Popen[str]) -> None:
        """End a playbook and all that it started at once; its modules run in sessions of their own."""
        for pid in [process.pid, *_descendants(process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def play(self, playbook: str, inventory: Path, *options: str) -> Run:
        """Run a playbook to its end."""
        process = self.start(playbook, inventory, *options)
        try:
            output, _nothing = process.communicate(timeout=PLAYBOOK_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return Run(process.returncode, output)

    def task(self, module: str, **options: t.Any) -> dict[str, t.Any]:
        """The result of one task on localhost, run as a person would: by the program `ansible`.

        Raises:
            RuntimeError: it failed.
        """
        arguments = ["-a", json.dumps(options)] if options else []
        command = ["ansible", "localhost", "-m", module, *arguments]
        done = subprocess.run(
            command,
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PLAYBOOK_TIMEOUT,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{module} failed:\n{done.stdout}{done.stderr}")
        return t.cast("dict[str, t.Any]", json.loads(done.stdout.split(" => ", 1)[1]))

    def ssh(self, resource: str, member: str, *argv: str) -> str:
        """Standard output of a command on a member, through the files that a run leaves for people."""
        config = self.home / ".cache/ensemble" / resource / "ssh_config"
        command = ["ssh", "-F", str(config), "-o", "BatchMode=yes", member, *argv]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
