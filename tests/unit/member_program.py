# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The member's program as a real process, with commands of a folder first on its PATH."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._probe.program import BOOT, PYTHON, program

ANSWER_WITHIN = 30


class MemberProgram:
    """Sends requests and reads answers, as a session does."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        self.state = folder / "state"
        env = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "FAKE": str(folder)}
        argv = [sys.executable, *PYTHON[1:], BOOT, str(self.state)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self._write(program())

    def _write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def command(self, name: str, script: str) -> None:
        """Put a shell script where the program finds it."""
        path = self.folder / "bin" / name
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)

    def say(self, line: bytes) -> dict[str, t.Any]:
        self._write(line + b"\n")
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    def ask(self, verb: str, **fields: t.Any) -> dict[str, t.Any]:
        return self.say(json.dumps({"id": 7, "verb": verb, **fields}).encode())

    def look(self, *probes: dict[str, t.Any], address: str = "127.0.0.1") -> dict[str, t.Any]:
        return self.ask("look", address=address, probes=list(probes))

    def sign(self, probe: dict[str, t.Any], address: str = "127.0.0.1") -> dict[str, t.Any]:
        found = self.look(probe, address=address)["signs"]
        assert len(found) == 1
        return t.cast("dict[str, t.Any]", found[0])

    def close(self) -> int:
        """End its stdin; the exit code."""
        self.process.communicate(timeout=ANSWER_WITHIN)
        return self.process.returncode
