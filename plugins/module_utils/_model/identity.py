# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Names, UUIDs, MAC addresses and digests, all derived from (resource, member).

The same declaration therefore gives the same machine on every run and every controller.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
import uuid

#: namespace of all UUIDs of this project (RFC 9562, version 5)
_NAMESPACE = uuid.UUID("6f0d3c0a-7f6b-5f0e-9f0f-3a9c2f6f1d10")

#: XML namespace of the ownership record in a domain's metadata
METADATA_NS = "https://ensemble.stacks/ns/member/1"

RESOURCE_NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")
ROLE_NAME = re.compile(r"[a-z][a-z0-9_]{0,29}")
MEMBER_NAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")
IMAGE_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")
#: a member's, as its resource calls it
HOST_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
TEMPLATE_NAME = IMAGE_NAME
BRIDGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")

#: words that mean something else where a resource's or a role's name would stand
RESERVED_NAMES = frozenset({"all", "ungrouped", "pool", "localhost", "images"})


def domain_name(resource: str, member: str) -> str:
    """The libvirt domain's name, which is the member's host name too."""
    return f"{resource}-{member}"


def member_of_role(role: str, index: int) -> str:
    """Name of a counted role's member; a host name has no underscore."""
    return f"{role.replace('_', '-')}-{index}"


def group_name(*parts: str) -> str:
    """An inventory group's name: only letters, digits and underscores are valid there."""
    return "_".join(parts).replace("-", "_")


def member_uuid(resource: str, member: str) -> str:
    """The domain's UUID (RFC 9562, version 5)."""
    return str(uuid.uuid5(_NAMESPACE, f"{resource}/{member}"))


def member_mac(resource: str, member: str) -> str:
    """A locally administered unicast MAC address: 40 bits of SHA-256 behind a fixed first octet."""
    digest = hashlib.sha256(f"{resource}/{member}".encode()).digest()
    return ":".join(f"{octet:02x}" for octet in (0x0E, *digest[:5]))


def canonical(value: t.Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest_of(value: t.Any) -> str:
    """SHA-256 (hexadecimal) of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
