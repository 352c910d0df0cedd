# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The host program's conversation: whatever comes in, it answers and lives on."""

from __future__ import annotations

import io
import json
import pathlib
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.rights import BOOT
from ansible_collections.ensemble.stacks.plugins.module_utils._host.serve import MAX_VERBS, handle, serve
from ansible_collections.ensemble.stacks.plugins.module_utils._host.verbs import Host
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import MAX_LINE, PROTOCOL, VERSION
from hypothesis import given
from hypothesis import strategies as st
from test_verbs import GOOD
from world import driver_of, host_at

HELLO = {"protocol": PROTOCOL, "id": "alive", "verbs": [{"verb": "hello"}]}
WRITE = {"protocol": PROTOCOL, "id": 1, "resource": "demo", "generation": 1, "token": [1, 1]}
START = {"verb": "start", "member": "head-0", "driver": "lxc"}


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    return host_at(tmp_path, "hv1")


def talk(host: Host, *lines: bytes | dict[str, t.Any], end: bytes = b"") -> list[dict[str, t.Any]]:
    """The answers to some lines and a hello after them, which must always be answered."""
    body = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    sink = io.BytesIO()
    serve(host, io.BytesIO(body + json.dumps(HELLO).encode() + b"\n" + end), sink)
    answers = [json.loads(line) for line in sink.getvalue().splitlines()]
    hello = answers[len(lines)]
    assert hello["id"] == "alive"
    assert hello["results"][0]["value"]["version"] == VERSION
    return answers


def code(host: Host, line: bytes | dict[str, t.Any]) -> str:
    """The code with which a whole request is refused."""
    return str(talk(host, line)[0]["error"]["code"])


def test_hello(host: Host) -> None:
    answer = talk(host)[0]
    value = answer["results"][0]["value"]
    assert (value["protocol"], value["hostname"]) == (PROTOCOL, "hv1")
    assert answer["results"][0]["ms"] >= 0


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"garbage\n",
        b"\x00\xff\xfe\n",
        b"{\n",
        b"null\n",
        b"[]\n",
        b"7\n",
        b'"text"\n',
        b"[" * 100_000 + b"\n",
        b'{"a":' * 100_000 + b"\n",
        b"1" * 5000 + b"\n",
        b'{"protocol": 5, "id": ' + b"[" * 100_000 + b"}\n",
        b'{"protocol": 5}\n',
        b'{"protocol": 5, "verbs": null}\n',
        b'{"protocol": 5, "verbs": []}\n',
        b'{"protocol": 5, "verbs": {}}\n',
        b'{"protocol": 5, "verbs": "hello"}\n',
        b'{"protocol": 5, "verbs": [7, null, []]}\n',
        b'{"protocol": 5, "verbs": [{"verb": "hello"}], "colour": 1}\n',
        b'{"protocol": 5, "verbs": [{"verb": []}]}\n',
        b'{"protocol": 5, "verbs": [{"verb": {}}]}\n',
    ],
    ids=lambda line: repr(line[:40]),
)
def test_what_is_no_request(host: Host, line: bytes) -> None:
    assert code(host, line) == "invalid_request"


READ_ONLY = {"hello", "record_read"}


@pytest.mark.parametrize("verb", sorted(GOOD))
def test_read_only_every_other_verb_is_refused_before_its_token_is_kept(tmp_path: pathlib.Path, verb: str) -> None:
    host = host_at(tmp_path, "hv1")
    host.rights = BOOT
    request = {**WRITE, "token": [9, 9], "verbs": [{"verb": "hello"}, {"verb": verb, **GOOD[verb]}]}
    answer = talk(host, request)[0]
    if verb in READ_ONLY:
        assert [result["ok"] for result in answer["results"]] == [True, True]
    else:
        assert answer["error"]["code"] == "no_right"
        assert verb in answer["error"]["msg"]
    assert not (tmp_path / "hv1" / "demo").exists()
    assert driver_of(host).calls == []


