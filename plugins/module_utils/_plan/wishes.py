# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What a person allows a run to do to members that run, or asks it to do to some of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wishes:
    """Nothing in it: members that run are neither stopped nor rebuilt, except those of hypervisors in maintenance.

    Attributes:
        remove: members to be taken out of the resource, declared or not.
        lost: members, or hypervisors that do not answer, which are known to be dead: members are made anew elsewhere.
        restart: members to be stopped by force and started where they are.
        replace: members to be rebuilt with the same identity, `stateful` ones too.
        allow_restart: what differs and needs a restart may have one.
        allow_rebuild: what differs and needs a new disk may have one, unless the member is `stateful`.
        allow_move: members may leave a hypervisor in maintenance, unless they are `stateful`.
        delete_data: `stateful` roles whose disks may go with their members.
        interrupt: false puts off all that interrupts members that run, so that they can be drained before.
        max_unavailable: how many members that run are stopped at the same time for any of this.
    """

    remove: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    allow_restart: bool = False
    allow_rebuild: bool = False
    allow_move: bool = True
    delete_data: tuple[str, ...] = ()
    interrupt: bool = True
    max_unavailable: int = 1


NO_WISHES = Wishes()
