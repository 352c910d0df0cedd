# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The fixtures of the integration tests."""

from __future__ import annotations

from integration.conftest import controller, lab, pool

__all__ = ["controller", "lab", "pool"]
