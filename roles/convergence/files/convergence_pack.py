# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Pack what an agent runs on, on the controller: the same input gives the same bytes.

Usage: convergence_pack.py collection SOURCE FOLDER
       convergence_pack.py runtime ARCHIVE PYTHON MACHINE REQUIREMENT...

The first packs this collection into FOLDER under its digest, the second wheels for another Python (such as 3.13) and
machine (such as x86_64) into ARCHIVE, unless it is there. Both print one JSON object. Exit status 1 with one message
when that is not possible.
"""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile

#: of a collection, what is needed where it is installed
PARTS = ("galaxy.yml", "MANIFEST.json", "LICENSE", "meta", "playbooks", "plugins", "roles")
#: of installed wheels, what nobody needs: programs that name the controller's Python, and a tool for tests
UNNEEDED = ("bin", "ansible_test")
#: wheels of these ages of the C library run on every supported distribution, the newest first
PLATFORMS = ("manylinux_2_34", "manylinux_2_31", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
PIP_TIMEOUT = 270


class PackError(Exception):
    """It cannot be packed; the message says what to do."""


def files_below(top, parts):
    """Paths relative to `top`, sorted, without what Python has compiled."""
    found = []
    for part in parts:
        path = os.path.join(top, part)
        if os.path.isfile(path):
            found.append(part)
        for parent, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            found += [os.path.relpath(os.path.join(parent, name), top) for name in names if not name.endswith(".pyc")]
    return sorted(found)


def pack(top, names):
    """A compressed archive of files as root owns them, without times."""
    body = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=body, mode="wb", mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in names:
            path = os.path.join(top, name)
            entry = tarfile.TarInfo(name)
            entry.size = os.path.getsize(path)
            entry.mode = 0o755 if os.access(path, os.X_OK) and not name.endswith(".py") else 0o644
            with open(path, "rb") as stream:
                archive.addfile(entry, stream)
    return body.getvalue()


def put(path, body):
    """Write a file that appears whole or not at all; several members' runs may do so at once."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    fd, aside = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(body)
        os.rename(aside, path)
    except BaseException:
        os.unlink(aside)
        raise


def pack_collection(source, folder):
    source = os.path.realpath(source)
    names = files_below(source, PARTS)
    if not any(name.startswith("plugins/module_utils/_agent/") for name in names):
        raise PackError(f"{source} is not this collection: it has no plugins/module_utils/_agent")
    body = pack(source, names)
    digest = hashlib.sha256(body).hexdigest()
    path = os.path.join(folder, f"collection-{digest}.tar.gz")
    changed = not os.path.exists(path)
    if changed:
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name.startswith("collection-"):  # each version of a checkout that is worked on makes one
                os.unlink(os.path.join(folder, name))
        put(path, body)
    return {"path": path, "digest": digest, "changed": changed}


def pack_runtime(archive, python, machine, requirements):
    if os.path.exists(archive):
        return {"path": archive, "changed": False}
    unpinned = [words for words in requirements if "==" not in words]
    if unpinned:
        raise PackError(f"convergence_requirements: without an exact version (==): {', '.join(unpinned)}")
    with tempfile.TemporaryDirectory() as folder:
        install(folder, python, machine, requirements)
        top = [name for name in sorted(os.listdir(folder)) if name not in UNNEEDED]
        put(archive, pack(folder, files_below(folder, top)))
    return {"path": archive, "changed": True}


def install(folder, python, machine, requirements):
    """Wheels only, exactly those that are named: nothing is built here, and nothing is run."""
    platforms = [word for name in PLATFORMS for word in ("--platform", f"{name}_{machine}")]
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"),
        *("--no-compile", "--only-binary=:all:", "--implementation=cp", "--python-version", python, *platforms),
        *("--target", folder, *requirements),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise PackError(f"pip did not finish within {PIP_TIMEOUT} s; is a package registry reachable?") from None
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        raise PackError(
            f"the packages for Python {python} on {machine} cannot be installed by the controller's pip. Name others "
            f"in convergence_requirements, or put the archive there: {' '.join(said[-3:])}"
        )


def main(words):
    if len(words) == 3 and words[0] == "collection":
        told = pack_collection(*words[1:])
    elif len(words) > 4 and words[0] == "runtime":
        told = pack_runtime(words[1], words[2], words[3], words[4:])
    else:
        sys.exit(__doc__)
    print(json.dumps(told))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (PackError, OSError) as problem:
        sys.exit(f"convergence_pack: {problem}")
