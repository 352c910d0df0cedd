# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What a session may ask: its verbs, for its resource; a batch that asks for more is refused as a whole."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host import main as main_module
from ansible_collections.ensemble.stacks.plugins.module_utils._host.main import main
from ansible_collections.ensemble.stacks.plugins.module_utils._host.rights import ALL, BOOT, WITNESS, Rights, agent
from ansible_collections.ensemble.stacks.plugins.module_utils._host.serve import handle
from ansible_collections.ensemble.stacks.plugins.module_utils._host.settings import Settings
from ansible_collections.ensemble.stacks.plugins.module_utils._host.verbs import Host
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import MUTATING, PROTOCOL, UNSCOPED
from test_verbs import GOOD
from world import driver_of, host_at

AGENT = agent("demo")
MEMBERS = {"prepare", "define", "start", "stop", "undefine", "remove", "keepalive", "sign"}
VOTES = {"lease_read", "lease_request", "lease_release", "lease_wish", "voter_join", "voters_write"}
KEPT = {"record_read", "record_write", "secrets_read", "secrets_write", "forget"}
#: who -> the verbs that it may ask for
GRANTED: dict[str, tuple[Rights, set[str]]] = {
    "a controller": (ALL, set(GOOD)),
    "a boot key": (BOOT, {"hello", "record_read"}),
    "an agent": (AGENT, {"hello", "observe", "image_status"} | VOTES | KEPT | MEMBERS),
    "a controller at a witness": (ALL.within(WITNESS), {"hello", "agent_key_write"} | VOTES | KEPT),
    "an agent at a witness": (AGENT.within(WITNESS), {"hello"} | VOTES | KEPT),
    "a boot key at a witness": (BOOT.within(WITNESS), {"hello", "record_read"}),
}


def code(host: Host, *verbs: str, resource: str = "demo") -> str:
    """The code with which a batch is refused as a whole; empty when it is not."""
    request = {"protocol": PROTOCOL, "id": 1, "verbs": [{"verb": verb, **GOOD[verb]} for verb in verbs]}
    if not set(verbs) <= UNSCOPED:
        request["resource"] = resource
    if set(verbs) & MUTATING:
        request.update(generation=1, token=[9, 9])
    answer = handle(host, json.dumps(request).encode() + b"\n")
    return str(answer["error"]["code"]) if "error" in answer else ""


@pytest.mark.parametrize("verb", sorted(GOOD))
@pytest.mark.parametrize("who", GRANTED)
def test_every_verb_for_everybody(tmp_path: pathlib.Path, who: str, verb: str) -> None:
    host = host_at(tmp_path, "hv1")
    host.rights, granted = GRANTED[who]
    assert code(host, verb) == ("" if verb in granted else "no_right")
    if verb not in granted:
        assert not (tmp_path / "hv1" / "demo").exists(), "not even its token was kept"
        assert driver_of(host).calls == []


@pytest.mark.parametrize("verb", sorted(set(GOOD) - UNSCOPED))
def test_an_agent_serves_its_own_resource_only(tmp_path: pathlib.Path, verb: str) -> None:
    host = host_at(tmp_path, "hv1")
    host.rights = AGENT
    assert code(host, verb, resource="other") == "no_right"
    assert not (tmp_path / "hv1" / "other").exists()


def test_a_batch_is_refused_as_a_whole(tmp_path: pathlib.Path) -> None:
    host = host_at(tmp_path, "hv1")
    host.rights = AGENT
    assert code(host, "record_write", "agent_key_write") == "no_right"
    assert code(host, "record_read") == ""
    assert not (tmp_path / "hv1" / "demo").exists()


@pytest.mark.parametrize("who", sorted(set(GRANTED) - {"a controller"}))
def test_the_refusal_says_what_is_served_and_what_to_do(who: str) -> None:
    rights = GRANTED[who][0]
    with pytest.raises(Exception, match=r"hv1 serves only .*hello.* not image_prune.*controller's key") as caught:
        rights.refuse("hv1", "demo", ["image_prune"])
    assert ("witness" in str(caught.value)) is ("witness" in who)


def test_a_verb_of_any_length_is_told_in_short() -> None:
    with pytest.raises(Exception, match=r"not x{40}\.") as caught:
        BOOT.refuse("hv1", "", ["x" * 10_000])
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("argv", "witness", "expected"),
    [
        ([], False, ALL),
        (["--read-only"], False, BOOT),
        (["--resource", "demo"], False, AGENT),
        ([], True, WITNESS),
        (["--resource", "demo"], True, AGENT.within(WITNESS)),
        (["--read-only"], True, BOOT.within(WITNESS)),
    ],
)
def test_a_session_has_the_rights_of_its_arguments_and_its_host(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], witness: bool, expected: Rights
) -> None:
    served: list[Rights] = []
    monkeypatch.setattr(main_module, "read_settings", lambda: Settings(witness=witness))
    monkeypatch.setattr(main_module, "serve", lambda host, *_streams: served.append(host.rights))
    monkeypatch.setattr(main_module.signal, "signal", lambda *_args: None)
    assert main(argv) == 0
    assert (served[0].verbs, served[0].resource) == (expected.verbs, expected.resource)


@pytest.mark.parametrize(
    "argv",
    [
        ["--resource"],
        ["--resource", "../demo"],
        ["--resource", "Demo"],
        ["--resource", ""],
        ["--resource", "demo\n"],
        ["--resource", "demo", "--boot"],
        ["--resource", "demo", "--read-only"],
        ["--read-only", "--resource"],
        ["--read-only", "x"],
        ["--boot", "x"],
        ["--all"],
    ],
    ids=str,
)
def test_a_call_that_makes_no_sense_serves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    monkeypatch.setattr(main_module, "serve", lambda *_args: pytest.fail("it served"))
    assert main(argv) == 2
    assert "usage" in capsys.readouterr().err


def test_rights_never_grow() -> None:
    several: list[t.Any] = [ALL, BOOT, WITNESS, AGENT]
    for one in several:
        for other in several:
            both = one.within(other)
            assert both.resource == one.resource
            for limit in (one, other):
                assert limit.verbs is None or (both.verbs is not None and both.verbs <= limit.verbs)
