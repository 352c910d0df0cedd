# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What the member's program answers: a real process, real servers, real commands."""

from __future__ import annotations

import http.server
import inspect
import json
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import time
import typing as t
import zipfile

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.monitor import Probe
from ansible_collections.ensemble.stacks.plugins.module_utils._probe.program import program
from hypothesis import given
from hypothesis import strategies as st
from local_sshd import free_port
from member_program import MemberProgram


@pytest.fixture
def member(tmp_path: pathlib.Path) -> t.Iterator[MemberProgram]:
    started = MemberProgram(tmp_path)
    yield started
    assert started.close() == 0, "it ends with its stdin"


def unit(name: str, **fields: t.Any) -> dict[str, t.Any]:
    return {**Probe("unit", unit=name).as_dict(), "name": name, **fields}


def command(*words: str, timeout: float = 5.0) -> dict[str, t.Any]:
    return Probe("command", command=words, timeout=timeout).as_dict()


# -- units

NOW = time.monotonic()
SHOW = """
echo "$@" >> $FAKE/calls
cat $FAKE/show
"""


def block(name: str, active: str, sub: str, result: str = "success", loaded: str = "loaded", **more: t.Any) -> str:
    values = {"NRestarts": 0, "ActiveEnterTimestampMonotonic": 0, "StateChangeTimestampMonotonic": 0, **more}
    stamps = "".join(
        f"{key}={int((NOW - ago) * 1e6) if ago and 'Time' in key else ago}\n" for key, ago in values.items()
    )
    return (
        f"Result={result}\nId={name}\nNames={name}\nLoadState={loaded}\nActiveState={active}\nSubState={sub}\n{stamps}"
    )


UNITS = [
    ("a", block("a.service", "active", "running", ActiveEnterTimestampMonotonic=100), True, "active (running)", 100),
    ("b", block("b.service", "active", "exited"), True, "active (exited)", None),
    (
        "c",
        block("c.service", "failed", "failed", "exit-code", NRestarts=3, StateChangeTimestampMonotonic=7),
        *(False, "failed (exit-code), 3 restarts", 7),
    ),
    (
        "d",
        block("d.service", "activating", "auto-restart", NRestarts=1),
        False,
        "activating (auto-restart), 1 restart",
        None,
    ),
    ("e", block("e.service", "inactive", "dead", loaded="not-found"), False, "is not installed", None),
    ("f", block("f.service", "inactive", "dead", loaded="masked"), False, "is masked", None),
    ("g", block("g.service", "inactive", "dead"), False, "inactive (dead)", None),
    ("h.timer", block("h.timer", "active", "waiting").replace("Result=success\n", ""), True, "active (waiting)", None),
]


def test_all_units_are_asked_at_once(member: MemberProgram, tmp_path: pathlib.Path) -> None:
    member.command("systemctl", SHOW)
    (tmp_path / "show").write_text("\n".join(entry[1] for entry in UNITS))
    answer = member.look(*(unit(entry[0]) for entry in UNITS))
    for (name, _block, ok, detail, age), sign in zip(UNITS, answer["signs"]):
        assert (sign["sign"], sign["name"], sign["ok"], sign["detail"]) == ("unit", name, ok, detail)
        assert sign["age_s"] == (None if age is None else pytest.approx(age + time.monotonic() - NOW, abs=2))
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 1
    assert calls[0].endswith("-- a b c d e f g h.timer")


def test_a_unit_that_systemctl_leaves_out_is_no_other_units_state(
    member: MemberProgram, tmp_path: pathlib.Path
) -> None:
    member.command("systemctl", SHOW)
    (tmp_path / "show").write_text("\n".join((UNITS[0][1], UNITS[2][1])))
    signs = member.look(unit("bad@"), unit("c"), unit("a"), unit("--all"))["signs"]
    assert [sign["ok"] for sign in signs] == [None, False, True, None]
    assert "--all" not in (tmp_path / "calls").read_text().split("-- ")[1]


