# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Keys and files of a lab: the master copies on the machine, and what the controller gets in the checkout."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ensemble_lab import machine
from ensemble_lab.layout import CHECKOUT, Hypervisor, Lab, bridge_of, directory_of, recorded
from ensemble_lab.system import run, write_atomically

_HOST_KEY = "ssh_host_ed25519_key"


def prepare(lab: Lab, images: dict[str, dict[str, Any]]) -> bool:
    """Make keys and files for a lab and its hypervisors; return whether anything was written."""
    client = lab.directory / "client" / "id_ed25519"
    changed = _ensure_key(client, f"lab {lab.name}")
    authorized = client.with_suffix(".pub").read_text(encoding="ascii")
    for hypervisor in lab.machines:
        changed |= _prepare_hypervisor(lab, hypervisor, authorized)
    checkouts = set((recorded(lab.name) or {}).get("checkouts", []))
    content = {**_description(lab, images), "checkouts": sorted(checkouts | {str(CHECKOUT)})}
    changed |= _ensure_file(lab.directory / "lab.json", json.dumps(content, indent=2) + "\n")
    return _give_to_checkout(lab, client, images) or changed


def remove(name: str) -> bool:
    """Remove the controller's files of a lab in every checkout that got them; return whether there were any."""
    checkouts = {*(recorded(name) or {}).get("checkouts", []), str(CHECKOUT)}
    found = False
    for checkout in checkouts:
        directory = Path(checkout) / ".lab" / name
        if (directory / "lab.json").is_file() or (directory / "id_ed25519").is_file():
            shutil.rmtree(directory)
            found = True
        with contextlib.suppress(OSError):  # other labs' files may be beside
            directory.parent.rmdir()
    return found


def exists(name: str) -> bool:
    """Tell whether the machine has state of a lab."""
    return directory_of(name).exists()


def _prepare_hypervisor(lab: Lab, hypervisor: Hypervisor, authorized: str) -> bool:
    etc = hypervisor.directory / "etc"
    for directory in (hypervisor.directory / "lib", etc):
        directory.mkdir(parents=True, exist_ok=True)
    changed = _ensure_key(etc / _HOST_KEY, f"lab {lab.name} {hypervisor.name}")
    changed |= _ensure_file(etc / "authorized_keys", authorized, in_place=True)
    environment = {
        "LAB": lab.name,
        "HYPERVISOR": hypervisor.name,
        "PARTITION": hypervisor.partition,
        "HIERARCHIES": " ".join(machine.cgroup1_hierarchies()),
    }
    text = "".join(f"{key}='{value}'\n" for key, value in environment.items())
    changed |= _ensure_file(etc / "lab.env", text, in_place=True)
    servers = "".join(f"nameserver {address}\n" for address in machine.name_servers())
    return _ensure_file(etc / "resolv.conf", servers, in_place=True) or changed


def _give_to_checkout(lab: Lab, client: Path, images: dict[str, dict[str, Any]]) -> bool:
    directory = lab.checkout_directory
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    changed = _ensure_file(directory / "id_ed25519", client.read_text(encoding="ascii"), mode=0o600)
    public = client.with_suffix(".pub")
    changed |= _ensure_file(directory / "id_ed25519.pub", public.read_text(encoding="ascii"))
    known = "".join(f"{hypervisor.address} {_host_key(hypervisor)}\n" for hypervisor in lab.machines)
    changed |= _ensure_file(directory / "known_hosts", known)
    return _ensure_file(directory / "lab.json", json.dumps(_description(lab, images), indent=2) + "\n") or changed


def _host_key(hypervisor: Hypervisor) -> str:
    text = (hypervisor.directory / "etc" / f"{_HOST_KEY}.pub").read_text(encoding="ascii")
    return " ".join(text.split()[:2])


def _description(lab: Lab, images: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": lab.name,
        "subnet": str(lab.subnet),
        "gateway": lab.gateway,
        "bridge": bridge_of(lab.name),
        "name_servers": machine.name_servers(),
        "hypervisors": [
            {
                "name": hypervisor.name,
                "address": hypervisor.address,
                "container": hypervisor.container,
                "partition": f"/{hypervisor.partition}",
            }
            for hypervisor in lab.hypervisors
        ],
        "witnesses": [
            {"name": witness.name, "address": witness.address, "container": witness.container}
            for witness in lab.witnesses
        ],
        "images": images,
    }


def _ensure_key(path: Path, comment: str) -> bool:
    if path.is_file() and path.with_suffix(".pub").is_file():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])
    return True


def _ensure_file(path: Path, content: str, mode: int = 0o644, *, in_place: bool = False) -> bool:
    """Write a file whose content or mode differs. ``in_place`` keeps the inode, which a bind mount points to."""
    if path.is_file() and path.read_text(encoding="utf-8") == content and path.stat().st_mode & 0o777 == mode:
        return False
    if in_place:
        path.write_text(content, encoding="utf-8")
        os.chmod(path, mode)
    else:
        write_atomically(path, content, mode)
    return True
