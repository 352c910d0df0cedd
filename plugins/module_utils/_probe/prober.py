# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""All members of a resource asked side by side over SSH."""

from __future__ import annotations

import math
import threading
import time
import typing as t

from .._batch.engines import batch_of
from .._model.declaration import Member, Resource
from .._model.errors import EnsembleError, HypervisorError
from .._model.health import REACH, Sign
from .._model.monitor import SCHEDULER, Probe
from .._pool.pool import in_parallel
from .base import WIDTH, Answer, Prober, unreachable
from .session import ProbeSession, dial_of, private_key

#: characters of a detail
_DETAIL = 200


class SshProber(Prober):
    """Asks over SSH.

    Args:
        member_key: private key that the members accept.
        host_keys: member -> public line of its host key, for all that this resource made.
        width: members that are asked side by side.
    """

    def __init__(self, resource: Resource, member_key: str, host_keys: t.Mapping[str, str], width: int = WIDTH) -> None:
        self._resource = resource
        self._key = private_key(member_key)
        self._host_keys = host_keys
        self._width = width
        self._sessions: dict[str, ProbeSession] = {}
        self._lock = threading.Lock()

    def look(self, members: t.Sequence[Member], deadline: float) -> dict[str, Answer]:
        answers = in_parallel(lambda member: self._look(member, deadline), members, self._width)
        return {member.name: t.cast(Answer, answer) for member, answer in zip(members, answers)}

    def restart_unit(self, member: Member, unit: str, token: tuple[int, int], timeout: float) -> Sign:
        request = {"verb": "restart_unit", "resource": self._resource.name, "unit": unit, "token": list(token)}
        deadline = time.monotonic() + timeout
        try:
            # its own deadline comes first, so that it can say what it last saw
            answer = self._session(member).ask_aside({**request, "timeout": max(1.0, timeout - 2)}, deadline)
        except OSError as error:
            raise HypervisorError(f"{self._resource.domain(member.name)}: {_words(error)}") from error
        return _signs(answer, [Probe("unit", unit=unit)])[0]

    def resume_node(self, member: Member, engine: str, node: str, token: tuple[int, int], timeout: float) -> None:
        request = {"verb": "resume_node", "resource": self._resource.name, "engine": engine, "node": node}
        rest = {"token": list(token), "timeout": max(1.0, timeout - 2)}
        try:
            self._session(member).ask_aside({**request, **rest}, time.monotonic() + timeout)
        except OSError as error:
            raise HypervisorError(f"{self._resource.domain(member.name)}: {_words(error)}") from error

    def close(self) -> None:
        with self._lock:
            sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            session.close()

    def _session(self, member: Member) -> ProbeSession:
        name = self._resource.domain(member.name)
        with self._lock:
            if member.name not in self._sessions:
                dial, sudo = dial_of(self._resource, member, self._key, self._host_keys.get(member.name))
                self._sessions[member.name] = ProbeSession(name, dial, sudo)
            return self._sessions[member.name]

    def _look(self, member: Member, deadline: float) -> Answer:
        name, probes = self._resource.domain(member.name), self._resource.probes(member)
        begun = time.monotonic()
        try:
            sent = [_sent(probe) for probe in probes]
            request = {"verb": "look", "address": member.spec.address, "probes": sent}
            longest = max((probe.timeout for probe in probes), default=0.0)
            answer = self._session(member).ask(request, longest, deadline)
            took = time.monotonic() - begun
            up = answer.get("up_s")
            return Answer(
                Sign(REACH, name, True, "answers", took),
                float(up) if isinstance(up, (int, float)) and math.isfinite(up) else None,
                _signs(answer, probes),
                _raw(answer.get("raw")),
            )
        except HypervisorError as error:
            ok = _SAYS_NOTHING.get(error.code, False)
            strange = error.code in _REASONS
            return unreachable(name, probes, _reason(name, error), time.monotonic() - begun, ok, strange)
        except EnsembleError as error:  # it was reached, and could not be asked
            return unreachable(name, probes, error.msg[:_DETAIL], time.monotonic() - begun, True)
        except OSError as error:
            return unreachable(name, probes, _words(error), time.monotonic() - begun)


#: codes of what says that a member was reached all the same, or that nobody tried
_SAYS_NOTHING: dict[str, bool | None] = {"no_program": True, "bad_answer": True, "not_asked": None, "busy": None}

_REASONS = {
    "host_key_changed": "another machine answers at its address: the host key is not the one that is known",
    "host_key_unknown": "its host key is not known",
    "no_access": "it takes no key of ours",
}


def _reason(name: str, error: HypervisorError) -> str:
    msg = error.msg
    for begin in (f"{name}: ", f"{name} "):
        msg = msg[len(begin) :] if msg.startswith(begin) else msg
    return _REASONS.get(error.code, msg)[:_DETAIL]


def _words(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "its SSH port refuses connections"
    if isinstance(error, TimeoutError):
        return "nothing answers at its address in time"
    return f"no connection: {error.strerror or error}"[:_DETAIL]


def _sent(probe: Probe) -> dict[str, t.Any]:
    sent = {**probe.as_dict(), "name": probe.name}
    if probe.kind == SCHEDULER:
        sent["commands"] = batch_of(probe.scheduler).commands()
    return sent


def _signs(answer: t.Mapping[str, t.Any], probes: t.Sequence[Probe]) -> tuple[Sign, ...]:
    """One sign for each probe, whatever the member says: it may be in others' hands."""
    given = answer.get("signs")
    signs = given if isinstance(given, list) and len(given) == len(probes) else [None] * len(probes)
    return tuple(_sign(probe, one if isinstance(one, dict) else {}) for probe, one in zip(probes, signs))


def _sign(probe: Probe, given: t.Mapping[str, t.Any]) -> Sign:
    ok, age = given.get("ok"), given.get("age_s")
    detail = "".join(sign if sign.isprintable() else " " for sign in str(given.get("detail", "no answer"))[:_DETAIL])
    return Sign(
        probe.kind,
        probe.name,
        ok if isinstance(ok, bool) else None,
        detail,
        _number(given.get("seconds")) or 0.0,
        _number(age),
    )


def _number(value: t.Any) -> float | None:
    sound = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return float(value) if sound else None


def _raw(given: t.Any) -> dict[str, dict[str, str]]:
    engines = given if isinstance(given, dict) else {}
    return {
        str(engine): {str(name): str(text) for name, text in said.items()}
        for engine, said in engines.items()
        if isinstance(said, dict)
    }
