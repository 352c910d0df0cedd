# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Fixtures of the tests against a real lab."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest
from harness.controller import Controller
from harness.lab import CHECKOUT, Lab, open_lab

#: labs on which the role ran in this session; other suites use these fixtures, too, as their own
_PREPARED: set[str] = set()


@pytest.fixture(scope="session")
def lab() -> Lab:
    return open_lab()


@pytest.fixture(scope="session")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Controller:
    """A person's controller."""
    return Controller(tmp_path_factory.mktemp("controller"))


@pytest.fixture(scope="session", autouse=True)
def pool(lab: Lab, controller: Controller) -> None:
    """The lab's machines are hypervisors: the role ran, and a second run of it changes nothing."""
    if lab.name in _PREPARED:
        return
    _PREPARED.add(lab.name)
    witnesses = [{"name": one.name, "address": one.address} for one in lab.witnesses]
    declared = lab.declaration("pool-setup", election={"witnesses": witnesses})
    inventory = controller.write(declared, **lab.pool_variables())
    first = controller.play("pool", inventory)
    assert first.code == 0, first.output
    second = controller.play("pool", inventory)
    assert second.code == 0, second.output
    assert set(second.recap("changed").values()) == {0}, second.output


@pytest.fixture
def removed(lab: Lab, controller: Controller) -> t.Iterator[t.Callable[[Path], Path]]:
    """Marks a declaration whose resource is removed at the end of the test, whatever it says."""
    marked: list[Path] = []

    def mark(path: Path) -> Path:
        marked.append(path)
        return path

    yield mark
    for path in marked:
        assert controller.play("remove", path, "-e", '{"ensemble_delete_data": ["head", "compute"]}').code == 0
        assert lab.leftovers(path.parent.name) == []


@pytest.fixture
def foreign_domain(lab: Lab) -> t.Iterator[t.Callable[[str], None]]:
    """Defines a domain that is not ours on the first hypervisor."""
    made: list[str] = []

    def define(name: str) -> None:
        xml = (
            f"<domain type='lxc'><name>{name}</name><memory unit='MiB'>64</memory>"
            "<os><type>exe</type><init>/sbin/init</init></os></domain>"
        )
        hypervisor = lab.hypervisors[0]
        hypervisor.run("sh", "-c", "cat > /run/foreign.xml", stdin=xml.encode())
        hypervisor.run("virsh", "-c", "lxc:///system", "define", "/run/foreign.xml")
        made.append(name)

    yield define
    for name in made:
        lab.hypervisors[0].run("virsh", "-c", "lxc:///system", "undefine", name)


def engine(*argv: str) -> None:
    """A command of the container engine on containers of this lab."""
    subprocess.run(["docker", *argv], check=True, capture_output=True, timeout=120, cwd=CHECKOUT)
