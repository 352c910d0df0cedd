# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Calls to etcd's JSON gateway, over real sockets of this machine."""

from __future__ import annotations

import json
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.etcd_api import Refused, Unanswered
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import DeclarationError, LeaseError
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.gateway import Endpoints, HttpGateway
from harness.etcd_server import Answer, Asked, Authority, serving, words

PATH = "/v3/kv/txn"
SECRET = "hard to guess"
DEADLINE = 5.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def stopped() -> t.Iterator[str]:
    """An endpoint that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> t.Iterator[str]:
    """An endpoint at which nobody listens; the port is taken, so that nobody else can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def gateway(*urls: str, **settings: t.Any) -> HttpGateway:
    return HttpGateway(Endpoints(urls, **settings))


def ask(way: HttpGateway, seconds: float = DEADLINE) -> dict[str, t.Any]:
    return way.call(PATH, {"compare": []}, seconds)


def unanswered(way: HttpGateway, seconds: float = DEADLINE) -> Unanswered:
    with pytest.raises(Unanswered) as caught:
        ask(way, seconds)
    return caught.value


def refused(way: HttpGateway) -> LeaseError:
    with pytest.raises(LeaseError) as caught:
        ask(way)
    assert caught.value.code == "not_authorised"
    assert SECRET not in caught.value.msg + json.dumps(caught.value.details)
    return caught.value


# -- calls and endpoints


def test_a_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, closed: str) -> None:
    """Neither a proxy of the environment nor .netrc has a say."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login eve password eve\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", closed)
    with serving(words({"succeeded": True})) as server:
        way = gateway(server.url + "/")
        assert ask(way) == {"succeeded": True}
        assert server.asked == [Asked(PATH, {"compare": []}, None)]
        assert (way.endpoints, way.silent) == ((server.url,), {})
        way.close()


def test_the_next_endpoint_is_asked_and_remembered(closed: str) -> None:
    with serving(words({"n": 1})) as one, serving(words({"n": 2})) as two:
        way = gateway(closed, one.url, two.url)
        assert ask(way) == {"n": 1}
        assert way.silent == {closed: "Connection refused"}
        assert ask(way) == {"n": 1}
        one.answer = words({"code": 14, "message": "etcdserver: no leader"}, 503)
        assert ask(way) == {"n": 2}
        assert way.silent == {closed: "Connection refused", one.url: "etcdserver: no leader"}
        two.answer = words({"error": "etcdserver: request timed out", "code": 14}, 503)
        one.answer = words({"n": 3})
        assert ask(way) == {"n": 3}
        assert set(way.silent) == {closed, two.url}


def test_a_stopped_endpoint_takes_half_of_the_time(stopped: str) -> None:
    with serving(words({"n": 1})) as server:
        way = gateway(stopped, server.url)
        begun = time.monotonic()
        assert ask(way, 1.0) == {"n": 1}
        assert 0.4 < time.monotonic() - begun < 0.9
        assert way.silent == {stopped: "no answer in time"}
        begun = time.monotonic()
        assert ask(way, 1.0) == {"n": 1}
        assert time.monotonic() - begun < 0.4


def test_nobody_answers_in_time(stopped: str, closed: str) -> None:
    way = gateway(stopped, closed, stopped + "/2")
    begun = time.monotonic()
    error = unanswered(way, 0.6)
    assert time.monotonic() - begun < 1.0
    assert (
        error.silent
        == way.silent
        == {
            stopped: "no answer in time",
            closed: "Connection refused",
            stopped + "/2": "no answer in time",
        }
    )
    assert "0.6 s" in error.msg


def test_the_last_endpoint_has_all_of_the_time(stopped: str) -> None:
    begun = time.monotonic()
    unanswered(gateway(stopped), 0.6)
    assert time.monotonic() - begun > 0.5


def test_an_answer_byte_by_byte_is_no_way_around_the_deadline() -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with server.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not over.wait(0.1):
                    connection.sendall(b" ")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        begun = time.monotonic()
        error = unanswered(gateway(f"http://127.0.0.1:{server.getsockname()[1]}"), 0.5)
        assert time.monotonic() - begun < 1.0
        assert list(error.silent.values()) == ["it answers too slowly"]
        over.set()
        thread.join(DEADLINE)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda _asked: (200, b"<html>"), "client port"),
        (
            lambda _asked: (404, b"404 page not found\n"),
            "HTTP 404 without what etcd would say, but: 404 page not found.",
        ),
        (lambda _asked: (404, b"\x1b[31m" * 9), "HTTP 404 without what etcd would say. Is"),
        (lambda _asked: (200, b"[1]"), "client port"),
        (words({"fine": True}, 500), "HTTP 500"),
        (lambda _asked: (302, b"http://127.0.0.1:1/"), "HTTP 302"),
        (lambda _asked: (200, b" " * 2_000_000), "more than etcd would"),
        (words({"error": "context deadline exceeded", "code": 2}, 500), "context deadline exceeded"),
        (words({"error": {"grpc_code": 14, "message": "no leader", "http_code": 503}}, 503), "no leader"),
    ],
)
def test_what_is_no_verdict(answer: Answer, why: str) -> None:
    with serving(answer) as server:
        error = unanswered(gateway(server.url))
        assert why in error.silent[server.url]


def test_a_refusal_is_a_verdict() -> None:
    no = words({"error": "lease not found", "message": "lease not found", "code": 5}, 404)
    with serving(no) as one, serving(words({})) as two:
        with pytest.raises(Refused, match="lease not found"):
            ask(gateway(one.url, two.url))
        assert two.asked == []


# -- TLS


def test_tls_with_certificates_of_both_sides(authority: Authority) -> None:
    cert, key = authority.issue("controller", "127.0.0.1")
    with serving(words({"n": 1}), authority.context(demand=True)) as server:
        way = gateway(server.url, ca_cert=str(authority.cert), client_cert=cert, client_key=key)
        assert ask(way) == {"n": 1}
        assert server.asked[0].peer == "controller"
        assert list(unanswered(gateway(server.url, ca_cert=str(authority.cert))).silent) == [server.url]


@pytest.mark.parametrize(("address", "own"), [("127.0.0.2", True), ("127.0.0.1", False)])
def test_whose_certificate_is_not_accepted(authority: Authority, tmp_path: Path, address: str, own: bool) -> None:
    """One of another host, and one of an unknown authority."""
    signer = authority if own else Authority(tmp_path / "other", "another authority")
    with serving(words({}), signer.context(address=address)) as server:
        error = unanswered(gateway(server.url, ca_cert=str(authority.cert)))
        assert "its certificate is not accepted" in error.silent[server.url]
        assert server.asked == []


def test_the_systems_authorities_do_not_know_ours(authority: Authority) -> None:
    with serving(words({}), authority.context()) as server:
        assert "not accepted" in unanswered(gateway(server.url)).silent[server.url]


# -- users


def authenticating(tokens: list[str], answer: Answer = words({"n": 1})) -> Answer:  # noqa: B008
    """A server that gives one token after the other, and forgets each as soon as it is off the list's front."""

    def reply(asked: Asked) -> tuple[int, bytes]:
        if asked.path == "/v3/auth/authenticate":
            if asked.body != {"name": "ensemble", "password": SECRET}:
                return words({"error": "authentication failed, invalid user ID or password", "code": 3}, 400)(asked)
            return words({"token": tokens[0]})(asked)
        if asked.token != tokens[0]:
            return words({"error": "etcdserver: invalid auth token", "code": 16}, 401)(asked)
        return answer(asked)

    return reply


