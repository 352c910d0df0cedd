# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What role `hypervisor` tells the host program about its machine."""

from __future__ import annotations

import json
from dataclasses import dataclass

from .._model.errors import EnsembleError

SETTINGS_FILE = "/etc/ensemble/host.json"


@dataclass(frozen=True)
class Settings:
    """What the machine's administrator has said.

    Attributes:
        partition: the libvirt resource partition of every domain, empty for libvirt's own default.
        witness: this host only votes.
        authorized_keys: the file in which the agents' keys are kept.
    """

    partition: str = ""
    witness: bool = False
    authorized_keys: str = "~/.ssh/authorized_keys"


def read_settings(path: str = SETTINGS_FILE) -> Settings:
    """The settings, or the defaults where there is no file.

    Raises:
        EnsembleError: `bad_settings`, the file is no JSON object of the known keys.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            return Settings(**json.load(stream))
    except FileNotFoundError:
        return Settings()
    except (ValueError, TypeError) as error:
        raise EnsembleError(f"{path}: {error}. Run playbooks/pool.yml again.", code="bad_settings") from error
