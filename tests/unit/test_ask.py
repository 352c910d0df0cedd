# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Asking a voter over SSH: how it is called, and what comes back."""

from __future__ import annotations

import json
import os
import pathlib
import sys
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.ask import ask_by_ssh, ssh_command
from ansible_collections.ensemble.stacks.plugins.module_utils._host.voters import VoterAddress
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError, HypervisorError

VOTER = VoterAddress("hv1", "10.0.0.1", 22, "root")


def test_the_call_of_ssh_trusts_nobody_by_chance() -> None:
    command = ssh_command(VoterAddress("hv9", "hv9.example.org", 2222, "ops"))
    assert command[-4:] == ["--", "hv9.example.org", "ensemble-host", "--read-only"]
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "UserKnownHostsFile=/etc/ensemble/known_hosts"):
        assert command[command.index(option) - 1] == "-o"
    assert command[command.index("-p") + 1] == "2222"
    assert command[command.index("-l") + 1] == "ops"
    assert command[command.index("-i") + 1] == "/etc/ensemble/boot_key"


SAID = {
    'printf \'{"results": [{"ok": true, "value": {"version": 7}}]}\\n\'': {"version": 7},
    'printf \'{"results": [{"ok": false, "error": {"code": "corrupt_state", "msg": "x"}}]}\\n\'': "corrupt_state",
    'printf \'{"error": {"code": "no_right", "msg": "x"}}\\n\'': "no_right",
    "printf '[]'": "hypervisor_unreachable",
    'printf \'{"results": [{"ok": true, "value": 7}]}\'': "hypervisor_unreachable",
    "echo 'Host key verification failed.' >&2; exit 255": "hypervisor_unreachable",
    "exec sleep 60": "hypervisor_timeout",
}


@pytest.mark.parametrize(("script", "expected"), SAID.items(), ids=range(len(SAID)))
def test_what_comes_back_from_ssh(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: t.Any
) -> None:
    (tmp_path / "ssh").write_text(f"#!/bin/sh\ncat > {tmp_path}/given\n{script}\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(sys.modules[ask_by_ssh.__module__], "TIMEOUT", 1.0)
    try:
        got: t.Any = ask_by_ssh(VOTER, "demo")
    except EnsembleError as error:
        got = error.code
    assert got == expected
    request = json.loads((tmp_path / "given").read_text())
    assert (request["resource"], request["verbs"]) == ("demo", [{"verb": "record_read"}])


def test_without_ssh_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HypervisorError) as caught:
        ask_by_ssh(VOTER, "demo")
    assert caught.value.code == "no_ssh"
