# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What the machine itself must offer: root, packages, kernel settings, name servers."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from pathlib import Path

from ensemble_lab.layout import STATE
from ensemble_lab.system import LabError, last_lines, run, say, step, wait_until, write_atomically

_PACKAGES = {  # command: Debian package
    "docker": "docker.io",
    "dockerd": "docker.io",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "iptables": "iptables",
    "ssh-keygen": "openssh-client",
    "losetup": "mount",
    "umount": "mount",
}
_DISK_PACKAGES = {"qemu-img": "qemu-utils", "mke2fs": "e2fsprogs", "sfdisk": "fdisk"}
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_APT = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3"]
_ATTEMPTS = 3
_SYSCTLS = {"fs.inotify.max_user_instances": 8192, "fs.inotify.max_user_watches": 1048576}
_REMEMBERED = STATE / "sysctl.json"
_FALLBACK_MIRROR = "http://deb.debian.org/debian"
_FALLBACK_NAME_SERVER = "9.9.9.9"


def require_root() -> None:
    """Raise LabError unless root runs this."""
    if os.geteuid() != 0:
        raise LabError("the lab starts system containers and must be run as root (sudo)")


def install_missing(kind: str = "") -> list[str]:
    """Install the packages whose commands are missing; return their names. ``kind`` qcow2: those for disks, too."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    os.environ["PATH"] = path
    needed = {**_PACKAGES, **(_DISK_PACKAGES if kind == "qcow2" else {})}
    missing = {package for command, package in needed.items() if shutil.which(command) is None}
    if not _KEYRING.exists():
        missing.add("debian-archive-keyring")
    if not missing:
        return []
    if shutil.which("apt-get") is None:
        raise LabError(f"missing: {', '.join(sorted(missing))}; install them (no apt-get here to do it)")
    names = sorted(missing)
    with step(f"installing {', '.join(names)}"):
        _apt(["update"], 300)
        _apt(["install", "--no-install-recommends", *names], 900)
    return names


def _apt(arguments: list[str], timeout: float) -> None:
    output = ""
    for attempt in range(1, _ATTEMPTS + 1):
        done = run(_APT + arguments, timeout=timeout, check=False, environment={"DEBIAN_FRONTEND": "noninteractive"})
        output = done.stderr or done.stdout
        # `update` returns 0 with warnings when only some sources fail: then the install decides.
        if done.returncode == 0:
            return
        say(f"  apt-get {arguments[0]} failed (attempt {attempt} of {_ATTEMPTS})")
    if arguments[0] == "update":
        return  # one broken third-party source must not forbid packages that others or the cache offer
    raise LabError(
        f"apt-get {' '.join(arguments)} failed {_ATTEMPTS} times; is a Debian mirror reachable from here?\n"
        + last_lines(output)
    )


def raise_inotify_limits() -> list[str]:
    """Raise what 100 members with systemd exhaust, remembering the former values; return the changed names."""
    former = _remembered()
    changed = []
    for name, wanted in _SYSCTLS.items():
        path = _sysctl(name)
        current = int(path.read_text(encoding="ascii"))
        if current >= wanted:
            continue
        former.setdefault(name, current)
        write_atomically(_REMEMBERED, json.dumps(former) + "\n")
        path.write_text(f"{wanted}\n", encoding="ascii")
        changed.append(name)
    return changed


def restore_inotify_limits() -> list[str]:
    """Put the remembered values back; return the changed names."""
    former = _remembered()
    for name, value in former.items():
        _sysctl(name).write_text(f"{value}\n", encoding="ascii")
    _REMEMBERED.unlink(missing_ok=True)
    return sorted(former)


def _sysctl(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")


def _remembered() -> dict[str, int]:
    try:
        content = json.loads(_REMEMBERED.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: int(value) for name, value in content.items() if name in _SYSCTLS}


def debian_mirror() -> str:
    """Return the machine's own Debian mirror (deb822 or one-line sources), else the public one."""
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.*"))]
    for file in files:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        pattern = r"(?m)^URIs:\s*(\S+)" if file.suffix == ".sources" else r"(?m)^deb\s+(?:\[[^]]*\]\s*)?(\S+)"
        for uri in re.findall(pattern, text):
            if re.fullmatch(r"https?://[^\s]+/debian/?", uri):
                return str(uri).rstrip("/")
    return _FALLBACK_MIRROR


def require_mirror(mirror: str) -> None:
    """Raise LabError when the mirror's host cannot be reached (or the proxy named by the environment)."""
    match = re.match(r"https?://([^/:]+)(?::(\d+))?", os.environ.get("http_proxy") or mirror)
    if match is None:
        return
    host, port = match[1], int(match[2] or (443 if mirror.startswith("https") else 80))

    def reachable() -> bool:
        try:
            socket.create_connection((host, port), timeout=5).close()
        except OSError:
            return False
        return True

    try:
        wait_until(reachable, 20, f"connection to {host}:{port}")
    except LabError as error:
        raise LabError(f"the Debian mirror {mirror} is not reachable, so no image can be built ({error})") from error


def name_servers() -> list[str]:
    """Return name servers that also work from other network namespaces (no loopback address)."""
    for file in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        try:
            text = Path(file).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found = re.findall(r"(?m)^nameserver\s+([0-9.]+)\s*$", text)
        usable = [address for address in found if not address.startswith("127.")]
        if usable:
            return usable
    return [_FALLBACK_NAME_SERVER]


def cgroup1_hierarchies() -> list[str]:
    """Return the controllers of each cgroup v1 hierarchy that is mounted, as mount(8) wants them; none with pure v2."""
    found = set()
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        left, _sep, right = line.partition(" - ")
        kind, _source, options = right.split()[:3]
        directory = Path(left.split()[4])
        if kind == "cgroup" and directory.parent == Path("/sys/fs/cgroup"):
            named = [option for option in options.split(",") if option.startswith("name=")]
            found.add(named[0] if named else directory.name)
    return sorted(found)
