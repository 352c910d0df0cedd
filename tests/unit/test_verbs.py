# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The host program's verbs take typed fields only, and do with them what they say."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.serve import handle
from ansible_collections.ensemble.stacks.plugins.module_utils._host.verbs import Host
from ansible_collections.ensemble.stacks.plugins.module_utils._model.identity import digest_of
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import MEMBER_VERBS, MUTATING, PROTOCOL
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.keys import generate_key_pair
from declared import merged, parsed
from hypothesis import given
from hypothesis import strategies as st
from world import IMAGE, WatchedDriver, driver_of, host_at

PAIR = generate_key_pair()
SPEC = parsed().members[0].spec.as_dict()
VOTER = {"name": "hv1", "address": "10.0.0.1", "port": 22, "user": "root"}
SEED = {"host_key": PAIR.private, "host_key_public": PAIR.public, "authorized_keys": [PAIR.public]}
#: every verb with fields that are right
GOOD: dict[str, dict[str, t.Any]] = {
    "hello": {},
    "observe": {},
    "image_import": {"name": "node", "path": "/nowhere/node.tar", "checksum": "0" * 64},
    "image_status": {"name": "node", "format": "tar", "checksum": "0" * 64},
    "image_upload": {"format": "tar", "checksum": "0" * 64, "size": 5, "offset": 0, "data": "aGVsbG8="},
    "image_download": {"format": "tar", "checksum": "0" * 64, "url": "http://127.0.0.1:9/node.tar", "seconds": 1},
    "image_take": {"name": "node", "format": "tar", "checksum": "0" * 64},
    "image_prune": {"keep": ["node"], "check": True},
    "lease_read": {},
    "lease_request": {
        **{"epoch": 1, "term": 1, "session": "desk/1", "holder": "me@desk (pid 1)"},
        **{"ttl": 15.0, "founding": True},
    },
    "lease_release": {"session": "desk/1", "term": 1},
    "lease_wish": {"session": "laptop/1", "holder": "you@laptop (pid 2)", "person": True, "seconds": 20},
    "voter_join": {"epoch": 1, "term": 4, "ttl": 15.0},
    "record_read": {},
    "record_write": {"record": {"version": 1}},
    "secrets_read": {},
    "secrets_write": {"secrets": {"munge.key": "c2VjcmV0", "host_key/head-0": "x"}, "version": 1},
    "voters_write": {"self": "hv2", "voters": [VOTER], "epoch": 1, "backend": "quorum", "cluster": ""},
    "agent_key_write": {"key": PAIR.public},
    "forget": {},
    "prepare": {"member": "head-0", "spec": SPEC, "seed": SEED},
    "define": {"member": "head-0", "spec": SPEC, "roles": ["head"], "stateful": True, "autostart": True},
    "start": {"member": "head-0", "driver": "lxc"},
    "stop": {"member": "head-0", "driver": "lxc", "timeout": 5},
    "undefine": {"member": "head-0", "driver": "lxc"},
    "remove": {"member": "head-0", "driver": "lxc"},
    "keepalive": {"member_ttl": 60, "relocatable": ["compute-0"]},
    "sign": {"member": "head-0", "address": "10.0.0.50", "timeout": 1},
}
#: verb, what is laid over its good fields, and the path that is told
BAD: list[tuple[str, dict[str, t.Any], str]] = [
    ("keepalive", {"member_ttl": 29}, "member_ttl"),
    ("keepalive", {"member_ttl": -1}, "member_ttl"),
    ("keepalive", {"member_ttl": 86401}, "member_ttl"),
    ("keepalive", {"member_ttl": "60"}, "member_ttl"),
    ("keepalive", {"member_ttl": True}, "member_ttl"),
    ("keepalive", {"relocatable": "compute-0"}, "relocatable"),
    ("keepalive", {"relocatable": ["../x"]}, "relocatable[0]"),
    ("keepalive", {"relocatable": ["a", "a"]}, "relocatable[1]"),
    ("keepalive", {"all": True}, "all"),
    ("sign", {"member": "a b"}, "member"),
    ("sign", {"address": "example.org"}, "address"),
    ("sign", {"port": 0}, "port"),
    ("sign", {"timeout": 6}, "timeout"),
    ("sign", {"timeout": 0}, "timeout"),
    ("image_import", {"name": "../x"}, "name"),
    ("image_import", {"path": "node.tar"}, "path"),
    ("image_import", {"path": "/a b;c"}, "path"),
    ("image_import", {"checksum": "abc"}, "checksum"),
    ("image_status", {"name": "a/b"}, "name"),
    ("image_status", {"format": "raw"}, "format"),
    ("image_status", {"checksum": "../" * 20}, "checksum"),
    ("image_upload", {"checksum": "A" * 64}, "checksum"),
    ("image_upload", {"size": 0}, "size"),
    ("image_upload", {"offset": -1}, "offset"),
    ("image_upload", {"data": "no base64!"}, "data"),
    ("image_upload", {"data": ""}, "data"),
    ("image_upload", {"data": "AAAA" * (1400 * 1024)}, "data"),
    ("image_upload", {"path": "/etc/passwd"}, "path"),
    ("image_download", {"url": "file:///etc/shadow"}, "url"),
    ("image_download", {"url": "http://me:secret@host/x"}, "url"),
    ("image_download", {"url": "http://host/a b"}, "url"),
    ("image_download", {"seconds": 601}, "seconds"),
    ("image_take", {"checksum": None}, "checksum"),
    ("image_prune", {"keep": ["../x"]}, "keep[0]"),
    ("image_prune", {"check": "yes"}, "check"),
    ("lease_request", {"term": 0}, "term"),
    ("lease_request", {"term": "1"}, "term"),
    ("lease_request", {"term": True}, "term"),
    ("lease_request", {"session": None}, "session"),
    ("lease_request", {"session": "a b"}, "session"),
    ("lease_request", {"holder": "a\nb"}, "holder"),
    ("lease_request", {"ttl": 1}, "ttl"),
    ("lease_request", {"ttl": 2.9}, "ttl"),
    ("lease_request", {"ttl": 3601}, "ttl"),
    ("lease_request", {"ttl": "long"}, "ttl"),
    ("lease_request", {"epoch": None}, "epoch"),
    ("lease_request", {"epoch": 0}, "epoch"),
    ("lease_request", {"founding": "yes"}, "founding"),
    ("lease_wish", {"session": None}, "session"),
    ("lease_wish", {"holder": "a\nb"}, "holder"),
    ("lease_wish", {"person": 1}, "person"),
    ("lease_wish", {"seconds": 301}, "seconds"),
    ("lease_wish", {"seconds": -1}, "seconds"),
    ("voter_join", {"epoch": 0}, "epoch"),
    ("voter_join", {"term": None}, "term"),
    ("voter_join", {"ttl": 1}, "ttl"),
    ("voter_join", {"founding": 1}, "founding"),
    ("lease_release", {"session": 7}, "session"),
    ("lease_release", {"term": None}, "term"),
    ("lease_release", {"term": -1}, "term"),
    ("record_write", {"record": None}, "record"),
    ("record_write", {"record": [1]}, "record"),
    ("secrets_write", {"secrets": [1]}, "secrets"),
    ("secrets_write", {"secrets": {"../../etc/passwd": "x"}}, "secrets.../../etc/passwd"),
    ("secrets_write", {"secrets": {"a": 7}}, "secrets.a"),
    ("secrets_write", {"version": None}, "version"),
    ("secrets_write", {"version": 0}, "version"),
    ("agent_key_write", {"key": "no key"}, "key"),
    ("agent_key_write", {"key": 'command="x" ssh-ed25519 AAAA'}, "key"),
    ("agent_key_write", {"key": "ssh-ed25519 AAAA\nssh-rsa BBBB"}, "key"),
    ("agent_key_write", {"key": "ssh-ed25519 AAAA ensemble-agent:other"}, "key"),
    ("voters_write", {"epoch": None}, "epoch"),
    ("voters_write", {"epoch": 0}, "epoch"),
    ("voters_write", {"backend": "paxos"}, "backend"),
    ("voters_write", {"cluster": "a\nb"}, "cluster"),
    ("voters_write", {"self": "a b"}, "self"),
    ("voters_write", {"self": None}, "self"),
    ("voters_write", {"voters": []}, "voters"),
    ("voters_write", {"voters": {"hv1": VOTER}}, "voters"),
    ("voters_write", {"voters": ["hv1"]}, "voters[0]"),
    ("voters_write", {"voters": [VOTER, VOTER]}, "voters[1].name"),
    ("voters_write", {"voters": [{**VOTER, "address": "-oProxyCommand"}]}, "voters[0].address"),
    ("voters_write", {"voters": [{**VOTER, "address": "a b"}]}, "voters[0].address"),
    ("voters_write", {"voters": [{**VOTER, "port": 0}]}, "voters[0].port"),
    ("voters_write", {"voters": [{**VOTER, "user": "-l"}]}, "voters[0].user"),
    ("voters_write", {"voters": [{**VOTER, "key": "x"}]}, "voters[0].key"),
    ("prepare", {"seed": None}, "seed"),
    ("prepare", {"seed": {"host_key": "no key"}}, "seed.host_key"),
    ("prepare", {"seed": {"host_key_public": "no key"}}, "seed.host_key_public"),
    ("prepare", {"seed": {"authorized_keys": []}}, "seed.authorized_keys"),
    ("prepare", {"seed": {"authorized_keys": ['command="x" ssh-ed25519 AAAA']}}, "seed.authorized_keys[0]"),
    ("prepare", {"seed": {"authorized_keys": ["ssh-ed25519 AAAA\nssh-rsa BBBB"]}}, "seed.authorized_keys[0]"),
    ("prepare", {"seed": {"user_data": "x"}}, "seed.user_data"),
    ("prepare", {"spec": {"xml": "<domain/>"}}, "spec.xml"),
    ("define", {"spec": None}, "spec"),
    ("define", {"spec": {"driver": "qemu"}}, "spec.driver"),
    ("define", {"spec": {"image": "a/b"}}, "spec.image"),
    ("define", {"spec": {"image_checksum": "abc"}}, "spec.image_checksum"),
    ("define", {"spec": {"vcpus": 0}}, "spec.vcpus"),
    ("define", {"spec": {"memory_mb": "512"}}, "spec.memory_mb"),
    ("define", {"spec": {"address": "10.0.0.0/24"}}, "spec.address"),
    ("define", {"spec": {"prefix": 33}}, "spec.prefix"),
    ("define", {"spec": {"bridge": "br0 x"}}, "spec.bridge"),
    ("define", {"spec": {"gateway": "nowhere"}}, "spec.gateway"),
    ("define", {"spec": {"dns": ["nowhere"]}}, "spec.dns"),
    ("define", {"spec": {"dns": "10.0.0.1"}}, "spec.dns"),
    ("define", {"roles": ["He ad"]}, "roles[0]"),
    ("define", {"roles": "head"}, "roles"),
    ("define", {"stateful": "yes"}, "stateful"),
    ("define", {"autostart": 1}, "autostart"),
    ("start", {"member": "../head-0"}, "member"),
    ("start", {"member": None}, "member"),
    ("start", {"member": ["head-0"]}, "member"),
    ("start", {"driver": "qemu"}, "driver"),
    *((verb, {"driver": None}, "driver") for verb in ("start", "stop", "undefine", "remove")),
    ("stop", {"timeout": -1}, "timeout"),
    ("stop", {"timeout": 301}, "timeout"),
    ("stop", {"timeout": "soon"}, "timeout"),
    ("undefine", {"member": 7}, "member"),
    ("remove", {"member": "HEAD"}, "member"),
    *((verb, {"xml": "<domain/>"}, "xml") for verb in GOOD),
]


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    return host_at(tmp_path, "hv1")


