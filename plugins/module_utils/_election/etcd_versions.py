# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Which releases of etcd have bugs that a lease meets, as etcd's own change logs of 3.4, 3.5 and 3.6 tell."""

from __future__ import annotations

import re

#: what is wrong -> the first release of each line without it
_BUGS: tuple[tuple[str, tuple[tuple[int, int, int], ...]], ...] = (
    (
        "a leader of etcd that was stopped for a while ends leases that were renewed at the next leader meanwhile, so "
        "that a lease may end before its time",
        ((3, 4, 31), (3, 5, 13), (3, 6, 0)),
    ),
    (
        "the renewal of a lease that is just being revoked is reported as done",
        ((3, 4, 38), (3, 5, 23), (3, 6, 5)),
    ),
    (
        "with authentication on, whoever reaches etcd may grant, renew and revoke leases, and a user may write beyond "
        "the rights of its role through nested transactions (CVE-2026-33413, CVE-2026-33343)",
        ((3, 4, 42), (3, 5, 28), (3, 6, 9)),
    ),
)


def version_warning(version: str) -> str | None:
    """What to know of a release of etcd before a lease is trusted to it; None when there is nothing.

    Args:
        version: as `/v3/maintenance/status` gives it, such as `3.4.23`.
    """
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if match is None:
        return None
    found = (int(match[1]), int(match[2]), int(match[3]))
    if found < (3, 4, 0):
        return f"etcd {version} is older than the interface that is used here. Use 3.5 or 3.6."
    bugs = [words for words, fixed in _BUGS if any(found[:2] == line[:2] and found < line for line in fixed)]
    if not bugs:
        return None
    needed = next(release for release in _BUGS[-1][1] if release[:2] == found[:2])
    target = ".".join(str(part) for part in needed)
    return f"etcd {version} has faults that concern leases: {'; '.join(bugs)}. Upgrade it to {target} or newer."
