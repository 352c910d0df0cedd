# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What each kind of stack brings with it. A new stack is a new row here, a role and a playbook."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stack:
    """A kind of resource.

    Attributes:
        required_roles: that must be declared.
        playbook: that brings such a resource about.
        secrets: name and random bytes of what its members share.
        schedulers: role and engine of a batch system whose nodes its members know.
        keeps_state: roles whose members hold what no repair may throw away, although they may be removed.
    """

    name: str
    playbook: str = "start"
    required_roles: tuple[str, ...] = ()
    secrets: tuple[tuple[str, int], ...] = ()
    schedulers: tuple[tuple[str, str], ...] = ()
    keeps_state: tuple[str, ...] = ()


STACKS: dict[str, Stack] = {
    stack.name: stack
    for stack in (
        # MUNGE takes a key of 32 to 1024 bytes (munge.key(5)); 128 is what its own tool makes
        Stack(
            "torque",
            playbook="torque",
            required_roles=("head", "compute"),
            secrets=(("munge.key", 128),),
            schedulers=(("head", "slurm"),),
            # jobs that were accepted lie on its disk
            keeps_state=("head",),
        ),
        Stack("custom"),
    )
}
