# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Files that turn a clone of a golden root into one particular member, written before its first start only."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ..._model.declaration import MemberSpec
from ..._model.identity import domain_name, member_mac, member_uuid
from ..images import ImageError
from .base import Seed


def seed_files(resource: str, member: str, spec: MemberSpec, seed: Seed) -> dict[str, tuple[str, int]]:
    """Path relative to the root -> (text, mode)."""
    host = domain_name(resource, member)
    servers = spec.dns or nameservers()
    return {
        "etc/hostname": (host + "\n", 0o644),
        "etc/hosts": (hosts_file(host, spec.address), 0o644),
        "etc/machine-id": (member_uuid(resource, member).replace("-", "") + "\n", 0o444),
        "etc/resolv.conf": ("".join(f"nameserver {server}\n" for server in servers), 0o644),
        "etc/systemd/network/10-ensemble.network": (_network(resource, member, spec), 0o644),
        "etc/ssh/ssh_host_ed25519_key": (seed.host_key, 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": (seed.host_key_public + "\n", 0o644),
        "root/.ssh/authorized_keys": ("".join(key + "\n" for key in seed.authorized_keys), 0o600),
    }


def hosts_file(host: str, address: str) -> str:
    """/etc/hosts; the name must not be 127.0.1.1, for batch systems then take the node for loopback only."""
    return f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{address} {host}\n"


def _network(resource: str, member: str, spec: MemberSpec) -> str:
    gateway = f"Gateway={spec.gateway}\n" if spec.gateway else ""
    return (
        f"[Match]\nMACAddress={member_mac(resource, member)}\n\n"
        f"[Network]\nAddress={spec.address}/{spec.prefix}\n{gateway}"
        "LinkLocalAddressing=no\nIPv6AcceptRA=no\nConfigureWithoutCarrier=yes\n"
    )


def nameservers() -> tuple[str, ...]:
    """The hypervisor's own name servers, without those that only it can reach."""
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        try:
            with open(path, encoding="utf-8") as stream:
                words = [line.split() for line in stream]
        except OSError:
            continue
        found = tuple(w[1] for w in words if len(w) > 1 and w[0] == "nameserver" and not w[1].startswith("127."))
        if found:
            return found
    return ()


def write_seed(root: str, files: t.Mapping[str, tuple[str, int]]) -> None:
    """Write the files below a root that no member has run in yet.

    No symbolic link of the image is followed: as last part it is replaced, before it the image is refused.

    Raises:
        ImageError: a folder on the way is something else in this image.
    """
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name, (text, mode) in files.items():
            *folders, last = name.split("/")
            with _folder(top, folders, 0o700 if folders[0] == "root" else 0o755) as folder:
                _replace(folder, last, text, mode)
    finally:
        os.close(top)


@contextlib.contextmanager
def _folder(top: int, parts: t.Sequence[str], mode: int) -> t.Iterator[int]:
    """A descriptor of a folder below `top`, made where it is missing."""
    with contextlib.ExitStack() as stack:
        folder = top
        for part in parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, mode, dir_fd=folder)
            try:
                folder = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            except OSError as error:
                raise ImageError(f"the image has no plain folder {'/'.join(parts)}: {error.strerror}") from error
            stack.callback(os.close, folder)
        yield folder


def _replace(folder: int, name: str, text: str, mode: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=folder)
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())  # before the mark on the disk that says that all of it is there
    os.fsync(folder)
