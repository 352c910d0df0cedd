# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The container engine: calling it, starting it where none answers, ending the one that we started."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from ensemble_lab.layout import STATE
from ensemble_lab.processes import Process, command_of
from ensemble_lab.system import LabError, last_lines, run, step, wait_until

LABEL = "ensemble.lab"
_SOCKET = "unix:///var/run/docker.sock"  # this machine's own engine, whatever DOCKER_HOST or a context say
_RECORD = STATE / "dockerd.json"
_LOG = STATE / "dockerd.log"
_PID_FILES = {  # file: the command that must be behind its pid
    Path("/var/run/docker.pid"): "dockerd",
    Path("/var/run/docker/containerd/containerd.pid"): "containerd",
    Path("/var/run/docker/containerd/docker-containerd.pid"): "containerd",
}


def docker(*arguments: str, timeout: float = 60, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Call the engine's client. Raises LabError like ``run``."""
    return run(["docker", "--host", _SOCKET, *arguments], timeout=timeout, check=check)


def inspect(kind: str, *names: str) -> list[dict[str, Any]]:
    """Return the description of those objects (``container``, ``network``, ``image``) that exist."""
    if not names:
        return []
    content = json.loads(docker(kind, "inspect", *names, check=False).stdout or "[]")
    return content if isinstance(content, list) else []


def answers() -> bool:
    """Tell whether the engine answers within a few seconds."""
    try:
        return docker("version", "--format", "{{.Server.Version}}", timeout=5, check=False).returncode == 0
    except LabError:
        return False


def start() -> bool:
    """Start the engine unless one answers; return whether it was started. Raises LabError with its last words."""
    if answers():
        return False
    if command_of(Path("/var/run/docker.pid")) == "dockerd":
        with step("waiting for the engine that runs already"):
            wait_until(answers, 60, "an answer of the dockerd that runs already (see `docker version`)")
        return False
    _remove_stale_pid_files()
    STATE.mkdir(parents=True, exist_ok=True)
    with step("starting dockerd"), open(_LOG, "ab") as log:
        child = subprocess.Popen(
            ["dockerd", "--host", _SOCKET],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
        process = Process.of(child.pid)
        if process is not None:
            process.save(_RECORD)
        try:
            wait_until(lambda: child.poll() is not None or answers(), 60, "an answer of the dockerd just started")
        except LabError as error:
            raise LabError(f"{error}\n{_log_end()}") from error
    if child.poll() is not None:
        _RECORD.unlink(missing_ok=True)
        raise LabError(f"dockerd does not start; the end of {_LOG}:\n{_log_end()}")
    return True


def _remove_stale_pid_files() -> None:
    """A pid file whose pid went to another process keeps dockerd from starting."""
    for path, command in _PID_FILES.items():
        if path.exists() and command_of(path) != command:
            path.unlink(missing_ok=True)


def _log_end() -> str:
    try:
        return last_lines(_LOG.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return "    (no log)"


def stop_if_ours() -> str | None:
    """End the engine when this tooling started it and nobody else uses it; return what was done, if anything."""
    process = Process.load(_RECORD)
    if process is None or process.command != "dockerd":
        _RECORD.unlink(missing_ok=True)
        _LOG.unlink(missing_ok=True)
        return None
    others = docker("ps", "-q", check=False).stdout.split()
    if others:
        return f"left dockerd running: {len(others)} containers that are not the lab's run on it"
    with step("stopping dockerd"):
        process.end(grace=30)
    _RECORD.unlink(missing_ok=True)
    _LOG.unlink(missing_ok=True)
    return "stopped dockerd"
