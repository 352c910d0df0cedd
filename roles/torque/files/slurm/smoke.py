# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Run one array job through qsub and wait for its end. Exit code 0 when all of its tasks completed, else 1.

The request is a JSON object: ``user`` (who submits), ``tasks`` (how many) and ``timeout`` (seconds).
Prints one JSON object: ``job`` (its id), ``tasks`` (index to state and node) and ``fault`` (a sentence, or
an empty string). A job that has not ended in time is cancelled.
"""

import json
import os
import pwd
import re
import subprocess
import sys
import tempfile
import time

# Each task has a node for itself and keeps it until none of the others waits: as many tasks as nodes then run on
# all of the nodes. The wrapper of qsub has no option for a whole node, but hands the script on as it is.
SCRIPT = """#!/bin/sh
#SBATCH --exclusive
left={timeout}
while [ "$left" -gt 0 ] && squeue --noheader --states=PENDING --jobs="$SLURM_ARRAY_JOB_ID" | grep -q .; do
    sleep 1
    left=$((left - 1))
done
echo "task $SLURM_ARRAY_TASK_ID of {tasks} ran on $(uname -n) as $(id -un)"
"""
NAME = "ensemble-smoke"
GOING_ON = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "STAGE_OUT"}
INTERVAL = 0.5


class Fault(Exception):
    """What went wrong, in one sentence."""


def run(argv, timeout, user=None):
    """Run a command, as another account when one is given, in its home; raise Fault when it fails."""
    options = {}
    if user is not None:
        options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": user.pw_dir}
        options["env"] = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "PATH": os.defpath}
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
            encoding="utf-8",
            **options,
        )
    except subprocess.TimeoutExpired:
        raise Fault(f"{argv[0]} did not answer within {timeout:.0f} s.") from None
    except OSError as error:
        raise Fault(f"{argv[0]} cannot be run: {error}.") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).replace("\n", " ")
        raise Fault(f"{argv[0]} ended with exit code {done.returncode}: {said}")
    return done.stdout


def submit(user, tasks, timeout):
    """Submit the array as the user and return the job's id."""
    with tempfile.NamedTemporaryFile("w", prefix=NAME, suffix=".sh") as script:
        script.write(SCRIPT.format(tasks=tasks, timeout=timeout))
        script.flush()
        os.chmod(script.name, 0o644)
        walltime = f"walltime={timeout + 60}"
        said = run(["qsub", "-t", f"1-{tasks}", "-N", NAME, "-j", "oe", "-l", walltime, script.name], 30, user)
    job = said.strip().rpartition("\n")[2]
    if not job.isdigit():
        raise Fault(f"qsub named no job: {said.strip()}")
    return job


def look(job):
    """Return state and node of each task of the array that the scheduler names (scontrol(1), one line per record)."""
    found = {}
    for line in run(["scontrol", "--oneliner", "show", "job", job], 15).splitlines():
        fields = dict(re.findall(r"(?:^|\s)(ArrayTaskId|JobState|Reason|NodeList)=(\S*)", line))
        state = fields.get("JobState", "UNKNOWN")
        if state in GOING_ON and fields.get("Reason", "None") != "None":
            state += " ({})".format(fields["Reason"])
        found[fields.get("ArrayTaskId", "?")] = {"state": state, "node": fields.get("NodeList", "")}
    return found


def wait(job, tasks, timeout, answer):
    """Wait until all tasks have ended; keep what was last seen in the answer."""
    end = time.monotonic() + timeout
    while True:
        answer["tasks"] = look(job)
        states = [task["state"].split()[0] for task in answer["tasks"].values()]
        if len(states) == tasks and not GOING_ON.intersection(states):
            break
        if time.monotonic() > end:
            raise Fault(f"Job {job} has not ended within {timeout} s.")
        time.sleep(INTERVAL)
    if set(states) != {"COMPLETED"}:
        raise Fault(f"Not all tasks of job {job} completed.")


def main():
    request = json.loads(sys.argv[1])
    answer = {"job": "", "tasks": {}, "fault": ""}
    try:
        user = pwd.getpwnam(request["user"])
        if user.pw_uid == 0:
            raise Fault(f"The smoke test runs as an unprivileged account, not as {user.pw_name}.")
        answer["job"] = submit(user, request["tasks"], request["timeout"])
        wait(answer["job"], request["tasks"], request["timeout"], answer)
    except KeyError:
        answer["fault"] = "The account '{}' does not exist on the head.".format(request["user"])
    except Fault as fault:
        answer["fault"] = str(fault)
    finally:
        if answer["job"] and answer["fault"]:
            subprocess.run(["scancel", answer["job"]], timeout=30, check=False)
    print(json.dumps(answer, sort_keys=True))
    return 1 if answer["fault"] else 0


sys.exit(main())
