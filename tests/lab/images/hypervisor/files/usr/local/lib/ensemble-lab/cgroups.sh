# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
# Sourced by the scripts beside it: what they know about the machine's cgroup hierarchies.

pure_cgroup2() {
    [ -f /sys/fs/cgroup/cgroup.controllers ]
}

# Removes the directories below one; only those without processes can go.
clear_below() {
    if [ -d "$1" ]; then
        find "$1" -mindepth 1 -depth -type d -exec rmdir {} + 2> /dev/null || true
    fi
}
