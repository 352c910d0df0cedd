# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Images built from Debian packages, as a person builds them: check, build, again; an archive and a disk."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import typing as t
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PLAYBOOK = CHECKOUT / "playbooks" / "build_images.yml"
TIMEOUT = 1800
REASON = "building images takes minutes and a Debian mirror; set ENSEMBLE_TEST_BUILDS=1, as make test-full does"
MULTI_USER = "./etc/systemd/system/multi-user.target.wants"

pytestmark = [
    pytest.mark.skipif(not os.environ.get("ENSEMBLE_TEST_BUILDS"), reason=REASON),
    pytest.mark.skipif(os.geteuid() != 0, reason="building images needs root"),
]


@pytest.fixture(scope="module")
def folder() -> t.Iterator[Path]:
    """A folder for images on a disk: pytest's own may lie in memory."""
    with tempfile.TemporaryDirectory(prefix="ensemble-builds-", dir="/var/tmp") as name:
        yield Path(name) / "images"


def start(folder: Path, *options: str, **variables: t.Any) -> subprocess.Popen[str]:
    given = json.dumps({"image_folder": str(folder), **variables})
    return subprocess.Popen(
        ["ansible-playbook", str(PLAYBOOK), "-e", given, *options],
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def play(folder: Path, *options: str, code: int = 0, **variables: t.Any) -> str:
    process = start(folder, *options, **variables)
    try:
        output, _nothing = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == code, output
    return output


def record_of(folder: Path, name: str, kind: str) -> dict[str, t.Any]:
    [found] = folder.glob(f"{name}-*.{kind}")
    record: dict[str, t.Any] = json.loads(found.with_suffix(".json").read_text())
    assert record["path"] == str(found)
    assert record["sha256"] == hashlib.sha256(found.read_bytes()).hexdigest()
    assert record["size_bytes"] == found.stat().st_size
    return record


def test_faults_are_named_together_and_nothing_is_made(folder: Path) -> None:
    output = play(folder, code=2, image_wanted=["nothing"], image_timeout=1, image_mirror="here")
    for key in ("image_wanted", "image_timeout", "image_mirror"):
        assert f"{key}: " in output
    assert not folder.exists()


def test_a_builder_that_is_no_host_is_named(folder: Path) -> None:
    assert "the inventory has no host nobody" in play(folder, code=2, ensemble_builder="nobody")


def test_check_build_again(folder: Path) -> None:
    wanted = {"image_wanted": ["batch"], "image_formats": ["tar", "qcow2"]}
    check = play(folder, "--check", **wanted)
    assert f"{folder}/batch-node-" in check.split("would be built:")[1]
    assert not folder.exists()
    first = play(folder, **wanted)
    assert "changed=0" not in first.splitlines()[-2]
    files = sorted(path.name for path in folder.iterdir())
    assert [name.rpartition(".")[2] for name in files if name.startswith("batch")] in (
        ["json", "qcow2", "json", "tar"],
        ["json", "tar", "json", "qcow2"],
    )
    assert not [name for name in files if name.startswith(".work")]
    for kind in ("tar", "qcow2"):
        record = record_of(folder, "batch-node", kind)
        assert {"slurmd", "munge", "openssh-server"} <= set(record["packages"])
        assert f"path: {record['path']}, checksum: {record['sha256']}" in first
    assert "changed=0" in play(folder, **wanted).strip().splitlines()[-1]


def test_units_and_secrets_of_the_archive(folder: Path) -> None:
    with tarfile.open(record_of(folder, "batch-node", "tar")["path"]) as root:
        names = set(root.getnames())
        assert root.getmember("./etc/machine-id").size == 0
        assert root.getmember("./etc/systemd/system/systemd-udevd.service").linkname == "/dev/null"
    assert {f"{MULTI_USER}/ssh.service", f"{MULTI_USER}/systemd-networkd.service"} <= names
    assert "./usr/lib/systemd/system/slurmd.service" in names
    started = {name.rpartition("/")[2] for name in names if name.startswith(f"{MULTI_USER}/")}
    assert not started & {"munge.service", "slurmd.service", "slurmctld.service"}
    assert not names & {"./etc/munge/munge.key", "./etc/hostname", "./etc/resolv.conf"}
    assert not [name for name in names if name.startswith("./etc/ssh/ssh_host_")]


def test_the_disk_is_one(folder: Path) -> None:
    record = record_of(folder, "batch-node", "qcow2")
    argv = ["qemu-img", "info", "--output", "json", record["path"]]
    info = json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout)
    assert (info["format"], info["virtual-size"]) == ("qcow2", 4096 << 20)
    assert {"cloud-init", "linux-image-cloud-amd64"} <= set(record["packages"])


def test_a_package_that_is_none_fails_and_leaves_nothing(folder: Path) -> None:
    recipes = {"odd": {"packages": ["no-such-package-anywhere"]}}
    output = play(folder, code=2, image_wanted=["odd"], image_recipes=recipes)
    assert "image odd (tar): running mmdebstrap ended with status" in output
    assert "no-such-package-anywhere" in output
    assert not [path.name for path in folder.iterdir() if path.name.startswith((".work", "odd"))]


def test_a_builder_that_is_killed_leaves_no_process_and_no_mount(folder: Path) -> None:
    """The next run builds what the killed one did not."""
    wanted = {"image_wanted": ["plain"], "image_serial": "killed"}
    process = start(folder, **wanted)
    [builder] = wait_for(lambda: builders(folder), "a builder")
    wait_for(lambda: list(folder.glob(".work-plain-*/tmp/*/etc/passwd")), "a root file system half made")
    os.kill(builder, signal.SIGKILL)
    assert "The images" not in process.communicate(timeout=120)[0].rpartition("Build the images")[2]
    assert process.returncode == 2
    wait_for(lambda: not users(folder), "the end of what the builder ran", seconds=5)
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    assert not list(folder.glob("plain-*"))
    play(folder, **wanted)
    assert record_of(folder, "plain", "tar")["packages"]
    assert not list(folder.glob(".work-*"))


def commands() -> t.Iterator[tuple[int, str]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(path.parent.name), path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


def builders(folder: Path) -> list[int]:
    start = f"/usr/bin/python3 -B {folder}/.programs/image_build.py"
    return [number for number, line in commands() if line.startswith(start)]


def users(folder: Path) -> list[int]:
    """Processes that were started for a build in this folder."""
    return [number for number, line in commands() if f"{folder}/.work-" in line]


def wait_for(look: t.Callable[[], t.Any], what: str, seconds: float = 120) -> t.Any:
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"not seen within {seconds} s: {what}"
        time.sleep(0.1)
    return found
