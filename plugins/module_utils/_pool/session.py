# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Sessions to hypervisors: open once, then one batch of verbs per trip."""

from __future__ import annotations

import abc
import json
import threading
import typing as t

from .._model.errors import EnsembleError, HypervisorError
from .._model.protocol import MAX_LINE, PROTOCOL


class Transport(abc.ABC):
    """A pair of byte streams to one host program."""

    @abc.abstractmethod
    def exchange(self, line: bytes, timeout: float) -> bytes:
        """Send one line and return the line that answers it.

        Raises:
            HypervisorError: no answer within `timeout` seconds, or the other side went away.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """End the session; may be repeated."""

    def beside(self) -> Transport | None:
        """A second host program over the connection that is open already; None where that is no cheaper than anew.

        Raises:
            HypervisorError: the connection broke.
        """
        return None


class Session:
    """Requests to one hypervisor; one at a time, safe to share between threads."""

    def __init__(self, hypervisor: str, transport: Transport) -> None:
        self.hypervisor = hypervisor
        self.transport = transport
        self._lock = threading.Lock()
        self._ident = 0

    def close(self) -> None:
        self.transport.close()

    def beside(self) -> Session | None:
        """A second session over the same connection, closed before this one; None where there is nothing to share.

        Raises:
            HypervisorError: the connection broke.
        """
        transport = self.transport.beside()
        return None if transport is None else Session(self.hypervisor, transport)

    def batch(
        self, verbs: t.Sequence[t.Mapping[str, t.Any]], timeout: float, **common: t.Any
    ) -> list[dict[str, t.Any]]:
        """Results of a batch, in order: `{"ok": True, "value": ..., "ms": ...}` or `{"ok": False, "error": ...}`.

        Args:
            verbs: each with the key `verb` and its fields.
            timeout: seconds for the whole trip.
            common: resource, generation, token.

        Raises:
            HypervisorError: no answer, or one that makes no sense.
            EnsembleError: the host program refused the whole batch; its code says why.
        """
        with self._lock:
            self._ident += 1
            request = {"protocol": PROTOCOL, "id": self._ident, "verbs": list(verbs), **common}
            line = json.dumps(request, separators=(",", ":")).encode() + b"\n"
            if len(line) > MAX_LINE:
                raise HypervisorError(f"a batch of {len(line)} bytes is more than a hypervisor reads ({MAX_LINE})")
            answer = self._decode(self.transport.exchange(line, timeout))
            if isinstance(answer.get("error"), dict):
                raise self._error(answer["error"])
            results = answer.get("results")
            if answer.get("id") != self._ident or not isinstance(results, list) or len(results) != len(verbs):
                raise HypervisorError(
                    f"{self.hypervisor}: its answer does not belong to the question", code="bad_answer"
                )
            return results

    def call(self, verb: str, timeout: float, fields: t.Mapping[str, t.Any] | None = None, **common: t.Any) -> t.Any:
        """The value of one verb.

        Raises:
            EnsembleError: whatever the verb or the batch was refused with.
        """
        result = self.batch([{"verb": verb, **(fields or {})}], timeout, **common)[0]
        if not result["ok"]:
            raise self._error(result["error"])
        return result["value"]

    def _decode(self, line: bytes) -> dict[str, t.Any]:
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise HypervisorError(
                f"{self.hypervisor}: not the host program's answer: {line[:80]!r}. Does its shell print something?",
                code="bad_answer",
            ) from error
        if not isinstance(answer, dict):
            raise HypervisorError(f"{self.hypervisor}: not the host program's answer: {line[:80]!r}", code="bad_answer")
        return answer

    def _error(self, error: t.Mapping[str, t.Any]) -> EnsembleError:
        details = {**error.get("details", {}), "hypervisor": self.hypervisor}
        return EnsembleError(f"{self.hypervisor}: {error.get('msg')}", code=str(error.get("code")), **details)
