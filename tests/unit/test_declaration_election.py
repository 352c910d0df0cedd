# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The section `election` of a declaration: who votes, how long a lease lasts, and what cannot hold."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import (
    Election,
    Hypervisor,
    default_voters,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import DeclarationError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from declared import Raw, faults_of, parsed, raw

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHyS4DhoPDqzQEQEAAGGPHx1lFEVPCm5sSmzLuGlmGeE"
W1 = {"name": "w1", "address": "10.0.0.201", "host_key": KEY}
W2 = {"name": "w2", "address": "10.0.0.202"}
W3 = {"name": "w3", "address": "10.0.0.203"}
ETCD = {"backend": "etcd", "endpoints": ["https://e1:2379", "https://e2:2379/"]}
BAD_URLS = ["e1:2379", 7, "https://u:p@e1:2379", "https://e1:2379/v3", "file:///etc", "https://"]


def pool_of(count: int) -> list[Raw]:
    return [{"name": f"hv{n}", "address": f"10.0.0.{n}"} for n in range(1, count + 1)]


def hypervisors(count: int) -> tuple[Hypervisor, ...]:
    return tuple(Hypervisor(f"hv{n}", f"10.0.0.{n}") for n in range(1, count + 1))


def faults(election: t.Any, pool: int = 3) -> list[str]:
    return sorted(faults_of(raw(pool=pool_of(pool), election=election)))


# -- who votes


@pytest.mark.parametrize(
    ("pool", "witnesses", "names"),
    [
        (1, 0, "hv1"),
        (2, 0, "hv1"),
        (3, 0, "hv1 hv2 hv3"),
        (4, 0, "hv1 hv2 hv3"),
        (5, 0, "hv1 hv2 hv3 hv4 hv5"),
        (9, 0, "hv1 hv2 hv3 hv4 hv5"),
        (1, 1, "hv1"),
        (1, 2, "hv1 w1 w2"),
        (2, 1, "hv1 hv2 w1"),
        (3, 1, "hv1 hv2 w1"),
        (4, 1, "hv1 hv2 hv3 hv4 w1"),
        (3, 2, "hv1 hv2 hv3 w1 w2"),
        (9, 1, "hv1 hv2 hv3 hv4 w1"),
        (1, 9, "hv1 w1 w2 w3 w4"),
    ],
)
def test_voters_by_default(pool: int, witnesses: int, names: str) -> None:
    extra = [Hypervisor(f"w{n}", f"10.0.1.{n}") for n in range(1, witnesses + 1)]
    found = default_voters(hypervisors(pool), extra)
    assert [voter.name for voter in found] == names.split()
    assert len(found) in (1, 3, 5)


def test_voters_that_are_named_in_their_order() -> None:
    resource = parsed(pool=pool_of(5), election={"voters": ["hv4", "w1", "hv1"], "witnesses": [W1]})
    assert [voter.name for voter in resource.voters] == ["hv4", "w1", "hv1"]
    witness = resource.election.witnesses[0]
    assert (witness.address, witness.host_key, witness.access.user) == ("10.0.0.201", KEY, "root")
    assert witness.name not in [host.name for host in resource.pool], "it carries no members"


def test_a_witness_is_reached_as_all_others_unless_it_says_so() -> None:
    witnesses = [{**W1, "ssh": {"port": 2222}}, W2]
    resource = parsed(ssh={"user": "ops", "port": 22}, election={"witnesses": witnesses})
    access = [witness.access for witness in resource.election.witnesses]
    assert [(one.user, one.port) for one in access] == [("ops", 2222), ("ops", 22)]


# -- defaults


def test_what_is_not_said() -> None:
    assert parsed().election == Election("quorum", 15.0, 3.0, False, 60.0, (), (), (), None)


@pytest.mark.parametrize(("ttl", "op_timeout"), [(3, 0.6), (6, 1.2), (15, 3.0), (60, 12.0)])
def test_a_question_may_take_a_fifth_of_the_lease(ttl: float, op_timeout: float) -> None:
    assert parsed(election={"ttl": ttl}).election.op_timeout == pytest.approx(op_timeout)


