# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The peer: community.libvirt out of PyPI's package `ansible`, kept below .build; the collection never needs it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import typing as t
import zipfile
from pathlib import Path

from harness.lab import CHECKOUT, Hypervisor

#: the release that goes with the ansible-core of tests/requirements
RELEASE = "12.3.0"
_PART = "ansible_collections/community/libvirt/"
_DOWNLOAD_TIMEOUT = 600
#: what its modules import where they run, besides libvirt's bindings
_NEEDS = "python3-lxml"


def collections_path() -> Path:
    """A folder for ANSIBLE_COLLECTIONS_PATH that holds the peer; downloaded once (54 MB).

    Raises:
        RuntimeError: no package registry answers, or the release does not hold the peer.
    """
    found = CHECKOUT / ".build" / f"peer-{RELEASE}"
    if found.is_dir():
        return found
    found.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=found.parent, prefix=".peer-") as aside:
        _download(Path(aside))
        wheel = next(Path(aside).glob("*.whl"))
        whole = Path(aside) / "whole"
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(_PART)]
            if not names:
                raise RuntimeError(
                    f"{wheel.name} holds no {_PART}: set RELEASE in {Path(__file__).name} to one that does"
                )
            archive.extractall(whole, names)
        shutil.move(whole, found)
    return found


@contextlib.contextmanager
def needs_on(hypervisors: t.Sequence[Hypervisor]) -> t.Iterator[None]:
    """What the peer needs on the hypervisors; what was not there before is removed at the end."""
    before = {hv.name: _packages(hv) for hv in hypervisors}
    try:
        for hv in hypervisors:
            if _NEEDS not in before[hv.name]:
                hv.run("apt-get", "update", "-qq")
                hv.run("apt-get", "install", "-qq", "--yes", "--no-install-recommends", _NEEDS)
        yield
    finally:
        for hv in hypervisors:
            added = sorted(_packages(hv) - before[hv.name])
            if added:
                hv.run("apt-get", "purge", "-qq", "--yes", *added)


def _packages(hv: Hypervisor) -> set[str]:
    return set(hv.run("dpkg-query", "--show", "--showformat", "${Package}\n").split())


def _download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*command, "--dest", str(folder), f"ansible=={RELEASE}"],
        capture_output=True,
        text=True,
        timeout=_DOWNLOAD_TIMEOUT,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"ansible {RELEASE} cannot be downloaded: {done.stderr.strip()[-300:]}")
