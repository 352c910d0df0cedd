# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Entry point of ``python3 tests/lab/ensemble_lab`` (a directory) and of ``python3 -m ensemble_lab``."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # started as a directory: Python has put that directory itself on the path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from ensemble_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
