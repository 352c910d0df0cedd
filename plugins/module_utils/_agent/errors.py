# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What ends an agent, or never lets it begin."""

from __future__ import annotations

from .._model.errors import EnsembleError


class SettingsError(EnsembleError):
    """An agent cannot be run with its settings."""

    code = "invalid_settings"


class FatalError(EnsembleError):
    """The agent must end; the service manager or a person goes on from there."""

    code = "fatal"


class DuplicateNodeError(FatalError):
    """Two agents have the same node id; starting it again changes nothing."""

    code = "duplicate_node"


class StuckProcessError(FatalError):
    """A process of the command outlived SIGKILL (it hangs in the kernel): the lease must run out by itself."""

    code = "stuck_process"
