# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What schedulers print, and what is read from it."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._batch.base import NodeState
from ansible_collections.ensemble.stacks.plugins.module_utils._batch.engines import batch_of
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.health import Job

SLURM = batch_of("slurm")
DATA = pathlib.Path(__file__).parent / "data"

#: a line of scontrol in the layout of 22.05 and of 24.11
LINE = (
    "NodeName={name} Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 CPUEfctv=1 CPUTot=1 CPULoad=0.10"
    " AvailableFeatures=(null) Gres=(null) NodeAddr={name} NodeHostName={name} Version=24.11.5 OS=Linux 6.1.0-1 #1 SMP "
    "RealMemory=400 AllocMem=0 FreeMem=120 Sockets=1 Boards=1 State={state} ThreadsPerCore=1 TmpDisk=0 Weight=1 "
    "Owner=N/A MCS_label=N/A Partitions=batch  BootTime=1795000000 SlurmdStartTime=1795000100 CfgTRES=cpu=1{rest}"
)


def node(state: str, rest: str = "", name: str = "demo-compute-1") -> NodeState:
    return SLURM.nodes(LINE.format(name=name, state=state, rest=rest) + " \n")[name]


@pytest.mark.parametrize(
    ("state", "rest", "base", "flags", "reason", "by", "responding", "wish"),
    [
        ("IDLE", "", "IDLE", set(), "", "", True, False),
        ("MIXED+COMPLETING", "", "MIXED", {"COMPLETING"}, "", "", True, False),
        ("IDLE*", "", "IDLE", {"NOT_RESPONDING"}, "", "", False, False),
        (
            *("DOWN+NOT_RESPONDING", " Reason=Not responding [slurm@1795000200]", "DOWN", {"NOT_RESPONDING"}),
            *("Not responding", "slurm", False, False),
        ),
        (
            *(
                "DOWN*+DRAIN",
                " Reason=Not responding [slurm@1795000200] Comment=old",
                "DOWN",
                {"NOT_RESPONDING", "DRAIN"},
            ),
            *("Not responding", "slurm", False, False),
        ),
        (
            *("IDLE+DRAIN", " Reason=disk [b] swap Reason=2 [root@1795000200]", "IDLE", {"DRAIN"}),
            *("disk [b] swap Reason=2", "root", True, True),
        ),
        (
            *("IDLE+DRAIN", " Reason=Kill task failed [slurm@1795000200]", "IDLE", {"DRAIN"}),
            *("Kill task failed", "slurm", True, False),
        ),
        (
            *("IDLE+DRAIN", " Reason=SlurmdSpoolDir is full [root@1795000200]", "IDLE", {"DRAIN"}),
            *("SlurmdSpoolDir is full", "root", True, False),
        ),
        ("ALLOCATED+DRAIN", " Reason=no time told Comment=x", "ALLOCATED", {"DRAIN"}, "no time told", "", True, True),
        ("DOWN+DRAIN+NOT_RESPONDING", " Reason=moved", "DOWN", {"DRAIN", "NOT_RESPONDING"}, "moved", "", False, True),
        ("IDLE+CLOUD+POWERED_DOWN~", "", "IDLE", {"CLOUD", "POWERED_DOWN"}, "", "", True, False),
        ("DOWN", " Reason=none", "DOWN", set(), "", "", True, False),
    ],
)
def test_states_of_nodes(
    state: str, rest: str, base: str, flags: set[str], reason: str, by: str, responding: bool, wish: bool
) -> None:
    assert node(state, rest) == NodeState("demo-compute-1", base, frozenset(flags), reason, by, responding, wish)


@pytest.mark.parametrize("by", ["slurm@1795000200", "root@1795000200"])
def test_a_node_that_refused_a_job_twice_is_out_of_service_by_mistake(by: str) -> None:
    """As slurmctld 24.11 said it after it was killed."""
    found = node("IDLE+DRAIN", f" Reason=Duplicate jobid [{by}]")
    assert (found.by_mistake, found.drained_by_wish) == (True, False)
    assert not node("IDLE+DRAIN", " Reason=Kill task failed [slurm@1795000200]").by_mistake
    assert not node("IDLE", " Reason=Duplicate jobid [slurm@1795000200]").by_mistake


