# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The settings of an agent: all faults at once, before anything is started."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.errors import SettingsError
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.settings import find, load, parse
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Etcd

VOTER = {"name": "hv1", "address": "192.0.2.1"}
ETCD = {"endpoints": ["https://192.0.2.9:2379"]}
GOOD: dict[str, t.Any] = {
    "resource": "demo",
    "node_id": "demo-head-0",
    "candidates": ["demo-head-0", "demo-compute-0"],
    "voters": [VOTER, {"name": "hv2", "address": "192.0.2.2"}, {"name": "hv3", "address": "192.0.2.3"}],
    "private_key": "/etc/ensemble/agents/demo.key",
    "known_hosts": "/etc/ensemble/agents/demo.known_hosts",
}


def faults(raw: t.Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse(raw, "demo.json")
    assert caught.value.code == "invalid_settings"
    return sorted(fault["path"] for fault in caught.value.details["faults"])


def test_what_is_left_out_has_its_default() -> None:
    settings, warnings = parse(GOOD, "demo.json")
    assert warnings == []
    assert (settings.timings.ttl, settings.timings.op_timeout, settings.rank) == (15, 3, 0)
    assert (settings.yield_s, settings.interval, settings.command, settings.preempt) == (45, 60, (), False)
    assert settings.journal == "/var/lib/ensemble/agent/demo.events.jsonl"
    assert settings.voters[0].port == 22
    assert settings.reserve == pytest.approx(15 / 10 + 15 / 15)


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        ({"resource": "../etc"}, ["resource"]),
        ({"node_id": "a/b"}, ["node_id"]),
        ({"node_id": "elsewhere"}, ["node_id"]),
        ({"candidates": []}, ["candidates"]),
        ({"candidates": ["demo-head-0", "demo-head-0"]}, ["candidates[1]"]),
        ({"backend": "paper"}, ["backend"]),
        ({"ttl": 2}, ["ttl"]),
        ({"ttl": float("nan")}, ["ttl"]),
        ({"op_timeout": 6}, ["op_timeout"]),
        ({"term_grace": 3}, ["term_grace"]),
        ({"interval": 0}, ["interval"]),
        ({"yield_s": -1}, ["yield_s"]),
        ({"command": "ansible-playbook site.yml"}, ["command"]),
        ({"command": ["", "x"]}, ["command[0]"]),
        ({"command": ["x", 3]}, ["command[1]"]),
        ({"voters": None}, ["voters"]),
        ({"voters": [VOTER, VOTER, VOTER]}, ["voters[1].name", "voters[2].name"]),
        ({"voters": [VOTER, {**VOTER, "name": "hv2"}], "preempt": True}, ["preempt"]),
        ({"voters": [{**VOTER, "port": 0}]}, ["voters[0].port"]),
        ({"voters": [{**VOTER, "host_key": "trust me"}]}, ["voters[0].host_key"]),
        ({"voters": [{**VOTER, "password": "x"}]}, ["voters[0].password"]),
        ({"known_hosts": None}, ["known_hosts", "known_hosts", "known_hosts"]),
        ({"private_key": None}, ["private_key"]),
        ({"private_key": "relative"}, ["private_key"]),
        ({"epoch": 0}, ["epoch"]),
        ({"journal": "relative"}, ["journal"]),
        ({"comand": ["x"]}, ["comand"]),
        ({"backend": "etcd"}, ["etcd"]),
        ({"backend": "etcd", "etcd": {}}, ["etcd"]),
        ({"backend": "etcd", "etcd": "https://192.0.2.9:2379"}, ["etcd", "etcd.endpoints"]),
        ({"backend": "etcd", "etcd": {"endpoints": ["192.0.2.9"]}}, ["etcd.endpoints[0]"]),
        ({"backend": "etcd", "etcd": {**ETCD, "password": "x"}}, ["etcd.password"]),
        ({"backend": "etcd", "etcd": {**ETCD, "user": "ensemble"}}, ["etcd.user"]),
        ({"backend": "etcd", "etcd": ETCD, "private_key": None}, ["private_key"]),
        ({"ttl": 2, "epoch": "one", "backend": 3}, ["backend", "epoch", "ttl"]),
    ],
)
def test_every_fault_is_told_with_its_place(change: dict[str, t.Any], paths: list[str]) -> None:
    assert faults({**GOOD, **change}) == paths


