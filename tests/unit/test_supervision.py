# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Role supervision: drop-ins as systemd reads them, what it observes, and options that are described."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import jinja2
import pytest
import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
ROLE = ROLES / "supervision"
_SPECS: dict[str, t.Any] = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
_UNIT_KEYS: dict[str, t.Any] = _SPECS["main"]["options"]["supervision_units"]["options"]
_TORQUE: dict[str, t.Any] = yaml.safe_load((ROLES / "torque/vars/main.yml").read_text())["__torque_supervision"]
#: every option with a value of its own
ALL = {
    "name": "web.service",
    "restart": "on-failure",
    "final_exits": ["3", "SIGTERM"],
    "delay": 0.25,
    "window": 60,
    "starts": 4,
    "after": ["db.service", "network-online.target"],
    "stop_timeout": 20,
    "oom": "continue",
    "limits": {"NOFILE": 4096, "CORE": 0},
}


def rendered(unit: dict[str, t.Any]) -> str:
    """As Ansible renders it."""
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)  # noqa: S701
    template = environment.from_string((ROLE / "templates/dropin.conf.j2").read_text())
    return template.render(unit=unit, ansible_managed="Ansible managed")


def parsed(text: str) -> dict[str, dict[str, list[str]]]:
    """Section -> key -> values in order."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
        elif line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(section, {}).setdefault(key, []).append(value)
    return found


def test_what_is_there_without_any_option() -> None:
    assert parsed(rendered({"name": "web.service"})) == {
        "Unit": {"StartLimitIntervalSec": ["120"], "StartLimitBurst": ["8"]},
        "Service": {
            "Restart": ["always"],
            "RestartSec": ["1000ms"],
            "RestartPreventExitStatus": [""],
            "OOMPolicy": ["stop"],
        },
    }


def test_every_option_has_its_line() -> None:
    assert set(ALL) == set(_UNIT_KEYS)
    assert parsed(rendered(ALL)) == {
        "Unit": {
            "Wants": ["db.service network-online.target"],
            "After": ["db.service network-online.target"],
            "StartLimitIntervalSec": ["60"],
            "StartLimitBurst": ["4"],
        },
        "Service": {
            "Restart": ["on-failure"],
            "RestartSec": ["250ms"],
            "RestartPreventExitStatus": ["", "3 SIGTERM"],
            "TimeoutStopSec": ["20"],
            "OOMPolicy": ["continue"],
            "LimitCORE": ["0"],
            "LimitNOFILE": ["4096"],
        },
    }


@pytest.mark.parametrize("unit", [ALL, *({"name": name, **options} for name, options in _TORQUE.items())])
def test_systemd_understands_it(unit: dict[str, t.Any], tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")
    folder = tmp_path / "system"
    (folder / f"{unit['name']}.d").mkdir(parents=True)
    (folder / unit["name"]).write_text("[Service]\nExecStart=/bin/true\n")
    (folder / f"{unit['name']}.d" / "50-ensemble.conf").write_text(rendered(unit))
    command = ["systemd-analyze", "verify", "--man=no", str(folder / unit["name"])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "50-ensemble.conf" not in done.stderr, done.stderr


def test_the_defaults_bound_what_dies_at_once_and_what_crashes_every_ten_seconds() -> None:
    default = {key: option.get("default") for key, option in _UNIT_KEYS.items()}
    assert default["starts"] * default["delay"] < default["window"]
    assert default["window"] / (10 + default["delay"]) > default["starts"]
    assert set(_TORQUE["munge.service"]) <= set(_UNIT_KEYS)


def test_the_services_of_a_batch_cluster_come_after_munge_and_outlive_it() -> None:
    units = {name: parsed(rendered({"name": name, **options})) for name, options in _TORQUE.items()}
    assert set(units) == {"munge.service", "slurmctld.service", "slurmd.service", "ssh.service"}
    for name in ("slurmctld.service", "slurmd.service"):
        assert "munge.service" in units[name]["Unit"]["After"][0].split()
        assert not {"BindsTo", "Requires", "PartOf"} & set(units[name]["Unit"])
    assert units["ssh.service"]["Unit"]["StartLimitIntervalSec"] == ["0"]


def test_observing_tells_files_and_units_whose_files_were_not_read(tmp_path: Path) -> None:
    """With a systemctl of its own in the place of the real one."""
    there, absent = tmp_path / "50-ensemble.conf", tmp_path / "absent"
    there.write_text("[Service]\n")
    there.chmod(0o640)
    systemctl = tmp_path / "systemctl"
    shown = r"Id=a.service\nNeedDaemonReload=no\n\nId=b.service\nNeedDaemonReload=yes\n"
    systemctl.write_text(f"#!/bin/sh\nprintf '{shown}'\n")
    systemctl.chmod(0o755)
    program = (ROLE / "files/observe.py").read_text().replace("/usr/bin/systemctl", str(systemctl))
    request = {"units": ["a.service", "b.service"], "files": [str(there), str(absent)], "timeout": 20}
    command = [sys.executable, "-", json.dumps(request)]
    done = subprocess.run(command, input=program, capture_output=True, text=True, timeout=60, check=True)
    digest = hashlib.sha256(b"[Service]\n").hexdigest()
    owner = pwd.getpwuid(os.getuid()).pw_name
    seen = json.loads(done.stdout)
    assert seen["unread"] == ["b.service"]
    assert list(seen["files"]) == [str(there)]
    assert seen["files"][str(there)].startswith(f"{owner}:")
    assert seen["files"][str(there)].endswith(f" 0640 {digest}")
