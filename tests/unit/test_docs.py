# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The documentation has a page for every state and for every action that a plan can hold, and no dead links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import MEMBER_VERBS
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.actions import FETCH

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("roles/*/README.md")])


def test_every_state_and_every_action_has_its_page() -> None:
    assert {page.stem for page in (DOCS / "states").iterdir()} == {"started", "stopped", "absent"}
    assert {page.stem for page in (DOCS / "actions").iterdir()} == {*MEMBER_VERBS, FETCH}
    index = (DOCS / "plan.md").read_text()
    for folder in ("states", "actions"):
        for page in (DOCS / folder).iterdir():
            assert f"({folder}/{page.name})" in index
            assert page.read_text().splitlines()[0].endswith(f"`{page.stem}`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert dead == []
