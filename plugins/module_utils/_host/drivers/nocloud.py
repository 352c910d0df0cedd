# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The same facts as `seed.py` for a machine with cloud-init: the NoCloud datasource, a volume labelled `cidata`."""

from __future__ import annotations

import json
import os
import shutil
import typing as t

from ..._model.declaration import MemberSpec
from ..._model.identity import domain_name, member_mac, member_uuid
from ..images import run
from .base import Seed
from .seed import hosts_file, nameservers

_LABEL = "cidata"
_BUILD_TIMEOUT = 30.0


def nocloud_files(resource: str, member: str, spec: MemberSpec, seed: Seed) -> dict[str, str]:
    """File name -> text; JSON is YAML, and needs no quoting of ours."""
    host = domain_name(resource, member)
    # the derived UUID, so that a disk made anew under the same name counts as the same instance
    meta = {"instance-id": member_uuid(resource, member), "local-hostname": host}
    return {
        "meta-data": _text(meta),
        "user-data": "#cloud-config\n" + _text(_user_data(host, spec, seed)),
        "network-config": _text(_network(resource, member, spec)),
    }


def _user_data(host: str, spec: MemberSpec, seed: Seed) -> dict[str, t.Any]:
    return {
        "hostname": host,
        "preserve_hostname": False,
        "manage_etc_hosts": False,
        "write_files": [{"path": "/etc/hosts", "content": hosts_file(host, spec.address), "permissions": "0644"}],
        # no account but root, reached by key only
        "users": [],
        "disable_root": False,
        "ssh_pwauth": False,
        "ssh_authorized_keys": list(seed.authorized_keys),
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": seed.host_key, "ed25519_public": seed.host_key_public + "\n"},
        "ssh": {"emit_keys_to_console": False},
        "no_ssh_fingerprints": True,
    }


def _network(resource: str, member: str, spec: MemberSpec) -> dict[str, t.Any]:
    interface: dict[str, t.Any] = {
        "match": {"macaddress": member_mac(resource, member)},
        "dhcp4": False,
        "dhcp6": False,
        "accept-ra": False,
        "link-local": [],
        "addresses": [f"{spec.address}/{spec.prefix}"],
        "nameservers": {"addresses": list(spec.dns or nameservers())},
    }
    if spec.gateway:
        interface["routes"] = [{"to": "0.0.0.0/0", "via": spec.gateway}]
    return {"version": 2, "ethernets": {"member": interface}}


def _text(value: t.Mapping[str, t.Any]) -> str:
    return json.dumps(value, indent=1) + "\n"


def write_volume(path: str, files: t.Mapping[str, str]) -> None:
    """Make the volume, an ISO 9660 image of mode 0600; libvirt hands it to the emulator's user while that runs.

    Raises:
        EnsembleError: `command_failed`, the tool is missing or failed.
    """
    source = path + ".files"
    shutil.rmtree(source, ignore_errors=True)
    os.mkdir(source, mode=0o700)
    for name, text in files.items():
        write_private(os.path.join(source, name), text.encode())
    write_private(path, b"")
    run(["genisoimage", "-quiet", "-output", path, "-volid", _LABEL, "-joliet", "-rock", source], _BUILD_TIMEOUT)
    shutil.rmtree(source)


def write_private(path: str, body: bytes) -> None:
    """Write a file that nobody else can read, not even for a moment."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as stream:
        stream.write(body)
