# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""After a hypervisor's boot: what is started, what is not, and why."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.boot import Boot, Found, decide, settled
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.base import Ownership
from ansible_collections.ensemble.stacks.plugins.module_utils._host.fence import alone, fenced
from ansible_collections.ensemble.stacks.plugins.module_utils._host.files import BusyError, read_json, write_json
from ansible_collections.ensemble.stacks.plugins.module_utils._host.verbs import Host
from ansible_collections.ensemble.stacks.plugins.module_utils._host.voters import VoterAddress, Voters, VotersFile
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError, HypervisorError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import Record
from declared import parsed
from world import WatchedDriver, driver_of, host_at

DEMO = parsed()
PLACES = {"head-0": "hv2", "compute-0": "hv2", "compute-1": "hv1"}
STARTED = Record(version=3, desired="started", declaration=DEMO.content, placement=PLACES)
DOWN = HypervisorError("no route to host")
ADDRESSES = {f"hv{n}": VoterAddress(f"hv{n}", f"10.0.0.{n}", 22, "root") for n in range(1, 6)}


def voters(*names: str, me: str = "hv2") -> Voters:
    return Voters(me, tuple(ADDRESSES[name] for name in names))


def found(member: str, state: str = "shutoff", autostart: t.Any = True, role: str = "compute") -> Found:
    record = {"resource": "demo", "member": member, "roles": [role], "autostart": autostart}
    return Found("lxc", state, record)


# -- whose record counts


@pytest.mark.parametrize(
    ("count", "answers", "version"),
    [
        (1, {"hv1": {"version": 4}}, 4),
        (1, {"hv1": {}}, 0),
        (1, {"hv1": DOWN}, None),
        (2, {"hv1": {"version": 4}, "hv2": DOWN}, None),
        (2, {"hv1": {"version": 4}, "hv2": {"version": 5}}, 5),
        (3, {"hv1": {"version": 4}, "hv2": {"version": 3}, "hv3": DOWN}, 4),
        (3, {"hv1": {}, "hv2": DOWN, "hv3": {"version": 1}}, 1),
        (3, {"hv1": {"version": 9}, "hv2": DOWN, "hv3": DOWN}, None),
        (4, {"hv1": {"version": 9}, "hv2": {"version": 9}, "hv3": DOWN, "hv4": DOWN}, None),
        (5, {"hv1": {"version": 1}, "hv2": {"version": 3}, "hv3": {"version": 2}, "hv4": DOWN, "hv5": DOWN}, 3),
    ],
    ids=str,
)
def test_the_newest_record_of_a_majority_counts(
    count: int, answers: dict[str, dict[str, t.Any] | EnsembleError], version: int | None
) -> None:
    record = settled(voters(*sorted(ADDRESSES)[:count]), answers)
    assert (record.version if record is not None else None) == version


# -- what is decided


@pytest.mark.parametrize(
    ("domain", "record", "why"),
    [
        (found("compute-0"), STARTED, ""),
        (found("compute-0", "crashed"), STARTED, ""),
        (found("compute-0", "running"), STARTED, "it is running"),
        (found("compute-0", "blocked"), STARTED, "it is blocked"),
        (found("compute-0", "paused"), STARTED, "it is paused"),
        (found("compute-0", "shutdown"), STARTED, "it is shutdown"),
        (found("compute-1"), STARTED, "it is placed on hv1 now"),
        (found("compute-2"), STARTED, "the resource has no such member any more"),
        (found("compute-0"), Record(version=4, desired="stopped", placement=PLACES), "the resource shall be stopped"),
        (found("compute-0"), Record(version=4, desired="absent"), "the resource shall be absent"),
        (found("compute-0"), Record(), "the resource shall be absent"),
    ],
)
def test_why_a_member_is_started_or_not(domain: Found, record: Record, why: str) -> None:
    [decision] = decide("hv2", [domain], record)
    assert (decision.start, decision.why) == (not why, why)


@pytest.mark.parametrize("autostart", [False, None, 1, "true"])
def test_a_member_without_autostart_is_none_of_our_business(autostart: t.Any) -> None:
    assert decide("hv2", [found("compute-0", autostart=autostart)], STARTED) == []
    assert decide("hv2", [Found("lxc", "shutoff", {"resource": "demo", "member": "compute-0"})], STARTED) == []


def test_roles_that_others_come_after_start_first() -> None:
    roles = {
        "web": {"count": 1, "after": ["database"]},
        "database": {"count": 1, "after": ["head"]},
        "compute": {"count": 1},
    }
    declared = parsed(roles=roles)
    members = {"compute-0": "compute", "web-0": "web", "database-0": "database", "head-0": "head"}
    record = Record(1, desired="started", declaration=declared.content, placement=dict.fromkeys(members, "hv2"))
    stored = Record.from_dict(json.loads(json.dumps(record.as_dict())))
    decisions = decide("hv2", [found(member, role=role) for member, role in members.items()], stored)
    assert [decision.member for decision in decisions] == ["head-0", "compute-0", "database-0", "web-0"]
    assert all(decision.start for decision in decisions)


