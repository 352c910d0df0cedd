# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Each fault that the tests of the election use does what it says, and is over when it is over."""

from __future__ import annotations

import os
import re
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import faults
from harness.controller import Controller
from harness.faults import Member
from harness.lab import STATE, Hypervisor, Lab
from harness.probes import SSH, greeting, heard, here, reached, reached_all
from harness.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not os.environ.get("ENSEMBLE_TEST_FULL"), reason="the faults of the long suites; run: make test-full"
)

_CLOCKS = "import time; time.sleep(0.01); print(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic())"
UNIT = "lab-fault.service"


@pytest.fixture(scope="module")
def members(lab: Lab, controller: Controller) -> t.Iterator[list[Member]]:
    """Two members, on the first and the second hypervisor."""
    declaration = lab.declaration("faults", roles={"node": {"count": 2, "spread": "hypervisor"}})
    declaration["pool"] = declaration["pool"][:2]
    inventory = controller.write(declaration)
    try:
        run = controller.play("start", inventory)
        assert run.code == 0, run.output
        yield sorted((faults.find_member(lab, f"faults-node-{index}") for index in (0, 1)), key=lambda m: m.domain)
    finally:
        assert controller.play("remove", inventory).code == 0


@pytest.fixture
def folder(lab: Lab) -> t.Iterator[str]:
    """State of a resource that has some, on the first hypervisor."""
    hypervisor, name = lab.hypervisors[0], "broken"
    hypervisor.run("mkdir", "-m", "0700", f"{STATE}/{name}")
    hypervisor.run("tee", f"{STATE}/{name}/lease.json", stdin=b'{"term": 7}')
    hypervisor.run("touch", f"{STATE}/{name}/lease.json.lock")
    yield name
    hypervisor.run("rm", "-r", f"{STATE}/{name}")


@pytest.fixture
def service(members: list[Member]) -> t.Iterator[Member]:
    """A member with a service of two processes that tells its time again and again."""
    program = "import os, time\nif os.fork():\n os.wait()\nwhile True:\n"
    program += " open('/run/lab-fault.clock~', 'w').write(f'{time.time()} {time.monotonic()}')\n"
    program += " os.replace('/run/lab-fault.clock~', '/run/lab-fault.clock')\n time.sleep(0.02)\n"
    unit = "[Service]\nExecStart=/usr/bin/python3 /run/lab-fault.py\nKillMode=control-group\nTimeoutStopSec=2\n"
    member = members[0]
    member.run("tee", "/run/lab-fault.py", stdin=program.encode())
    member.run("tee", f"/run/systemd/system/{UNIT}", stdin=unit.encode())
    member.run("systemctl", "daemon-reload")
    member.run("systemctl", "start", UNIT)
    wait_until(lambda: len(member.pids(UNIT)) == 2, 5, "two processes of the service")
    yield member
    member.run("systemctl", "stop", UNIT)
    member.run("rm", f"/run/systemd/system/{UNIT}")


def test_one_way(lab: Lab) -> None:
    """A connection needs both ways, so datagrams tell."""
    one, other = lab.hypervisors[0], lab.witnesses[0]
    with faults.one_way(lab, one.address, other.address):
        assert heard(one, other) == (False, True)
        assert reached_all((one.run, other.address), (other.run, one.address)) == "nn"
    assert heard(one, other) == (True, True)
    assert reached_all((one.run, other.address), (other.run, one.address)) == "yy"


def test_halves_with_members_and_the_controller(lab: Lab, members: list[Member]) -> None:
    (hv1, hv2, hv3), (wit1, _wit2) = lab.hypervisors, lab.witnesses
    first, second = (member.address for member in members)
    questions = (
        (here, hv3.address),
        (here, second),
        (here, hv1.address),
        (hv1.run, hv3.address),
        (hv1.run, first),
        (hv1.run, second),
        (members[0].run, members[0].hypervisor.address),
        (members[0].run, second),
        (members[0].run, wit1.address),
        (members[1].run, hv3.address),
    )
    halves = [[lab.address(1), hv1.address, hv2.address, first], [second, hv3.address, wit1.address]]
    with faults.partition(lab, halves):
        assert reached_all(*questions) == "nnynynynny"
    assert reached_all(*questions) == "y" * 10


def test_a_ring(lab: Lab) -> None:
    """Of five each reaches two."""
    addresses = [one.address for one in lab.machines]
    with faults.ring(lab, addresses), ThreadPoolExecutor(5) as pool:
        seen = list(pool.map(lambda one: reached(one.run, *addresses), lab.machines))
    assert seen == ["yynny", "yyynn", "nyyyn", "nnyyy", "ynnyy"]
    assert reached(lab.machines[0].run, *addresses) == "yyyyy"


