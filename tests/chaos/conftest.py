# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The fixtures of the integration tests, and a report of scenarios."""

from __future__ import annotations

import pytest
from harness.report import register
from integration.conftest import controller, lab, pool

__all__ = ["controller", "lab", "pool", "pytest_configure"]


def pytest_configure(config: pytest.Config) -> None:
    register(config, ["tests/chaos", "tests/election"])
