# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Fields of the verbs that are mappings of their own."""

from __future__ import annotations

import typing as t

from .._model.declaration import MemberSpec
from .._model.identity import BRIDGE_NAME, IMAGE_NAME, TEMPLATE_NAME
from .._model.image import SHA256
from .._model.reader import Section


def read_spec(section: Section, drivers: t.Iterable[str]) -> MemberSpec:
    """The specification under the key `spec`."""
    raw = section.section("spec", "a member's specification")
    spec = MemberSpec(
        driver=raw.choice("driver", sorted(drivers)),
        image=raw.text("image", pattern=IMAGE_NAME, what="an image's name"),
        vcpus=raw.integer("vcpus", minimum=1, maximum=512),
        memory_mb=raw.integer("memory_mb", minimum=64, maximum=2**24),
        address=raw.address("address") or "",
        prefix=raw.integer("prefix", minimum=1, maximum=32),
        bridge=raw.text("bridge", pattern=BRIDGE_NAME, what="a bridge's name"),
        gateway=raw.address("gateway", None),
        dns=tuple(
            Section({"dns": v}, raw.path, raw.faults).address("dns") or "" for v in raw.items("dns", "addresses")
        ),
        image_checksum=raw.text("image_checksum", None, SHA256, "a SHA-256 in hexadecimal"),
        template=raw.text("template", None, TEMPLATE_NAME, "a template's name"),
    )
    raw.close()
    return spec