@pytest.mark.parametrize("depth", [200, 500, 800, 900, 950, 980, 990])
def test_a_deep_identifier_comes_back_or_is_refused(host: Host, depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    line = b'{"protocol": 5, "id": ' + nested + b', "verbs": [{"verb": "hello"}]}\n'
    answer = talk(host, line)[0]
    assert ("results" in answer) != ("error" in answer)


def test_a_line_of_more_than_the_limit(host: Host) -> None:
    for size in (MAX_LINE + 1, MAX_LINE + 2, 2 * MAX_LINE + 5):
        assert code(host, b"x" * size + b"\n") == "invalid_request"


def test_a_line_at_the_limit_is_read(host: Host) -> None:
    line = json.dumps({**HELLO, "id": 5}).encode()
    padded = line[:-1] + b" " * (MAX_LINE - len(line) - 1) + b"}\n"
    assert len(padded) == MAX_LINE
    assert talk(host, padded)[0]["id"] == 5


def test_a_truncated_last_line_is_answered(host: Host) -> None:
    answers = talk(host, end=b'{"protocol": 5')
    assert "truncated" in answers[-1]["error"]["msg"]
    assert len(answers) == 2


def test_a_huge_truncated_last_line_is_answered(host: Host) -> None:
    assert str(MAX_LINE) in talk(host, end=b"y" * (MAX_LINE + 10))[-1]["error"]["msg"]


@pytest.mark.parametrize(
    ("protocol", "side"),
    [
        (PROTOCOL + 1, "upgrade the host program with playbooks/pool.yml"),
        (PROTOCOL - 1, "upgrade the controller's collection"),
        (None, "upgrade"),
        ("1", "upgrade"),
        ([], "upgrade"),
    ],
)
def test_another_protocol_names_the_side_to_upgrade(host: Host, protocol: t.Any, side: str) -> None:
    error = talk(host, {**HELLO, "protocol": protocol})[0]["error"]
    assert error["code"] == "protocol"
    assert side in error["msg"]
    assert "hv1" in error["msg"]


@pytest.mark.parametrize("verb", ["", "helo", None, 7, True, [], {}, "_hello", "act"])
def test_an_unknown_verb_is_named_with_its_place(host: Host, verb: t.Any) -> None:
    answer = talk(host, {**HELLO, "resource": "demo", "verbs": [{"verb": "hello"}, {"verb": verb}]})[0]
    text = json.dumps(answer)
    assert '"invalid_request"' in text
    assert "one of" in text or "verb" in text


def test_one_wrong_verb_does_not_spoil_the_others(host: Host) -> None:
    verbs = [{"verb": "hello"}, {"verb": "observe", "colour": 1}, {"verb": "record_read"}, {"verb": "nothing"}]
    results = talk(host, {**HELLO, "resource": "demo", "verbs": verbs})[0]["results"]
    assert [result["ok"] for result in results] == [True, False, True, False]
    assert results[1]["error"]["code"] == "invalid_request"
    assert "colour" in results[1]["error"]["msg"]


@pytest.mark.parametrize(
    "change",
    [
        {"token": None},
        {"token": []},
        {"token": [1]},
        {"token": [1, 2, 3]},
        {"token": ["1", "2"]},
        {"token": [True, True]},
        {"token": [1.0, 2]},
        {"token": [-1, 1]},
        {"token": "1.1"},
        {"generation": None},
        {"generation": -1},
        {"generation": "1"},
        {"generation": True},
        {"resource": None},
        {"resource": ""},
        {"resource": "../demo"},
        {"resource": "Demo"},
        {"resource": "images"},
        {"resource": "all"},
        {"resource": ["demo"]},
        {"resource": "x" * 31},
    ],
    ids=str,
)
def test_a_mutating_request_without_its_credentials(host: Host, change: dict[str, t.Any]) -> None:
    driver = driver_of(host)
    assert code(host, {**WRITE, **change, "verbs": [START]}) == "invalid_request"
    assert driver.calls == []


def test_too_many_verbs(host: Host) -> None:
    assert code(host, {**HELLO, "verbs": [{"verb": "hello"}] * (MAX_VERBS + 1)}) == "invalid_request"
    answer = talk(host, {**HELLO, "verbs": [{"verb": "hello"}] * MAX_VERBS})[0]
    assert len(answer["results"]) == MAX_VERBS == 10_000


def test_a_stale_batch_does_nothing(host: Host) -> None:
    driver = driver_of(host)
    assert talk(host, {**WRITE, "token": [1, 7], "verbs": [START]})[0]["results"][0]["error"]["code"] == "no_domain"
    driver.calls.clear()
    assert code(host, {**WRITE, "token": [1, 6], "verbs": [{"verb": "hello"}, START]}) == "stale_token"
    assert code(host, {**WRITE, "token": [1, 7], "generation": 0, "verbs": [START]}) == "stale_generation"
    assert driver.calls == []


def test_steps_of_one_member_stop_at_the_first_failure_and_others_go_on(host: Host) -> None:
    driver = driver_of(host)
    driver.failing = {("undefine", "a")}
    verbs = [
        {"verb": verb, "member": member, "driver": "lxc"} for verb in ("undefine", "remove") for member in ("a", "b")
    ]
    results = talk(host, {**WRITE, "verbs": verbs})[0]["results"]
    assert [result["error"]["code"] if not result["ok"] else "" for result in results] == ["broken", "", "skipped", ""]
    assert ("remove", "a") not in driver.calls


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    host = host_at(pathlib.Path.home(), "hv1")
    answer = handle(host, body.replace(b"\n", b" ") + b"\n")
    assert answer["error"]["code"] in ("invalid_request", "protocol")