def test_a_circle_in_a_stored_declaration_ends() -> None:
    circle = {"roles": [["head", {"after": ["compute"]}], ["compute", {"after": ["head", "gone"]}], ["web", None]]}
    record = Record(1, desired="started", declaration=circle, placement=PLACES)
    assert len(decide("hv2", [found("head-0", role="head"), found("compute-0")], record)) == 2


# -- on a machine


class Machine:
    """A hypervisor after its boot: two members of `demo` with autostart, and voters that answer as a test says."""

    def __init__(self, folder: pathlib.Path, *names: str) -> None:
        self.host: Host = host_at(folder, "hv2")
        self.driver: WatchedDriver = driver_of(self.host)
        self.state = pathlib.Path(self.host.state)
        self.lines: list[str] = []
        self.pauses: list[float] = []
        self.answers: dict[str, list[t.Any]] = {}
        self.asked: list[str] = []
        self.member("compute-0", ("compute",))
        self.member("head-0", ("head",))
        self.driver.calls.clear()
        VotersFile(str(self.state), "demo").write(voters(*names))

    def member(self, name: str, roles: tuple[str, ...], autostart: bool = True) -> None:
        spec = next(member.spec for member in DEMO.members if member.name == name)
        (self.state / "demo" / "members" / name).mkdir(parents=True)
        self.driver.prepare("demo", name, spec, t.cast("t.Any", None))
        self.driver.define(Ownership("demo", name, roles, 1, (1, 1), spec, "", False, autostart))

    def ask(self, voter: VoterAddress, resource: str) -> t.Mapping[str, t.Any]:
        """The next answer of a voter; its last one holds. It is asked under the resource's lock only."""
        with pytest.raises(BusyError), alone(str(self.state), resource, 0.0):
            pass
        self.asked.append(voter.name)
        left = self.answers[voter.name]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return t.cast("t.Mapping[str, t.Any]", answer)

    def boot(self, deadline: float = 60.0, pause: t.Callable[[float], None] | None = None) -> bool:
        drivers = {"lxc": self.driver}
        return Boot(drivers, str(self.state), self.lines.append, self.ask, pause or self.pause).run(deadline)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        assert len(self.pauses) < 9, self.lines

    @property
    def started(self) -> list[str]:
        return [member for verb, member in self.driver.calls if verb == "start"]


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path, "hv1")


def test_members_come_back_in_order(machine: Machine) -> None:
    machine.answers["hv1"] = [STARTED.as_dict()]
    assert machine.boot()
    assert machine.started == ["head-0", "compute-0"]
    assert machine.lines == ["demo/head-0: started", "demo/compute-0: started"]
    assert read_json(str(machine.state / "demo" / "fence.json")) is None


def test_a_second_run_asks_nobody(machine: Machine) -> None:
    machine.answers["hv1"] = [STARTED.as_dict()]
    assert machine.boot()
    machine.asked.clear()
    assert machine.boot()
    assert (machine.asked, len(machine.started)) == ([], 2)
    assert machine.lines[2:] == [
        "demo/compute-0: not started: it is running",
        "demo/head-0: not started: it is running",
    ]


def test_voters_that_boot_too_are_waited_for(machine: Machine) -> None:
    machine.answers["hv1"] = [DOWN, DOWN, STARTED.as_dict()]
    assert machine.boot()
    assert machine.started == ["head-0", "compute-0"]
    assert machine.pauses == [1.0, 2.0]
    assert machine.lines[0] == (
        "demo: undecided, trying again: 0 of 1 voters answered, 1 must; nothing was started (hv1: no route to host)"
    )
    assert len(machine.lines) == 3


def test_without_a_majority_nothing_starts_and_the_run_says_so(machine: Machine) -> None:
    machine.answers["hv1"] = [DOWN]
    assert not machine.boot(deadline=0.0)
    assert machine.started == []
    assert machine.lines == [
        "demo: undecided, no more attempts: 0 of 1 voters answered, 1 must; nothing was started (hv1: no route to host)"
    ]


def test_what_is_stopped_stays_so(machine: Machine) -> None:
    machine.answers["hv1"] = [Record(4, desired="stopped", placement=PLACES).as_dict()]
    assert machine.boot()
    assert machine.started == []


def test_a_voter_asks_itself_without_ssh(tmp_path: pathlib.Path) -> None:
    machine = Machine(tmp_path, "hv1", "hv2", "hv3")
    write_json(str(machine.state / "demo" / "record.json"), STARTED.as_dict())
    machine.answers.update(hv1=[DOWN], hv3=[Record(2, desired="stopped").as_dict()])
    assert machine.boot()
    assert sorted(machine.asked) == ["hv1", "hv3"]
    assert machine.started == ["head-0", "compute-0"]