@pytest.fixture
def driver(host: Host) -> WatchedDriver:
    return driver_of(host)


def ask(host: Host, verb: str, fields: t.Mapping[str, t.Any], term: int = 1) -> dict[str, t.Any]:
    """The one result of one verb."""
    request = {"protocol": PROTOCOL, "id": 1, "resource": "demo", "verbs": [{"verb": verb, **fields}]}
    if verb in MUTATING:
        request.update(generation=1, token=[1, term])
    answer = handle(host, json.dumps(request).encode() + b"\n")
    assert "error" not in answer, answer
    return t.cast("dict[str, t.Any]", answer["results"][0])


def value(host: Host, verb: str, **fields: t.Any) -> t.Any:
    result = ask(host, verb, fields or GOOD[verb])
    assert result["ok"], result
    return result["value"]


def test_the_table_knows_every_verb(host: Host) -> None:
    assert set(GOOD) == host.verbs
    assert host.verbs >= MUTATING >= MEMBER_VERBS


@pytest.mark.parametrize(("verb", "change", "path"), BAD, ids=str)
def test_a_wrong_field_is_named_and_nothing_is_done(
    host: Host, driver: WatchedDriver, verb: str, change: dict[str, t.Any], path: str
) -> None:
    result = ask(host, verb, merged(GOOD[verb], change))
    assert result["ok"] is False
    assert result["error"]["code"] == "invalid_request"
    assert f"{path}: found " in result["error"]["msg"]
    assert driver.calls == []


