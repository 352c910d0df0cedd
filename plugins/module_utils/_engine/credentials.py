# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Keys and secrets of a resource: made once, kept by the voter, copied 0600 into the controller's cache."""

from __future__ import annotations

import base64
import os
import secrets as random
import tempfile
import typing as t

from .._model.declaration import Access, Member, Resource
from .._model.stacks import STACKS
from .._pool.keys import generate_key_pair, known_hosts_line, public_line

MEMBER_KEY = "member_key"


def host_key_name(member: str) -> str:
    """Name of the secret that is a member's SSH host key."""
    return f"host_key/{member}"


def cache_dir(resource: str) -> str:
    """Where a controller keeps its copies; empty or lost, the next run fills it again."""
    return os.path.join(os.path.expanduser("~"), ".cache", "ensemble", resource)


def missing_secrets(resource: Resource, have: t.Mapping[str, str]) -> dict[str, str]:
    """Fresh secrets for every name that has none yet."""
    made = {}
    if MEMBER_KEY not in have:
        made[MEMBER_KEY] = generate_key_pair().private
    for member in resource.members:
        if member.access is None and host_key_name(member.name) not in have:
            made[host_key_name(member.name)] = generate_key_pair().private
    for name, length in STACKS[resource.stack].secrets:
        if name not in have:
            made[name] = base64.b64encode(random.token_bytes(length)).decode()
    return made


def write_cache(resource: Resource, have: t.Mapping[str, str]) -> None:
    """Write the members' key, their known_hosts, an ssh_config and the stack's secrets; only what differs."""
    if MEMBER_KEY not in have:
        return
    folder = cache_dir(resource.name)
    os.makedirs(os.path.join(folder, "secrets"), mode=0o700, exist_ok=True)
    os.chmod(folder, 0o700)
    key = os.path.join(folder, "id_ed25519")
    known_hosts = os.path.join(folder, "known_hosts")
    write_private(key, have[MEMBER_KEY].encode())
    lines, entries = [], []
    for member in resource.members:
        if member.access is not None:
            entries.append(_own_entry(resource, member, member.access))
            if member.host_key is not None:
                lines.append(known_hosts_line(member.spec.address, member.access.port, member.host_key))
            continue
        private = have.get(host_key_name(member.name))
        if private is None:
            continue
        lines.append(known_hosts_line(member.spec.address, Access().port, public_line(private)))
        entries.append(f"Host {resource.domain(member.name)} {member.name}\n  HostName {member.spec.address}\n")
    write_private(known_hosts, "".join(lines).encode())
    common = f"Host *\n  User root\n  IdentityFile {key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {known_hosts}\n"
    write_private(
        os.path.join(folder, "ssh_config"), ("".join(entries) + common + "  StrictHostKeyChecking yes\n").encode()
    )
    for name, _length in STACKS[resource.stack].secrets:
        if name in have:
            write_private(os.path.join(folder, "secrets", name), base64.b64decode(have[name]))


def _own_entry(resource: Resource, member: Member, access: Access) -> str:
    """How ssh reaches a machine that somebody else provides; in ssh_config the first value counts."""
    values = {"HostName": member.spec.address, "User": access.user, "Port": access.port}
    if access.private_key is not None:
        values["IdentityFile"] = access.private_key
    if member.host_key is None:
        values["UserKnownHostsFile"] = resource.known_hosts or "~/.ssh/known_hosts"
    names = f"Host {resource.domain(member.name)} {member.name}\n"
    return names + "".join(f"  {key} {value}\n" for key, value in values.items())


def remove_cache(resource: str) -> None:
    """Remove a controller's copies of what the voters have forgotten."""
    folder = cache_dir(resource)
    for parent, _folders, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink(os.path.join(parent, name))
        os.rmdir(parent)


def write_private(path: str, body: bytes) -> None:
    """Replace a file of mode 0600 atomically, if it differs."""
    try:
        with open(path, "rb") as stream:
            if stream.read() == body and os.stat(path).st_mode & 0o777 == 0o600:
                return
    except FileNotFoundError:
        pass
    fd, aside = tempfile.mkstemp(dir=os.path.dirname(path))  # mode 0600
    with os.fdopen(fd, "wb") as stream:
        stream.write(body)
    os.rename(aside, path)
