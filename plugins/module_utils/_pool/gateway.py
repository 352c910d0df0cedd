# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Calls to the JSON gateway of etcd over HTTP(S): endpoints in turn, TLS, user and password, a deadline per call."""

from __future__ import annotations

import http.client
import ipaddress
import json
import ssl
import threading
import time
import typing as t
import urllib.error
import urllib.parse
from dataclasses import dataclass, field

from ansible.module_utils.urls import Request, make_context

from .._election.etcd_api import DENIED, INVALID, UNAUTHENTICATED, Refused, Unanswered, refusal
from .._model.errors import DeclarationError, Fault, LeaseError

#: bytes; an answer about two small keys has a few hundred
_LONGEST = 1 << 20
_CHUNK = 1 << 14
#: bytes of a foreign answer that a person is shown
_QUOTED = 120
#: seconds; with less than that nobody can be asked
_LEAST = 0.01
_LOGIN = "/v3/auth/authenticate"


@dataclass(frozen=True)
class Endpoints:
    """Where an etcd cluster is, and what it demands.

    Attributes:
        urls: of the members' client ports, such as `https://etcd1.example.org:2379`.
        ca_cert: file with the authorities that sign the members' certificates; the system's unless given.
        client_cert: file with a certificate of ours, for members that demand one.
        client_key: file with its key; may be in the same file.
    """

    urls: tuple[str, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None

    def faults(self) -> list[Fault]:
        """All that is wrong with it, as far as it shows without asking anybody."""
        found = [] if self.urls else [Fault("endpoints", "none", "at least one URL of the etcd cluster")]
        for index, url in enumerate(self.urls):
            found += self._url_faults(f"endpoints[{index}]", url)
        if bool(self.user) != bool(self.password):
            have = "a user without a password" if self.user else "a password without a user"
            found.append(Fault("user", have, "both or neither"))
        return found + self._file_faults()

    def _url_faults(self, path: str, url: str) -> list[Fault]:
        expected = "a URL such as https://etcd1.example.org:2379"
        try:
            parts = urllib.parse.urlsplit(url)
            host, _port = parts.hostname or "", parts.port
        except ValueError:
            return [Fault(path, url, expected)]
        if "@" in parts.netloc:
            return [Fault(path, f"a URL of {host} with a name in it", "the URL alone; see user and password_file")]
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or not url.isprintable():
            return [Fault(path, url, expected)]
        if parts.scheme == "http" and (self.user or self.password) and not _is_here(host):
            return [Fault(path, url, "https, since a password would travel in clear")]
        return []

    def _file_faults(self) -> list[Fault]:
        found = []
        try:
            ssl.create_default_context(cafile=self.ca_cert)
        except (OSError, ValueError) as error:
            found.append(Fault("ca_cert", f"{self.ca_cert} ({_words(error)})", "a file with certificates in PEM form"))
        if self.client_key and not self.client_cert:
            found.append(Fault("client_key", self.client_key, "a client_cert as well"))
        if self.client_cert:
            try:
                # without a password of its own the library would ask the terminal for one
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.load_cert_chain(self.client_cert, self.client_key, password=lambda: "")
            except (OSError, ValueError) as error:
                files = f"{self.client_cert}, {self.client_key}" if self.client_key else self.client_cert
                expected = "readable files in PEM form, a certificate and its key without a passphrase"
                found.append(Fault("client_cert", f"{files} ({_words(error)})", expected))
        return found


class HttpGateway:
    """Carries the calls; safe to use from several threads.

    A call is tried at the endpoint that answered last, then at the others, so it may be carried out twice. Each one
    but the last has half of the time that is left: a member that is stopped accepts connections and says nothing.

    Raises:
        DeclarationError: the settings cannot work; all faults at once.
    """

    def __init__(self, settings: Endpoints) -> None:
        faults = settings.faults()
        if faults:
            raise DeclarationError("election (etcd)", faults)
        self._settings = settings
        self._urls = tuple(url.rstrip("/") for url in settings.urls)
        self._guard = threading.Lock()
        self._first = 0
        self._silent: dict[str, str] = {}
        self._token = ""
        # Neither a proxy of the environment nor .netrc has a say, and no redirection takes the token elsewhere. The
        # context is made once: to read the system's authorities anew takes longer than a call.
        self._request = Request(
            use_proxy=False,
            use_netrc=False,
            follow_redirects="none",
            decompress=False,
            http_agent="ensemble.stacks",
            context=make_context(
                cafile=settings.ca_cert, client_cert=settings.client_cert, client_key=settings.client_key
            ),
        )

    @property
    def endpoints(self) -> t.Sequence[str]:
        return self._urls

    @property
    def silent(self) -> t.Mapping[str, str]:
        with self._guard:
            return dict(self._silent)

    def call(self, path: str, body: t.Mapping[str, t.Any], timeout: float) -> dict[str, t.Any]:
        """See `Gateway.call`.

        Raises:
            LeaseError: `not_authorised`.
        """
        deadline = time.monotonic() + timeout
        why: dict[str, str] = {}
        first = self._first
        for place in range(len(self._urls)):
            index = (first + place) % len(self._urls)
            left = deadline - time.monotonic()
            if left < _LEAST:
                why[self._urls[index]] = "no time was left to ask it"
                continue
            share = left if place == len(self._urls) - 1 else left / 2
            try:
                answer = self._ask(self._urls[index], path, body, time.monotonic() + share)
            except Unanswered as error:
                why[self._urls[index]] = error.msg
                continue
            except Refused as error:
                self._remember(index, why)
                raise self._not_authorised(self._urls[index], error) from error
            self._remember(index, why)
            return answer
        with self._guard:
            self._silent = why
        raise Unanswered(f"no endpoint gave an answer within {timeout:.1f} s", why)

    def close(self) -> None:
        """Nothing stays open between two calls."""

    def _remember(self, index: int, why: t.Mapping[str, str]) -> None:
        with self._guard:
            self._first = index
            self._silent.update(why)
            self._silent.pop(self._urls[index], None)

    def _ask(self, url: str, path: str, body: t.Mapping[str, t.Any], deadline: float) -> dict[str, t.Any]:
        if not self._settings.user:
            return self._post(url, path, body, "", deadline)
        token = self._token or self._log_in(url, deadline)
        try:
            return self._post(url, path, body, token, deadline)
        except Refused as error:
            if not _is_stale(error):
                raise
        return self._post(url, path, body, self._log_in(url, deadline), deadline)

    def _log_in(self, url: str, deadline: float) -> str:
        """A fresh token; etcd forgets one after some minutes without use, and all when a user changes."""
        mine = {"name": self._settings.user, "password": self._settings.password}
        try:
            token = str(self._post(url, _LOGIN, mine, "", deadline).get("token") or "")
        except Refused as error:
            if "not enabled" in error.msg:
                why = "it has no authentication turned on. Turn it on (etcdctl auth enable), or name no user"
            else:
                why = f"{error.msg}. Check the password file, and whether etcd has that user"
            raise _unauthorised(f"etcd at {url} lets user {self._settings.user} not in: {why}") from error
        with self._guard:
            self._token = token
        return token

    def _not_authorised(self, url: str, error: Refused) -> Refused | LeaseError:
        """What a refusal means for a person, when it is one of who asks."""
        user = self._settings.user
        if user and error.status == DENIED:
            return _unauthorised(
                f"etcd at {url} forbids it to user {user}: {error.msg}. Grant the user a role with readwrite on the "
                "prefix /ensemble/ (docs/etcd.md)"
            )
        if not user and (error.status in (DENIED, UNAUTHENTICATED) or "user name is empty" in error.msg):
            return _unauthorised(f"etcd at {url} demands a user: {error.msg}. Declare user and password_file")
        if _is_stale(error):
            return _unauthorised(f"etcd at {url} does not accept the token that it has just given: {error.msg}")
        return error

    def _post(self, url: str, path: str, body: t.Mapping[str, t.Any], token: str, deadline: float) -> dict[str, t.Any]:
        headers = {"Content-Type": "application/json", **({"Authorization": token} if token else {})}
        try:
            answer = self._request.open(
                "POST",
                url + path,
                data=json.dumps(body).encode(),
                headers=headers,
                timeout=max(_LEAST, deadline - time.monotonic()),
            )
            with answer:
                return _decoded(_body(answer, deadline), answer.getcode())
        except urllib.error.HTTPError as error:
            with error:
                return _decoded(_body_of(error, deadline), error.code)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unanswered(_words(error)) from error


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_stale(error: Refused) -> bool:
    """Whether a token is too old, and a fresh one may do."""
    return error.status == UNAUTHENTICATED or (error.status == INVALID and "revision of auth store" in error.msg)


def _unauthorised(msg: str) -> LeaseError:
    return LeaseError(f"{msg}. Nothing was changed.", code="not_authorised")


def _body_of(error: urllib.error.HTTPError, deadline: float) -> bytes:
    try:
        return _body(error, deadline)
    except (OSError, http.client.HTTPException) as broken:
        raise Unanswered(f"HTTP {error.code}, and then {_words(broken)}") from broken


def _body(answer: t.Any, deadline: float) -> bytes:
    """All of an answer; the socket's own time limit counts from byte to byte only."""
    parts: list[bytes] = []
    while sum(map(len, parts)) <= _LONGEST:
        if time.monotonic() > deadline:
            raise Unanswered("it answers too slowly")
        part = answer.read1(_CHUNK)
        if not part:
            return b"".join(parts)
        parts.append(part)
    raise Unanswered("it answers with more than etcd would. Is it the client port of an etcd?")


def _decoded(body: bytes, status: int) -> dict[str, t.Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        said = body[:_QUOTED].decode(errors="replace").strip()
        said = f", but: {said}" if said.isprintable() and said else ""
        raise Unanswered(
            f"HTTP {status} without what etcd would say{said}. Is it the client port of an etcd from 3.4 on?"
        )
    error = refusal(answer)
    if error is not None:
        raise error
    if status != 200:
        raise Unanswered(f"HTTP {status}. Is it the client port of an etcd from 3.4 on?")
    return answer


def _words(error: BaseException) -> str:
    """What went wrong on the way, in a few words."""
    reason = getattr(error, "reason", None)
    inner = reason if isinstance(reason, BaseException) else error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {inner.verify_message}"
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return str(inner) or type(inner).__name__