def test_systemctl_that_does_not_answer_says_nothing_against_a_unit(member: MemberProgram) -> None:
    member.command("systemctl", "echo 'Failed to connect to bus' >&2; exit 1")
    assert member.sign(unit("a"))["detail"] == "systemctl: exit 1 Failed to connect to bus"
    member.command("systemctl", "sleep 60")
    late = member.sign(unit("a", timeout=0.3))
    assert (late["ok"], late["detail"]) == (None, "systemctl: had not answered after 0.3 s")


# -- ports and pages


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        pages: dict[str, tuple[int, bytes]] = t.cast(t.Any, self.server).pages
        status, body = pages.get(self.path, (404, b"no such page"))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: t.Any) -> None:
        pass


@pytest.fixture
def pages() -> t.Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    t.cast(t.Any, server).pages = {
        "/": (200, b"all is well"),
        "/made": (201, b""),
        "/long": (200, b"x" * 1_100_000 + b"beyond"),
    }
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def page(port: int, **fields: t.Any) -> dict[str, t.Any]:
    return Probe("http", port=port, **fields).as_dict()


def test_a_port_that_only_other_addresses_have_is_not_ok(
    member: MemberProgram, pages: http.server.ThreadingHTTPServer
) -> None:
    probe = Probe("tcp", port=pages.server_port).as_dict()
    assert member.sign(probe)["ok"] is True
    elsewhere = member.sign(probe, address="127.0.0.2")
    assert (elsewhere["ok"], elsewhere["detail"]) == (False, f"127.0.0.2:{pages.server_port} refuses connections")


def test_pages(member: MemberProgram, pages: http.server.ThreadingHTTPServer) -> None:
    port = pages.server_port
    cases: list[tuple[dict[str, t.Any], bool, str]] = [
        ({}, True, "status 200"),
        ({"body": "is well"}, True, "status 200"),
        ({"body": "is bad"}, False, "status 200, but the text that was expected is not in its first MiB"),
        ({"path": "/made", "status": (200, 201)}, True, "status 201"),
        ({"path": "/none"}, False, "status 404 instead of 200"),
        ({"path": "/none", "status": (404,)}, True, "status 404"),
        (
            {"path": "/long", "body": "beyond"},
            False,
            "status 200, but the text that was expected is not in its first MiB",
        ),
    ]
    signs = member.look(*(page(port, **fields) for fields, _ok, _detail in cases))["signs"]
    assert [(sign["ok"], sign["detail"]) for sign in signs] == [(ok, detail) for _fields, ok, detail in cases]
    refused = member.sign(page(free_port()))
    assert refused["ok"] is False
    assert "refuses connections" in refused["detail"]


