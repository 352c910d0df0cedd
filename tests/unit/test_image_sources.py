# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Where declared images come from: what is valid, what it means, and what concerns one controller only."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import DeclarationError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.image import ImageSource, stem_of
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from declared import BASE, NAMED, faults_of, merged, parsed, raw

CASES: list[dict[str, t.Any]] = yaml.safe_load(
    (pathlib.Path(__file__).parent / "data" / "image_faults.yml").read_text()
)
SUM = "ab" * 32


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_faults(case: dict[str, t.Any]) -> None:
    data = merged(BASE, case["change"])
    assert sorted(faults_of(data)) == sorted(case["faults"])
    if case["faults"]:
        with pytest.raises(DeclarationError) as caught:
            parse_declaration(data, "here.yml")
        for words in case.get("says", ()):
            assert words in caught.value.msg


@pytest.mark.parametrize(
    ("origin", "stem"),
    [
        ("images/node.tar", "node"),
        ("/srv/node.tar.xz", "node"),
        ("node-1.2.qcow2", "node-1.2"),
        ("node", "node"),
        ("https://h/v1/node.tar.gz?token=a/b#c", "node"),
    ],
)
def test_an_image_is_named_after_its_file(origin: str, stem: str) -> None:
    assert stem_of(origin) == stem


def test_a_path_is_relative_to_the_declaration() -> None:
    resource = parse_declaration(raw(defaults={"image": {"path": "images/node.tar"}}), "/srv/demo/resource.yml")
    assert resource.images == {("node", "tar"): ImageSource("node", "tar", "/srv/demo/images/node.tar")}
    assert resource.images["node", "tar"].place == "defaults.image"
    assert {member.spec.image for member in resource.members} == {"node"}
    assert {member.spec.image_checksum for member in resource.members} == {None}


def test_the_drivers_of_the_members_decide_the_format() -> None:
    image = {"name": "node", "url": "https://h/node", "checksum": SUM}
    resource = parsed(defaults={"image": image}, roles={"compute": {"driver": "qemu"}})
    assert set(resource.images) == {("node", "tar"), ("node", "qcow2")}


def test_a_declared_checksum_is_part_of_the_specification_of_all_who_name_the_image() -> None:
    roles = {"compute": {"image": {"path": "node.tar", "checksum": SUM}}}
    resource = parsed(roles=roles)
    assert [member.spec.image_checksum for member in resource.members] == [SUM] * 3
    assert resource.members[0].spec.as_dict()["image_checksum"] == SUM
    assert resource.members[0].spec.digest != parsed().members[0].spec.digest


def test_without_a_checksum_a_path_says_nothing_of_the_member() -> None:
    assert parsed(defaults={"image": {"path": "node.tar"}}).members[0].spec.digest == parsed().members[0].spec.digest


def test_an_image_without_an_origin_is_none_that_could_be_brought() -> None:
    resource = parsed(defaults={"image": {"name": "node", "checksum": SUM}})
    assert (resource.images, resource.members[0].spec.image_checksum) == ({}, SUM)


def test_two_controllers_with_their_own_paths_declare_the_same() -> None:
    def digest(path: str, **more: str) -> str:
        return parsed(defaults={"image": {"path": path, **more}}).digest

    assert digest("/home/a/node.tar") == digest("~/images/node.tar") == digest("x.tar", name="node") == parsed().digest
    assert digest("node.tar", checksum=SUM) == digest("/b/node.tar", checksum=SUM)
    assert len({digest("node.tar"), digest("other.tar"), digest("node.tar", checksum=SUM)}) == 3


def test_no_path_of_a_controller_is_in_the_content_wherever_it_is_declared() -> None:
    image = {"path": "/home/somebody/node.tar", "checksum": SUM}
    named = merged(NAMED, {"defaults": {"image": image}, "members": {"m1": {"image": {**image, "name": "one"}}}})
    counted = raw(roles={"head": {"image": image}})
    for data in (named, counted):
        content = parse_declaration(data).content
        assert "somebody" not in str(content)
        assert SUM in str(content)
        assert "somebody" in str(data), "the declaration itself is left as it is"


def test_a_simulated_pool_takes_any_format(tmp_path: pathlib.Path) -> None:
    image = {"path": "node.qcow2", "format": "qcow2"}
    assert set(parsed(pool=[{"name": "hv1", "sim": str(tmp_path)}], defaults={"image": image}).images) == {
        ("node", "sim")
    }
