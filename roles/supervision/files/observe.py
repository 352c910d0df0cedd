# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Observe drop-ins in one trip: read a request from argv, print what is there, change nothing.

The request is a JSON object: ``units`` (names), ``files`` (paths) and ``timeout`` (seconds).
"""

import grp
import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys


def unread(timeout, names):
    """Return those units whose files were changed since systemd has read them."""
    keys = "--property=Id,NeedDaemonReload"
    command = ["/usr/bin/systemctl", "show", keys, *names]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=timeout, check=True, env={"LC_ALL": "C"})
    blocks = done.stdout.decode("utf-8", "replace").strip().split("\n\n")
    units = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]
    return [unit["Id"] for unit in units if unit.get("NeedDaemonReload") == "yes"]


def about(path):
    """Return owner, group, mode and SHA-256 of a file, in one string."""
    found = os.stat(path)
    with open(path, "rb") as content:
        digest = hashlib.sha256(content.read()).hexdigest()
    owner, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name
    return f"{owner}:{group} {stat.S_IMODE(found.st_mode):04o} {digest}"


def main():
    request = json.loads(sys.argv[1])
    found = {path: about(path) for path in request["files"] if os.path.exists(path)}
    waiting = unread(request["timeout"], request["units"]) if request["units"] else []
    print(json.dumps({"files": found, "unread": waiting}, sort_keys=True))


main()