def test_a_token_is_kept_and_renewed_when_it_is_refused() -> None:
    tokens = ["first", "second"]
    with serving(authenticating(tokens)) as server:
        way = gateway(server.url, user="ensemble", password=SECRET)
        assert ask(way) == ask(way) == {"n": 1}
        assert [asked.token for asked in server.asked] == [None, "first", "first"]
        tokens.pop(0)
        assert ask(way) == {"n": 1}
        assert [asked.token for asked in server.asked[3:]] == ["first", None, "second"]


def test_a_token_is_renewed_when_users_were_changed() -> None:
    refusals = [words({"error": "etcdserver: revision of auth store is old", "code": 3}, 400)]

    def changed(asked: Asked) -> tuple[int, bytes]:
        return (refusals.pop() if refusals else words({"n": 1}))(asked)

    with serving(authenticating(["first"], changed)) as server:
        assert ask(gateway(server.url, user="ensemble", password=SECRET)) == {"n": 1}
        assert [asked.path for asked in server.asked] == ["/v3/auth/authenticate", PATH] * 2


def test_a_wrong_password() -> None:
    with serving(authenticating(["first"])) as server:
        error = refused(gateway(server.url, user="somebody", password=SECRET))
        assert "user somebody" in error.msg
        assert "password file" in error.msg


@pytest.mark.parametrize(
    ("settings", "status", "reply", "advice"),
    [
        ({"user": "u", "password": SECRET}, 400, {"error": "authentication is not enabled", "code": 9}, "auth enable"),
        ({}, 400, {"error": "etcdserver: user name is empty", "code": 3}, "user and password_file"),
        ({}, 401, {"error": "etcdserver: invalid auth token", "code": 16}, "user and password_file"),
        ({}, 403, {"error": "etcdserver: permission denied", "code": 7}, "user and password_file"),
    ],
)
def test_who_may_not(settings: dict[str, t.Any], status: int, reply: dict[str, t.Any], advice: str) -> None:
    with serving(words(reply, status)) as server:
        assert advice in refused(gateway(server.url, **settings)).msg


