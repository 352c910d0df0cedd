# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The images of a whole declaration: one source for each name and format, whoever mentions it."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .declaration import Member
from .drivers import IMAGE_FORMATS, SIM
from .errors import Fault
from .image import ImageSource

Images = t.Dict[t.Tuple[str, str], ImageSource]


def resolve_images(members: t.Sequence[Member], faults: list[Fault]) -> tuple[tuple[Member, ...], Images]:
    """The members with the checksums of their images, and (name, format) -> source of each that has an origin.

    A member that only names an image gets the checksum which another place declares for it.
    """
    found: Images = {}
    for member in members:
        _note(member, found, faults)
    pinned = tuple(_pinned(member, found) for member in members)
    return pinned, {key: source for key, source in found.items() if source.origin is not None}


def _note(member: Member, found: Images, faults: list[Fault]) -> None:
    source, takes = member.image_source, IMAGE_FORMATS.get(member.spec.driver)
    if source is None or takes is None:
        return
    if source.format not in ("", takes) and takes != SIM:
        expected = f"{takes}, which driver {member.spec.driver} of member {member.name} takes"
        _once(faults, Fault(f"{source.place}.format", source.format, expected))
        return
    source = replace(source, format=takes)
    first = found.setdefault((source.name, takes), source)
    if first != source:
        expected = f"that of {first.place} ({_words(first)}), or another name"
        what = f"another source of image {source.name} as {takes} ({_words(source)})"
        _once(faults, Fault(source.place, what, expected))


def _words(source: ImageSource) -> str:
    checksum = f"sha256 {source.checksum[:12]}" if source.checksum else ""
    return ", ".join(filter(None, (source.origin, checksum))) or "no path, url or checksum"


def _pinned(member: Member, found: Images) -> Member:
    source = found.get((member.spec.image, IMAGE_FORMATS.get(member.spec.driver, "")))
    if source is None or source.checksum is None:
        return member
    return replace(member, spec=replace(member.spec, image_checksum=source.checksum))


def _once(faults: list[Fault], fault: Fault) -> None:
    """Note a fault, but not for each member of a role anew."""
    if not any(other.path == fault.path and other.found == fault.found for other in faults):
        faults.append(fault)
