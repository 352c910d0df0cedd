# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Build one image: its description, as the plan prints it, on standard input. Whole or not at all.

Everything is made in a folder of its own beside the result, which gets its name when it is whole and on disk; the
record comes last. mmdebstrap runs in namespaces that end with it, so that nothing stays mounted however it ends.
"""

import contextlib
import email.utils
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.request

import image_disk

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# a command ends with the builder, however that ends
BOUND = ["setpriv", "--pdeathsig", "KILL"]
NAMESPACES = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
# Documentation and translations are a third of a small root file system. The folders of manual pages stay: the
# alternatives of some packages need them.
OPTIONS = (
    "--mode=root",
    "--variant=minbase",
    "--format=tar",
    "--components=main",
    "--aptopt=Acquire::Retries 3",
    "--aptopt=APT::Install-Recommends false",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    "--dpkgopt=path-exclude=/usr/share/man/*/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-include=/usr/share/locale/locale.alias",
)
HOOK = '#!/bin/sh\nexec /usr/bin/python3 -I "${0%/*}/image_customize.py" "$1"\n'
LAST_LINES = 15
MIRROR_SECONDS = 20
GRACE = 10.0


class BuildError(Exception):
    """What went wrong, where, and what to do."""


class Deadline:
    """The end of the whole build, on the monotonic clock."""

    def __init__(self, seconds):
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self, doing):
        """Seconds that are left. Raises BuildError when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.missed(doing)
        return left

    def missed(self, doing):
        """The error of a build that took too long."""
        return BuildError(f"not done within {self.seconds} s, last while {doing}; raise image_timeout")


def end(child):
    """End a command that may still run: gently, so that it can clear up, then at once."""
    for signal in (child.terminate, child.kill):
        if child.poll() is None:
            signal()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=GRACE)


class Workshop:
    """The folder of one build, its deadline, and how commands are run in it."""

    def __init__(self, image):
        self.image = image
        self.deadline = Deadline(image["timeout"])
        self.folder = os.path.join(image["folder"], f".work-{image['name']}-{image['digest']}")
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        self.environment = {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8", "TMPDIR": self.path("tmp")}

    def path(self, name):
        """A file of this folder."""
        return os.path.join(self.folder, name)

    def run(self, argv, text_in=""):
        """Run a command; raises BuildError with its last lines when it fails or the time is over."""
        doing = f"running {'mmdebstrap' if argv[0] == NAMESPACES[0] else argv[0]}"
        with open(self.path("log"), "w+b") as log:
            child = subprocess.Popen(
                [*BOUND, *argv], stdin=subprocess.PIPE, stdout=log, stderr=log, env=self.environment
            )
            try:
                child.communicate(text_in.encode(), timeout=self.deadline.left(doing))
            except subprocess.TimeoutExpired as error:
                raise self.deadline.missed(doing) from error
            finally:
                end(child)
            log.seek(0)
            lines = log.read().decode(errors="replace").splitlines()[-LAST_LINES:]
        if child.returncode != 0:
            raise BuildError("\n".join([f"{doing} ended with status {child.returncode}:", *lines]))

    def clear(self):
        """Remove the folder, or what a build that was killed left of it."""
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as stream:
            inside = [line.split()[4] for line in stream if line.split()[4].startswith(self.folder + "/")]
        if inside:
            raise BuildError(f"{inside[0]} is mounted, so that {self.folder} cannot be removed; unmount it first")
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)


@contextlib.contextmanager
def locked(workshop):
    """One build at a time in a folder of images; another is waited for."""
    with open(os.path.join(workshop.image["folder"], ".lock"), "w", encoding="utf-8") as stream:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            workshop.deadline.left("waiting for another build in this folder")
            time.sleep(0.5)
        yield


def sources(image):
    """(mirror, suite) for each part of the release."""
    found = [(image["mirror"], image["suite"]), (image["mirror"], image["suite"] + "-updates")]
    if image["security_mirror"]:
        found.append((image["security_mirror"], image["suite"] + "-security"))
    return found


