# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
import typing as t

_POLL_SECONDS = 0.05


def wait_until(condition: t.Callable[[], bool], seconds: float, what: str) -> None:
    """Poll until a condition holds.

    Raises:
        TimeoutError: it did not within so many seconds; the message says `what` was waited for.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(_POLL_SECONDS)
