# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Reads a PNG as Chromium writes it (8 bits, RGB or RGBA, not interlaced): https://www.w3.org/TR/png/."""

from __future__ import annotations

import collections
import struct
import typing as t
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 6: 4}

Colour = t.Tuple[int, int, int]


class Picture:
    """Pixels of a PNG."""

    def __init__(self, data: bytes) -> None:
        assert data.startswith(_SIGNATURE), "no PNG"
        packed, at = b"", len(_SIGNATURE)
        while at < len(data):
            length, kind = struct.unpack_from(">I4s", data, at)
            body = data[at + 8 : at + 8 + length]
            assert zlib.crc32(kind + body) == struct.unpack_from(">I", data, at + 8 + length)[0], f"{kind!r} is broken"
            if kind == b"IHDR":
                self.width, self.height, depth, colours, *rest = struct.unpack(">IIBBBBB", body)
                assert (depth, rest) == (8, [0, 0, 0])
                self._channels = _CHANNELS[colours]
            elif kind == b"IDAT":
                packed += body
            at += 12 + length
        self._all: collections.Counter[Colour] = collections.Counter()
        self._rows = list(self._unfiltered(zlib.decompress(packed)))

    def _unfiltered(self, raw: bytes) -> t.Iterator[bytes]:
        step, size = self._channels, self.width * self._channels
        above = bytes(size)
        for begin in range(0, len(raw), size + 1):
            row = bytearray(raw[begin + 1 : begin + 1 + size])
            _undo(raw[begin], row, above, step)
            above = bytes(row)
            yield above

    def colour(self, x: int, y: int) -> Colour:
        red, green, blue = self._rows[y][x * self._channels : x * self._channels + 3]
        return red, green, blue

    def colours(self, every: int = 1) -> collections.Counter[Colour]:
        """How often each colour occurs, among one pixel of so many."""
        step = self._channels
        found: collections.Counter[Colour] = collections.Counter()
        for row in self._rows[::every]:
            found.update(zip(row[:: step * every], row[1 :: step * every], row[2 :: step * every]))
        return found

    def share(self, colour: str, near: int = 6) -> float:
        """What part of the picture has about that colour, `#rrggbb`."""
        want = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        self._all = self._all or self.colours()
        found = self._all
        close = sum(n for each, n in found.items() if all(abs(one - two) <= near for one, two in zip(each, want)))
        return close / (self.width * self.height)


def _undo(kind: int, row: bytearray, above: bytes, step: int) -> None:
    """Undo a row's filter: none, left, above, their mean, or the nearest of three (Paeth)."""
    if kind == 0:
        return
    for at, value in enumerate(row):
        left = row[at - step] if at >= step else 0
        up = above[at]
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = up
        elif kind == 3:
            guess = (left + up) // 2
        else:
            corner = above[at - step] if at >= step else 0
            whole = left + up - corner
            guess = min((left, up, corner), key=lambda each: abs(whole - each))
        row[at] = (value + guess) & 0xFF
