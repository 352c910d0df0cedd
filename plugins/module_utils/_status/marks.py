# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""How each verdict looks: a colour for light and one for dark pages, and a shape with a sign that tells it without."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._model.health import DEGRADED, DRAINING, FAILED, HEALTHY, STARTING, STOPPED, UNKNOWN


@dataclass(frozen=True)
class Mark:
    """One verdict.

    Attributes:
        light, dark: colours with a contrast of 4.5 and more to the page of that kind.
        shape: its outline in a box of 24 by 24, filled with the colour.
        sign: drawn into it with lines in the colour of the page.
        word: how people read it.
    """

    verdict: str
    light: str
    dark: str
    shape: str
    sign: str
    word: str


_ALL = (
    Mark(HEALTHY, "#18794e", "#46c28b", '<circle cx="12" cy="12" r="10"/>', "M7.5 12.5l3 3 6-6.5", "healthy"),
    Mark(
        DEGRADED,
        "#9a5b00",
        "#f2b13c",
        '<path d="M12 2.2 23 21.4H1z" stroke-linejoin="round"/>',
        "M12 9v6M12 18v.4",
        "degraded",
    ),
    Mark(
        FAILED,
        "#c41e3a",
        "#ff7583",
        '<path d="M7.9 1.8h8.2l6.1 6.1v8.2l-6.1 6.1H7.9l-6.1-6.1V7.9z"/>',
        "M8.3 8.3l7.4 7.4M15.7 8.3l-7.4 7.4",
        "failed",
    ),
    Mark(
        UNKNOWN,
        "#6b4fc0",
        "#b9a1ff",
        '<path d="M12 .8 23.2 12 12 23.2.8 12z"/>',
        "M9.4 9.7a2.7 2.7 0 1 1 3.9 2.5c-.9.5-1.3.9-1.3 1.8M12 17.2v.3",
        "unknown",
    ),
    Mark(
        STARTING,
        "#1d5fd1",
        "#78adff",
        '<rect x="2" y="2" width="20" height="20" rx="7"/>',
        "M12 7v5.2l3.4 2",
        "starting",
    ),
    Mark(
        DRAINING,
        "#0b6b83",
        "#4ec5df",
        '<path d="M2.4 3h19.2L22 14.5 12 22.6 2 14.5z"/>',
        "M12 6.5v8.5M8.5 11.8l3.5 3.6 3.5-3.6",
        "draining",
    ),
    Mark(
        STOPPED, "#5b6776", "#a3b0be", '<rect x="2.5" y="2.5" width="19" height="19" rx="2.5"/>', "M8 12h8", "stopped"
    ),
)
MARKS: t.Mapping[str, Mark] = {mark.verdict: mark for mark in _ALL}
#: how urgent they are, the worst first
URGENCY = (FAILED, UNKNOWN, DEGRADED, STARTING, DRAINING, STOPPED, HEALTHY)


def mark_of(verdict: t.Any) -> Mark:
    """The mark of a verdict, that of `unknown` for one that is not known here."""
    return MARKS.get(verdict, MARKS[UNKNOWN])


def symbols() -> str:
    """All marks as symbols for `<use>`, and the leader's star."""
    drawn = "".join(
        f'<symbol id="mark-{mark.verdict}" viewBox="0 0 24 24"><g fill="currentColor" stroke="none">{mark.shape}</g>'
        f'<path class="sign" d="{mark.sign}"/></symbol>'
        for mark in _ALL
    )
    star = "M12 1.8l3.1 6.5 7.1.9-5.2 4.9 1.3 7.1L12 17.7l-6.3 3.5L7 14.1 1.8 9.2l7.1-.9z"
    rack = (
        '<rect x="2" y="3" width="20" height="7.5" rx="2"/><rect x="2" y="13.5" width="20" height="7.5" rx="2"/>'
        '<path d="M6 6.75h.01M6 17.25h.01M10.5 6.75h8M10.5 17.25h8"/>'
    )
    return (
        f'<svg class="symbols" aria-hidden="true" focusable="false"><defs>{drawn}'
        f'<symbol id="star" viewBox="0 0 24 24"><path fill="currentColor" d="{star}"/></symbol>'
        f'<symbol id="rack" viewBox="0 0 24 24"><g class="rack">{rack}</g></symbol></defs></svg>'
    )