def test_nodes_are_told_apart_by_their_whole_names() -> None:
    text = "".join(
        LINE.format(name=name, state=state, rest="") + "\n" for name, state in (("c1", "IDLE"), ("c10", "DOWN"))
    )
    found = SLURM.nodes(text)
    assert {name: entry.state for name, entry in found.items()} == {"c1": "IDLE", "c10": "DOWN"}


def test_a_reason_may_have_line_breaks() -> None:
    text = LINE.format(name="c1", state="IDLE+DRAIN", rest=" Reason=first\nState=DOWN second [root@1]")
    found = SLURM.nodes(text + "\n" + LINE.format(name="c2", state="IDLE", rest=""))
    assert list(found) == ["c1", "c2"]
    assert (found["c1"].state, found["c1"].reason) == ("IDLE", "first State=DOWN second")


JOBS = """12|ann|RUNNING|demo-compute-[0-1]|1795000000|1795000005|first|of two
13_[4-9%2]|bob|PENDING||1795000010|1795009999|array
14|bob|PENDING||1795000011|N/A|a name
with a line break
11|ann|COMPLETED|demo-compute-0|1794999000|1794999003|
"""


def test_jobs_in_every_state() -> None:
    assert SLURM.jobs(JOBS) == [
        Job("12", "first|of two", "ann", "RUNNING", "demo-compute-[0-1]", 1795000000.0, 1795000005.0),
        Job("13_[4-9%2]", "array", "bob", "PENDING", "", 1795000010.0, 0.0),
        Job("14", "a name", "bob", "PENDING", "", 1795000011.0, 0.0),
        Job("11", "", "ann", "COMPLETED", "demo-compute-0", 1794999000.0, 1794999003.0),
    ]


def test_what_a_real_slurm_printed() -> None:
    """Recorded from Slurm 24.11.5 in the time zone of Tokyo, before its nodes had answered for the first time."""
    nodes = SLURM.nodes((DATA / "slurm_nodes.txt").read_text())
    flags = frozenset({"DRAIN", "NOT_RESPONDING"})
    assert nodes == {
        "c1": NodeState("c1", "UNKNOWN", flags, "swap disk [b]", "root", False, True),
        "c2": NodeState("c2", "UNKNOWN", flags, "maintenance", "root", False, True),
    }
    jobs = SLURM.jobs((DATA / "slurm_jobs.txt").read_text())
    assert [(job.ident, job.name, job.state) for job in jobs] == [
        ("1", "one|two", "CANCELLED"),
        ("3", "wrap", "PENDING"),
        ("2_[1-3]", "new", "PENDING"),
    ]
    assert {job.submitted for job in jobs} == {1795364590.0}


def test_nothing_is_there() -> None:
    assert SLURM.jobs("") == []
    assert SLURM.nodes("") == {}
    assert SLURM.nodes("No nodes in the system\n") == {}


@pytest.mark.parametrize("text", ["slurm_load_node error\n", "NodeName=c1 without its state\n"])
def test_what_is_no_list_of_nodes_is_an_error(text: str) -> None:
    with pytest.raises(EnsembleError, match="scontrol printed what cannot be read") as caught:
        SLURM.nodes(text)
    assert caught.value.code == "bad_answer"


def test_what_is_no_list_of_jobs_is_an_error() -> None:
    with pytest.raises(EnsembleError, match="squeue printed"):
        SLURM.jobs("squeue: error: x\n")


def test_commands_are_argument_lists_that_name_all_they_want() -> None:
    commands = SLURM.commands()
    assert list(commands) == ["nodes", "jobs"]
    assert commands["nodes"][2:] == ("scontrol", "--all", "--oneliner", "show", "nodes")
    assert {"--states=all", "--all", "--noheader"} < set(commands["jobs"])
    assert all(command[:2] == ("env", "SLURM_TIME_FORMAT=%s") for command in commands.values())


def test_an_engine_that_cannot_be_asked_is_named() -> None:
    with pytest.raises(EnsembleError, match="'openpbs' cannot be asked; slurm can") as caught:
        batch_of("openpbs")
    assert caught.value.code == "unknown_scheduler"
