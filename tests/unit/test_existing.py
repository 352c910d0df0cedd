# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Members that somebody else provides: declared by name, never made or destroyed; their services come and go."""

from __future__ import annotations

import json
import pathlib
import shlex
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.credentials import (
    cache_dir,
    missing_secrets,
    write_cache,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.observe import hypervisor_from
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.report import hypervisor_facts, observed_members
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Resource
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError, HypervisorError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import Observation, ObservedHypervisor
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.start import plan_started
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.stop import plan_absent, plan_stopped
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.wishes import Wishes
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.existing import MachineTransport
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session
from declared import faults_of, parsed, raw
from simulator import IMAGES, after

KEY = "ssh-ed25519 " + "A" * 68
DESK: dict[str, t.Any] = {"driver": "existing", "address": "192.0.2.7", "ssh": {"user": "ops", "port": 2222}}
CHANGES: dict[str, t.Any] = {
    "members": {"desk": {**DESK, "host_key": KEY}},
    "roles": {"compute": None, "front": {"members": ["desk"], "after": ["head"]}},
    "monitor": {"services": {"front": ["nginx", "web@1"]}},
}


@pytest.fixture
def resource() -> Resource:
    return parsed(**CHANGES)


class FakeChannel:
    """Answers systemctl as a machine with these units would."""

    def __init__(self, client: FakeClient) -> None:
        self._client = client
        self._out = b""
        self._code = 0

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def exec_command(self, command: str) -> None:
        self._out, self._code = self._client.answer(shlex.split(command))

    def recv(self, size: int) -> bytes:
        found, self._out = self._out, b""
        return found

    def recv_stderr(self, size: int) -> bytes:
        return b""

    def recv_exit_status(self) -> int:
        return self._code


class FakeClient:
    """A machine: unit -> its state, for those that are installed."""

    def __init__(self, units: dict[str, str]) -> None:
        self.units = units
        self.calls: list[list[str]] = []
        self.fails = False

    def get_transport(self) -> FakeClient:
        return self

    def open_session(self, timeout: float) -> FakeChannel:
        return FakeChannel(self)

    def close(self) -> None:
        pass

    def answer(self, argv: list[str]) -> tuple[bytes, int]:
        assert argv[:4] == ["sudo", "-n", "systemctl", "--no-pager"]
        verb, units = argv[4], argv[argv.index("--") + 1 :]
        self.calls.append([verb, *units])
        if verb == "show":
            blocks = [
                f"Id={unit}.service\nLoadState={'loaded' if unit in self.units else 'not-found'}\n"
                f"ActiveState={self.units.get(unit, 'inactive')}\n"
                for unit in units
            ]
            return "\n".join(blocks).encode(), 0
        if self.fails:
            return b"", 1
        self.units.update(dict.fromkeys(units, "active" if verb == "start" else "inactive"))
        return b"", 0


def session(resource: Resource, client: FakeClient) -> Session:
    member, machine = resource.machines["demo-desk"]
    return Session(machine.name, MachineTransport(resource, member, machine, client))


def observed(resource: Resource, client: FakeClient) -> Observation:
    """The pool, empty, and the machine as it answers."""
    answer = session(resource, client).call("observe", 5.0, resource="demo")
    pool = [ObservedHypervisor(hv.name, 4096, 4, dict(IMAGES)) for hv in resource.pool]
    return Observation("demo", (*pool, hypervisor_from("demo-desk", "demo", answer)))


def verbs(plan: t.Any) -> list[str]:
    return [f"{action.wave} {action.verb} {action.member}" for action in plan.actions if action.member == "desk"]


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ({}, []),
        ({"nginx": "active", "web@1": "reloading"}, []),
        ({"nginx": "active"}, []),
        ({"nginx": "active", "web@1": "failed"}, ["1 start desk"]),
        ({"nginx": "inactive"}, ["1 start desk"]),
    ],
    ids=["nothing installed", "all up", "one is not installed", "one failed", "one is down"],
)
def test_started_means_that_its_services_run(resource: Resource, units: dict[str, str], expected: list[str]) -> None:
    client = FakeClient(units)
    plan = plan_started(resource, observed(resource, client))
    assert verbs(plan) == expected
    for action in plan.actions:
        if action.member == "desk":
            session(resource, client).call(action.verb, 5.0, {"member": "desk", **action.args}, resource="demo")
    assert verbs(plan_started(resource, observed(resource, client))) == []
    assert client.calls[-1] == ["show", "nginx", "web@1"]
    started = [call for call in client.calls if call[0] == "start"]
    assert started == ([["start", *units]] if expected else [])


