# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One request per line in, one answer per line out; whatever comes in, the program lives on."""

from __future__ import annotations

import json
import time
import typing as t

from .._model.errors import EnsembleError, Fault
from .._model.identity import RESERVED_NAMES, RESOURCE_NAME
from .._model.protocol import (
    MAX_LINE,
    MEMBER_VERBS,
    MEMBERS_AT_ONCE,
    MUTATING,
    PROTOCOL,
    SIGNS_AT_ONCE,
    UNSCOPED,
    VERSION,
    WAITING,
)
from .._model.reader import REQUIRED, Section
from .fence import fenced
from .fields import Batch
from .verbs import Host

#: seconds for which a mutating batch waits for another one on the same resource
LOCK_TIMEOUT = 30.0
MAX_VERBS = 10_000


def serve(host: Host, source: t.BinaryIO, sink: t.BinaryIO) -> None:
    """Answer requests until the input ends."""
    while True:
        line = source.readline(MAX_LINE + 1)
        if not line:
            return
        if not line.endswith(b"\n"):
            too_long = len(line) > MAX_LINE
            while too_long and line and not line.endswith(b"\n"):
                line = source.readline(MAX_LINE)
            what = (
                f"a request of more than {MAX_LINE} bytes"
                if too_long
                else "a truncated request: no line feed at its end"
            )
            answer = _failure(None, EnsembleError(what, code="invalid_request"))
        else:
            answer = handle(host, line)
        sink.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
        sink.flush()


def handle(host: Host, line: bytes) -> dict[str, t.Any]:
    """The answer to one request; never raises."""
    ident = None
    try:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise EnsembleError("a request is one JSON object per line", code="invalid_request")
        ident = request.get("id")
        return {"id": ident, "protocol": PROTOCOL, "results": _results(host, request)}
    except EnsembleError as error:
        return _failure(ident, error)
    except (ValueError, RecursionError) as error:
        return _failure(ident, EnsembleError(f"no JSON: {error}", code="invalid_request"))
    except Exception as error:  # the session must outlive any fault of ours
        return _failure(ident, EnsembleError(f"{type(error).__name__}: {error}", code="internal"))


def _failure(ident: t.Any, error: EnsembleError) -> dict[str, t.Any]:
    return {"id": ident, "protocol": PROTOCOL, "error": error.as_dict()}


def _results(host: Host, request: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    if request.get("protocol") != PROTOCOL:
        theirs = request.get("protocol")
        older = isinstance(theirs, int) and theirs < PROTOCOL
        side = "the controller's collection" if older else "the host program with playbooks/pool.yml"
        raise EnsembleError(
            f"{host.name} speaks protocol {PROTOCOL} (version {VERSION}), the request {theirs!r}: upgrade {side}",
            code="protocol",
        )
    batch, verbs = _parse(request)
    names = {verb["verb"] for verb in verbs}
    host.rights.refuse(host.name, batch.resource, names)  # before its token is looked at
    if not names & MUTATING:
        return _run(host, batch, verbs)
    fence = (host.state, batch.resource, batch.token, batch.generation, LOCK_TIMEOUT)
    with fenced(*fence, repair=names == {"voter_join"}):
        if names & MEMBER_VERBS:
            host.guard.heard(batch)
        return _run(host, batch, verbs)


def _parse(request: dict[str, t.Any]) -> tuple[Batch, list[dict[str, t.Any]]]:
    faults: list[Fault] = []
    section = Section(request, "", faults)
    verbs = section.items("verbs", "verbs", required=True)
    for index, verb in enumerate(verbs):
        if not isinstance(verb, dict) or not isinstance(verb.get("verb"), str):
            section.fault(f"verbs[{index}]", verb, "a mapping whose key verb is a name")
    if faults:
        raise EnsembleError("; ".join(map(str, faults)), code="invalid_request")
    mutating = any(verb["verb"] in MUTATING for verb in verbs)
    scoped = any(verb["verb"] not in UNSCOPED for verb in verbs)
    resource = section.text("resource", REQUIRED if scoped else "", RESOURCE_NAME, "a resource's name")
    if resource in RESERVED_NAMES:
        section.fault("resource", resource, "another name: this one is reserved")
    generation = section.integer("generation", REQUIRED if mutating else 0, minimum=0)
    token = section.items("token", "config epoch and term", required=mutating)
    if token and not _is_token(token):
        section.fault("token", token, "[config epoch, term]")
    if len(verbs) > MAX_VERBS:
        section.fault("verbs", f"{len(verbs)} verbs", f"at most {MAX_VERBS}")
    section.close("id", "protocol")
    if faults:
        raise EnsembleError("; ".join(map(str, faults)), code="invalid_request")
    return Batch(resource, generation, (token[0], token[1]) if token else (0, 0)), verbs


def _is_token(parts: list[t.Any]) -> bool:
    return len(parts) == 2 and all(isinstance(part, int) and not isinstance(part, bool) and part >= 0 for part in parts)


def _run(host: Host, batch: Batch, verbs: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Results in the order of the verbs. Verbs of one member run in order and stop at its first failure."""
    results: list[dict[str, t.Any]] = [{} for verb in verbs]
    chains: dict[str, list[int]] = {}
    waits: list[list[int]] = []
    for index, verb in enumerate(verbs):
        if verb["verb"] in MEMBER_VERBS:
            chains.setdefault(str(verb.get("member")), []).append(index)
        elif verb["verb"] in WAITING:
            waits.append([index])
        else:
            results[index] = _one(host, batch, verb)

    def work(chain: list[int]) -> None:
        failed = False
        for index in chain:
            if failed:
                error = EnsembleError("an earlier step failed", code="skipped")
                results[index] = {"ok": False, "error": error.as_dict(), "ms": 0.0}
            else:
                results[index] = _one(host, batch, verbs[index])
                failed = not results[index]["ok"]

    for lines, width in ((list(chains.values()), MEMBERS_AT_ONCE), (waits, SIGNS_AT_ONCE)):
        if lines:
            import concurrent.futures  # it takes long to load, and looking or voting does not need it

            with concurrent.futures.ThreadPoolExecutor(min(width, len(lines))) as pool:
                list(pool.map(work, lines))
    return results


def _one(host: Host, batch: Batch, verb: dict[str, t.Any]) -> dict[str, t.Any]:
    begun = time.monotonic()
    try:
        result: dict[str, t.Any] = {"ok": True, "value": host.act(batch, verb)}
    except EnsembleError as error:
        result = {"ok": False, "error": error.as_dict()}
    except Exception as error:  # libvirt and the operating system have many words for "no"
        result = {"ok": False, "error": EnsembleError(f"{type(error).__name__}: {error}", code="failed").as_dict()}
    result["ms"] = round((time.monotonic() - begun) * 1000, 1)
    return result
