# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What etcd answers when it refuses, and which releases of it are warned of."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._election.etcd_api import Refused, Unanswered, refusal
from ansible_collections.ensemble.stacks.plugins.module_utils._election.etcd_versions import version_warning
from etcd_gateway import MemoryEtcd, lease_of, way
from voters import Clock


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ({"error": "no such lease", "message": "no such lease", "code": 5}, Refused, "no such lease"),
        ({"error": {"grpc_code": 14, "http_code": 503, "message": "no leader"}}, Unanswered, "no leader"),
        ({"code": 14, "message": "leader changed", "details": []}, Unanswered, "leader changed"),
        ({"code": 7, "message": "permission denied"}, Refused, "permission denied"),
        ({"error": "context deadline exceeded", "message": "", "code": 2}, Unanswered, "context deadline exceeded"),
        ({"error": "something"}, Unanswered, "something"),
    ],
)
def test_errors_of_all_gateways(answer: dict[str, t.Any], kind: type, words: str) -> None:
    error = refusal(answer)
    assert error.__class__ is kind
    assert error.msg == words


def test_no_error() -> None:
    assert refusal({"header": {"raft_term": "2"}}) is None


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("3.4.23", ["stopped for a while", "just being revoked", "CVE-2026-33413", "3.4.42"]),
        ("3.4.40", ["CVE-2026-33413"]),
        ("3.5.27", ["CVE-2026-33413", "3.5.28"]),
        ("v3.5.14-rc.1", ["just being revoked", "3.5.28"]),
        ("3.6.4", ["just being revoked", "3.6.9"]),
        ("3.3.25", ["older than the interface"]),
        ("3.4.42", []),
        ("3.5.28", []),
        ("3.6.9", []),
        ("3.7.0", []),
        ("", []),
    ],
)
def test_versions(version: str, words: list[str]) -> None:
    warning = version_warning(version)
    assert (warning is None) == (not words)
    assert all(word in (warning or "") for word in words)
    assert "stopped for a while" not in (warning or "") or version == "3.4.23"


def test_the_warning_of_the_cluster() -> None:
    etcd = MemoryEtcd(Clock())
    lease = lease_of(etcd, "a")
    assert "3.4.23" in (lease.warning() or "")
    way(lease).faults = ["lost"]
    assert lease.warning() is None
