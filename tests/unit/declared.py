# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Declarations to start from."""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import DeclarationError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import PLUGIN_NAME, parse_declaration

Raw = t.Dict[str, t.Any]

#: two hypervisors, a head and two compute members behind it
BASE: Raw = {
    "plugin": PLUGIN_NAME,
    "name": "demo",
    "pool": [
        {"name": "hv1", "address": "10.0.0.1", "capacity": {"memory_mb": 4096, "vcpus": 4}, "labels": {"rack": "a"}},
        {"name": "hv2", "address": "10.0.0.2", "capacity": {"memory_mb": 4096, "vcpus": 4}, "labels": {"rack": "b"}},
    ],
    "defaults": {"image": "node", "memory_mb": 512},
    "network": {"bridge": "br0", "cidr": "10.0.0.0/24", "range": "10.0.0.50-10.0.0.149", "gateway": "10.0.0.254"},
    "roles": {"head": {"count": 1}, "compute": {"count": 2, "after": ["head"], "spread": "hypervisor"}},
}

#: the named members of the design's example
NAMED: Raw = {
    **BASE,
    "name": "platform",
    "network": {"bridge": "br0", "cidr": "172.30.0.0/24"},
    "members": {
        "m1": {"address": "172.30.0.60", "image": "platform", "memory_mb": 1024, "hypervisor": "hv2"},
        "m2": {"address": "172.30.0.61"},
    },
    "roles": {"master": {"members": ["m1"]}, "appengine": {"members": ["m1", "m2"]}},
}


def merged(base: t.Any, change: t.Any) -> t.Any:
    """`base` with the mappings of `change` laid over it; a value of None removes its key."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return copy.deepcopy(change)
    result = {key: copy.deepcopy(value) for key, value in base.items() if change.get(key, ...) is not None}
    for key, value in change.items():
        if value is not None:
            result[key] = merged(base.get(key), value)
    return result


def raw(**changes: t.Any) -> Raw:
    """The base declaration with changes."""
    return t.cast(Raw, merged(BASE, changes))


def parsed(**changes: t.Any) -> Resource:
    """The base declaration with changes, validated."""
    return parse_declaration(raw(**changes))


def faults_of(data: t.Any) -> list[str]:
    """The paths of the faults of a declaration; empty when it is valid."""
    try:
        parse_declaration(data)
    except DeclarationError as error:
        return [fault.path for fault in error.faults]
    return []
