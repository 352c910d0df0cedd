# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""SSH keys and known hosts: every key is expected, none is ever accepted because it was offered."""

from __future__ import annotations

import base64
import os
import typing as t

from .._model.declaration import Hypervisor
from .._model.errors import HypervisorError

try:
    import paramiko
except ImportError:  # reported by the module that needs it
    paramiko = None  # type: ignore[assignment]

__all__ = [
    "KeyPair",
    "generate_key_pair",
    "known_hosts_line",
    "known_lines",
    "paramiko",
    "public_line",
    "trust_hypervisor",
    "trust_key",
]

_KEY_MAGIC = b"openssh-key-v1\0"
USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")


class KeyPair(t.NamedTuple):
    """An Ed25519 pair in OpenSSH's formats; `public` is one line without a comment."""

    private: str
    public: str


def generate_key_pair() -> KeyPair:
    """A new pair from the operating system's random numbers."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return KeyPair(private.decode(), public_of(key))


def public_of(key: t.Any) -> str:
    """The public line of a private key object of `cryptography`."""
    from cryptography.hazmat.primitives import serialization

    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return str(line.decode())


def public_line(private: str) -> str:
    """The public line that belongs to a private key in OpenSSH's format, which carries it in clear.

    The format is OpenSSH's PROTOCOL.key: magic, then cipher, kdf name and kdf options as strings, the number of keys,
    and the public key as a string that begins with the key's type.

    Raises:
        ValueError: it is no such key.
    """
    body = base64.b64decode("".join(private.splitlines()[1:-1]), validate=True)
    if not body.startswith(_KEY_MAGIC):
        raise ValueError("not a private key in OpenSSH's format")
    at = len(_KEY_MAGIC)
    for _skipped in range(3):
        at += 4 + int.from_bytes(body[at : at + 4], "big")
    at += 4
    public = body[at + 4 : at + 4 + int.from_bytes(body[at : at + 4], "big")]
    kind = public[4 : 4 + int.from_bytes(public[:4], "big")]
    if not kind:
        raise ValueError("not a private key in OpenSSH's format")
    return f"{kind.decode('ascii')} {base64.b64encode(public).decode()}"


def known_hosts_line(address: str, port: int, key: str) -> str:
    """A line of known_hosts(5 of sshd): a port other than 22 is part of the name."""
    name = address if port == 22 else f"[{address}]:{port}"
    return f"{name} {key}\n"


def trust_key(client: t.Any, address: str, port: int, public: str) -> None:
    """Let a paramiko client expect exactly this host key at an address."""
    entry = paramiko.hostkeys.HostKeyEntry.from_line(known_hosts_line(address, port, public).strip())
    if entry is None:
        raise HypervisorError(f"{address}: this is no public host key: {public[:60]}", code="bad_host_key")
    client.get_host_keys().add(entry.hostnames[0], entry.key.get_name(), entry.key)


def trust_hypervisor(client: t.Any, hv: Hypervisor, known_hosts: str | None) -> None:
    """Let a client expect a hypervisor's key: its own `host_key`, else the declared file, else the user's files.

    Raises:
        HypervisorError: the declared known_hosts file cannot be read.
    """
    if hv.host_key is not None:
        return trust_key(client, hv.address, hv.access.port, hv.host_key)
    if known_hosts is None:
        for path in map(os.path.expanduser, USER_KNOWN_HOSTS):
            if os.path.isfile(path):
                client.load_system_host_keys(path)
        return None
    return _load(client.load_system_host_keys, known_hosts)


def known_lines(hv: Hypervisor, known_hosts: str | None) -> list[str]:
    """Lines of known_hosts(5) with every key that is known of a host, for somebody else who shall trust it as we do.

    Raises:
        HypervisorError: `host_key_unknown`, or the declared known_hosts file cannot be read.
    """
    name = hv.address if hv.access.port == 22 else f"[{hv.address}]:{hv.access.port}"
    if hv.host_key is not None:
        return [known_hosts_line(hv.address, hv.access.port, hv.host_key)]
    keys = paramiko.hostkeys.HostKeys()
    for path in [known_hosts] if known_hosts is not None else map(os.path.expanduser, USER_KNOWN_HOSTS):
        if known_hosts is not None or os.path.isfile(path):
            _load(keys.load, path)
    found: t.Mapping[str, t.Any] = keys.lookup(name) or {}
    if not found:
        raise HypervisorError(
            f"{hv.name} ({hv.address}): its host key is unknown. Put it into known_hosts, or as host_key into the "
            "declaration, after comparing it with /etc/ssh/ssh_host_ed25519_key.pub there.",
            code="host_key_unknown",
        )
    return [f"{name} {kind} {key.get_base64()}\n" for kind, key in sorted(found.items())]


def _load(load: t.Callable[[str], None], path: str) -> None:
    try:
        load(path)
    except OSError as error:
        raise HypervisorError(
            f"known_hosts {path}: {error.strerror}. Name the file that holds the hypervisors' host keys.",
            code="no_known_hosts",
        ) from error
