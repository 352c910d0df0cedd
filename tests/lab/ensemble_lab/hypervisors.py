# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Hypervisors as system containers: creating, starting, asking how they are, removing."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemble_lab.engine import LABEL, docker, inspect
from ensemble_lab.layout import EXPORT, IMAGES_IN_HYPERVISOR, Hypervisor, Lab, container_pattern
from ensemble_lab.system import LabError, step

IDENTITY = "ENSEMBLE_LAB_CONTAINER"  # in the environment of the container's init
_SPEC = "ensemble.spec"
_HEALTH = "/usr/local/lib/ensemble-lab/health"
_READY_SECONDS = 90
# In a container systemd takes the arguments of init for the kernel's. A witness is the same image without libvirt.
_WITNESS_MASKED = (
    "ensemble-lab-boot.service",
    *("libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket", "virtlogd.socket"),
)
_PARALLEL = 8


@dataclass(frozen=True)
class Health:
    """What a hypervisor says about itself; counts are None where its libvirtd does not answer."""

    state: str  # the engine's word: running, paused, exited, absent ...
    systemd: str = "?"
    failed: str = ""
    lxc: tuple[int, int] | None = None  # running, defined
    qemu: tuple[int, int] | None = None
    ssh: bool = False
    witness: bool = False

    @property
    def libvirtd(self) -> bool:
        """Whether both drivers answered."""
        return self.lxc is not None and self.qemu is not None

    @property
    def ready(self) -> bool:
        """Whether everything is there that a test may count on."""
        booted = self.state == "running" and self.systemd in ("running", "degraded")
        return booted and self.ssh and (self.witness or self.libvirtd)


def ensure(lab: Lab, image: str) -> list[str]:
    """Create, start or unpause what has to be; return one line per change."""
    wanted = {hypervisor.container: hypervisor for hypervisor in lab.machines}
    found = {container["Name"].lstrip("/"): container for container in own(lab.name)}
    changes = [f"removed {name}: not declared" for name in found if name not in wanted]
    remove([name for name in found if name not in wanted])
    for name, hypervisor in wanted.items():
        change = _ensure_one(lab, hypervisor, image, found.get(name))
        if change:
            changes.append(change)
    return changes


def _ensure_one(lab: Lab, hypervisor: Hypervisor, image: str, container: dict[str, Any] | None) -> str | None:
    arguments = _run_arguments(lab, hypervisor)
    masked = [f"systemd.mask={unit}" for unit in _WITNESS_MASKED] if hypervisor.witness else []
    spec = hashlib.sha256(json.dumps([arguments + masked, image]).encode()).hexdigest()[:12]
    name = hypervisor.container
    reason = "created"
    if container is not None and container["Config"]["Labels"].get(_SPEC) != spec:
        remove([name])
        container, reason = None, "recreated (its image or settings changed)"
    if container is None:
        devices = [part for device in _devices() for part in ("--device", device)]
        docker("run", "--detach", "--label", f"{_SPEC}={spec}", *arguments, *devices, image, "/sbin/init", *masked)
        return f"{name}: {reason}"
    state = container["State"]["Status"]
    if state == "paused":
        docker("unpause", name)
        return f"{name}: unpaused"
    if state != "running":
        docker("start", name)
        return f"{name}: started (it was {state})"
    if lab.name not in container["NetworkSettings"]["Networks"]:
        docker("network", "connect", "--ip", hypervisor.address, lab.name, name)
        docker("restart", name, timeout=120)
        return f"{name}: connected to the network again and restarted"
    return None