def test_stopped_and_absent_stop_its_services_and_remove_nothing(resource: Resource) -> None:
    client = FakeClient({"nginx": "active"})
    seen = observed(resource, client)
    assert verbs(plan_stopped(seen)) == ["0 stop desk"]
    assert verbs(plan_absent(seen, ())) == ["0 stop desk"]
    session(resource, client).call("stop", 5.0, {"member": "desk", "timeout": 60}, resource="demo")
    session(resource, client).call("forget", 5.0, resource="demo")
    stopped = observed(resource, client)
    assert verbs(plan_stopped(stopped)) == verbs(plan_absent(stopped, ())) == []
    bare = observed(resource, FakeClient({}))
    assert verbs(plan_stopped(bare)) == verbs(plan_absent(bare, ())) == []


def test_a_machine_of_which_a_part_runs_is_stopped_and_started(resource: Resource) -> None:
    client = FakeClient({"nginx": "active", "web@1": "failed"})
    assert verbs(plan_stopped(observed(resource, client))) == ["0 stop desk"]
    assert verbs(plan_started(resource, observed(resource, client))) == ["1 start desk"]


def test_a_service_that_does_not_start_fails_with_the_machine_named(resource: Resource) -> None:
    client = FakeClient({"nginx": "inactive"})
    client.fails = True
    with pytest.raises(EnsembleError, match=r"demo-desk: .*start -- nginx: exit 1") as caught:
        session(resource, client).call("start", 5.0, {"member": "desk"}, resource="demo")
    assert caught.value.code == "service_failed"


def test_a_machine_that_does_not_answer_is_not_taken_for_gone(resource: Resource) -> None:
    seen = observed(resource, FakeClient({}))
    silent = replace(seen, hypervisors=seen.hypervisors[:-1], silent={"demo-desk": "demo-desk does not answer."})
    with pytest.raises(HypervisorError, match="demo-desk does not answer"):
        plan_started(resource, silent)
    less = parsed(**{**CHANGES, "roles": {**CHANGES["roles"], "front": {"members": ["desk"], "min_count": 0}}})
    assert plan_started(less, silent).missing == {"desk": "demo-desk does not answer"}


def test_the_record_and_the_next_plan_know_where_it_is(resource: Resource) -> None:
    seen = observed(resource, FakeClient({"nginx": "active"}))
    plan = plan_started(resource, seen)
    assert plan.record is not None
    assert plan.record.placement["desk"] == "demo-desk"
    again = plan_started(resource, after(plan, seen))
    assert (again.actions, again.record) == ((), None)


def test_it_cannot_be_replaced_or_removed_by_name(resource: Resource) -> None:
    seen = observed(resource, FakeClient({}))
    for wishes, code in ((Wishes(replace=("desk",)), "unknown_member"), (Wishes(remove=("desk",)), "last_member")):
        with pytest.raises(EnsembleError) as caught:
            plan_started(resource, seen, wishes)
        assert caught.value.code in (code, "named_member")


def test_it_is_told_as_a_member_and_not_as_a_hypervisor(resource: Resource) -> None:
    seen = observed(resource, FakeClient({}))
    desk = next(entry for entry in observed_members(seen, resource) if entry["member"] == "desk")
    assert (desk["state"], desk["driver"], desk["address"]) == ("running", "existing", "192.0.2.7")
    assert [entry["name"] for entry in hypervisor_facts(seen)] == ["hv1", "hv2"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"roles": {"compute": {"driver": "existing"}}}, "roles.compute.driver"),
        ({"members": {"desk": {**DESK, "hypervisor": "hv1"}}}, "members.desk.hypervisor"),
        ({"members": {"desk": {"driver": "existing"}}}, "members.desk.address"),
        ({"members": {"desk": {**DESK, "driver": "lxc", "address": "10.0.0.9"}}}, "members.desk.ssh"),
        ({"members": {"desk": {**DESK, "ssh": {"usr": "x"}}}}, "members.desk.ssh.usr"),
        ({"members": {"desk": {**DESK, "host_key": "no key"}}}, "members.desk.host_key"),
    ],
)
def test_faults(change: dict[str, t.Any], path: str) -> None:
    declared = raw(**{**CHANGES, **change}) if "members" in change else raw(**change)
    assert path in faults_of(declared)


def test_controllers_may_reach_it_differently(resource: Resource) -> None:
    other = {**CHANGES["members"]["desk"], "ssh": {"user": "me", "private_key": "~/.ssh/mine"}}
    assert parsed(**{**CHANGES, "members": {"desk": other}}).digest == resource.digest


def test_it_gets_no_key_of_ours(resource: Resource, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    secrets = missing_secrets(resource, {})
    assert set(secrets) == {"member_key", "host_key/head-0"}
    write_cache(resource, secrets)
    folder = pathlib.Path(cache_dir("demo"))
    assert f"[192.0.2.7]:2222 {KEY}\n" in (folder / "known_hosts").read_text()
    entry = (folder / "ssh_config").read_text().split("Host *")[0]
    assert "Host demo-desk desk\n  HostName 192.0.2.7\n  User ops\n  Port 2222\n" in entry
    assert json.dumps(secrets["member_key"]) not in entry