def test_isolated(lab: Lab, members: list[Member]) -> None:
    """A hypervisor that reaches only itself; its member stays reached."""
    hv2, hv3 = members[1].hypervisor, lab.hypervisors[2]
    with faults.isolate(lab, hv2.address):
        assert reached(hv2.run, hv2.address, hv3.address, lab.witnesses[1].address) == "ynn"
        assert reached(here, hv2.address, hv3.address, members[1].address) == "nyy"
        assert heard(hv2, hv3) == (False, False)
    assert reached(here, hv2.address) == "y"


@pytest.mark.parametrize("who", ["hypervisor", "member"])
def test_loss(lab: Lab, members: list[Member], who: str) -> None:
    """With 20 % lost each way 64 % of the echoes come back, and of 600 that many give or take five deviations."""
    address = lab.hypervisors[2].address if who == "hypervisor" else members[0].address

    def back(count: int) -> float:
        command = ("ping", "-q", "-n", "-c", str(count), "-i", "0.002", "-W", "1", address)
        found = re.search(r"(\d+) received", lab.hypervisors[1].run(*command, check=False))
        assert found is not None
        return int(found[1]) / count

    with faults.loss(lab, address, 20):
        assert 0.54 < back(600) < 0.74
    assert back(50) == 1.0


def test_a_long_line(lab: Lab) -> None:
    """SSH takes several trips; its greeting takes one."""
    hypervisor = lab.hypervisors[0]
    with faults.relay((hypervisor.address, SSH), there=0.1, back=0.3) as line:
        assert greeting(line.address, line.port) >= 0.3
        key = hypervisor_key(lab, hypervisor)
        known = f"[{line.address}]:{line.port} {key}\n"
        assert ssh(lab, line.address, line.port, known, "echo", "through") == "through\n"
        line.there = line.back = 0.0
        assert greeting(line.address, line.port) < 0.25
    with pytest.raises(ConnectionRefusedError):
        greeting(line.address, line.port)


def hypervisor_key(lab: Lab, hypervisor: Hypervisor) -> str:
    lines = (lab.folder / "known_hosts").read_text().splitlines()
    return next(line.split(" ", 1)[1] for line in lines if line.startswith(f"{hypervisor.address} "))


def ssh(lab: Lab, address: str, port: int, known: str, *argv: str) -> str:
    path = Path(lab.folder / "known_hosts.relay")
    path.write_text(known)
    options = [f"-oUserKnownHostsFile={path}", "-oBatchMode=yes", "-i", str(lab.folder / "id_ed25519"), "-p", str(port)]
    try:
        return here("ssh", *options, f"root@{address}", *argv)
    finally:
        path.unlink()


def test_processes_of_a_member_that_are_stopped_and_killed(service: Member) -> None:
    hypervisor, pids = service.hypervisor, service.pids(UNIT)

    def told() -> str:
        return service.run("cat", "/run/lab-fault.clock")

    with faults.stopped(hypervisor, *pids):
        assert faults.states(hypervisor, pids) == ["T", "T"]
        assert told() == told()
    before = told()
    wait_until(lambda: told() != before, 5, "a service that goes on")
    assert faults.pids_of_unit(hypervisor, UNIT) == []  # it is the member's
    assert service.run("systemctl", "show", "-p", "MainPID", "--value", UNIT).strip() == inner_pid(service, pids[0])
    faults.kill(hypervisor, *pids)
    assert service.pids(UNIT) == []


def inner_pid(member: Member, pid: int) -> str:
    """A process's number as its member knows it."""
    status = member.hypervisor.run("cat", f"/proc/{pid}/status")
    return next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1]


def test_a_process_that_is_gone_can_be_neither_stopped_nor_killed(lab: Lab) -> None:
    hypervisor = lab.hypervisors[0]
    with pytest.raises(RuntimeError, match="gone already"):
        faults.kill(hypervisor, 999999)
    with pytest.raises(RuntimeError, match="No such process"), faults.stopped(hypervisor, 999999):
        pytest.fail("it was stopped")


@pytest.mark.parametrize("members_too", [False, True])
def test_a_frozen_machine(service: Member, members_too: bool) -> None:
    address = service.address
    with faults.frozen(service.hypervisor, members=members_too):
        assert reached(here, service.hypervisor.address, address) == ("nn" if members_too else "ny")
    assert reached(here, service.hypervisor.address, address) == "yy"


def test_a_reboot_and_a_power_cut(lab: Lab) -> None:
    """A reboot empties /run; what lies on disks stays."""
    hypervisor, witness = lab.hypervisors[2], lab.witnesses[0]
    for machine in (hypervisor, witness):
        machine.run("mkdir", "-p", "/run/ensemble-lab-fault", f"{STATE}/kept")
    faults.reboot(hypervisor)
    with faults.powered_off(witness):
        assert reached(here, witness.address, hypervisor.address) == "ny"
    for machine in (hypervisor, witness):
        assert "ensemble-lab-fault" not in machine.run("ls", "/run").split()
        assert "kept" in machine.run("ls", STATE).split()
        machine.run("rmdir", f"{STATE}/kept")
    assert reached(here, witness.address) == "y"
    assert hypervisor.domains() == set()