def test_a_user_without_rights() -> None:
    no = words({"error": "etcdserver: permission denied", "code": 7}, 403)
    with serving(authenticating(["first"], no)) as server:
        error = refused(gateway(server.url, user="ensemble", password=SECRET))
        assert "user ensemble" in error.msg
        assert "readwrite on the prefix /ensemble/" in error.msg


def test_a_fresh_token_that_is_refused() -> None:
    no = words({"error": "etcdserver: invalid auth token", "code": 16}, 401)
    with serving(authenticating(["first"], no)) as server:
        assert "just given" in refused(gateway(server.url, user="ensemble", password=SECRET)).msg
        assert len(server.asked) == 4


def test_two_threads_share_a_gateway(closed: str) -> None:
    """The one that renews and the one that works; a token ends now and then."""
    tokens = [str(number) for number in range(1000)]
    failed: list[BaseException] = []

    def flaky(asked: Asked) -> tuple[int, bytes]:
        return words({"asked": asked.body["me"]})(asked)

    with serving(authenticating(tokens, flaky)) as server:
        way = gateway(closed, server.url, user="ensemble", password=SECRET)

        def work(me: str) -> None:
            try:
                for _step in range(30):
                    assert way.call(PATH, {"me": me}, DEADLINE) == {"asked": me}
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(name,)) for name in ("renewer", "worker")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failed == []
        assert way.silent.keys() == {closed}
        logins = [asked for asked in server.asked if asked.path != PATH]
        assert 1 <= len(logins) <= 2


# -- settings that cannot work


@pytest.mark.parametrize(
    ("urls", "settings", "path", "expected"),
    [
        ((), {}, "endpoints", "at least one URL"),
        (("etcd1:2379",), {}, "endpoints[0]", "a URL such as"),
        (("https://good:2379", "ftp://etcd1"), {}, "endpoints[1]", "a URL such as"),
        (("https://etcd1:port",), {}, "endpoints[0]", "a URL such as"),
        (("https://etcd1/?x=1",), {}, "endpoints[0]", "a URL such as"),
        (("https://etcd1/\n",), {}, "endpoints[0]", "a URL such as"),
        ((f"https://u:{SECRET}@etcd1",), {}, "endpoints[0]", "user and password_file"),
        (("http://etcd1:2379",), {"user": "u", "password": SECRET}, "endpoints[0]", "https"),
        (("https://etcd1:2379",), {"user": "u"}, "user", "both or neither"),
        (("https://etcd1:2379",), {"password": SECRET}, "user", "both or neither"),
        (("https://etcd1:2379",), {"ca_cert": "/no/such/file"}, "ca_cert", "PEM"),
        (("https://etcd1:2379",), {"ca_cert": "{garbage}"}, "ca_cert", "PEM"),
        (("https://etcd1:2379",), {"client_cert": "/no/such/file"}, "client_cert", "PEM"),
        (("https://etcd1:2379",), {"client_cert": "{cert}"}, "client_cert", "its key"),
        (("https://etcd1:2379",), {"client_cert": "{cert}", "client_key": "{locked}"}, "client_cert", "passphrase"),
        (("https://etcd1:2379",), {"client_key": "{key}"}, "client_key", "client_cert as well"),
    ],
)
def test_settings_that_cannot_work(
    authority: Authority, urls: tuple[str, ...], settings: dict[str, str], path: str, expected: str
) -> None:
    garbage = authority.folder / "garbage"
    garbage.write_text("garbage")
    cert, key = authority.issue("controller", "127.0.0.1")
    locked = authority.issue("locked", "127.0.0.1", passphrase=b"unknown")[1]
    files = {"{garbage}": str(garbage), "{cert}": cert, "{key}": key, "{locked}": locked}
    given = {name: files.get(value, value) for name, value in settings.items()}
    with pytest.raises(DeclarationError) as caught:
        gateway(*urls, **given)
    assert [fault.path for fault in caught.value.faults] == [path]
    assert expected in caught.value.faults[0].expected
    assert SECRET not in caught.value.msg


def test_all_faults_are_told_at_once() -> None:
    settings = Endpoints(("x", "http://far:1"), user="u", password=SECRET, ca_cert="/no/such/file", client_key="/k")
    assert [fault.path for fault in settings.faults()] == ["endpoints[0]", "endpoints[1]", "ca_cert", "client_key"]
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.9:1", "http://[::1]:1"])
def test_a_password_may_stay_on_this_machine_in_clear(url: str) -> None:
    assert Endpoints((url,), user="u", password=SECRET).faults() == []
