# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The four commands: up, down, status, purge."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence

from ensemble_lab import engine, hypervisors, images, layout, leftovers, machine, mounts, network, state
from ensemble_lab.hypervisors import Health
from ensemble_lab.layout import Lab
from ensemble_lab.leftovers import Orphan
from ensemble_lab.system import LabError, exclusive, say, step

OK = 0
NOT_UP = 3


def up(name: str, count: int, subnet: str | None, options: Sequence[str] = (), witnesses: int = 0) -> int:
    """Bring a lab up, from whatever is there."""
    machine.require_root()
    started = time.monotonic()
    changes: list[str] = []
    with exclusive():
        changes += [f"installed {package}" for package in machine.install_missing("qcow2" if options else "")]
        changes += [f"raised {setting}" for setting in machine.raise_inotify_limits()]
        if engine.start():
            changes.append("started dockerd")
        described, built = images.ensure_all(options)
        changes += [f"built image {image}" for image in built]
        leftovers.thaw(name)
        if network.is_broken(name):
            _remove_from_engine(name)
        lab = Lab(name, network.choose_subnet(name, subnet, count + witnesses), count, witnesses)
        if state.prepare(lab, described):
            changes.append("wrote keys and files")
        if network.ensure(lab):
            changes.append(f"created network {name} ({lab.subnet})")
        changes += hypervisors.ensure(lab, described["hypervisor"]["tag"])
        health = hypervisors.wait_ready(lab)
        images.remove_outdated()
    _report(lab, health, changes, time.monotonic() - started)
    return OK


def _report(lab: Lab, health: dict[str, Health], changes: list[str], seconds: float) -> None:
    for change in changes:
        say(f"changed: {change}")
    for name, one in health.items():
        if one.systemd == "degraded":
            say(f"note: {name}: systemd is degraded, failed: {one.failed}")
    summary = f"{len(changes)} changes" if changes else "nothing changed"
    machines = f"{lab.count} hypervisors" + (f" and {lab.witness_count} witnesses" if lab.witness_count else "")
    say(f"lab {lab.name} is up: {machines}, {lab.subnet}; {summary} ({seconds:.1f} s)")
    say(f"files for the controller: {lab.checkout_directory}")


def down(name: str) -> int:
    """End everything of a lab, with or without an engine; images stay cached."""
    machine.require_root()
    started = time.monotonic()
    with exclusive():
        done = _end_containers(name)
        if leftovers.remove_partitions(name):
            done.append("cgroup partitions")
        if images.clear_work():
            done.append("half-built images")
        if state.remove(name):
            done.append("files in the checkout")
        with step("removing the state on the machine"):
            if mounts.remove_tree(layout.directory_of(name)):
                done.append("state on the machine")
        if not layout.known_labs():
            done += _end_of_last_lab()
    summary = f"ended: {', '.join(done)}" if done else "nothing was left to do"
    say(f"lab {name} is down; {summary} ({time.monotonic() - started:.1f} s)")
    return OK


def _end_containers(name: str) -> list[str]:
    done: list[str] = []
    orphans: list[Orphan] = []
    leftovers.thaw(name)
    if not engine.answers():
        orphans = leftovers.kill_hypervisors(name)
        if orphans:
            done.append(f"{len(orphans)} hypervisors that ran without an engine")
        if not _start_engine_to_clean(name):
            leftovers.end_shims(orphans)
            if network.remove_bridge(name):
                done.append("bridge")
            return done
    done += _remove_from_engine(name)
    leftovers.end_shims(orphans)
    return done


def _start_engine_to_clean(name: str) -> bool:
    """Only the engine can remove its own records of our containers: start it, if it may have any."""
    if shutil.which("dockerd") is None or not (state.exists(name) or network.bridge_exists(name)):
        return False
    try:
        engine.start()
    except LabError as error:
        say(f"note: {error}\nnote: the engine may still list containers and a network of this lab; `up` repairs that")
        return False
    return True


def _remove_from_engine(name: str) -> list[str]:
    done: list[str] = []
    containers = [container["Name"].lstrip("/") for container in hypervisors.own(name)]
    if containers:
        hypervisors.remove(containers)
        done.append(f"{len(containers)} hypervisors")
    if network.remove(name):
        done.append("network")
    return done


def _end_of_last_lab() -> list[str]:
    done = [f"restored {setting}" for setting in machine.restore_inotify_limits()]
    stopped = engine.stop_if_ours()
    if stopped:
        done.append(stopped)
    with contextlib.suppress(OSError):  # gone already, or somebody's file is in it
        layout.STATE.rmdir()
    return done


def status(name: str, count: int) -> int:
    """Print a table of a lab's hypervisors; 0 when all are up, 3 when not."""
    machine.require_root()
    known = layout.recorded(name)
    if known is None:
        say(f"lab {name} is down")
        return NOT_UP
    subnet = layout.checked_subnet(str(known["subnet"]), 1)
    lab = Lab(name, subnet, len(known["hypervisors"]) or count, len(known.get("witnesses", [])))
    if not engine.answers():
        say(f"lab {name}: the engine does not answer; `up` starts it again, `down` ends what is left")
        return NOT_UP
    health = hypervisors.health_of(lab)
    rows = [("CONTAINER", "STATE", "ADDRESS", "SYSTEMD", "LIBVIRTD", "SSH", "LXC", "QEMU")]
    for hypervisor in lab.machines:
        one = health[hypervisor.container]
        rows.append(
            (
                hypervisor.container,
                one.state,
                hypervisor.address,
                one.systemd,
                _libvirtd(one),
                "ok" if one.ssh else "no answer",
                _domains(one, one.lxc),
                _domains(one, one.qemu),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return OK if all(one.ready for one in health.values()) else NOT_UP


def _libvirtd(one: Health) -> str:
    if one.witness:
        return "-"
    return "ok" if one.libvirtd else "no answer"


def _domains(one: Health, counts: tuple[int, int] | None) -> str:
    if one.witness:
        return "-"
    return f"{counts[0]} running, {counts[1]} defined" if counts else "?"


def purge() -> int:
    """Remove all cached images. Raises LabError while a lab is up."""
    machine.require_root()
    with exclusive():
        labs = layout.known_labs()
        if labs:
            raise LabError(f"labs still there: {', '.join(labs)}; run `down --name NAME` for each first")
        removed = []
        if shutil.which("dockerd") is not None and (layout.CACHE.exists() or engine.answers()):
            engine.start()
            removed = images.purge()
        engine.stop_if_ours()
        if layout.STATE.is_dir():
            mounts.remove_tree(layout.STATE)
    say(f"removed: {', '.join(removed)}" if removed else "nothing was left to remove")
    return OK
