# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What this machine has to give."""

from __future__ import annotations

import os


def memory_mb() -> int:
    """Physical memory in MiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1024 * 1024)


def cpu_count() -> int:
    """CPUs that this machine may use."""
    return len(os.sched_getaffinity(0))
