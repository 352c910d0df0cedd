# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The page in a real Chromium, served as a leader serves it.

Skipped where there is no Chromium, unless ENSEMBLE_TEST_BROWSER=1 demands it. Screenshots are kept in .build/artefacts.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.web import Holder, Web
from ansible_collections.ensemble.stacks.plugins.module_utils._model.health import VERDICTS
from ansible_collections.ensemble.stacks.plugins.module_utils._status.marks import MARKS
from ansible_collections.ensemble.stacks.plugins.module_utils._status.style import _DARK, _LIGHT
from harness.documents import HOSTILE, failing, healthy, hostile, many

from browser.chromium import Browser, browser, program
from browser.png import Picture

ARTEFACTS = Path(__file__).resolve().parents[2] / ".build" / "artefacts"
DEMANDED = os.environ.get("ENSEMBLE_TEST_BROWSER") == "1"
TAB = ("Tab", 9)

pytestmark = pytest.mark.skipif(
    program() is None and not DEMANDED,
    reason="no Chromium here: make browser installs one, ENSEMBLE_TEST_BROWSER=1 demands it",
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Browser]:
    assert program() is not None, "ENSEMBLE_TEST_BROWSER=1 demands a Chromium; make browser installs one"
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture
def tab(chromium: Browser) -> t.Iterator[Browser]:
    """The tab; a page that complains fails its test."""
    chromium.complaints.clear()
    yield chromium
    assert chromium.complaints == []


class Served(t.NamedTuple):
    holder: Holder
    web: Web
    url: str


@contextlib.contextmanager
def serving(document: dict[str, t.Any]) -> t.Iterator[Served]:
    holder = Holder(60.0)
    holder.put(document)
    web = Web(holder, "127.0.0.1", 0)
    web.start()
    try:
        yield Served(holder, web, f"http://127.0.0.1:{web.port}/")
    finally:
        web.close()


def until(tab: Browser, expression: str) -> None:
    deadline = time.monotonic() + 30
    while not tab.ask(expression):
        assert time.monotonic() < deadline, f"never: {expression}"
        time.sleep(0.05)


def texts(tab: Browser, selector: str) -> list[str]:
    found = f"[...document.querySelectorAll({selector!r})].map(each => each.innerText.replace(/\\s+/g, ' ').trim())"
    return t.cast("list[str]", tab.ask(found))


