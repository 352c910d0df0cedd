# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members asked over a real sshd of this machine."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import threading
import time
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Access, Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError, HypervisorError
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.keys import generate_key_pair
from ansible_collections.ensemble.stacks.plugins.module_utils._probe import program, session
from ansible_collections.ensemble.stacks.plugins.module_utils._probe.base import Answer
from ansible_collections.ensemble.stacks.plugins.module_utils._probe.prober import SshProber
from declared import parsed
from local_sshd import MISSING, SSHD, LocalSshd, free_port, running_sshd

pytestmark = pytest.mark.skipif(SSHD is None, reason=MISSING)

FAKE_SYSTEMCTL = """#!/bin/sh
echo "$@" >> {folder}/calls
case "$*" in
*show*) cat {folder}/show ;;
esac
"""
SHOWN = "Id=web.service\nNames=web.service\nLoadState=loaded\nActiveState={state}\nSubState={sub}\nResult={why}\n"


@pytest.fixture
def server(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[LocalSshd]:
    with running_sshd(tmp_path / "sshd") as started:
        monkeypatch.setattr(session, "MEMBER_ACCESS", Access(user=started.user, port=started.port))
        yield started


def declared(port: int, count: int = 2, **probes: t.Any) -> Resource:
    asked = probes or {"tcp": port}
    return parsed(
        roles={"head": None, "compute": {"count": count, "after": [], "spread": None}},
        network={"cidr": "127.0.0.0/16", "range": "127.0.1.1-127.0.3.250", "gateway": None},
        monitor={"probes": {"compute": [asked]}},
    )


@pytest.fixture
def resource(server: LocalSshd) -> Resource:
    return declared(server.port)


@pytest.fixture
def prober(resource: Resource, server: LocalSshd) -> t.Iterator[SshProber]:
    with prober_for(resource, server) as made:
        yield made


def prober_for(resource: Resource, server: LocalSshd, **host_keys: str) -> SshProber:
    keys = {member.name: server.host.public for member in resource.members}
    return SshProber(resource, server.key.private, {**keys, **host_keys})


def look(prober: SshProber, resource: Resource, seconds: float = 30.0) -> dict[str, Answer]:
    return prober.look(resource.members, time.monotonic() + seconds)


def connections(server: LocalSshd) -> int:
    return (server.folder / "log").read_text().count("Accepted publickey")


def test_members_answer_and_their_sessions_stay_open(
    prober: SshProber, resource: Resource, server: LocalSshd, tmp_path: pathlib.Path
) -> None:
    for _look in range(3):
        answers = look(prober, resource)
        assert list(answers) == ["compute-0", "compute-1"]
        for answer in answers.values():
            assert (answer.reach.kind, answer.reach.ok, answer.reach.detail) == ("reach", True, "answers")
            assert [(sign.kind, sign.name, sign.ok) for sign in answer.signs] == [("tcp", f"tcp:{server.port}", True)]
            assert answer.up_s is not None
            assert answer.up_s > 0
    assert connections(server) == 2
    assert not [path for path in server.folder.iterdir() if path.suffix == ".py"], "no file is left there"


def test_sessions_that_broke_are_opened_again(prober: SshProber, resource: Resource, server: LocalSshd) -> None:
    look(prober, resource)
    for pid in children(server.process.pid):
        os.kill(pid, signal.SIGKILL)
    assert all(answer.reach.ok for answer in look(prober, resource).values())
    assert connections(server) == 4


def children(pid: int) -> list[int]:
    text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def reach(answers: t.Mapping[str, Answer]) -> dict[str, tuple[bool | None, str]]:
    for answer in answers.values():
        assert answer.reach.ok or [sign.ok for sign in answer.signs] == [None]
    return {name: (answer.reach.ok, answer.reach.detail) for name, answer in answers.items()}


def test_why_a_member_is_not_reached(
    resource: Resource, server: LocalSshd, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    other = generate_key_pair()
    changed = "another machine answers at its address: the host key is not the one that is known"
    with prober_for(resource, server, **{"compute-1": other.public}) as prober:
        assert reach(look(prober, resource)) == {"compute-0": (True, "answers"), "compute-1": (False, changed)}
    with SshProber(resource, server.key.private, {"compute-0": server.host.public}) as prober:
        assert reach(look(prober, resource))["compute-1"] == (False, "its host key is not known")
    stranger = {member.name: server.host.public for member in resource.members}
    with SshProber(resource, other.private, stranger) as prober:
        assert set(reach(look(prober, resource)).values()) == {(False, "it takes no key of ours")}
    monkeypatch.setattr(session, "MEMBER_ACCESS", Access(user=server.user, port=free_port()))
    with prober_for(resource, server) as prober:
        assert set(reach(look(prober, resource)).values()) == {(False, "its SSH port refuses connections")}


def test_a_member_that_accepts_and_says_nothing_is_given_up(
    resource: Resource, server: LocalSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as mute, prober_for(resource, server) as prober:  # noqa: S104
        monkeypatch.setattr(session, "MEMBER_ACCESS", Access(user=server.user, port=mute.getsockname()[1]))
        begun = time.monotonic()
        found = reach(look(prober, resource, 1.0))
        assert time.monotonic() - begun < 10
        assert all(ok is False and "does not answer within" in detail for ok, detail in found.values())


def test_those_whose_turn_did_not_come_are_not_called_silent(resource: Resource, server: LocalSshd) -> None:
    with prober_for(resource, server) as prober:
        assert set(reach(look(prober, resource, -1.0)).values()) == {(None, "its turn did not come in time")}


def test_a_machine_without_python_was_reached(
    resource: Resource, server: LocalSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "COMMAND", "exec /no/python3 -c x")
    with prober_for(resource, server) as prober:
        assert set(reach_only(look(prober, resource))) == {(True, "there is no /usr/bin/python3")}
    monkeypatch.setattr(session, "COMMAND", "read line; echo 'it is broken' >&2; exit 3")
    with prober_for(resource, server) as prober:
        assert set(reach_only(look(prober, resource))) == {(True, "its answering program ended: it is broken")}
    for odd in ("Welcome", '{"id": 99, "signs": [{"ok": true}]}'):
        monkeypatch.setattr(session, "COMMAND", f"read line; echo '{odd}'; cat")
        with prober_for(resource, server) as prober:
            found = reach_only(look(prober, resource))
            assert all(ok is True and "Does its shell print something?" in detail for ok, detail in found)


def test_a_connection_that_breaks_says_nothing_of_the_program(
    resource: Resource, server: LocalSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "COMMAND", "read line; kill -9 $PPID; cat")
    with prober_for(resource, server) as prober:
        found = reach_only(look(prober, resource))
        assert {ok for ok, _detail in found} == {False}
        assert all("the connection broke" in detail for _ok, detail in found)


def reach_only(answers: t.Mapping[str, Answer]) -> list[tuple[bool | None, str]]:
    assert all(sign.ok is None for answer in answers.values() for sign in answer.signs)
    return [(answer.reach.ok, answer.reach.detail) for answer in answers.values()]


@pytest.fixture
def units(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[str, str, str], None]:
    """A member with one unit, whose state can be set; it keeps its tokens in this test's folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "systemctl").write_text(FAKE_SYSTEMCTL.format(folder=tmp_path))
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setattr(
        session, "COMMAND", f"PATH={folder}:$PATH {program.COMMAND} {tmp_path}/state".replace("exec ", "")
    )

    def put(state: str, sub: str, why: str = "success") -> None:
        (tmp_path / "show.new").write_text(SHOWN.format(state=state, sub=sub, why=why))
        (tmp_path / "show.new").rename(tmp_path / "show")

    put("active", "running")
    return t.cast("t.Callable[[str, str, str], None]", put)


def test_a_unit_is_restarted_for_the_latest_leader_only(
    prober: SshProber, resource: Resource, units: t.Callable[..., None], tmp_path: pathlib.Path
) -> None:
    member = resource.members[0]
    sign = prober.restart_unit(member, "web", (1, 5), 20.0)
    assert (sign.kind, sign.name, sign.ok, sign.detail) == ("unit", "web", True, "active (running)")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[:2] == ["reset-failed -- web", "restart --no-block -- web"]
    assert '"token":[1,5]' in (tmp_path / "state" / "demo" / "fence.json").read_text()
    (tmp_path / "calls").unlink()
    with pytest.raises(EnsembleError, match=r"token \[1, 4\] for demo is lower than \[1, 5\]") as caught:
        prober.restart_unit(member, "web", (1, 4), 20.0)
    assert caught.value.code == "stale_token"
    assert not (tmp_path / "calls").exists(), "nothing was touched"
    for bad in ("web;reboot", "--force", "", "../x"):
        with pytest.raises(EnsembleError) as caught:
            prober.restart_unit(member, bad, (1, 6), 20.0)
        assert caught.value.code == "invalid_request"


def test_a_restart_ends_with_the_unit_and_not_with_its_job(
    prober: SshProber, resource: Resource, units: t.Callable[..., None], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "show").write_text(SHOWN.format(state="active", sub="running", why="success") + "Job=12\n")
    found: list[t.Any] = []
    member = resource.members[0]
    thread = threading.Thread(target=lambda: found.append(prober.restart_unit(member, "web", (1, 1), 30.0)))
    thread.start()
    await_calls(tmp_path, 4)
    begun = time.monotonic()
    assert prober.look([member], begun + 20)["compute-0"].reach.ok, "looks go on meanwhile"
    assert thread.is_alive(), "the state before the job is none"
    units("activating", "auto-restart")
    await_calls(tmp_path, len((tmp_path / "calls").read_text().splitlines()) + 2)
    assert thread.is_alive(), "it will be started again"
    units("failed", "failed", "exit-code")
    thread.join(20)
    assert [(sign.ok, sign.detail) for sign in found] == [(False, "failed (exit-code)")]


def await_calls(folder: pathlib.Path, count: int) -> None:
    deadline = time.monotonic() + 20
    while not (folder / "calls").exists() or len((folder / "calls").read_text().splitlines()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_unit_that_does_not_settle_is_told_with_what_was_last_seen(
    prober: SshProber, resource: Resource, units: t.Callable[..., None]
) -> None:
    units("activating", "start")
    sign = prober.restart_unit(resource.members[0], "web", (1, 1), 4.0)
    assert sign.ok is False
    assert "had not answered after" in sign.detail
    assert "last seen: activating (start)" in sign.detail


def test_a_restart_where_nothing_listens_is_an_error(
    resource: Resource, server: LocalSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MEMBER_ACCESS", Access(user=server.user, port=free_port()))
    with (
        prober_for(resource, server) as prober,
        pytest.raises(HypervisorError, match="demo-compute-0: its SSH port refuses"),
    ):
        prober.restart_unit(resource.members[0], "web", (1, 1), 5.0)


def test_a_machine_of_somebody_else_is_asked_through_its_own_access(server: LocalSshd) -> None:
    desk = {
        **{"driver": "existing", "address": "127.0.0.1", "host_key": server.host.public},
        "ssh": {"user": server.user, "port": server.port, "private_key": server.key_file},
    }
    resource = parsed(
        members={"desk": desk},
        roles={"head": None, "compute": None, "front": {"members": ["desk"]}},
        monitor={"probes": {"front": [{"command": ["echo", "hi"]}]}},
    )
    if server.user != "root":
        pytest.skip("asks by sudo as another user than root")
    with SshProber(resource, generate_key_pair().private, {}) as prober:
        answer = look(prober, resource)["desk"]
    assert (answer.reach.ok, answer.reach.name, answer.signs[0].detail) == (True, "demo-desk", "hi")


def test_a_scheduler_is_asked_by_its_engines_commands(server: LocalSshd, tmp_path: pathlib.Path) -> None:
    resource = declared(server.port, 1, scheduler="slurm")
    with prober_for(resource, server) as prober:
        answer = look(prober, resource)["compute-0"]
    assert [(sign.kind, sign.name) for sign in answer.signs] == [("scheduler", "slurm")]
    assert (answer.signs[0].ok, answer.raw) in ((False, {}), (True, answer.raw))


def test_hostile_answers_become_signs_without_harm(
    resource: Resource, server: LocalSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [
        '{"id": 1}',
        '{"id": 1, "up_s": "x", "raw": 3, "signs": '
        '[{"ok": "yes", "detail": "a\\u001bb", "seconds": -1, "age_s": 1e999}]}',
        '{"id": 1, "signs": [{}, {}], "raw": {"slurm": 3}}',
        '{"id": 1, "signs": 3}',
    ]
    for text in answers:
        monkeypatch.setattr(session, "COMMAND", f"read line; read line; echo '{text}'; cat")
        with prober_for(resource, server) as prober:
            answer = look(prober, resource)["compute-0"]
        assert (answer.reach.ok, answer.up_s, len(answer.signs), answer.raw) == (True, None, 1, {})
        assert (answer.signs[0].ok, answer.signs[0].age, answer.signs[0].seconds) == (None, None, 0.0)
        assert answer.signs[0].detail.isprintable()


def test_many_members_in_one_pass(server: LocalSshd) -> None:
    resource = declared(server.port, 12)
    with prober_for(resource, server) as prober:
        answers = look(prober, resource)
    assert [name for name, answer in answers.items() if not answer.reach.ok] == []
    assert list(answers) == [member.name for member in resource.members]
