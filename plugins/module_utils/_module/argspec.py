# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Options that several modules share; documented in the fragment `target`."""

from __future__ import annotations

import typing as t

#: which resource a module is about
TARGET: dict[str, dict[str, t.Any]] = {
    "declaration": {"type": "path"},
    "name": {"type": "str"},
    "pool": {"type": "list", "elements": "dict"},
    "known_hosts": {"type": "path"},
}

#: how those options go together
TARGET_RULES: dict[str, t.Any] = {
    "required_one_of": [("declaration", "name")],
    "mutually_exclusive": [("declaration", "name"), ("declaration", "pool"), ("declaration", "known_hosts")],
    "required_together": [("name", "pool")],
}

#: under whose lease a module works
FENCING: dict[str, dict[str, t.Any]] = {"fencing_token": {"type": "list", "elements": "int", "no_log": False}}
