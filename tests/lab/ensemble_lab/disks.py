# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A disk that boots, made as role image makes those of users."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from ensemble_lab.layout import CHECKOUT
from ensemble_lab.system import LabError, run

_PROGRAM = CHECKOUT / "roles/image/files/image_disk.py"
_SIZE_MB = 4096
_TIMEOUT = 600


def bootable(archive: Path, work: Path) -> Path:
    """Make ``disk.qcow2`` from a tar archive with a kernel and GRUB's parts. Raises LabError when a tool fails."""
    spec = importlib.util.spec_from_file_location("image_disk", _PROGRAM)
    if spec is None or spec.loader is None:
        raise LabError(f"{_PROGRAM}: cannot be loaded")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    try:
        return Path(program.bootable(_run, archive, work, _SIZE_MB))
    except program.DiskError as error:
        raise LabError(str(error)) from error


def _run(command: Sequence[str], text_in: str = "") -> None:
    run(command, text_in=text_in, timeout=_TIMEOUT)
