# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What every benchmark starts from: the demo's declaration on the test lab, its pool prepared."""

from __future__ import annotations

import typing as t
from pathlib import Path

from harness.controller import Controller, Run
from harness.lab import open_lab


class Setting:
    """A controller, a lab and the demo on it; removed at the end."""

    def __init__(self, home: Path) -> None:
        self.lab = open_lab()
        self.controller = Controller(home)
        self.inventory = self.controller.write(
            self.lab.demo(), torque_users=[{"name": "demo", "uid": 2000}], **self.lab.pool_variables()
        )

    def __enter__(self) -> Setting:
        self.play("pool")
        return self

    def __exit__(self, *_exc: t.Any) -> None:
        self.play("remove")

    def play(self, playbook: str) -> Run:
        """Run a playbook.

        Raises:
            RuntimeError: it failed; a figure of a failed run is none.
        """
        run = self.controller.play(playbook, self.inventory)
        if run.code != 0:
            raise RuntimeError(f"{playbook} failed:\n{run.output}")
        return run