def test_a_full_disk(lab: Lab, folder: str) -> None:
    """Nothing can be added; what is there can be read, and what came on the small disk is kept."""
    hypervisor, path = lab.hypervisors[0], f"{STATE}/{folder}"
    with faults.small_disk(hypervisor, folder):
        with faults.full_disk(hypervisor, folder):
            with pytest.raises(RuntimeError, match="No space left on device"):
                hypervisor.run("tee", f"{path}/more", stdin=b"x")
            assert hypervisor.run("cat", f"{path}/lease.json") == '{"term": 7}'
            hypervisor.run("rm", f"{path}/more")
        hypervisor.run("tee", f"{path}/lease.json", stdin=b'{"term": 8}')
        hypervisor.run("mkdir", f"{path}/new")
    assert hypervisor.run("cat", f"{path}/lease.json") == '{"term": 8}'
    assert hypervisor.run("ls", "-A", path).split() == ["lease.json", "lease.json.lock", "new"]
    assert hypervisor.run("stat", "-c", "%a", path).strip() == "700"
    assert path not in hypervisor.run("cat", "/proc/mounts")
    assert "ensemble-lab-disk" not in hypervisor.run("losetup", "--list")


def test_a_full_disk_under_members_that_run(members: list[Member]) -> None:
    hypervisor = members[0].hypervisor
    mounts = hypervisor.run("cat", "/proc/mounts")
    with faults.full_disk(hypervisor, "faults"):
        with pytest.raises(RuntimeError, match="No space left on device"):
            hypervisor.run("tee", f"{STATE}/faults/more", stdin=b"x")
        assert hypervisor.run("ls", f"{STATE}/faults/members").split() == ["node-0"]
        members[0].run("sh", "-c", "head -c 5000000 /dev/zero > /root/blob && sync")
    assert hypervisor.run("cat", "/proc/mounts") == mounts
    assert members[0].run("wc", "-c", "/root/blob").split()[0] == "5000000"


@pytest.mark.parametrize(("how", "content"), [("truncated", '{"ter'), ("garbage", None), ("zeroed", "\0" * 11)])
def test_broken_state(lab: Lab, folder: str, how: t.Any, content: str | None) -> None:
    """What is still broken at the end goes away; what was written meanwhile stays."""
    hypervisor, path = lab.hypervisors[0], f"{STATE}/{folder}/lease.json"

    def shown() -> str:
        return bytes.fromhex(hypervisor.run("od", "-An", "-v", "-tx1", path)).decode("latin1")

    with faults.corrupt(hypervisor, folder, "lease.json", how):
        assert shown() == content if content else len(shown()) == 11 and shown() != '{"term": 7}'
    assert "lease.json" not in hypervisor.run("ls", f"{STATE}/{folder}").split()
    hypervisor.run("tee", path, stdin=b'{"term": 7}')
    with faults.corrupt(hypervisor, folder, "lease.json", how):
        hypervisor.run("tee", path, stdin=b'{"term": 9}')
    assert shown() == '{"term": 9}'


@pytest.mark.parametrize(("offset", "seconds"), [("+1h", 3600), ("-1h", -3600)])
def test_a_host_program_with_another_wall_clock(lab: Lab, offset: str, seconds: int) -> None:
    """A program that tells its clocks stands for it."""
    hypervisor, program = lab.witnesses[0], "/run/lab-fault.clocks"
    hypervisor.run("install", "-m", "755", "/dev/stdin", program, stdin=f"#!/usr/bin/python3\n{_CLOCKS}\n".encode())

    def off() -> list[float]:
        """Wall clock, time since boot, monotonic time: seconds ahead of this machine's."""
        true = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic()
        return [float(word) - one for word, one in zip(hypervisor.run(program).split(), true)]

    with faults.host_program_clock(hypervisor, offset, program):
        assert off() == pytest.approx([seconds, 0, 0], abs=5)
    assert off() == pytest.approx([0, 0, 0], abs=5)
    assert [name for name in hypervisor.run("ls", "/run").split() if "clock" in name] == ["lab-fault.clocks"]


def test_a_service_whose_wall_clock_jumps(service: Member) -> None:
    def wait_off(minutes: int) -> None:
        """Until the wall clock is so far ahead of this machine's, and monotonic time is not."""

        def reached() -> bool:
            wall, monotonic = (float(word) for word in service.run("cat", "/run/lab-fault.clock").split())
            ahead = wall - time.time(), monotonic - time.monotonic()
            return [round(seconds / 60) for seconds in ahead] == [minutes, 0]

        wait_until(reached, 5, f"a wall clock that is {minutes} minutes ahead")

    with faults.agent_clock(service, UNIT) as clock:
        main = service.pids(UNIT)[0]
        for offset, minutes in (("+1h", 60), ("-1h", -60), ("+0", 0)):
            clock.jump(offset)
            wait_off(minutes)
        clock.jump("+1h")
        assert service.pids(UNIT)[0] == main
    wait_off(0)
    assert service.pids(UNIT)[0] != main
