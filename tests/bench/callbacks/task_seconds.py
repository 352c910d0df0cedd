# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""How long each task took, from its announcement to its last result, as JSON lines in a file."""

from __future__ import annotations

DOCUMENTATION = r"""
name: task_seconds
type: aggregate
short_description: How long each task took, for benchmarks
version_added: 0.1.0
description:
  - Appends one JSON object per task and host to a file.
options:
  path:
    description: The file.
    type: str
    required: true
    env:
      - name: ENSEMBLE_BENCH_SECONDS
author:
  - the ensemble.stacks authors (@ensemble-stacks)
"""

import json
import time
import typing as t

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """A loop is one task: its result comes after its last item."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_seconds"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        self._begun = time.monotonic()

    def v2_runner_on_ok(self, result: t.Any) -> None:
        entry = {
            "seconds": time.monotonic() - self._begun,
            "host": result.host.get_name(),
            "result": result.result,
        }
        with open(self.get_option("path"), "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
