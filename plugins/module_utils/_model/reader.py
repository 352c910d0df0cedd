# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Typed access to untrusted mappings that collects every fault instead of stopping at the first."""

from __future__ import annotations

import difflib
import ipaddress
import re
import typing as t

from .errors import Fault

#: given as default: a missing value is a fault
REQUIRED: t.Any = object()
_SHOWN = 60


def shown(value: t.Any) -> str:
    """A value as it appears in a fault: short, quoted as Python would."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no number of thousands of digits
        return f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


class Section:
    """A mapping at a known place of the declaration.

    Every getter returns a value of its type, or the default after noting a fault; `close` notes the keys that
    nobody asked for.
    """

    def __init__(self, raw: t.Any, path: str, faults: list[Fault]) -> None:
        self.path = path
        self.faults = faults
        self._asked: set[str] = set()
        self._raw: dict[str, t.Any] = {}
        if isinstance(raw, dict):
            self._raw = raw
        elif raw is not None:
            faults.append(Fault(path or "declaration", shown(raw), "a mapping"))

    def at(self, key: str) -> str:
        """The full path of a key of this section."""
        return f"{self.path}.{key}" if self.path else key

    def fault(self, key: str, found: t.Any, expected: str) -> None:
        """Note a fault at a key; `found` is the value, or words about it."""
        words = found if isinstance(found, str) and len(found) <= 2 * _SHOWN else shown(found)
        self.faults.append(Fault(self.at(key), words, expected))

    def __contains__(self, key: str) -> bool:
        return self._raw.get(key) is not None

    def key_names(self) -> list[str]:
        """Keys in declared order; those that are no text are faults."""
        for key in self._raw:
            if not isinstance(key, str):
                self.faults.append(Fault(self.path or "declaration", f"the key {shown(key)}", "a name (text)"))
        return [key for key in self._raw if isinstance(key, str)]

    def _take(self, key: str, default: t.Any, expected: str) -> tuple[bool, t.Any]:
        """(True, value) when there is a value to check, else (False, default)."""
        self._asked.add(key)
        value = self._raw.get(key)
        if value is not None:
            return True, value
        if default is REQUIRED:
            self.fault(key, "nothing", expected)
            return False, None
        return False, default

    def text(self, key: str, default: t.Any = REQUIRED, pattern: t.Pattern[str] | None = None, what: str = "") -> t.Any:
        """A string that matches the pattern wholly."""
        expected = what or "text"
        if pattern is not None:
            expected += f" matching {pattern.pattern}"
        there, value = self._take(key, default, expected)
        if there and not (isinstance(value, str) and value and (pattern is None or pattern.fullmatch(value))):
            self.fault(key, value, expected)
            return None if default is REQUIRED else default
        return value

    def choice(self, key: str, choices: t.Iterable[str], default: t.Any = REQUIRED) -> t.Any:
        """One of the given words."""
        allowed = list(choices)
        expected = "one of " + ", ".join(allowed)
        there, value = self._take(key, default, expected)
        if there and value not in allowed:
            self.fault(key, value, expected)
            return None if default is REQUIRED else default
        return value

    def integer(self, key: str, default: t.Any = REQUIRED, minimum: int = 1, maximum: int = 2**31) -> t.Any:
        """A whole number within bounds; no text, no boolean."""
        expected = f"a whole number from {minimum} to {maximum}"
        there, value = self._take(key, default, expected)
        if there and not (isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum):
            self.fault(key, value, expected)
            return None if default is REQUIRED else default
        return value

    def number(self, key: str, default: float, minimum: float, maximum: float) -> float:
        """A number within bounds."""
        there, value = self._take(key, default, "a number")
        if there and not (
            isinstance(value, (int, float)) and not isinstance(value, bool) and minimum <= value <= maximum
        ):
            self.fault(key, value, f"a number from {minimum:g} to {maximum:g}")
            return default
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """A boolean."""
        there, value = self._take(key, default, "true or false")
        if there and not isinstance(value, bool):
            self.fault(key, value, "true or false")
            return default
        return bool(value)

    def address(self, key: str, default: t.Any = REQUIRED) -> str | None:
        """An IPv4 address in text form."""
        there, value = self._take(key, default, "an IPv4 address")
        if not there:
            return t.cast("str | None", value)
        try:
            return str(ipaddress.IPv4Address(value if isinstance(value, str) else ""))
        except ValueError:
            self.fault(key, value, "an IPv4 address")
            return None

    def raw(self, key: str) -> t.Any:
        """The value as it stands, unchecked."""
        self._asked.add(key)
        return self._raw.get(key)

    def items(self, key: str, what: str, required: bool = False) -> list[t.Any]:
        """A list; empty when absent (a fault if required)."""
        there, value = self._take(key, REQUIRED if required else None, f"a list of {what}")
        if not there:
            return []
        if not isinstance(value, list) or (required and not value):
            self.fault(key, value, f"a list of {what}")
            return []
        return value

    def names(self, key: str, pattern: t.Pattern[str], what: str, required: bool = False) -> tuple[str, ...]:
        """A list of names, each once."""
        found: list[str] = []
        for index, value in enumerate(self.items(key, what, required)):
            if not isinstance(value, str) or not pattern.fullmatch(value):
                self.fault(f"{key}[{index}]", value, f"{what} matching {pattern.pattern}")
            elif value in found:
                self.fault(f"{key}[{index}]", value, "each name once")
            else:
                found.append(value)
        return tuple(found)

    def section(self, key: str, required: str | None = None) -> Section:
        """The mapping under a key; an empty one when absent (a fault if required says what was expected)."""
        there, value = self._take(key, REQUIRED if required else None, required or "a mapping")
        return Section(value if there else None, self.at(key), self.faults)

    def close(self, *known: str) -> None:
        """Note every key that no getter asked for, with the nearest known one."""
        allowed = self._asked | set(known)
        for key in self.key_names():
            if key in allowed:
                continue
            near = difflib.get_close_matches(key, sorted(allowed), n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            self.fault(key, "an unknown key", "one of " + ", ".join(sorted(allowed)) + hint)


def label_pattern() -> t.Pattern[str]:
    """Names of hypervisors and labels."""
    return re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
