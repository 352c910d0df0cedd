# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""One task of ours against a loop of community.libvirt's, on the same converged containers of the lab."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import time
import typing as t
from pathlib import Path

import yaml
from harness.controller import PLAYBOOK_TIMEOUT

from . import peer
from .figures import Figure
from .setting import MODULE, Setting
from .tiny import tiny_root

ROUNDS = 3
MEMBERS = 100
NAME = "bench-peer"
CALLBACKS = Path(__file__).parent / "callbacks"


class Timed(t.NamedTuple):
    """One task's own seconds, those of the whole program, and what the task returned."""

    task: float
    program: float
    result: dict[str, t.Any]


def noop_100_vs_peer(setting: Setting) -> t.Iterator[Figure]:
    """Both say of 100 containers that run: they shall run.

    Compared is the time of the task itself, from its announcement to its result, so that Ansible's own start, which is
    the same for both, counts for neither; the whole programs' times stand beside it.

    The setting is the peer's best: pipelining, connections that persist (Ansible's default, and open after the first
    item), the hypervisors' interpreter named, no facts gathered.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(peer.needs_on(setting.hypervisors))
        stack.enter_context(setting.cached_image(NAME, tiny_root()))
        stack.callback(setting.remove_resource, NAME)
        setting.remove_resource(NAME)  # what a killed benchmark left
        declared = setting.controller.write(
            setting.lab.declaration(
                NAME,
                pool=setting.pool(memory_mb=MEMBERS * 64, vcpus=MEMBERS),
                defaults={"driver": "lxc", "image": NAME, "vcpus": 1, "memory_mb": 64},
                roles={"node": {"count": MEMBERS}},
            )
        )
        begun = time.monotonic()
        first = setting.controller.task(MODULE, declaration=str(declared), wait=False)
        filled = time.monotonic() - begun
        ours, theirs = _ours(setting, declared), _theirs(setting, first["members"])
        rounds = [(_run(setting, *ours), _run(setting, *theirs)) for _round in range(ROUNDS)]
    for mine, loop in rounds:
        _require_noop(mine, loop)
    peer_s, ours_s = [loop.task for _mine, loop in rounds], [mine.task for mine, _loop in rounds]
    yield "noop_100_vs_peer", "ratio", 100, [statistics.median(peer_s) / statistics.median(ours_s)]
    yield "noop_100_vs_peer.ours_s", "s", None, ours_s
    yield "noop_100_vs_peer.peer_s", "s", None, peer_s
    yield "noop_100_vs_peer.ours_program_s", "s", None, [mine.program for mine, _loop in rounds]
    yield "noop_100_vs_peer.peer_program_s", "s", None, [loop.program for _mine, loop in rounds]
    yield "noop_100_vs_peer.start_from_nothing_s", "s", None, [filled]
    for step in rounds[0][0].result["seconds"]:
        yield f"noop_100_vs_peer.ours_s.{step}", "s", None, [mine.result["seconds"][step] for mine, _loop in rounds]


def _require_noop(mine: Timed, loop: Timed) -> None:
    running = [member for member in mine.result["members"] if member["was"] == "running"]
    items = [item for item in loop.result["results"] if not item["changed"]]
    if mine.result["changed"] or len(running) != MEMBERS or len(items) != MEMBERS:
        raise RuntimeError(f"not converged: {mine.result['actions'][:3]}, {len(running)} run, {len(items)} unchanged")


def _ours(setting: Setting, declared: Path) -> tuple[Path, Path | None]:
    task = {MODULE: {"declaration": str(declared), "wait": False}}
    return _playbook(setting, "ours", task), None


def _theirs(setting: Setting, members: t.Sequence[t.Mapping[str, t.Any]]) -> tuple[Path, Path]:
    """The loop, and an inventory of the hypervisors, where libvirt's bindings are."""
    lab = setting.lab
    task = {
        "community.libvirt.virt": {"name": "{{ item.name }}", "state": "running", "uri": "lxc:///system"},
        "delegate_to": "{{ item.hypervisor }}",
        "loop": [{"name": member["name"], "hypervisor": member["hypervisor"]} for member in members],
        "loop_control": {"label": "{{ item.name }}"},
    }
    variables = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(lab.folder / "id_ed25519"),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab.folder / 'known_hosts'}",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    hosts = {hv.name: {"ansible_host": hv.address} for hv in lab.hypervisors}
    inventory = setting.controller.home / "hypervisors.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": variables}}))
    return _playbook(setting, "peer", task), inventory


def _playbook(setting: Setting, name: str, task: t.Mapping[str, t.Any]) -> Path:
    path = setting.controller.home / f"{name}.yml"
    play = {"name": name, "hosts": "localhost", "gather_facts": False, "tasks": [{"name": name, **task}]}
    path.write_text(yaml.safe_dump([play], sort_keys=False))
    return path


def _run(setting: Setting, playbook: Path, inventory: Path | None) -> Timed:
    """One playbook of one task, by the program a person would use."""
    seconds = setting.controller.home / "seconds.json"
    seconds.unlink(missing_ok=True)
    environment = {
        **setting.controller.environment,
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_COLLECTIONS_PATH": str(peer.collections_path()),
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "task_seconds",
        "ENSEMBLE_BENCH_SECONDS": str(seconds),
    }
    command = ["ansible-playbook", *(["-i", str(inventory)] if inventory else []), str(playbook)]
    begun = time.monotonic()
    done = subprocess.run(
        command,
        cwd=setting.controller.home,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PLAYBOOK_TIMEOUT,
        check=False,
    )
    program = time.monotonic() - begun
    if done.returncode != 0:
        raise RuntimeError(f"{playbook.name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    entry = json.loads(seconds.read_text())
    return Timed(entry["seconds"], program, entry["result"])


ALL: dict[str, t.Callable[[Setting], t.Iterator[Figure]]] = {"noop_100_vs_peer": noop_100_vs_peer}