def test_settings_are_a_mapping() -> None:
    assert "declaration" in faults([])


def test_an_even_number_of_voters_is_warned_of() -> None:
    _settings, warnings = parse({**GOOD, "voters": GOOD["voters"][:2]}, "demo.json")
    assert len(warnings) == 1
    assert "2 voters" in warnings[0]


def test_etcd_needs_neither_voters_nor_keys() -> None:
    raw = {key: GOOD[key] for key in ("resource", "node_id", "candidates")}
    settings, _warnings = parse({**raw, "backend": "etcd", "etcd": ETCD}, "x")
    assert settings.etcd == Etcd(("https://192.0.2.9:2379",))


def test_two_voters_that_only_keep_the_record_are_nothing_to_warn_of() -> None:
    two = {"voters": GOOD["voters"][:2], "preempt": True}
    assert parse({**GOOD, **two, "backend": "etcd", "etcd": ETCD}, "x")[1] == []


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Path]:
    """A settings file with its key."""
    key, hosts = tmp_path / "demo.key", tmp_path / "demo.known_hosts"
    key.write_text("a key\n")
    key.chmod(0o600)
    hosts.write_text("")
    path = tmp_path / "demo.json"
    path.write_text(json.dumps({**GOOD, "private_key": str(key), "known_hosts": str(hosts)}))
    return path, key


def test_a_sound_file_is_read(written: tuple[Path, Path]) -> None:
    assert load(str(written[0]))[0].resource == "demo"


@pytest.mark.parametrize("name", ["password_file", "client_key"])
def test_files_for_etcd_are_there_and_nobody_elses(written: tuple[Path, Path], name: str) -> None:
    secret, cert = written[0].parent / "secret", written[0].parent / "cert"
    more = {"password_file": {"user": "ensemble"}, "client_key": {"client_cert": str(cert)}}[name]
    raw = {**json.loads(written[0].read_text()), "backend": "etcd", "etcd": {**ETCD, name: str(secret), **more}}
    written[0].write_text(json.dumps(raw))
    cert.write_text("a certificate\n")
    with pytest.raises(SettingsError, match=rf"etcd\.{name}: found .*: No such file"):
        load(str(written[0]))
    secret.write_text("a secret\n")
    secret.chmod(0o640)
    with pytest.raises(SettingsError, match="mode 0640"):
        load(str(written[0]))
    secret.chmod(0o600)
    assert load(str(written[0]))[0].backend == "etcd"
    if name == "client_key":
        cert.unlink()
        with pytest.raises(SettingsError, match=r"etcd\.client_cert: .*cannot be read"):
            load(str(written[0]))


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_that_others_may_read_is_refused(written: tuple[Path, Path], mode: int) -> None:
    written[1].chmod(mode)
    with pytest.raises(SettingsError, match="0600"):
        load(str(written[0]))


def test_a_key_that_is_not_there_is_named(written: tuple[Path, Path]) -> None:
    written[1].unlink()
    with pytest.raises(SettingsError, match=r"private_key: found .*demo\.key: No such file"):
        load(str(written[0]))


def test_a_missing_known_hosts_is_named(written: tuple[Path, Path]) -> None:
    (written[0].parent / "demo.known_hosts").unlink()
    with pytest.raises(SettingsError, match="known_hosts"):
        load(str(written[0]))


@pytest.mark.parametrize("body", ["", "{", "\0\0\0"])
def test_a_file_that_is_no_json_is_named(tmp_path: Path, body: str) -> None:
    (tmp_path / "x.json").write_text(body)
    with pytest.raises(SettingsError, match=r"x\.json is no JSON"):
        load(str(tmp_path / "x.json"))


def test_the_only_settings_are_meant(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no candidate"):
        find(None, None, str(tmp_path))
    (tmp_path / "demo.json").touch()
    assert find(None, None, str(tmp_path)) == str(tmp_path / "demo.json")
    (tmp_path / "other.json").touch()
    with pytest.raises(SettingsError, match="demo, other"):
        find(None, None, str(tmp_path))
    assert find(None, "other", str(tmp_path)) == str(tmp_path / "other.json")
    assert find("/elsewhere", None, str(tmp_path)) == "/elsewhere"