# -- faults


@pytest.mark.parametrize(
    ("election", "paths"),
    [
        ({"backend": "zookeeper"}, ["backend"]),
        ({"backend": ["quorum"]}, ["backend"]),
        ({"ttl": 2.9}, ["ttl"]),
        ({"ttl": 0}, ["ttl"]),
        ({"ttl": -15}, ["ttl"]),
        ({"ttl": 3601}, ["ttl"]),
        ({"ttl": "15"}, ["ttl"]),
        ({"ttl": True}, ["ttl"]),
        ({"ttl": float("nan")}, ["ttl"]),
        ({"op_timeout": 0.1}, ["op_timeout"]),
        ({"op_timeout": "fast"}, ["op_timeout"]),
        ({"ttl": 15, "op_timeout": 4.8}, ["op_timeout"]),
        ({"ttl": 15, "op_timeout": 4.75}, []),
        ({"ttl": 3, "op_timeout": 1}, ["op_timeout"]),
        ({"preempt": "yes"}, ["preempt"]),
        ({"preempt_delay": -1}, ["preempt_delay"]),
        ({"preempt": True, "preempt_delay": 0}, []),
        ({"voters": ["hv9"]}, ["voters"]),
        ({"voters": ["w1"]}, ["voters"]),
        ({"voters": ["hv1", "hv1"]}, ["voters[1]"]),
        ({"voters": ["h v"]}, ["voters[0]"]),
        ({"voters": "hv1"}, ["voters"]),
        ({"voters": ["hv1", "hv2"], "preempt": True}, ["preempt"]),
        ({"voters": ["hv1", "hv2", "hv3"], "preempt": True}, []),
        ({"witnesses": W1}, ["witnesses"]),
        ({"witnesses": ["w1"]}, ["witnesses[0]", "witnesses[0].address", "witnesses[0].name"]),
        ({"witnesses": [{"name": "w1"}]}, ["witnesses[0].address"]),
        ({"witnesses": [{**W1, "name": "hv1"}]}, ["witnesses[0].name"]),
        ({"witnesses": [W1, {**W2, "name": "w1"}]}, ["witnesses[1].name"]),
        ({"witnesses": [{**W1, "address": "10.0.0.2"}]}, ["witnesses[0].address"]),
        ({"witnesses": [W1, {**W2, "address": W1["address"]}]}, ["witnesses[1].address"]),
        ({"witnesses": [{**W1, "host_key": "no key"}]}, ["witnesses[0].host_key"]),
        ({"witnesses": [{**W1, "labels": {}}]}, ["witnesses[0].labels"]),
        ({"witnesses": [{**W1, "ssh": {"password": "x"}}]}, ["witnesses[0].ssh.password"]),
        ({"candidates": ["../x"]}, ["candidates[0]"]),
        ({"colour": "red"}, ["colour"]),
        ({"endpoints": ["https://e1:2379"]}, ["endpoints"]),
        ({"user": "me", "password_file": "pw"}, ["password_file", "user"]),
        (ETCD, []),
        ({"backend": "etcd"}, ["endpoints"]),
        ({**ETCD, "endpoints": []}, ["endpoints"]),
        ({**ETCD, "endpoints": BAD_URLS}, [f"endpoints[{n}]" for n in range(len(BAD_URLS))]),
        ({**ETCD, "user": "me"}, ["user"]),
        ({**ETCD, "password_file": "pw"}, ["user"]),
        ({**ETCD, "user": "me", "password_file": "pw"}, []),
        ({**ETCD, "password": "secret"}, ["password"]),
        ({**ETCD, "client_cert": "c"}, ["client_cert"]),
        ({**ETCD, "client_key": "k"}, ["client_cert"]),
        ({**ETCD, "client_cert": "c", "client_key": "k", "ca_cert": "ca"}, []),
        ({**ETCD, "ca_cert": 7}, ["ca_cert"]),
        ({**ETCD, "voters": ["hv1", "hv2"], "preempt": True}, []),
        ([], [""]),
        (7, [""]),
    ],
    ids=str,
)
def test_faults(election: t.Any, paths: list[str]) -> None:
    assert faults(election) == [f"election.{path}".rstrip(".") for path in paths]