def fits(tab: Browser) -> bool:
    """Whether nothing has to be scrolled sideways, and nothing hangs out of its box."""
    return bool(tab.ask("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [("wide", 1360, False), ("phone", 360, False), ("dark", 1360, True), ("phone-dark", 360, True)],
)
def test_a_resource_in_trouble(tab: Browser, name: str, width: int, dark: bool) -> None:
    with serving(failing()) as here:
        tab.look(width, dark=dark)
        tab.open(here.url)
        shot = tab.whole_picture(ARTEFACTS / f"page-{name}.png")
        assert tab.ask("document.title") == "mytorque: failed"
        assert texts(tab, ".banner h2") == ["Failed"]
        assert "compute-1 failed: slurmd is not active" in texts(tab, ".banner p")[0]
        boxes = texts(tab, ".box h3")
        assert boxes == ["hv1", "hv2", "hv3"]
        assert texts(tab, ".box.silent h3") == ["hv3"]
        assert texts(tab, ".tile .name") == ["head-0", "compute-3", "compute-0", "compute-1", "compute-2"]
        assert texts(tab, ".tile.leads .name") == ["head-0"]
        rows = texts(tab, "table.members tbody th")
        assert rows[0].startswith("mytorque-compute-1")
        assert len(rows) == 5
        assert len(texts(tab, "table.jobs tbody tr")) == 3
        assert len(texts(tab, "table.repairs tbody tr")) == 4
        assert len(texts(tab, ".events li:not(.day)")) == 13
        assert fits(tab)
    picture, palette = Picture(shot), _DARK if dark else _LIGHT
    assert picture.width == width
    assert len(picture.colours(3)) > 100
    assert picture.share(palette["page"]) + picture.share(palette["card"]) > 0.4
    for verdict in ("healthy", "failed", "unknown", "starting"):
        mark = MARKS[verdict]
        assert picture.share(mark.dark if dark else mark.light) > 0.0005, verdict
    for verdict in ("degraded", "draining"):
        mark = MARKS[verdict]
        assert picture.share(mark.dark if dark else mark.light, near=2) < 0.0005, verdict


@pytest.mark.parametrize(("members", "hypervisors"), [(1, 1), (40, 3), (100, 4), (500, 3), (500, 20)])
def test_the_picture_stays_useful(tab: Browser, members: int, hypervisors: int) -> None:
    bad = {members // 2: "failed", members // 3: "degraded"} if members > 2 else {}
    with serving(many(members, hypervisors, bad)) as here:
        for width in (320, 1360, 2560):
            tab.look(width)
            tab.open(here.url)
            tab.whole_picture(ARTEFACTS / f"members-{members}-on-{hypervisors}-{width}.png")
            assert fits(tab)
            seen = tab.ask(
                "[...document.querySelectorAll('.tile')].filter(each => {const box = each.getBoundingClientRect();"
                "const mark = each.querySelector('.mark').getBoundingClientRect();"
                "return box.width >= 24 && box.height >= 24 && mark.width >= 15 && mark.right <= box.right + 1}).length"
            )
            assert seen == members
            assert (
                tab.ask(
                    "[...document.querySelectorAll('.tile .name')].filter(each => each.scrollWidth > each.clientWidth)"
                    ".map(each => each.textContent)"
                )
                == []
            )


@pytest.mark.parametrize("width", [320, 360, 719, 720, 1024, 2560])
def test_it_fits(tab: Browser, width: int) -> None:
    with serving(failing()) as here:
        tab.look(width)
        tab.open(here.url)
        assert fits(tab)


def test_each_verdict_has_its_own_shape(tab: Browser) -> None:
    """Drawn in one colour they must still differ: what colour-blind people have."""
    every = many(len(VERDICTS), 1, dict(enumerate(VERDICTS)))
    with serving(every) as here:
        tab.look(1360)
        tab.open(here.url)
        tab.ask("document.querySelectorAll('.mark').forEach(each => {each.style.color = '#000'})")
        shapes = set()
        for index in range(len(VERDICTS)):
            box = tab.ask(
                f"(() => {{const mark = document.querySelectorAll('.members .pill .mark')[{index}];"
                "const box = mark.getBoundingClientRect();"
                "return [box.x + scrollX, box.y + scrollY, box.width, box.height]})()"
            )
            clip = dict(zip(("x", "y", "width", "height"), map(round, box)))
            shapes.add(
                tab.order("Page.captureScreenshot", captureBeyondViewport=True, clip={**clip, "scale": 2})["data"]
            )
        assert len(shapes) == len(VERDICTS)


def test_what_members_say_stays_text(tab: Browser) -> None:
    with serving(hostile()) as here:
        tab.look(360)
        tab.open(here.url)
        assert tab.ask("document.scripts.length") == 1
        assert tab.ask("document.images.length") == 0
        assert "<script>alert(1)</script>" in texts(tab, ".banner p")[0]
        assert HOSTILE[:10] in tab.ask("document.title")
        assert fits(tab)


def test_it_can_be_used_by_keyboard(tab: Browser) -> None:
    with serving(many(100, 4, {7: "failed"})) as here:
        tab.look(1360)
        tab.open(here.url)
        tab.press(*TAB)
        assert tab.ask("document.activeElement.innerText") == "Skip to the members"
        tab.press(*TAB)
        assert tab.ask("document.activeElement.title") == "head-0: healthy, leader"
        assert tab.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert not tab.ask("document.getElementById('quiet').open")
        tab.order("Input.dispatchKeyEvent", type="keyDown", key="Enter", text="\r", windowsVirtualKeyCode=13)
        tab.order("Input.dispatchKeyEvent", type="keyUp", key="Enter", windowsVirtualKeyCode=13)
        until(tab, "location.hash === '#m-head-0' && document.getElementById('quiet').open")


def test_it_can_be_heard(tab: Browser) -> None:
    """What a screen reader is told, also where tables are shown as cards."""
    with serving(failing()) as here:
        for width in (1360, 360):
            tab.look(width)
            tab.open(here.url)
            nodes = tab.order("Accessibility.getFullAXTree")["nodes"]
            said = [(node.get("role", {}).get("value"), node.get("name", {}).get("value", "")) for node in nodes]
            headings = [name for role, name in said if role == "heading"]
            assert headings[0] == "mytorque"
            assert {"Where it runs", "Members", "Jobs", "Repairs", "Timeline", "hv1", "hv3"} <= set(headings)
            images = {name for role, name in said if role in ("img", "image")}
            assert {"compute-1: failed", "hypervisor hv3", "Who led when", "Members by verdict", "leader"} <= images
            assert ("table", "Members, the worst first") in said
            roles = [role for role, name in said]
            assert roles.count("columnheader") == 6 + 5 + 6
            assert roles.count("rowheader") == 5 + 3 + 4
            assert roles.count("row") == 6 + 4 + 5
            assert roles.count("main") == 1


def test_it_shows_what_is_new_and_says_when_nothing_comes(tab: Browser) -> None:
    quick = {"interval_s": 0.1}
    with serving({**failing(), **quick}) as here:
        tab.look(1360)
        tab.open(here.url)
        tab.ask("document.getElementById('t-compute-1').focus()")
        here.holder.put({**healthy(), **quick})
        until(tab, "document.title === 'mytorque: healthy'")
        assert texts(tab, ".banner h2") == ["Healthy"]
        assert tab.ask("document.getElementById('say').textContent") == "mytorque: healthy"
        assert tab.ask("document.activeElement.id") == "t-compute-1"
        assert not tab.ask("document.body.classList.contains('old')")
        here.web.close()
        until(tab, "document.body.classList.contains('old')")
        assert texts(tab, ".stale") == ["No answer from the leader any more: this is what it showed last."]
    tab.open("about:blank")
    assert all("ERR_CONNECTION_REFUSED" in complaint for complaint in tab.complaints)
    tab.complaints.clear()


def test_it_needs_no_script_and_prints(tab: Browser) -> None:
    tab.order("Emulation.setScriptExecutionDisabled", value=True)
    try:
        with serving(many(32, 3, {9: "failed"})) as here:
            tab.look(1360, dark=True, media="print")
            tab.open(here.url)
            shot = Picture(tab.whole_picture(ARTEFACTS / "page-print.png"))
            tab.look(1360)
            folded = tab.order("Page.getLayoutMetrics")["cssContentSize"]["height"]
    finally:
        tab.order("Emulation.setScriptExecutionDisabled", value=False)
        tab.open("about:blank")
    assert shot.share("#ffffff") > 0.6
    assert shot.share(MARKS["healthy"].light) > 0.0005
    assert shot.height > 1.5 * folded  # what is folded away on a screen is on the paper
