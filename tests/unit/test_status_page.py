# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The page: well formed, complete, and nothing of what members say becomes markup."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import re
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.health import VERDICTS
from ansible_collections.ensemble.stacks.plugins.module_utils._status.marks import MARKS, URGENCY
from ansible_collections.ensemble.stacks.plugins.module_utils._status.page import page
from ansible_collections.ensemble.stacks.plugins.module_utils._status.style import _DARK, _LIGHT
from harness.documents import failing, healthy, hostile, many

VOID = {"meta", "link", "br", "img", "input", "hr"}
TAGS = """
html head meta title link style noscript body svg defs symbol g path circle rect use p a main header h1 h2 h3 h4 section
div dl dt dd span small time ul ol li b i table caption thead tbody tr th td code details summary desc footer script
"""


class Page(html.parser.HTMLParser):
    """What a browser would see of it: tags that are closed in order, attributes, ids and text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.source = source
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not set(self.open) & {"style", "script"}:
            self.text.append(data)

    def all(self, tag: str, css: str = "") -> list[dict[str, str | None]]:
        return (
            [attrs for name, attrs in self.tags if name == tag and css in (attrs.get("class") or "").split(" ")]
            if css
            else [attrs for name, attrs in self.tags if name == tag]
        )


def read(document: dict[str, t.Any]) -> Page:
    return Page(page(document, 7.0))


@pytest.mark.parametrize("members", [0, 1, 7, 40, 130, 500])
def test_every_member_is_in_the_picture_and_in_the_table(members: int) -> None:
    found = read(many(members, 3, {0: "failed"} if members else {}))
    tiles = found.all("a", "tile")
    assert len(tiles) == members
    ids = [attrs["id"] for name, attrs in found.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    assert {str(tile["href"])[1:] for tile in tiles} <= set(ids)
    assert len(found.all("section", "box")) == 3
    assert f"{members} member" in "".join(found.text)


def test_the_page_says_what_is_wrong() -> None:
    found = read(failing())
    said = " ".join(found.text)
    for words in (
        "compute-1 failed: slurmd is not active; compute-2 is unknown",
        "slurmd is not active: it failed 3 times within 10 minutes, and the budget of repairs is used up",
        "connection refused",
        "no answer from 172.30.0.4 port 22",
        "mytorque-head-0",
        "render-frames",
        "waits for 15 min",
        "restart_unit",
        "refused",
        "the lease could not be renewed: 1 of 3 voters answer, 2 needed",
        "2026-05-04 13:07:12 UTC",
        "7 s ago",
    ):
        assert words in said
    assert len(found.all("section", "silent")) == 1
    assert len(found.all("a", "leads")) == 1
    assert found.source.count("<title>mytorque: failed</title>") == 1


def test_a_verdict_is_told_by_more_than_a_colour() -> None:
    assert set(MARKS) == set(VERDICTS) == set(URGENCY)
    assert len({mark.shape for mark in MARKS.values()}) == len({mark.sign for mark in MARKS.values()}) == len(VERDICTS)
    found = read(failing())
    titles = re.findall(r'role="img"><title>([^<]*)</title><desc>([^<]*)</desc>', found.source)
    assert (
        "compute-1: failed",
        "slurmd is not active: it failed 3 times within 10 minutes, and the budget of repairs is used up",
    ) in titles
    assert "head-0: healthy, leader" in found.source


@pytest.mark.parametrize(("dark", "palette"), [(False, _LIGHT), (True, _DARK)])
def test_colours_have_contrast(dark: bool, palette: t.Mapping[str, str]) -> None:
    """WCAG 2, 1.4.3: 4.5 for text, on the page and on its cards."""
    inks = [mark.dark if dark else mark.light for mark in MARKS.values()] + [
        palette[name] for name in ("ink", "dim", "link")
    ]
    for ink in inks:
        for ground in (palette["card"], palette["page"]):
            assert contrast(ink, ground) >= 4.5, (ink, ground)


def contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_hostile_text_stays_text() -> None:
    found = read(hostile())
    used = {name for name, attrs in found.tags}
    assert used <= set(TAGS.split())
    assert len(found.all("script")) == 1
    assert not [name for tag, attrs in found.tags for name in attrs if name.startswith("on") or name == "style"]
    assert "\x1b" not in found.source
    assert "\u202e" not in found.source
    found.source.encode()
    assert "<script>alert(1)</script>" in "".join(found.text)


def test_nothing_is_fetched_from_elsewhere() -> None:
    found = read(failing())
    links = [str(value) for tag, attrs in found.tags for name, value in attrs.items() if name in ("href", "src")]
    assert all(link.startswith(("#", "data:")) or link in ("status.json", "metrics") for link in links)
    assert "@import" not in found.source
    assert "url(" not in found.source


def test_the_policy_lets_this_style_and_this_script_be_and_nothing_else() -> None:
    source = page(failing(), 0)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', source)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert (rules["default-src"], rules["base-uri"], rules["form-action"]) == ("'none'",) * 3
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        within = re.findall(f"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        assert len(within) == 1
        digest = base64.b64encode(hashlib.sha256(within[0].encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_well_members_of_a_large_resource_are_folded_away() -> None:
    found = read(many(100, 4, {5: "failed"}))
    assert len(found.all("details")) == 1
    assert found.source.index('id="m-compute-4"') < found.source.index("<details")
    assert "99 members as they should be" in "".join(found.text)
    assert read(healthy()).all("details") == []


def test_what_is_not_there_is_not_made_up() -> None:
    source = page({**healthy(), "leader": None, "events": [], "interval_s": None}, 0)
    for words in ("nobody", "Nothing had to be repaired.", "Nothing happened yet."):
        assert words in source
    assert 'id="jobs"' not in source
