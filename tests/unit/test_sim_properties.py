# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Whatever goes wrong wherever: no member is ever there twice, and the first run after it ends as declared."""

from __future__ import annotations

import pathlib
import tempfile
import time
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.records import Records
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import MUTATING
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Simulated

HYPERVISORS = ("hv1", "hv2", "hv3")
STATES = st.sampled_from(["started", "stopped", "absent", "grown"])
VERBS = sorted(MUTATING | {"observe", "record_read", "secrets_read", "lease_read", "lease_request", "lease_release"})
#: a trip that is a little late, and one that no deadline waits for
LATE_MS = (10, 3_600_000)
GROWN = {"compute": {"count": 4}}


@st.composite
def faults(draw: st.DrawFn) -> dict[str, t.Any]:
    """Something that goes wrong at one hypervisor, at some trip, once or from then on."""
    kind = draw(st.sampled_from(["down", "slow", "failing_verb", "lost_reply"]))
    fault: dict[str, t.Any] = {"kind": kind, "after": draw(st.integers(0, 12))}
    if draw(st.booleans()):
        fault["times"] = draw(st.integers(1, 2))
    if kind == "slow":
        fault["ms"] = draw(st.sampled_from(LATE_MS))
    if kind == "failing_verb":
        fault["verb"] = draw(st.sampled_from(VERBS))
        fault["member"] = draw(st.sampled_from(["", "head-0", "compute-1", "compute-3"]))
    return fault


TROUBLES = st.dictionaries(st.sampled_from(HYPERVISORS), st.lists(faults(), min_size=1, max_size=2), max_size=3)


class Story:
    """Runs on one simulated pool; the clock of the leases moves on after each."""

    def __init__(self, base: pathlib.Path, patch: pytest.MonkeyPatch) -> None:
        self.pools = {"started": Simulated(base), "grown": Simulated(base, roles=GROWN)}
        self.ahead = 0.0
        real = time.clock_gettime
        patch.setattr(time, "clock_gettime", lambda clock: real(clock) + self.ahead)

    def pool(self, state: str) -> Simulated:
        return self.pools["grown" if state == "grown" else "started"]

    def run(self, state: str) -> t.Any:
        try:
            return self.pool(state).run("started" if state == "grown" else state)
        finally:
            self.ahead += 100.0  # a lease that could not be given back ends by itself

    def troubled(self, state: str, troubles: t.Mapping[str, t.Sequence[dict[str, t.Any]]]) -> None:
        """A run that may fail; whatever it leaves, nothing is there twice."""
        pool = self.pool(state)
        pool.mend()
        for hypervisor, found in troubles.items():
            pool.faults(hypervisor, *found)
        code = ""
        try:
            self.run(state)
        except EnsembleError as error:
            code = error.code
        assert code not in ("internal", "failed", "corrupt_state")
        pool.left()

    def judge(self, state: str) -> None:
        """Nothing is wrong any more: one run ends as declared, one more has nothing to do."""
        pool = self.pool(state)
        pool.mend()
        self.run(state)
        states, disks = pool.states(), pool.disks()
        if state == "absent":
            assert pool.left() == {}
            for hypervisor in HYPERVISORS:
                assert Records(str(pool.folder / hypervisor / "state"), "demo").secrets().get("secrets", {}) == {}
        else:
            assert {f"demo-{member}" for member, whole in disks.items() if whole} >= set(states)
        if state in self.pools:
            assert {name: states[name] for name in pool.names()} == dict.fromkeys(pool.names(), "running")
        if state == "stopped":
            assert set(states.values()) <= {"shutoff"}
        again = self.run(state)
        assert (again.plan.actions, again.plan.record, again.plan.forget) == ((), None, False)


@given(st.lists(st.tuples(STATES, TROUBLES), min_size=1, max_size=3), STATES)
@settings(max_examples=80)
def test_after_any_trouble_the_next_run_ends_as_declared(
    troubles: list[tuple[str, dict[str, list[dict[str, t.Any]]]]], last: str
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        story = Story(pathlib.Path(folder), patch)
        for state, found in troubles:
            story.troubled(state, found)
        story.judge(last)
        story.judge("absent")
