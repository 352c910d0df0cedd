# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Asking another hypervisor for a resource's record, through the system's ssh and a key that may do nothing else."""

from __future__ import annotations

import json
import subprocess
import typing as t

from .._model.errors import EnsembleError, HypervisorError
from .._model.protocol import COMMAND, PROTOCOL
from .voters import VoterAddress

BOOT_KEY = "/etc/ensemble/boot_key"
KNOWN_HOSTS = "/etc/ensemble/known_hosts"
#: seconds for one voter's answer, and in it for the connection
TIMEOUT = 10.0
_CONNECT_TIMEOUT = 5


def ssh_command(voter: VoterAddress) -> list[str]:
    """The call of ssh: one key, known host keys only, no question to a person, nobody's own settings."""
    options = {
        "BatchMode": "yes",
        "ClearAllForwardings": "yes",
        "ConnectTimeout": str(_CONNECT_TIMEOUT),
        "GlobalKnownHostsFile": "/dev/null",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "UserKnownHostsFile": KNOWN_HOSTS,
    }
    command = ["ssh", "-F", "/dev/null", "-T", "-i", BOOT_KEY, "-l", voter.user, "-p", str(voter.port)]
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    return [*command, "--", voter.address, COMMAND, "--read-only"]


def ask_by_ssh(voter: VoterAddress, resource: str) -> dict[str, t.Any]:
    """The record as this voter keeps it, empty when it has none.

    Raises:
        HypervisorError: it cannot be reached, is not trusted or gives no answer in time.
        EnsembleError: its host program refused, e.g. because its state is corrupt.
    """
    request = {"protocol": PROTOCOL, "id": 1, "resource": resource, "verbs": [{"verb": "record_read"}]}
    line = json.dumps(request).encode() + b"\n"
    try:
        done = subprocess.run(ssh_command(voter), input=line, capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise HypervisorError(f"no answer within {TIMEOUT:g} s", code="hypervisor_timeout") from error
    except OSError as error:
        raise HypervisorError(f"ssh cannot be run here: {error}. Install openssh-client.", code="no_ssh") from error
    return _record(done.stdout, done.stderr)


def _record(output: bytes, words: bytes) -> dict[str, t.Any]:
    """The record in an answer."""
    try:
        answer = json.loads(output)
        result = answer if "error" in answer else answer["results"][0]
        if "error" not in result:
            return dict(result["value"])
        error = result["error"]
        raise EnsembleError(str(error["msg"]), code=str(error["code"]))
    except (ValueError, LookupError, TypeError) as error:
        said = " ".join((words or output).decode(errors="replace").split())[-200:]
        raise HypervisorError(said or "it said nothing", code="hypervisor_unreachable") from error