def _run_arguments(lab: Lab, hypervisor: Hypervisor) -> list[str]:
    """Arguments that make the container what it is; devices are left out, since loop devices come and go."""
    volumes = {
        "/sys/fs/cgroup": "/sys/fs/cgroup:rw",
        hypervisor.directory / "lib": "/var/lib/ensemble",
        hypervisor.directory / "etc": "/etc/ensemble-lab:ro",
        hypervisor.directory / "etc" / "resolv.conf": "/etc/resolv.conf",
        EXPORT: f"{IMAGES_IN_HYPERVISOR}:ro",
    }
    options = [
        *("--name", hypervisor.container, "--hostname", hypervisor.name),
        *("--network", lab.name, "--ip", hypervisor.address),
        *("--label", f"{LABEL}={lab.name}"),
        *("--env", "container=docker", "--env", f"{IDENTITY}={hypervisor.container}"),
        # Not --privileged: it asks for CAP_SYS_RESOURCE, which the machine itself may lack.
        *("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"),
        *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
        *("--security-opt", "systempaths=unconfined"),
        *("--device-cgroup-rule", "b 7:* rwm"),  # loop devices made after the container
        *("--cgroupns", "host", "--tmpfs", "/run:exec,mode=755"),
        *("--tmpfs", "/tmp:exec"),  # noqa: S108 - the container's own
        *("--stop-signal", "SIGRTMIN+3", "--stop-timeout", "15", "--restart", "no"),
    ]
    return [*options, *(part for source, target in volumes.items() for part in ("--volume", f"{source}:{target}"))]


def _devices() -> list[str]:
    fixed = [Path("/dev/fuse"), Path("/dev/net/tun"), Path("/dev/kvm"), Path("/dev/loop-control")]
    loops = [path for path in Path("/dev").glob("loop*") if re.fullmatch(r"loop\d+", path.name)]
    return [str(path) for path in [*fixed, *sorted(loops)] if path.exists()]


def own(name: str) -> list[dict[str, Any]]:
    """Return the engine's description of the containers that are a lab's: by label and by exact name."""
    identifiers = docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}={name}").stdout.split()
    pattern = container_pattern(name)
    found = inspect("container", *identifiers)
    return [container for container in found if pattern.fullmatch(container["Name"].lstrip("/"))]


def remove(containers: list[str]) -> None:
    """End containers with all that runs in them, and forget them."""
    if containers:
        with step(f"removing {', '.join(containers)}"):
            docker("rm", "--force", "--volumes", *containers, timeout=120)


def wait_ready(lab: Lab) -> dict[str, Health]:
    """Wait until every hypervisor is ready. Raises LabError that names what is missing where."""
    deadline = time.monotonic() + _READY_SECONDS
    with step("waiting for systemd, libvirtd and sshd of the hypervisors"):
        while True:
            health = health_of(lab)
            missing = {name: state for name, state in health.items() if not state.ready}
            if not missing:
                return health
            if time.monotonic() >= deadline:
                words = "\n".join(f"    {name}: {state}" for name, state in missing.items())
                raise LabError(f"hypervisors not ready within {_READY_SECONDS} s:\n{words}")
            time.sleep(0.2)


def health_of(lab: Lab) -> dict[str, Health]:
    """Ask all hypervisors of a lab at the same time."""
    states = {container["Name"].lstrip("/"): container["State"]["Status"] for container in own(lab.name)}
    with ThreadPoolExecutor(_PARALLEL) as pool:
        answers = pool.map(lambda one: _ask(one, states.get(one.container, "absent")), lab.machines)
        return {one.container: answer for one, answer in zip(lab.machines, answers)}


def _ask(hypervisor: Hypervisor, state: str) -> Health:
    silent = Health(state, witness=hypervisor.witness)
    if state != "running":
        return silent
    try:
        output = docker("exec", hypervisor.container, _HEALTH, timeout=30, check=False).stdout
    except LabError:
        return silent
    said = {key: value.strip() for key, _sep, value in (line.partition(" ") for line in output.splitlines())}
    return Health(
        state=state,
        systemd=said.get("systemd", "?"),
        failed=said.get("failed", ""),
        lxc=_counts(said, "lxc"),
        qemu=_counts(said, "qemu"),
        ssh=_ssh_answers(hypervisor.address),
        witness=hypervisor.witness,
    )


def _counts(said: dict[str, str], driver: str) -> tuple[int, int] | None:
    running, defined = said.get(f"{driver}_running", ""), said.get(f"{driver}_defined", "")
    return (int(running), int(defined)) if running.isdigit() and defined.isdigit() else None


def _ssh_answers(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=3) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
