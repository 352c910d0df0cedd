# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Wait until Slurm has every named node in service. Exit code 0 when it has, else 1.

The request is a JSON object: ``nodes`` (names), ``timeout`` (seconds) and ``resumed``, the reason of a drain that is
over by now: such nodes are resumed, and so are those that Slurm took out of service by mistake. Prints one line for
each node; what is wrong goes to stderr. Any other drained node ends the wait at once: it stays out until somebody
resumes it.
"""

import json
import subprocess
import sys
import time

# sinfo(1), NODE STATE CODES. "+" and "-" mark jobs that are ending and jobs that are planned; "*", a node that does
# not answer, is never in service.
IN_SERVICE = {"idle", "mixed", "allocated", "completing", "planned", "reserved"}
INTERVAL = 0.25
# what slurmctld says of nodes on which nothing is amiss: it ended without warning, forgot that it had started a job
# there, and started it once more, which they refused
MISTAKE = "Duplicate jobid"


def look(timeout):
    """Return state and reason of each node that the scheduler knows, and an error text."""
    command = ["sinfo", "--noheader", "--Node", "--format=%N|%T|%E"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout, check=False, encoding="utf-8")
    except subprocess.TimeoutExpired:
        return {}, f"sinfo did not answer within {timeout:.0f} s"
    if done.returncode != 0:
        return {}, done.stderr.strip() or f"sinfo ended with exit code {done.returncode}"
    rows = [line.split("|", 2) for line in done.stdout.splitlines()]
    return {row[0]: (row[1], row[2]) for row in rows if len(row) == 3}, ""


def outside(wanted, seen):
    """Return state and reason of the wanted nodes that are not in service."""
    nodes = {name: seen.get(name, ("unknown to the scheduler", "none")) for name in wanted}
    return {name: entry for name, entry in nodes.items() if entry[0].rstrip("+-") not in IN_SERVICE}


def resume(names):
    """Put nodes back into service that we took out of it ourselves."""
    command = ["scontrol", "update", "nodename=" + ",".join(names), "state=resume"]
    subprocess.run(command, capture_output=True, timeout=15, check=False)


def main():
    request = json.loads(sys.argv[1])
    wanted, timeout = request["nodes"], request["timeout"]
    began = time.monotonic()
    while True:
        left = began + timeout - time.monotonic()
        seen, error = look(max(1.0, min(15.0, left)))
        states = {name: seen.get(name, ("", "")) for name in wanted}
        over = (request["resumed"], MISTAKE)
        ours = [name for name, (state, why) in states.items() if "drain" in state and why in over]
        if ours:
            resume(ours)
            seen, error = look(max(1.0, min(15.0, left)))
        out = outside(wanted, seen)
        if not out or any(state.startswith("drain") for name, (state, _why) in out.items() if name not in ours):
            break
        if time.monotonic() + INTERVAL > began + timeout:
            break
        time.sleep(INTERVAL)
    for name in wanted:
        if name in seen:
            print(name, seen[name][0])
    if not out:
        return 0
    waited = time.monotonic() - began
    print(f"{len(out)} of {len(wanted)} nodes are not in service after {waited:.0f} s.", file=sys.stderr)
    for name, (state, reason) in out.items():
        print(f"{name}: {state}, reason: {reason}", file=sys.stderr)
    if error:
        print(f"The scheduler could not be asked: {error}", file=sys.stderr)
    if any(state.startswith("drain") for state, _reason in out.values()):
        print("After the reason is removed: scontrol update nodename=NAME state=resume", file=sys.stderr)
    return 1


sys.exit(main())
