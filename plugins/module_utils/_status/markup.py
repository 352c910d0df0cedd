# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Small pieces of HTML. Whatever goes into a page passes through `text`, and only ready markup is a `str` of tags."""

from __future__ import annotations

import html
import typing as t

from .marks import mark_of
from .text import iso, plain, seconds_of


def text(value: t.Any, longest: int = 600) -> str:
    """Escaped for content and for quoted attributes."""
    return html.escape(plain(value, longest), quote=True)


def icon(verdict: str, title: str = "", desc: str = "") -> str:
    """A verdict's mark; without a title the text beside it says the same."""
    mark = mark_of(verdict)
    use = f'<use href="#mark-{mark.verdict}"/></svg>'
    if not title:
        return f'<svg class="mark v-{mark.verdict}" viewBox="0 0 24 24" aria-hidden="true" focusable="false">{use}'
    more = f"<desc>{text(desc)}</desc>" if desc else ""
    return f'<svg class="mark v-{mark.verdict}" viewBox="0 0 24 24" role="img"><title>{text(title)}</title>{more}{use}'


def star() -> str:
    """The leader's."""
    return '<svg class="star" viewBox="0 0 24 24" role="img"><title>leader</title><use href="#star"/></svg>'


def pill(verdict: str) -> str:
    """A verdict in words with its mark."""
    mark = mark_of(verdict)
    return f'<span class="pill v-{mark.verdict}">{icon(verdict)}{mark.word}</span>'


def moment(value: t.Any, shown: str) -> str:
    """A `<time>`, which tells the whole moment when it is pointed at."""
    seconds = seconds_of(value)
    if seconds is None:
        return f"<span>{text(shown)}</span>"
    exact = iso(seconds)
    return f'<time datetime="{exact}" title="{exact}">{text(shown)}</time>'


def table(
    name: str, caption: str, head: t.Sequence[str], rows: t.Iterable[t.Sequence[str]], ids: t.Iterable[str] = ()
) -> str:
    """A table whose rows become cards on narrow screens; the roles stay what they are when CSS changes `display`.

    Args:
        rows: cells, ready markup; the first one of a row is its header.
        ids: of the rows.
    """
    ths = "".join(f'<th scope="col" role="columnheader">{text(word)}</th>' for word in head)
    body = []
    marks = iter(ids)
    for row in rows:
        mark = next(marks, "")
        first = f'<th scope="row" role="rowheader" data-label="{text(head[0])}">{row[0]}</th>'
        cells = "".join(
            f'<td role="cell" data-label="{text(word)}">{cell}</td>' for word, cell in zip(head[1:], row[1:])
        )
        body.append(f'<tr role="row"{f" id={chr(34)}{text(mark)}{chr(34)}" if mark else ""}>{first}{cells}</tr>')
    return (
        f'<table class="{name}" role="table"><caption>{text(caption)}</caption><thead role="rowgroup"><tr role="row">'
        f'{ths}</tr></thead><tbody role="rowgroup">{"".join(body)}</tbody></table>'
    )
