# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Observe one member in one trip: read a request from argv, print what is there, change nothing.

The request is a JSON object: ``packages`` (names), ``services`` (unit name to the files that its
daemon reads when it starts), ``files`` (paths) and ``timeout`` (seconds for each command).
"""

import grp
import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys
import time


def run(timeout, *argv):
    """Return the output of a command, whatever its exit code; an absent command prints nothing."""
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=timeout, check=False, env={"LC_ALL": "C"}
        )
    except FileNotFoundError:
        return ""
    return done.stdout.decode("utf-8", "replace")


def packages(timeout, names):
    """Return the versions of those packages that are installed completely."""
    out = run(timeout, "/usr/bin/dpkg-query", "-W", "-f=${db:Status-Abbrev}|${Package}|${Version}\\n", *names)
    rows = [line.split("|") for line in out.splitlines()]
    return {row[1]: row[2] for row in rows if row[0].strip() == "ii"}


def started_at(pid):
    """Return when a process started, in seconds since the epoch (proc(5): field 22, since boot)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as status:
        ticks = int(status.read().rpartition(")")[2].split()[19])
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def is_stale(pid, files):
    """Tell whether a daemon started before one of its files was written."""
    try:
        started = started_at(pid)
    except (OSError, IndexError, ValueError):
        return False
    written = [os.stat(path).st_mtime for path in files if os.path.exists(path)]
    # A time of writing in the future comes from a clock that was set back and says nothing.
    return any(started + 0.1 < moment <= time.time() for moment in written)


def services(timeout, wanted):
    """Return state, start at boot, staleness, and whether systemd has read its files, of each unit that exists."""
    keys = "Id,LoadState,ActiveState,UnitFileState,MainPID,NeedDaemonReload"
    out = run(timeout, "/usr/bin/systemctl", "show", "--property", keys, *sorted(wanted))
    found = {}
    for block in out.strip().split("\n\n"):
        unit = dict(line.partition("=")[::2] for line in block.splitlines())
        name = unit.get("Id", "").rpartition(".")[0]
        if name not in wanted or unit.get("LoadState") != "loaded":
            continue
        pid = int(unit.get("MainPID") or 0)
        found[name] = {
            "state": unit.get("ActiveState", "unknown"),
            "enabled": unit.get("UnitFileState") == "enabled",
            "unread": unit.get("NeedDaemonReload") == "yes",
            "stale": pid > 0 and is_stale(pid, wanted[name]),
        }
    return found


def files(paths):
    """Return owner, group, mode and SHA-256 of each file that exists, in one string."""
    found = {}
    for path in paths:
        try:
            about = os.stat(path)
            with open(path, "rb") as content:
                digest = hashlib.sha256(content.read()).hexdigest()
            owner, group = pwd.getpwuid(about.st_uid).pw_name, grp.getgrgid(about.st_gid).gr_name
        except (OSError, KeyError):
            continue
        found[path] = f"{owner}:{group} {stat.S_IMODE(about.st_mode):04o} {digest}"
    return found


def main():
    request = json.loads(sys.argv[1])
    timeout = request["timeout"]
    with open("/etc/hosts", encoding="utf-8", errors="replace") as hosts:
        names = hosts.read()
    seen = {
        "hostname": os.uname().nodename,
        "packages": packages(timeout, request["packages"]),
        "services": services(timeout, request["services"]),
        "users": {entry.pw_name: [entry.pw_uid, entry.pw_gid] for entry in pwd.getpwall()},
        "groups": {entry.gr_name: entry.gr_gid for entry in grp.getgrall()},
        "cgroup2": os.path.exists("/sys/fs/cgroup/cgroup.controllers"),
        "files": files(request["files"]),
        "hosts": names,
    }
    print(json.dumps(seen, sort_keys=True))


main()