def test_a_page_whose_certificate_names_another_one(
    member: MemberProgram, pages: http.server.ThreadingHTTPServer, tmp_path: pathlib.Path
) -> None:
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=shop.example.org", "-days", "1"]
    subprocess.run([*argv, "-keyout", "key.pem", "-out", "cert.pem"], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    pages.socket = context.wrap_socket(pages.socket, server_side=True)
    assert member.sign(page(pages.server_port, tls=True, body="well")) == {
        **{"sign": "http", "name": "", "ok": True, "detail": "status 200", "age_s": None},
        "seconds": pytest.approx(0, abs=5),
    }


@pytest.mark.parametrize("drip", [b"", b"HTTP/1.1 200 OK\r\nX: "], ids=["silent", "without end"])
def test_a_server_that_never_ends_its_answer_ends_no_look(member: MemberProgram, drip: bytes) -> None:
    over = threading.Event()

    def serve(server: socket.socket) -> None:
        with server.accept()[0] as connection:
            connection.sendall(drip)
            while not over.wait(0.05):
                try:
                    connection.sendall(b"x" if drip else b"")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        begun = time.monotonic()
        sign = member.sign(page(server.getsockname()[1], timeout=0.4))
        took = time.monotonic() - begun
        await_true(lambda: threads(member) == 1)
        over.set()
        thread.join()
    assert sign["ok"] is False
    assert "had not answered after 0.4 s" in sign["detail"]
    assert took < 10


# -- commands


def test_commands(member: MemberProgram) -> None:
    cases: list[tuple[tuple[str, ...], bool, str]] = [
        (("true",), True, "exit 0"),
        (("sh", "-c", "echo first; echo 'the last\tone'; echo"), True, "the last one"),
        (("sh", "-c", "echo out; echo worse >&2; exit 3"), False, "exit 3: worse"),
        (("sh", "-c", "kill -9 $$"), False, "ended by signal 9"),
        (("no-such-program",), False, "cannot be run: No such file or directory"),
        (("echo", "$HOME;id"), True, "$HOME;id"),
        (("sh", "-c", "printf '%500s' x; echo"), True, "x"),
        (("sh", "-c", "printf 'y%.0s' $(seq 1000)"), True, "y" * 200),
    ]
    signs = member.look(*(command(*words) for words, _ok, _detail in cases))["signs"]
    assert [(sign["ok"], sign["detail"]) for sign in signs] == [(ok, detail) for _words, ok, detail in cases]


def gone(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def threads(member: MemberProgram) -> int:
    return len(list(pathlib.Path(f"/proc/{member.process.pid}/task").iterdir()))


def await_true(what: t.Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_hangs_is_ended_with_all_it_started(member: MemberProgram, tmp_path: pathlib.Path) -> None:
    script = f"sleep 300 & echo $! > {tmp_path}/child; echo working; wait"
    begun = time.monotonic()
    signs = member.look(command("sh", "-c", script, timeout=0.5), command("true"))["signs"]
    assert time.monotonic() - begun < 10
    assert (signs[0]["ok"], signs[0]["detail"]) == (False, "had not answered after 0.5 s: working")
    assert signs[1]["ok"] is True
    await_true(lambda: gone(int((tmp_path / "child").read_text())))


def test_what_goes_on_in_the_background_keeps_nobody_waiting(member: MemberProgram, tmp_path: pathlib.Path) -> None:
    begun = time.monotonic()
    sign = member.sign(command("sh", "-c", f"sleep 300 & echo $! > {tmp_path}/child; echo started", timeout=30))
    assert (sign["ok"], sign["detail"]) == (True, "started")
    assert time.monotonic() - begun < 15
    os.kill(int((tmp_path / "child").read_text()), 9)


def test_output_without_end_fills_no_memory(member: MemberProgram) -> None:
    assert "had not answered after 0.5 s" in member.sign(command("yes", "x" * 1000, timeout=0.5))["detail"]
    status = pathlib.Path(f"/proc/{member.process.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 100_000


def scheduler(**commands: list[str]) -> dict[str, t.Any]:
    return {**Probe("scheduler", scheduler="slurm", timeout=5).as_dict(), "commands": commands}


def test_what_a_scheduler_prints_is_handed_back_as_it_is(member: MemberProgram) -> None:
    answer = member.look(scheduler(nodes=["printf", "a\nb\n"], jobs=["sh", "-c", "echo warning >&2; echo j"]))
    assert answer["signs"][0]["ok"] is True
    assert answer["raw"] == {"slurm": {"nodes": "a\nb\n", "jobs": "j\n"}}
    failed = member.look(scheduler(nodes=["sh", "-c", "echo half; echo no controller >&2; exit 1"], jobs=["true"]))
    assert (failed["signs"][0]["ok"], failed["raw"]) == (False, {})
    assert failed["signs"][0]["detail"] == "sh: exit 1: no controller"


def test_uptime_is_that_of_the_members_init(member: MemberProgram) -> None:
    argv = ["ps", "-o", "etimes=", "-p", "1"]
    by_ps = int(subprocess.run(argv, capture_output=True, check=True, text=True).stdout)
    assert member.look()["up_s"] == pytest.approx(by_ps, abs=5)


# -- garbage


def test_it_lives_on_whatever_comes_in(member: MemberProgram) -> None:
    odd = [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"verb": 3}',
        b'{"verb": "look"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b"x" * 2_000_000,
    ]
    for line in odd:
        assert member.say(line)["error"]["code"] == "invalid_request"
    probes: list[t.Any] = [3, {"kind": "x"}, {"kind": ["unit"]}]
    for probe in probes:
        assert member.ask("look", address="127.0.0.1", probes=[probe])["error"]["code"] == "invalid_request"
    hollow = [{"kind": kind} for kind in ("unit", "tcp", "http", "command", "scheduler")]
    assert [sign["ok"] for sign in member.look(*hollow)["signs"]] == [None] * 5
    assert member.sign(command("true"))["ok"] is True


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
KINDS = st.sampled_from(["unit", "tcp", "http", "command", "scheduler"])
PROBES = st.fixed_dictionaries(
    {"kind": KINDS},
    optional={
        **dict.fromkeys(("unit", "port", "path", "status", "body", "tls", "command", "commands", "name"), JSON),
        "timeout": st.just(0.1) | st.text(max_size=3) | st.none(),
    },
)
LOOKS = st.fixed_dictionaries(
    {"verb": st.just("look"), "probes": st.lists(PROBES, max_size=3) | JSON, "address": st.just("127.0.0.1") | JSON},
)
RESTARTS = st.fixed_dictionaries(
    {"verb": st.sampled_from(["restart_unit", "resume_node"]), "resource": JSON, "token": JSON},
    optional={"unit": JSON, "node": JSON, "engine": st.just("slurm") | JSON},
)
LINES = st.binary(max_size=200).map(lambda line: line.replace(b"\n", b"")) | (JSON | LOOKS | RESTARTS).map(
    lambda value: json.dumps(value).encode()
)


def test_a_node_is_resumed_for_the_latest_leader_only(member: MemberProgram, tmp_path: pathlib.Path) -> None:
    member.command("scontrol", 'echo "$@" >> $FAKE/calls; [ ! -e $FAKE/no ] || { echo "Invalid node state"; exit 1; }')
    asked = {"resource": "demo", "engine": "slurm", "node": "demo-compute-1"}
    assert member.ask("resume_node", token=[1, 5], **asked)["resumed"] == "demo-compute-1"
    assert (tmp_path / "calls").read_text() == "update state=RESUME nodename=demo-compute-1\n"
    assert member.ask("resume_node", token=[1, 4], **asked)["error"]["code"] == "stale_token"
    for bad in ({"engine": "sge"}, {"node": "a,b"}, {"node": "ALL"}, {"node": 3}):
        assert member.ask("resume_node", token=[1, 6], **{**asked, **bad})["error"]["code"] == "invalid_request"
    assert len((tmp_path / "calls").read_text().splitlines()) == 1, "nothing was touched"
    (tmp_path / "no").touch()
    error = member.ask("resume_node", token=[1, 6], **asked)["error"]
    assert (error["code"], error["msg"]) == ("refused", "scontrol exit 1: Invalid node state")


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[MemberProgram]:
    started = MemberProgram(tmp_path_factory.mktemp("program"))
    started.command("systemctl", "exit 1")
    yield started
    started.close()


@given(LINES)
def test_garbage_gets_one_answer_per_line(long_lived: MemberProgram, line: bytes) -> None:
    answer = long_lived.say(line)
    assert "error" in answer or isinstance(answer["signs"], list)
    assert long_lived.ask("look", address="127.0.0.1", probes=[])["id"] == 7


def test_it_can_be_sent_from_an_archive_as_modules_run(tmp_path: pathlib.Path) -> None:
    """Ansible runs a module with what it imports out of a zip file."""
    source = pathlib.Path(inspect.getfile(Probe)).parents[1]
    package = pathlib.Path("ansible_collections/ensemble/stacks/plugins/module_utils")
    with zipfile.ZipFile(tmp_path / "module.zip", "w") as archive:
        for path in source.rglob("*.py"):
            archive.write(path, package / path.relative_to(source))
        for folder in package.parents:
            if folder.name:
                archive.writestr(f"{folder}/__init__.py", "")
    code = (
        f"import sys\nfrom {'.'.join(package.parts)}._probe.program import program\nprint(program().decode(), end='')"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "module.zip")}
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=True)
    assert done.stdout == program()