JUNK = st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.lists(st.integers(), max_size=2)


@given(st.sampled_from(sorted(GOOD)), st.dictionaries(st.text(max_size=4), JUNK, max_size=2), st.data())
def test_any_fields_are_answered(verb: str, extra: dict[str, t.Any], data: st.DataObject) -> None:
    host = host_at(pathlib.Path.home(), "hv1")
    fields = {**GOOD[verb], **extra}
    for name in GOOD[verb]:
        if data.draw(st.booleans()):
            fields[name] = data.draw(JUNK)
    if not extra and fields == GOOD[verb]:
        return
    result = ask(host, verb, fields) if "verb" not in extra and not verb.startswith("lease") else {"ok": True}
    assert result["ok"] or result["error"]["code"] != "failed"


def test_the_life_of_a_member(host: Host, driver: WatchedDriver) -> None:
    for verb in ("prepare", "define", "start"):
        assert value(host, verb) == {}
    seen = value(host, "observe")
    assert seen["hostname"] == "hv1"
    assert seen["images"] == {"node": {"tar": IMAGE}}
    disk = {"member": "head-0", "driver": "lxc", "prepared": True, "image": "node", "image_digest": IMAGE}
    assert seen["artefacts"] == [disk]
    [domain] = seen["domains"]
    assert (domain["name"], domain["state"]) == ("demo-head-0", "running")
    record = domain["record"]
    assert (record["resource"], record["member"], record["roles"]) == ("demo", "head-0", ["head"])
    assert (record["generation"], record["token"], record["stateful"]) == (1, [1, 1], True)
    assert record["autostart"] is True
    assert (record["image_digest"], record["spec"]) == (IMAGE, SPEC)
    assert record["digest"] == parsed().members[0].spec.digest
    assert driver.seeds["head-0"].authorized_keys == (PAIR.public,)
    assert value(host, "stop") == {"forced": False}
    for verb in ("undefine", "remove"):
        value(host, verb)
    assert (driver.domains(), driver.disks) == ([], {})


