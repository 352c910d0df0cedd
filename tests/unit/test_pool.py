# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Sessions and the pool: one trip per batch, errors with their hypervisor, faults reported together."""

from __future__ import annotations

import json
import pathlib
import threading
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.observe import observe
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Hypervisor
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError, HypervisorError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.observed import Record
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import MAX_LINE
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.pool import Pool, in_parallel, raise_together
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.session import Session, Transport
from world import World

HYPERVISORS = tuple(Hypervisor(f"hv{n}", f"10.0.0.{n}") for n in range(1, 4))


class Canned(Transport):
    """Answers with what it was given, whatever is asked."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    def exchange(self, line: bytes, timeout: float) -> bytes:
        self.asked.append(line)
        return self.answer

    def close(self) -> None:
        pass


@pytest.fixture
def world(tmp_path: pathlib.Path) -> World:
    return World(tmp_path, HYPERVISORS)


def test_many_verbs_travel_in_one_trip(world: World) -> None:
    session = world.connect(HYPERVISORS[0])
    results = session.batch([{"verb": "hello"}, {"verb": "observe"}, {"verb": "nothing"}], 5.0, resource="demo")
    assert [result["ok"] for result in results] == [True, True, False]
    assert world.exchanges == 1


def test_a_request_is_one_line(world: World) -> None:
    transport = Canned(b'{"id": 1, "results": [{"ok": true, "value": 5}]}')
    assert Session("hv1", transport).call("x", 1.0, {"text": "a\nb"}, resource="demo") == 5
    [line] = transport.asked
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    assert json.loads(line) == {
        "protocol": 5,
        "id": 1,
        "verbs": [{"verb": "x", "text": "a\nb"}],
        "resource": "demo",
    }


def test_a_verbs_error_names_its_hypervisor(world: World) -> None:
    with pytest.raises(EnsembleError) as caught:
        world.connect(HYPERVISORS[1]).call(
            "start", 5.0, {"member": "m", "driver": "lxc"}, resource="demo", generation=1, token=[1, 1]
        )
    assert (caught.value.code, caught.value.details["hypervisor"]) == ("no_domain", "hv2")
    assert caught.value.msg.startswith("hv2: ")


def test_a_refused_batch_is_an_error(world: World) -> None:
    session = world.connect(HYPERVISORS[0])
    for token, code in (([1, 5], "no_domain"), ([1, 4], "stale_token")):
        with pytest.raises(EnsembleError) as caught:
            session.call("start", 5.0, {"member": "m", "driver": "lxc"}, resource="demo", generation=1, token=token)
        assert caught.value.code == code
    assert caught.value.details["highest"] == [1, 5]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"Last login: Monday",
        b"[]",
        b"7",
        b"null",
        b"{}",
        b'{"id": 2, "results": [{"ok": true, "value": 1}]}',
        b'{"id": 1}',
        b'{"id": 1, "results": []}',
        b'{"id": 1, "results": [{}, {}]}',
        b'{"id": 1, "results": null}',
        b'{"id": 1, "results": 7}',
        b'{"id": 1, "error": "words"}',
        b'{"id": 1, "error": null}',
        b"\xff\xfe",
    ],
)
def test_an_answer_that_makes_no_sense(answer: bytes) -> None:
    with pytest.raises(EnsembleError) as caught:
        Session("hv1", Canned(answer)).batch([{"verb": "hello"}], 1.0)
    assert (caught.value.code, isinstance(caught.value, HypervisorError)) == ("bad_answer", True)
    assert "hv1" in caught.value.msg


def test_a_batch_that_is_too_large_is_not_sent() -> None:
    transport = Canned(b"")
    with pytest.raises(HypervisorError, match="bytes"):
        Session("hv1", transport).batch([{"verb": "hello", "x": "y" * MAX_LINE}], 1.0)
    assert transport.asked == []


def test_a_pool_opens_and_closes_all(world: World) -> None:
    with Pool(HYPERVISORS, world.connect) as pool:
        assert sorted(pool.sessions) == ["hv1", "hv2", "hv3"]
        names = pool.each(lambda session: session.call("hello", 5.0)["hostname"])
        assert names == {"hv1": "hv1", "hv2": "hv2", "hv3": "hv3"}
        assert list(pool.each(lambda session: session.hypervisor, ["hv3", "hv1"])) == ["hv1", "hv3"]
        beside = pool.reconnect("hv2")
        assert beside is not pool.sessions["hv2"]
        beside.close()
    assert pool.sessions == {}
    assert all(transport.closed for transport in world.transports)


def test_hypervisors_that_cannot_be_reached_are_named_together(world: World) -> None:
    def connect(hypervisor: Hypervisor) -> Session:
        if hypervisor.name != "hv2":
            raise HypervisorError(f"{hypervisor.name} is away", code="no_access")
        return world.connect(hypervisor)

    with pytest.raises(EnsembleError) as caught, Pool(HYPERVISORS, connect):
        pytest.fail("the pool opened")
    assert caught.value.code == "no_access"
    assert "hv1 is away" in caught.value.msg
    assert "hv3 is away" in caught.value.msg
    assert [transport.closed for transport in world.transports] == [True]


def test_one_that_cannot_be_reached_keeps_its_own_error(world: World) -> None:
    def connect(hypervisor: Hypervisor) -> Session:
        raise HypervisorError(f"{hypervisor.name} is away", code="no_access", port=22)

    with pytest.raises(HypervisorError) as caught, Pool(HYPERVISORS[:1], connect):
        pytest.fail("the pool opened")
    assert caught.value.msg == "hv1 is away Nothing was changed."
    assert caught.value.details == {"port": 22}


def test_faults_of_several_hypervisors_are_one_error() -> None:
    errors = [EnsembleError("one", code="a", x=1), None, EnsembleError("two", code="b")]
    with pytest.raises(EnsembleError) as caught:
        raise_together(errors)
    assert (caught.value.msg, caught.value.code) == ("2 faults:\n  - one\n  - two", "a")
    assert [error["code"] for error in caught.value.details["errors"]] == ["a", "b"]
    with pytest.raises(EnsembleError, match=r"^one$"):
        raise_together(errors[:2])
    raise_together([None, 7])


def test_parallel_work_is_in_order_and_bounded() -> None:
    width, guard, inside, peak = 4, threading.Lock(), [0], [0]
    meeting = threading.Barrier(width)

    def work(number: int) -> int:
        with guard:
            inside[0] += 1
            peak[0] = max(peak[0], inside[0])
        meeting.wait()  # passes only while as many as allowed are at work
        with guard:
            inside[0] -= 1
        if number % 5 == 0:
            raise EnsembleError(f"no {number}")
        return number * number

    outcomes = in_parallel(work, range(20), width)
    assert peak[0] == width
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, EnsembleError) if number % 5 == 0 else outcome == number * number
    assert in_parallel(work, []) == []


def test_an_unexpected_error_is_not_swallowed() -> None:
    def work(_item: t.Any) -> t.NoReturn:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_parallel(work, [1, 2])


def test_one_trip_per_hypervisor_observes_all(world: World) -> None:
    world.drivers["hv1"].add_foreign("web")
    world.drivers["hv2"].add_foreign("other-m", {"resource": "other", "member": "m"})
    with Pool(HYPERVISORS, world.connect) as pool:
        seen = observe(pool, "demo", Record())
    assert world.exchanges == 3
    assert [hv.name for hv in seen.hypervisors] == ["hv1", "hv2", "hv3"]
    assert [hv.reserved_memory_mb for hv in seen.hypervisors] == [128, 128, 0]
    assert seen.record.version == 0
    assert seen.owned() == {}


def test_an_observation_that_fails_anywhere_is_none(world: World) -> None:
    def broken() -> list[dict[str, t.Any]]:
        raise EnsembleError("libvirtd is down", code="libvirt")

    for name in ("hv1", "hv3"):
        world.drivers[name].domains = broken  # type: ignore[method-assign]
    with Pool(HYPERVISORS, world.connect) as pool, pytest.raises(EnsembleError) as caught:
        observe(pool, "demo", Record())
    assert caught.value.code == "libvirt"
    assert "hv1: libvirtd is down" in caught.value.msg
    assert "hv3: libvirtd is down" in caught.value.msg
