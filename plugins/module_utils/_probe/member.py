# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The program that answers probes on a member: JSON requests on stdin, one per line, one JSON line for each.

It comes through the SSH channel on which it answers (`carried.py`), leaves no file behind, and needs nothing but
Python 3.9. Whatever comes in, it lives on until stdin ends.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
import time
import typing as t

from .commands import Ran, last_line, run
from .units import look_at_units

#: bytes of a request
MAX_REQUEST = 1024 * 1024
#: probes of one request: each has a thread
MOST_PROBES = 200
#: bytes of a page in which a text is looked for
_MAX_PAGE = 1024 * 1024
#: bytes of a scheduler's answer
_MAX_RAW = 4 * 1024 * 1024
_LONGEST, _USUAL = 60.0, 5.0
#: seconds that a thread has beyond its probe's time, to end what hangs
_GRACE = 0.5

Fields = t.Mapping[str, t.Any]


class Refusal(Exception):
    """A request that is not carried out: a stable code, and words."""

    def __init__(self, code: str, msg: str, details: Fields | None = None) -> None:
        super().__init__(msg)
        self.code, self.msg, self.details = code, msg, dict(details or {})


class Task(threading.Thread):
    """One question to this machine; it may be given up.

    Attributes:
        found: one sign per index; what is added after the task was given up is not looked at.
        raw: what a scheduler printed.
    """

    def __init__(self, indices: t.Sequence[int], probes: t.Sequence[Fields], address: str) -> None:
        super().__init__(daemon=True)
        self.indices, self.probes, self.address = indices, probes, address
        self.seconds = max(seconds_of(probe.get("timeout"), _USUAL) for probe in probes)
        self.begun = time.monotonic()
        self.found: list[dict[str, t.Any]] | None = None
        self.raw: dict[str, t.Any] = {}
        self.connection: socket.socket | None = None

    @property
    def left(self) -> float:
        return max(0.01, self.begun + self.seconds - time.monotonic())

    def run(self) -> None:
        try:
            found = _KINDS[str(self.probes[0].get("kind"))](self)
        except Exception as error:  # a fault of one probe says nothing about the others
            found = [sign(None, f"cannot be asked: {type(error).__name__}: {error}")] * len(self.indices)
        took = time.monotonic() - self.begun
        self.found = [{**one, "seconds": round(took, 3)} for one in found]

    def outcome(self) -> list[dict[str, t.Any]]:
        """The signs, when the time is over at the latest."""
        self.join(max(0.0, self.begun + self.seconds + _GRACE - time.monotonic()))
        found = self.found
        if found is None:
            if self.connection is not None:
                _hang_up(self.connection)
            found = [{**sign(False, late(self.seconds)), "seconds": self.seconds}] * len(self.indices)
        return found


def sign(ok: bool | None, detail: str, age: float | None = None) -> dict[str, t.Any]:
    return {"ok": ok, "detail": detail, "age_s": age}


def late(seconds: float) -> str:
    return f"had not answered after {seconds:g} s"


def seconds_of(value: t.Any, usual: float, longest: float = _LONGEST) -> float:
    """A time in seconds from a request; what is none becomes the usual one."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
    return min(longest, max(0.05, float(value))) if number else usual


def up_seconds() -> float | None:
    """Seconds since this member's init was started: its containers' kernel has run for longer (proc(5), starttime)."""
    try:
        with open("/proc/1/stat", encoding="ascii", errors="replace") as stream:
            ticks = int(stream.read().rpartition(")")[2].split()[19])
        return round(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"), 1)
    except (OSError, ValueError, IndexError):
        return None


def _units(task: Task) -> list[dict[str, t.Any]]:
    names = [str(probe.get("unit")) for probe in task.probes]
    return [sign(*outcome) for outcome in look_at_units(names, task.seconds)]


def _tcp(task: Task) -> list[dict[str, t.Any]]:
    port = int(task.probes[0]["port"])
    try:
        socket.create_connection((task.address, port), task.left).close()
    except OSError as error:
        return [sign(False, _why(error, task))]
    return [sign(True, f"{task.address}:{port} accepts connections")]


def _http(task: Task) -> list[dict[str, t.Any]]:
    import http.client  # takes long to load, and few members are asked for pages

    probe = task.probes[0]
    port, path, body = int(probe["port"]), str(probe.get("path") or "/"), str(probe.get("body") or "").encode()
    wanted = probe.get("status") or [200]
    connection = http.client.HTTPConnection(task.address, port, timeout=task.left)
    try:
        connection.sock = task.connection = _connected(task, port, bool(probe.get("tls")))
        connection.request("GET", path, headers={"Connection": "close", "User-Agent": "ensemble-probe"})
        answer = connection.getresponse()
        if answer.status not in wanted:
            return [sign(False, f"status {answer.status} instead of {' or '.join(map(str, wanted))}")]
        page = answer.read(_MAX_PAGE) if body else b""
    except (OSError, http.client.HTTPException) as error:
        return [sign(False, _why(error, task))]
    finally:
        connection.close()
    if body not in page:
        return [sign(False, f"status {answer.status}, but the text that was expected is not in its first MiB")]
    return [sign(True, f"status {answer.status}")]


def _connected(task: Task, port: int, tls: bool) -> socket.socket:
    """A connection to the member's address. Where it asks itself, the name in a certificate is not checked."""
    plain = socket.create_connection((task.address, port), task.left)
    if not tls:
        return plain
    import ssl

    try:
        context = ssl.create_default_context()
        if plain.getsockname()[0] == plain.getpeername()[0]:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(plain, server_hostname=task.address)
    except BaseException:
        plain.close()
        raise