def test_what_was_stopped_while_voters_booted_stays_so(machine: Machine) -> None:
    """A controller came in between two attempts: the lock was free for it, and what it recorded counts."""
    machine.answers["hv1"] = [DOWN, Record(4, desired="stopped", placement=PLACES).as_dict()]
    entered = []

    def controller(_seconds: float) -> None:
        with fenced(str(machine.state), "demo", (1, 7), 2, 0.0):
            entered.append(True)

    assert machine.boot(pause=controller)
    assert (entered, machine.started) == ([True], [])
    assert read_json(str(machine.state / "demo" / "fence.json")) == {"token": [1, 7], "generation": 2}


def test_a_member_that_somebody_started_meanwhile_is_left_alone(machine: Machine) -> None:
    def ask(voter: VoterAddress, resource: str) -> t.Mapping[str, t.Any]:
        machine.driver._turn(resource, "head-0", "running", "booted")
        return STARTED.as_dict()

    assert Boot({"lxc": machine.driver}, str(machine.state), machine.lines.append, ask, machine.pause).run(60.0)
    assert machine.started == ["compute-0"]


def test_a_member_that_does_not_start_holds_up_no_other_and_is_tried_again(machine: Machine) -> None:
    machine.answers["hv1"] = [STARTED.as_dict()]
    machine.driver.failing.add(("start", "head-0"))

    def mend(_seconds: float) -> None:
        assert machine.driver.domains()[0]["state"] == "running"
        machine.driver.failing.clear()

    assert machine.boot(pause=mend)
    assert machine.started == ["head-0", "compute-0", "head-0"]
    assert "demo: undecided, trying again: head-0 did not start: no start today" in machine.lines


def test_a_member_that_never_starts_fails_the_unit(machine: Machine) -> None:
    machine.answers["hv1"] = [STARTED.as_dict()]
    machine.driver.failing.add(("start", "head-0"))
    assert not machine.boot(deadline=0.0)
    assert machine.started == ["head-0", "compute-0"]


def test_a_hypervisor_that_was_told_of_no_voters_starts_nothing(machine: Machine) -> None:
    VotersFile(str(machine.state), "demo").forget()
    assert not machine.boot(deadline=0.0)
    assert (machine.started, machine.asked) == ([], [])
    assert "nobody has told this hypervisor who keeps the record" in machine.lines[0]


def test_an_answer_that_makes_no_sense_starts_nothing(machine: Machine) -> None:
    machine.answers["hv1"] = [{"version": 3, "desired": "started", "placement": 7}]
    assert not machine.boot(deadline=0.0)
    assert machine.started == []


def test_one_resource_does_not_wait_for_the_voters_of_another(machine: Machine) -> None:
    (machine.state / "lonely" / "members").mkdir(parents=True)
    spec = DEMO.members[0].spec
    machine.driver.prepare("lonely", "head-0", spec, t.cast("t.Any", None))
    machine.driver.define(Ownership("lonely", "head-0", ("head",), 1, (1, 1), spec, "", False, True))
    VotersFile(str(machine.state), "lonely").write(voters("hv3"))
    machine.answers.update(hv1=[STARTED.as_dict()], hv3=[DOWN])
    assert not machine.boot(deadline=0.0)
    assert machine.started == ["head-0", "compute-0"]
    assert [line for line in machine.lines if line.startswith("lonely: undecided")]


def test_a_driver_that_has_no_members_here_need_not_answer(machine: Machine) -> None:
    class Away(WatchedDriver):
        name = "qemu"
        holds: t.ClassVar[list[dict[str, t.Any]]] = []

        def artefacts(self, resource: str) -> list[dict[str, t.Any]]:
            return self.holds

        def domains(self) -> list[dict[str, t.Any]]:
            raise EnsembleError("no qemu here", code="libvirt")

    machine.answers["hv1"] = [STARTED.as_dict()]
    drivers = {"lxc": machine.driver, "qemu": Away(str(machine.state.parent / "away"))}
    assert Boot(drivers, str(machine.state), machine.lines.append, machine.ask, machine.pause).run(60.0)
    Away.holds.append({"member": "vm-0", "driver": "qemu", "prepared": True, "image": "node"})
    assert not Boot(drivers, str(machine.state), machine.lines.append, machine.ask).run(0.0)
    assert machine.lines[-1] == "demo: undecided, no more attempts: no qemu here"


@pytest.mark.parametrize("made", [True, False])
def test_a_machine_without_members_is_done_at_once(tmp_path: pathlib.Path, made: bool) -> None:
    state = tmp_path / "state"
    if made:
        (state / "images" / "names").mkdir(parents=True)
        (state / "demo").mkdir()
    lines: list[str] = []
    assert Boot({}, str(state), lines.append).run(0.0)
    assert lines == ["no resource has members here"]
