# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The drivers that a declaration may name, and what each takes as an image."""

from __future__ import annotations

import typing as t

#: the driver of members on simulated hypervisors, and the format of their images, which are only names
SIM = "sim"

#: driver -> format of the images that its members start from
IMAGE_FORMATS: t.Mapping[str, str] = {"lxc": "tar", "qemu": "qcow2", SIM: SIM}

#: the driver of members that somebody else provides: reached, configured and watched, never made or destroyed
EXISTING = "existing"

#: what members of a real pool may be
DRIVERS = ("lxc", "qemu", EXISTING)

#: what a hypervisor says of a driver that works there; anything else is the reason why it does not
AVAILABLE = "ok"