def test_ten_voters_are_too_many() -> None:
    names = [f"hv{n}" for n in range(1, 11)]
    assert faults({"voters": names}, 10) == ["election.voters"]
    assert faults({"voters": names[:9]}, 10) == []


def test_a_fault_says_what_would_hold() -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_declaration(raw(election={"ttl": 6, "op_timeout": 3, "voters": ["hv7"]}))
    assert "8.2 s" in caught.value.msg
    assert "the lease lasts 6 s" in caught.value.msg
    assert "hv1, hv2" in caught.value.msg


# -- warnings


@pytest.mark.parametrize(
    ("pool", "election", "words"),
    [
        (2, {"voters": ["hv1", "hv2"]}, ["2 voters tolerate the loss of none", "witnesses"]),
        (4, {"voters": ["hv1", "hv2", "hv3", "hv4"]}, ["4 voters tolerate the loss of 1", "odd"]),
        (2, {"witnesses": [W1]}, []),
        (2, {}, []),
        (3, {}, []),
        (2, {**ETCD, "voters": ["hv1", "hv2"]}, []),
    ],
    ids=str,
)
def test_an_even_number_is_warned_of(pool: int, election: Raw, words: list[str]) -> None:
    warnings = parsed(pool=pool_of(pool), election=election).warnings
    assert len(warnings) == bool(words)
    for word in words:
        assert word in warnings[0]


# -- what two controllers must agree on


BASE = {"witnesses": [W1, W2], "ttl": 20}
SECURED = {**ETCD, "user": "me", "password_file": "pw", "ca_cert": "ca", "client_cert": "c", "client_key": "k"}
LOCAL = [
    (BASE, {**BASE, "witnesses": [{**W1, "ssh": {"private_key": "/home/me/key", "user": "me"}}, W2]}),
    *((SECURED, {**SECURED, key: "/elsewhere"}) for key in ("password_file", "ca_cert", "client_cert", "client_key")),
]
SHARED = [
    (BASE, {**BASE, "ttl": 21}),
    (BASE, {**BASE, "op_timeout": 2}),
    (BASE, {**BASE, "preempt": True}),
    (BASE, {**BASE, "voters": ["hv1", "hv2", "hv3"]}),
    (BASE, {**BASE, "witnesses": [W1, W3]}),
    (BASE, {**BASE, "witnesses": [{**W1, "address": "10.0.0.222"}, W2]}),
    (BASE, {**BASE, "candidates": ["head-0"]}),
    (SECURED, {**SECURED, "endpoints": ["https://e3:2379"]}),
    (SECURED, {**SECURED, "user": "you"}),
]


def digest(election: Raw) -> str:
    return parsed(pool=pool_of(3), election=election).digest


@pytest.mark.parametrize(("one", "other"), LOCAL, ids=range(len(LOCAL)))
def test_what_only_one_controller_needs_is_no_other_declaration(one: Raw, other: Raw) -> None:
    assert digest(one) == digest(other)


@pytest.mark.parametrize(("one", "other"), SHARED, ids=range(len(SHARED)))
def test_what_all_must_agree_on_is_another_declaration(one: Raw, other: Raw) -> None:
    assert digest(one) != digest(other)


def test_what_is_kept_of_it_on_the_voters_is_valid_again() -> None:
    resource = parsed(pool=pool_of(3), election=BASE)
    kept = dict(t.cast("dict[str, t.Any]", resource.content))
    kept["plugin"] = raw()["plugin"]
    kept["roles"] = dict(kept["roles"])
    again = parse_declaration(kept)
    assert (again.election, again.digest) == (resource.election, resource.digest)
