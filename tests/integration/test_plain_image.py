# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The batch cluster on an image without its packages: the role installs them from Debian."""

from __future__ import annotations

import typing as t
from pathlib import Path

from harness.controller import Controller
from harness.lab import Lab


def test_packages_are_installed_where_the_image_lacks_them(
    lab: Lab, controller: Controller, removed: t.Callable[[Path], Path]
) -> None:
    roles = {"head": {"count": 1}, "compute": {"count": 1, "after": ["head"]}}
    defaults = {"driver": "lxc", "image": "plain", "vcpus": 1, "memory_mb": 512}
    declaration = lab.declaration("bare", stack="torque", roles=roles, defaults=defaults)
    inventory = removed(controller.write(declaration, torque_users=[{"name": "demo", "uid": 2000}]))
    run = controller.play("torque", inventory)
    assert run.code == 0, run.output
    smoke = controller.play("smoke", inventory)
    assert "ran on bare-compute-0 as demo" in smoke.output, smoke.output
