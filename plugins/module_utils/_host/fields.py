# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What requests carry: the parts that all verbs share, and fields that are mappings of their own."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._model.declaration import MemberSpec
from .._model.errors import EnsembleError, Fault
from .._model.identity import BRIDGE_NAME, IMAGE_NAME, TEMPLATE_NAME
from .._model.image import SHA256
from .._model.reader import Section
from .votes import boottime


@dataclass(frozen=True)
class Batch:
    """What all verbs of one request share.

    Attributes:
        arrived: CLOCK_BOOTTIME at which it came in, however long it waits then for another batch.
    """

    resource: str
    generation: int
    token: tuple[int, int]
    arrived: float = field(default_factory=boottime, compare=False)


def checked(section: Section) -> None:
    """Refuse the request when any field was wrong or unknown.

    Raises:
        EnsembleError: `invalid_request`.
    """
    section.close("verb")
    if section.faults:
        raise invalid(section.faults)


def invalid(faults: t.Sequence[Fault]) -> EnsembleError:
    """The error for faults in a request's fields."""
    return EnsembleError("; ".join(map(str, faults)), code="invalid_request")


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
