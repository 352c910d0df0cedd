# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Every fault of a declaration is reported, with its path, and all of them together."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import DeclarationError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from declared import BASE, faults_of, merged, raw

Case = t.Dict[str, t.Any]
CASES: list[Case] = yaml.safe_load((pathlib.Path(__file__).parent / "data" / "declaration_faults.yml").read_text())


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_faults(case: Case) -> None:
    data = case["data"] if "data" in case else merged(BASE, case["change"])
    assert sorted(faults_of(data)) == sorted(case["faults"])
    if case["faults"]:
        with pytest.raises(DeclarationError) as caught:
            parse_declaration(data, "here.yml")
        assert caught.value.msg.startswith("here.yml: ")
        for words in case.get("says", ()):
            assert words in caught.value.msg


def test_the_table_has_no_two_cases_of_one_name() -> None:
    names = [case["name"] for case in CASES]
    assert len(names) == len(set(names))


def test_a_host_name_is_at_most_63_characters() -> None:
    long = "r" * 30
    name = "n" * 30
    assert faults_of(raw(name=name, roles={long: {"count": 1}})) == []
    assert faults_of(raw(name=name, roles={long: {"count": 11, "range": "10.0.0.200-10.0.0.230"}})) == [f"roles.{long}"]


def test_the_error_carries_its_faults_as_data() -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_declaration(raw(name="X", colour="red"))
    data = caught.value.as_dict()
    assert data["code"] == "invalid_declaration"
    assert [fault["path"] for fault in data["details"]["faults"]] == ["name", "colour"]
    assert all(set(fault) == {"path", "found", "expected"} for fault in data["details"]["faults"])


def test_a_long_value_is_shown_in_short() -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_declaration(raw(defaults={"image": ["x"] * 10_000}, name="y" * 10_000))
    assert len(caught.value.msg) < 3000
