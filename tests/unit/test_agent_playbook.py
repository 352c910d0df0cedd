# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The declaration as the voters keep it becomes the one that a member carries out: the same, reached in its own way."""

from __future__ import annotations

import json
import os
import pathlib
import sys
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._agent import playbook as module
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.errors import SettingsError
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.playbook import (
    Ended,
    Playbook,
    declared,
    fault_of,
    read_variables,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._agent.settings import Settings, parse
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.load import load_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._model.parse import parse_declaration
from declared import parsed

RAW: dict[str, t.Any] = {
    "resource": "demo",
    "node_id": "demo-head-0",
    "candidates": ["demo-head-0"],
    "ttl": 15,
    "voters": [{"name": "hv1", "address": "10.0.0.1", "port": 2222, "user": "ann"}],
    "hosts": [
        {"name": "hv1", "address": "10.0.0.1", "port": 2222, "user": "ann"},
        {"name": "hv2", "address": "10.0.0.2", "port": 22, "user": "root"},
        {"name": "w", "address": "10.0.0.9", "port": 2200, "user": "vote"},
    ],
    "private_key": "/etc/ensemble/agents/demo.key",
    "known_hosts": "/etc/ensemble/agents/demo.known_hosts",
}


def settings(**changes: t.Any) -> Settings:
    return parse({**RAW, **changes}, "test")[0]


def again(resource: Resource, **changes: t.Any) -> Resource:
    """As a member reads it, after the voters have kept it as JSON."""
    content = json.loads(json.dumps(resource.content))
    return parse_declaration(declared(content, settings(**changes)), "/var/lib/ensemble/agent/demo.resource.yml")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stack": "torque", "monitor": {"services": {"head": ["munge"]}, "interval": 3}},
        {"roles": {"compute": {"relocate": True, "removed": [1]}}, "overcommit": {"memory": 2.0}},
        {"election": {"ttl": 6, "witnesses": [{"name": "w", "address": "10.0.0.9", "ssh": {"port": 2200}}]}},
        {"ssh": {"user": "bob", "private_key": "~/.ssh/id"}, "known_hosts": "known_hosts"},
        {"defaults": {"image": {"name": "node", "path": "node.tar", "checksum": "a" * 64}}},
    ],
)
def test_it_is_the_same_declaration(changes: dict[str, t.Any]) -> None:
    resource = parsed(**changes)
    found = again(resource)
    assert found.digest == resource.digest
    assert found.content == resource.content
    assert [member.spec for member in found.members] == [member.spec for member in resource.members]


def test_hypervisors_are_reached_in_the_agents_own_way() -> None:
    found = again(parsed(election={"witnesses": [{"name": "w", "address": "10.0.0.9"}]}))
    ways = [(hv.access.user, hv.access.port) for hv in (*found.pool, *found.election.witnesses)]
    assert ways == [("ann", 2222), ("root", 22), ("vote", 2200)]
    assert {hv.access.private_key for hv in found.pool} == {RAW["private_key"]}
    assert found.known_hosts == RAW["known_hosts"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('fatal: [a-0]: FAILED! => {"changed": false, "msg": "no disk"}', "a-0: no disk"),
        ('fatal: [a-0 -> localhost]: FAILED! => {"msg": "no disk"}', "a-0: no disk"),
        ('failed: [a-0] (item=x) => {"msg": "no disk"}', "a-0: no disk"),
        ('fatal: [a-0]: FAILED! => {"rc": 1}', 'a-0: {"rc": 1}'),
        ("fatal: [a-0]: FAILED!", "a-0: FAILED!"),
        ("fatal: [a-0]: FAILED! => " + "x" * 1000, "a-0: " + "x" * 395),
        ("ok: [a-0]", None),
        ("", None),
    ],
)
def test_what_a_run_says_of_a_host_that_failed(line: str, fault: str | None) -> None:
    assert fault_of(line) == fault


def test_the_playbook_of_the_stack_runs_against_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The child sees the lease of the agent; the file is for root only."""
    note = tmp_path / "note"
    fake = tmp_path / "ansible"
    fake.mkdir()
    (fake / "__init__.py").touch()
    tell = f"open({str(note)!r}, 'w').write(json.dumps([sys.argv[1:], dict(os.environ)]))"
    refused = json.dumps({"changed": False, "msg": "Connection refused"})
    words = [f"fatal: [demo-head-0]: UNREACHABLE! => {refused}", "x"]
    words += ["fatal: [demo-compute-0]: FAILED! => {", '    "msg": "no disk"', "}", "{"]
    say = f"print(*{words!r}, sep=chr(10))"
    (fake / "__main__.py").write_text(f"import json, os, sys\n{tell}\n{say}\nsys.exit(4)\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(module, "write_cache", lambda *_args: None)
    monkeypatch.setenv("ENSEMBLE_FENCING_TOKEN", "1,7")
    resource = parsed(stack="torque")
    variables = tmp_path / "variables"
    variables.write_text(json.dumps({"demo-head-0": {"torque_users": [{"name": "ann", "uid": 2000}]}}))
    stale = tmp_path / "demo" / "host_vars" / "demo-compute-9.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    work = Playbook(settings(variables=str(variables)), str(tmp_path))
    assert work.run(resource, {}) == Ended(4, ("demo-head-0: Connection refused", "demo-compute-0: no disk"))
    assert capfd.readouterr().err.splitlines() == words, "its words are in the journal"
    command, environment = json.loads(note.read_text())
    path = tmp_path / "demo" / "resource.yml"
    assert command[:3] == ["playbook", "-i", str(path)]
    assert command[3].endswith("/playbooks/torque.yml")
    assert os.path.isfile(command[3])
    assert environment["ENSEMBLE_FENCING_TOKEN"] == "1,7"
    assert path.stat().st_mode & 0o777 == 0o600
    (beside,) = stale.parent.iterdir()
    assert (beside.name, beside.stat().st_mode & 0o777) == ("demo-head-0.json", 0o600)
    assert json.loads(beside.read_text()) == {"torque_users": [{"name": "ann", "uid": 2000}]}
    assert load_declaration(str(path)).digest == resource.digest


@pytest.mark.parametrize("text", ["", "[]", "7", '{"demo-head-0": 7}', '{"../x": {}}'])
def test_variables_that_make_no_sense_are_refused(tmp_path: pathlib.Path, text: str) -> None:
    path = tmp_path / "variables"
    path.write_text(text)
    with pytest.raises(SettingsError, match="Apply role convergence again"):
        read_variables(str(path))
    assert read_variables(None) == {}
