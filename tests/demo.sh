#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
#
# The demo on a lab that is up: a batch cluster, a job on it, and what to type next. usage: tests/demo.sh up|down
set -euo pipefail
cd "$(dirname "$0")/.."

demo=inventories/demo/resource.yml
play() {
    ansible-playbook -i "$demo" "playbooks/$1.yml"
}

case ${1:-} in
up)
    play pool
    play torque
    play smoke
    play status
    cat <<'NEXT'

The cluster is up. What to type next:
  . .venv/bin/activate
  ansible-playbook -i inventories/demo/resource.yml playbooks/status.yml
  ssh -F ~/.cache/ensemble/demo/ssh_config demo-head-0        # then: su - demo, qsub, qstat, pbsnodes
  ansible-playbook -i inventories/demo/resource.yml playbooks/stop.yml --check --diff
  make demo-down                                              # removes all of it
NEXT
    ;;
down)
    if [ -e .lab/ensemble/lab.json ] && [ -x .venv/bin/ansible-playbook ]; then
        play stop || true # the lab takes the members with it
    fi
    python3 tests/lab/ensemble_lab down
    rm -rf ~/.cache/ensemble/demo
    # the host program that was built goes too, unless other resources have their keys beside it
    if [ "$(ls -A ~/.cache/ensemble 2>/dev/null)" = ensemble-host ]; then
        rm -r ~/.cache/ensemble
    fi
    # images may serve another lab on this machine; the tool says so and keeps them
    python3 tests/lab/ensemble_lab purge || true
    echo "Removed: the members, the lab and their keys. Left: .venv and Debian packages ('make clean' removes .venv)."
    ;;
*)
    echo "usage: tests/demo.sh up|down" >&2
    exit 2
    ;;
esac