def release_date(image):
    """The date of the mirrors' newest change, in seconds since 1970: no file of the image is younger.

    So the same state of the mirrors gives the same archive.
    """
    newest = 0
    for mirror, suite in sources(image):
        address = f"{mirror}/dists/{suite}/InRelease"
        try:
            with urllib.request.urlopen(address, timeout=MIRROR_SECONDS) as answer:  # noqa: S310 (http or https, checked)
                text = answer.read(1 << 20).decode(errors="replace")
        except OSError as error:
            raise BuildError(f"{address}: {error}; name a Debian mirror that the builder reaches") from error
        date = re.search(r"(?m)^Date: (.+)$", text)
        if date is None:
            raise BuildError(f"{address}: no Debian release; name a Debian mirror")
        newest = max(newest, int(email.utils.parsedate_to_datetime(date[1]).timestamp()))
    return newest


def bootstrap(workshop):
    """Make ``root.tar`` with mmdebstrap, and ``image_customize.py`` as its last step."""
    image, archive, hook = workshop.image, workshop.path("root.tar"), workshop.path("hook")
    os.mkdir(workshop.environment["TMPDIR"], mode=0o755)
    shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "image_customize.py"), workshop.folder)
    with open(workshop.path("image.json"), "w", encoding="utf-8") as stream:
        json.dump(image, stream)
    with open(hook, "w", encoding="utf-8") as stream:
        stream.write(HOOK)
        os.fchmod(stream.fileno(), 0o755)
    chosen = [f"--include={','.join(image['packages'])}", f"--customize-hook={hook}"]
    lines = [f"deb [signed-by={KEYRING}] {mirror} {suite} main" for mirror, suite in sources(image)]
    workshop.run([*NAMESPACES, "mmdebstrap", *OPTIONS, *chosen, image["suite"], archive, *lines])
    return archive


def installed(archive):
    """Package -> version, as the archive's own dpkg knows them."""
    with tarfile.open(archive) as root:
        status = root.extractfile("./var/lib/dpkg/status").read().decode()
    entries = [dict(re.findall(r"(?m)^(Package|Version|Status): (.+)$", part)) for part in status.split("\n\n")]
    return {each["Package"]: each["Version"] for each in entries if each.get("Status") == "install ok installed"}


def to_disk(workshop, archive):
    """Make a disk of the archive."""
    digest = hashlib.sha256(workshop.image["digest"].encode()).hexdigest()
    identity = "-".join([digest[:8], digest[8:12], "5" + digest[13:16], "a" + digest[17:20], digest[20:32]])
    return image_disk.bootable(workshop.run, archive, workshop.folder, workshop.image["disk_mb"], identity)


def sha256_of(path):
    """The file's digest, once it is on disk."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
        os.fsync(stream.fileno())
    return digest.hexdigest()


def make(workshop):
    """Build the image and give it and its record their names."""
    image = workshop.image
    date = release_date(image)
    workshop.environment["SOURCE_DATE_EPOCH"] = str(date)
    result = bootstrap(workshop)
    packages = installed(result)
    if image["format"] == "qcow2":
        result = to_disk(workshop, result)
    os.chmod(result, 0o644)
    record = {key: image[key] for key in ("name", "recipe", "format", "suite", "architecture", "digest", "path")}
    record.update(sha256=sha256_of(result), size_bytes=os.path.getsize(result), release_date=date, packages=packages)
    aside = workshop.path("record.json")
    with open(aside, "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), 0o644)
        json.dump(record, stream, indent=1, sort_keys=True)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(result, image["path"])
    os.rename(aside, image["record"])


def main():
    os.umask(0o022)  # the builder's own would reach into the image
    image = json.load(sys.stdin)
    workshop = Workshop(image)
    try:
        with locked(workshop):
            if os.path.isfile(image["path"]) and os.path.isfile(image["record"]):
                return
            workshop.clear()
            os.mkdir(workshop.folder, mode=0o755)
            try:
                make(workshop)
            finally:
                workshop.clear()
    except (BuildError, image_disk.DiskError, OSError) as error:
        sys.exit(f"image {image['name']} ({image['format']}): {error}")


if __name__ == "__main__":
    main()
