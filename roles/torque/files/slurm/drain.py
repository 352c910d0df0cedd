# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Take nodes out of service, wait for their jobs, and requeue what still runs when the time is over.

The request is a JSON object: ``nodes`` (names), ``reason`` and ``timeout`` (seconds). Exit code 0: no job is left on
them. 3: the scheduler does not answer or does not know them, so that there is nothing to wait for; said on stderr.
1: jobs are left that could not be requeued.
"""

import json
import subprocess
import sys
import time

COMMAND_TIMEOUT = 15
INTERVAL = 0.5


def run(*argv):
    """Return exit code, standard output and the words of an error."""
    try:
        done = subprocess.run(argv, capture_output=True, timeout=COMMAND_TIMEOUT, check=False, encoding="utf-8")
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, "", str(error)
    return done.returncode, done.stdout, done.stderr.strip()


def known(wanted):
    """Return those of the nodes that the scheduler knows, and why none can be told."""
    code, out, error = run("sinfo", "--noheader", "--Node", "--format=%N")
    return sorted(set(out.split()) & set(wanted)), error if code else ""


def jobs(nodes):
    """Return the jobs on the nodes, and why they cannot be told."""
    code, out, error = run("squeue", "--noheader", "--nodelist=" + ",".join(nodes), "--format=%A")
    return sorted(set(out.split())), error if code else ""


def wait(nodes, timeout):
    """Return the jobs that are left when all are over or the time is."""
    deadline = time.monotonic() + timeout
    while True:
        left, error = jobs(nodes)
        if (not left and not error) or time.monotonic() + INTERVAL > deadline:
            return left, error
        time.sleep(INTERVAL)


def main():
    request = json.loads(sys.argv[1])
    nodes, error = known(request["nodes"])
    if not nodes:
        print(f"No node is drained: {error or 'the scheduler knows none of them'}.", file=sys.stderr)
        return 3
    names = "nodename=" + ",".join(nodes)
    code, _out, error = run("scontrol", "update", names, "state=drain", "reason=" + request["reason"])
    if code:
        print(f"No node is drained: {error}", file=sys.stderr)
        return 3
    left, error = wait(nodes, request["timeout"])
    for job in left:
        code, _out, words = run("scontrol", "requeue", job)
        if code:
            print(f"Job {job} runs on and cannot be requeued: {words}", file=sys.stderr)
    left, error = wait(nodes, COMMAND_TIMEOUT) if left else (left, error)
    if left or error:
        print(f"Jobs {', '.join(left)} are left on {', '.join(nodes)}. {error}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
