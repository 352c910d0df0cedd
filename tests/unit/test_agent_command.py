# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The agent's command as real processes: nothing of it is left, whatever it does to survive."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

#: runs one command as the agent does and tells what became of it; a process of its own, since it adopts orphans
DRIVER = """
import os, sys, time
from ansible_collections.ensemble.stacks.plugins.module_utils._agent import processes
how, grace, *words = sys.argv[1:]
processes.adopt_orphans()
command = processes.Command(words, {"ENSEMBLE_RESOURCE": "demo"}, kill_time=2.0)
print("pid", command.pid, flush=True)
if how == "wait":
    code = command.wait(30)
elif how == "hang":
    time.sleep(60)
else:
    sys.stdin.readline()
    begun = time.monotonic()
    code = command.end(float(grace))
    print("took", time.monotonic() - begun)
print("code", code)
print("left", len(processes.descendants(os.getpid())))
"""

#: ignores TERM, and has a child in a session of its own, and a grandchild whose parent is gone, which do, too
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for depth in range(2):
    if os.fork() == 0:
        os.setsid()
        if depth == 1:
            if os.fork():
                os._exit(0)
        with open(sys.argv[1], "a") as stream:
            stream.write(f"{os.getpid()}\\n")
        time.sleep(300)
with open(sys.argv[1], "a") as stream:
    stream.write(f"{os.getpid()}\\n")
time.sleep(300)
"""

LEAVES_ONE = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    with open(sys.argv[1], "w") as stream:
        stream.write(f"{os.getpid()}\\n")
    time.sleep(300)
while not os.path.exists(sys.argv[1]) or not os.path.getsize(sys.argv[1]):
    time.sleep(0.01)
"""

POLITE = """
import signal, sys, time
def end(*_):
    open(sys.argv[1], "w").write("in good order")
    sys.exit(3)
signal.signal(signal.SIGTERM, end)
open(sys.argv[1], "w").write("ready\\n" * 3)
time.sleep(300)
"""


def drive(how: str, grace: float, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, how, str(grace), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def lines_of(path: Path, count: int) -> list[str]:
    """Wait until a file has so many lines."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) >= count:
            return lines
        time.sleep(0.02)
    raise AssertionError(f"{path} never had {count} lines")


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def gone(pids: t.Iterable[int], within: float) -> bool:
    deadline = time.monotonic() + within
    while any(map(alive, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def told(process: subprocess.Popen[str], words: str = "") -> dict[str, str]:
    output, _nothing = process.communicate(words, timeout=40)
    return dict(line.split(" ", 1) for line in output.splitlines())


@pytest.mark.parametrize("grace", [0.0, 0.5])
def test_what_ignores_term_and_hides_is_gone_in_time(tmp_path: Path, grace: float) -> None:
    process = drive("end", grace, sys.executable, "-c", STUBBORN, str(tmp_path / "pids"))
    pids = [int(line) for line in lines_of(tmp_path / "pids", 3)]
    assert all(map(alive, pids))
    found = told(process, "\n")
    assert not any(map(alive, pids))
    assert (found["code"], found["left"]) == ("-9", "0")
    assert grace <= float(found["took"]) <= grace + 2.0


def test_a_command_that_obeys_ends_in_good_order(tmp_path: Path) -> None:
    path = tmp_path / "state"
    process = drive("end", 10, sys.executable, "-c", POLITE, str(path))
    lines_of(path, 3)
    found = told(process, "\n")
    assert found["code"] == "3"
    assert float(found["took"]) < 5
    assert path.read_text() == "in good order"


def test_what_a_run_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    found = told(drive("wait", 0, sys.executable, "-c", LEAVES_ONE, str(tmp_path / "pids")))
    assert (found["code"], found["left"]) == ("0", "0")
    assert not alive(int(lines_of(tmp_path / "pids", 1)[0]))


def test_an_agent_that_was_killed_takes_its_command_with_it(tmp_path: Path) -> None:
    process = drive("hang", 0, sys.executable, "-c", "import time; time.sleep(300)")
    assert process.stdout is not None
    pid = int(process.stdout.readline().split()[1])
    deadline = time.monotonic() + 10
    while b"launch.py" in Path(f"/proc/{pid}/cmdline").read_bytes() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    assert gone([pid], 5)


def test_a_command_that_does_not_exist_says_so() -> None:
    found = told(drive("wait", 0, "/no/such/command"))
    assert found["code"] == "127"


def test_the_command_gets_signals_again_that_the_agent_blocks(tmp_path: Path) -> None:
    script = (
        "import signal, sys\n"
        "from ansible_collections.ensemble.stacks.plugins.module_utils._agent.world import RealWorld\n"
        "from ansible_collections.ensemble.stacks.plugins.module_utils._agent.processes import adopt_orphans\n"
        "adopt_orphans()\nworld = RealWorld()\nworld.listen()\n"
        "run = world.start([sys.executable, '-c', 'import signal; print(signal.pthread_sigmask(0, ()), file=open("
        + repr(str(tmp_path / "mask")).replace("'", '"')
        + ', "w"))\'], {}, 1.0)\nsys.exit(run.wait(20))\n'
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=40, check=False).returncode == 0
    assert (tmp_path / "mask").read_text().strip() == "set()"


def test_signals_become_orders() -> None:
    script = (
        "import os, signal, time\n"
        "from ansible_collections.ensemble.stacks.plugins.module_utils._agent.world import RealWorld\n"
        "world = RealWorld()\nworld.listen()\n"
        "begun = time.monotonic()\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\nworld.pause(20)\nprint(world.orders.release, world.orders.stop)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\nworld.pause(20)\nprint(world.orders.stop)\n"
        "print(time.monotonic() - begun < 10)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], timeout=60, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False", "True", "True"]


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    import socket

    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(5)
        script = (
            "from ansible_collections.ensemble.stacks.plugins.module_utils._agent.world import RealWorld\n"
            "world = RealWorld()\nworld.alive('leads', 9.0)\nworld.alive('leads', 9.0)\n"
        )
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "NOTIFY_SOCKET": path}, timeout=20, check=True
        )
        first, second = (set(listener.recv(4096).decode().splitlines()) for _turn in range(2))
    assert first == {"READY=1", "WATCHDOG=1", "STATUS=leads", "WATCHDOG_USEC=9000000"}
    assert second == {"READY=1", "WATCHDOG=1"}