def test_define_needs_a_finished_disk(host: Host) -> None:
    assert ask(host, "define", GOOD["define"])["error"]["code"] == "not_prepared"


def test_the_lease_verbs(host: Host) -> None:
    assert value(host, "lease_read")["term"] == 0
    assert value(host, "lease_request")["granted"] is True
    assert value(host, "lease_read")["holder"] == "me@desk (pid 1)"
    wanted = {"session": "laptop/1", "holder": "you@laptop (pid 2)", "person": True}
    assert value(host, "lease_wish")["wanted"].items() > wanted.items()
    assert value(host, "lease_read")["wanted"].items() > wanted.items()
    assert value(host, "voter_join")["term"] == 1, "it has its memory"
    assert value(host, "lease_release")["session"] == ""


def test_a_voter_without_memory_is_given_it_back(host: Host) -> None:
    joined = value(host, "voter_join")
    assert (joined["blank"], joined["term"], joined["session"], joined["founding"]) == (False, 4, "", False)
    assert ask(host, "lease_request", {**GOOD["lease_request"], "term": 5})["value"]["reason"] == "founded"
    later = {**GOOD["lease_request"], "term": 5, "founding": False}
    assert ask(host, "lease_request", later)["value"]["reason"] == "abstains"


def test_the_agents_key_is_let_in_until_the_resource_is_forgotten(host: Host) -> None:
    assert value(host, "agent_key_write") == {"changed": True}
    assert value(host, "agent_key_write") == {"changed": False}
    assert value(host, "lease_read")["agent_key"] == PAIR.public
    value(host, "forget")
    assert value(host, "lease_read")["agent_key"] == ""


def test_the_record_and_the_secrets(host: Host) -> None:
    assert value(host, "record_read") == {}
    value(host, "record_write")
    assert value(host, "record_write") == {}, "the answer to the first attempt may have been lost"
    other = {"record": {"version": 1, "digest": "x"}}
    assert ask(host, "record_write", other)["error"]["code"] == "record_changed"
    assert value(host, "record_read") == {"version": 1, "token": [1, 1]}
    assert value(host, "secrets_read") == {}
    value(host, "secrets_write")
    assert value(host, "secrets_read") == {**GOOD["secrets_write"], "token": [1, 1]}
    value(host, "forget")
    assert value(host, "secrets_read") == {"secrets": {}, "version": 2, "token": [1, 1]}


def test_the_voters_are_known_by_their_digest_until_they_are_forgotten(host: Host) -> None:
    assert value(host, "observe")["voters"] == ""
    value(host, "voters_write")
    assert value(host, "observe")["voters"] == digest_of(GOOD["voters_write"])
    value(host, "forget")
    assert value(host, "observe")["voters"] == ""


def test_voters_that_are_corrupt_are_written_anew(host: Host) -> None:
    value(host, "voters_write")
    path = pathlib.Path(host.state) / "demo" / "voters.json"
    path.write_text("garbage")
    assert value(host, "observe")["voters"] == ""
    value(host, "voters_write")
    assert value(host, "observe")["voters"] == digest_of(GOOD["voters_write"])


def test_an_import_of_nothing(host: Host) -> None:
    assert ask(host, "image_import", GOOD["image_import"])["error"]["code"] == "no_image"