def _hang_up(connection: socket.socket) -> None:
    """End what another thread waits for."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _why(error: Exception, task: Task) -> str:
    where = f"{task.address}:{task.probes[0]['port']}"
    if isinstance(error, (TimeoutError, socket.timeout)):
        return f"{where} {late(task.seconds)}"
    if isinstance(error, ConnectionRefusedError):
        return f"{where} refuses connections"
    number = getattr(error, "errno", None)
    words = os.strerror(number) if isinstance(number, int) and number in errno.errorcode else str(error)
    return f"{where}: {words or type(error).__name__}"


def _command(task: Task) -> list[dict[str, t.Any]]:
    ran = run(_words(task.probes[0]["command"]), task.seconds)
    return [sign(not ran.fault, _told(ran))]


def _scheduler(task: Task) -> list[dict[str, t.Any]]:
    """Runs what the engine's client is, and hands back what it printed; nothing is read from it here."""
    probe = task.probes[0]
    said = {}
    for name, argv in probe["commands"].items():
        ran = run(_words(argv), task.left, _MAX_RAW, apart=True)
        if ran.fault:
            return [sign(False, f"{argv[0]}: {_told(ran)}"[:200])]
        if ran.cut:
            return [sign(None, f"more than {_MAX_RAW} bytes were printed")]
        said[str(name)] = ran.out.decode(errors="replace")
    task.raw = {str(probe.get("scheduler")): said}
    return [sign(True, "answers")]


def _words(argv: t.Any) -> list[str]:
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
        raise TypeError("expected a list of words")
    return argv


def _told(ran: Ran) -> str:
    words = last_line(ran.err) or last_line(ran.out)
    return f"{ran.fault}: {words}" if ran.fault and words else ran.fault or words or "exit 0"


_KINDS: dict[str, t.Callable[[Task], list[dict[str, t.Any]]]] = {
    "unit": _units,
    "tcp": _tcp,
    "http": _http,
    "command": _command,
    "scheduler": _scheduler,
}


def look(request: Fields) -> dict[str, t.Any]:
    """All probes at once; the signs are in their order."""
    probes, address = request.get("probes"), request.get("address")
    if not isinstance(probes, list) or not all(isinstance(one, dict) and one.get("kind") in _KINDS for one in probes):
        raise Refusal("invalid_request", f"probes: expected a list of objects of the kinds {', '.join(_KINDS)}")
    if len(probes) > MOST_PROBES or not isinstance(address, str):
        raise Refusal("invalid_request", f"expected at most {MOST_PROBES} probes, and the member's address")
    units = [index for index, probe in enumerate(probes) if probe["kind"] == "unit"]
    groups = [units] if units else []
    groups += [[index] for index, probe in enumerate(probes) if probe["kind"] != "unit"]
    tasks = [Task(group, [probes[index] for index in group], address) for group in groups]
    for task in tasks:
        task.start()
    signs: list[dict[str, t.Any]] = [{}] * len(probes)
    raw: dict[str, t.Any] = {}
    for task in tasks:
        for index, found in zip(task.indices, task.outcome()):
            probe = probes[index]
            signs[index] = {"sign": probe["kind"], "name": str(probe.get("name", "")), **found}
        raw.update(task.raw)
    return {"up_s": up_seconds(), "signs": signs, "raw": raw}


def answer(line: bytes, state: str) -> dict[str, t.Any]:
    """What is answered to one line; a request that makes no sense gets an error."""
    ident = None
    try:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise Refusal("invalid_request", "expected an object")
        ident = request.get("id")
        if request.get("verb") == "look":
            return {"id": ident, **look(request)}
        if request.get("verb") == "restart_unit":
            from .restart import restart_unit  # fencing, which a look does not need

            return {"id": ident, **restart_unit(request, state)}
        if request.get("verb") == "resume_node":
            from .resume import resume_node

            return {"id": ident, **resume_node(request, state)}
        raise Refusal("invalid_request", "verb: expected look, restart_unit or resume_node")
    except Refusal as refusal:
        return {"id": ident, "error": {"code": refusal.code, "msg": refusal.msg, "details": refusal.details}}
    except Exception as error:  # garbage must not end the program: the next line may be a good one
        return {"id": ident, "error": {"code": "invalid_request", "msg": repr(error)[:300], "details": {}}}


def main(arguments: t.Sequence[str]) -> None:
    """Serve stdin until it ends. An argument names another folder than the usual one for what is kept here."""
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    state = arguments[0] if arguments else ""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while True:
        line = source.readline(MAX_REQUEST + 1)
        if not line:
            return
        long = len(line) > MAX_REQUEST
        while long and line and not line.endswith(b"\n"):
            line = source.readline(MAX_REQUEST)
        said = {"id": None, "error": {"code": "invalid_request", "msg": "too long"}} if long else answer(line, state)
        try:
            sink.write(json.dumps(said).encode() + b"\n")
            sink.flush()
        except BrokenPipeError:
            return
