# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Fixed addresses: `network.range` is split into equal blocks, one per counted role in declared order."""

from __future__ import annotations

import ipaddress
import typing as t

Range = t.Tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]


def parse_range(text: t.Any) -> Range | None:
    """``first-last`` as two addresses with first <= last, or None."""
    if not isinstance(text, str) or text.count("-") != 1:
        return None
    try:
        first, last = (ipaddress.IPv4Address(part.strip()) for part in text.split("-"))
    except ValueError:
        return None
    return (first, last) if first <= last else None


def size(block: Range) -> int:
    """How many addresses a block holds."""
    return int(block[1]) - int(block[0]) + 1


def split(whole: Range, parts: int) -> list[Range]:
    """Equal blocks of a range, in order; what cannot be divided stays unused at its end.

    A block depends only on the range and the number of counted roles, so growing a role moves nobody's address.
    """
    each = size(whole) // parts
    start = int(whole[0])
    return [
        (ipaddress.IPv4Address(start + part * each), ipaddress.IPv4Address(start + (part + 1) * each - 1))
        for part in range(parts)
    ]


def nth(block: Range, index: int) -> str | None:
    """The address for a member's index, or None when the block is too small."""
    return str(block[0] + index) if index < size(block) else None
