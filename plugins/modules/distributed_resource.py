#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: distributed_resource
short_description: Start, stop or remove a whole group of machines as one resource
version_added: 0.1.0
description:
  - Brings all members of a resource to one state, on all hypervisors of its pool at once.
  - What changes is decided first, as a plan, and the plan is the only thing that is carried out; check mode returns it.
  - A run that was interrupted at any moment is finished by the next one.
  - It runs on the controller and needs no connection to the members but SSH, which it waits for.
author:
  - the ensemble.stacks authors (@ensemble-stacks)
extends_documentation_fragment:
  - ensemble.stacks.attributes
  - ensemble.stacks.target
  - ensemble.stacks.fencing
options:
  state:
    description:
      - V(started) makes every declared member, copy-on-write from its image, and starts it.
      - Members that run and differ from the declaration are brought in line where that needs no interruption; what
        needs a restart or a new disk is left alone and returned as RV(pending), unless an option below allows it.
      - V(stopped) stops every member of the resource and keeps its disk and definition.
      - V(absent) removes every domain, disk, mount and key of the resource.
      - V(stopped) and V(absent) include members that the declaration no longer names.
    type: str
    choices: [started, stopped, absent]
    default: started
  delete_data:
    description:
      - Roles marked C(stateful) whose disks may be removed by O(state=absent) or O(remove).
      - Without it both are refused while such a role has disks, before anything is touched.
    type: list
    elements: str
    default: []
  remove:
    description:
      - Members to be taken out of the resource, such as C(compute-1); they are stopped and removed once all others run.
      - The index of a counted role's member is recorded, so that no other member changes its name; RV(lines) says what
        to write into the declaration. Until that is done a run with the old file is refused.
      - Members that the declaration no longer names, as after a lowered C(count), go in the same way.
    type: list
    elements: str
    default: []
  replace:
    description:
      - Members to be made anew from their image, under the same name, address and host key. Their disks are lost, those
        of C(stateful) roles too.
    type: list
    elements: str
    default: []
  lost:
    description:
      - Hypervisors that do not answer and are known to be dead. Members on them whose roles all say C(relocate), and
        that have no data, are made anew on other hypervisors, under the same name, address and host key.
      - A member can be named itself, whatever its roles say; never one of a C(stateful) role.
      - Nobody can tell from afar a hypervisor that is dead from one that cannot be reached. What still runs there would
        run twice; name only what is switched off, or what its own guard has ended.
      - What comes back with such a hypervisor is taken away there by the next run.
    type: list
    elements: str
    default: []
  allow_restart:
    description:
      - Restart members that run where a difference needs it, such as the memory of a virtual machine.
    type: bool
    default: false
  allow_rebuild:
    description:
      - Make members anew where a difference needs it, such as another image; never those of C(stateful) roles.
    type: bool
    default: false
  allow_move:
    description:
      - Members leave hypervisors in C(state=maintenance), and those to which they are not pinned any more, by being
        made anew elsewhere; never those of C(stateful) roles.
    type: bool
    default: true
  interrupt:
    description:
      - V(false) puts off all that would interrupt members that run, and returns them as RV(waiting), so that they can
        be drained before the same task is run with V(true).
    type: bool
    default: true
  max_unavailable:
    description:
      - How many members that run are interrupted at the same time for any of these; the next ones follow when they can
        be reached again.
    type: int
    default: 1
  wait:
    description:
      - Wait until every member that was started takes an SSH login with its known host key.
    type: bool
    default: true
  timeout:
    description:
      - Seconds to wait for the members of one wave.
    type: int
    default: 300
  stop_timeout:
    description:
      - Seconds that a member may take to stop in good order before it is stopped by force; at most 300.
    type: int
    default: 60
  lease_timeout:
    description:
      - Seconds to wait while another run is at work on the same resource, where no O(fencing_token) is given.
      - By default the lease's C(ttl) and 15 seconds, so that the lease of a killed run has ended by then.
    type: int
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: The whole cluster runs
  ensemble.stacks.distributed_resource:
    declaration: inventories/demo/resource.yml
    state: started

- name: Memory and image are brought in line, two members at a time
  ensemble.stacks.distributed_resource:
    declaration: inventories/demo/resource.yml
    allow_restart: true
    allow_rebuild: true
    max_unavailable: 2

- name: One member goes for good, another one is made anew
  ensemble.stacks.distributed_resource:
    declaration: inventories/demo/resource.yml
    remove: [compute-1]
    replace: [compute-2]

- name: A hypervisor burnt down; its members are made anew elsewhere
  ensemble.stacks.distributed_resource:
    declaration: inventories/demo/resource.yml
    lost: [hv2]

- name: It is stopped; its disks stay
  ensemble.stacks.distributed_resource:
    declaration: inventories/demo/resource.yml
    state: stopped

- name: Nothing is left of it, not even the database's disk
  ensemble.stacks.distributed_resource:
    name: demo
    pool:
      - {name: hv1, address: 172.30.0.2}
      - {name: hv2, address: 172.30.0.3}
    state: absent
    delete_data: [database]
"""

RETURN = r"""
actions:
  description: The plan, in the order in which it is carried out.
  returned: success
  type: list
  elements: dict
  sample:
    - {action: start, member: head-0, hypervisor: hv1, wave: 0, reason: it is shutoff}
members:
  description: Every member as it is after the run, or would be after it in check mode.
  returned: success
  type: list
  elements: dict
  sample:
    - name: demo-head-0
      member: head-0
      roles: [head]
      hypervisor: hv1
      address: 172.30.0.50
      driver: qemu
      accelerator: kvm
      was: shutoff
      state: running
generation:
  description: Counter of the declaration as the voters keep it.
  returned: success
  type: int
  sample: 1
surplus:
  description: Members that exist and are not declared any more; they were left alone.
  returned: success
  type: list
  elements: str
  sample: []
pending:
  description: Differences that were left alone, what each costs (C(needs)), and the option that allows it.
  returned: success
  type: list
  elements: dict
  sample:
    - {member: compute-0, field: image, from: batch-node, to: batch-node-2, needs: rebuild, allow: allow_rebuild}
waiting:
  description: Members that would be interrupted, were it not for O(interrupt=false).
  returned: success
  type: list
  elements: str
  sample: []
missing:
  description:
    - Declared members that are not there, since no hypervisor has room for them or theirs does not answer, and why.
    - Only roles with C(min_count) may miss members.
  returned: success
  type: dict
  sample: {}
lines:
  description: Role to what the declaration must say of it, after members were removed by name.
  returned: success
  type: dict
  sample: {compute: "{count: 3, removed: [1]}"}
seconds:
  description: How long each step took, in seconds.
  returned: success
  type: dict
  sample: {connect: 0.4, observe: 0.1, prepare: 0.3, define: 0.1, start: 0.4, reachable: 3.9}
code:
  description: Stable identifier of what went wrong.
  returned: failure
  type: str
  sample: lease_held
details:
  description: The data behind the message.
  returned: failure
  type: dict
  sample: {holder: "ops@desk (pid 4711)"}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.report import planned_members
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import Request, converge
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._module.argspec import FENCING, TARGET, TARGET_RULES
from ansible_collections.ensemble.stacks.plugins.module_utils._module.main import (
    connect_of,
    run_module,
    target_of,
    token_of,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._plan.wishes import Wishes


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Carry out the request and return what the documentation promises."""
    params = module.params
    target = target_of(params)
    election = target.election
    request = Request(
        name=target.name,
        pool=target.pool,
        state=params["state"],
        resource=target.resource,
        wishes=wishes_of(params),
        wait=params["wait"],
        timeout=params["timeout"],
        stop_timeout=min(300, params["stop_timeout"]),
        lease_timeout=election.ttl + 15 if params["lease_timeout"] is None else params["lease_timeout"],
        election=election,
        token=token_of(params["fencing_token"]),
        check=module.check_mode,
    )
    outcome = converge(request, connect_of(target))
    for note in outcome.plan.notes:
        module.warn(note)
    return {
        "changed": outcome.plan.changed,
        "actions": [action.public() for action in outcome.plan.actions],
        "diff": outcome.plan.diff(),
        "members": planned_members(outcome.observation, outcome.plan, target.resource),
        "generation": outcome.generation,
        "surplus": list(outcome.plan.surplus),
        "pending": [wait.public() for wait in outcome.plan.pending],
        "waiting": list(outcome.plan.waiting),
        "missing": dict(outcome.plan.missing),
        "lines": dict(outcome.plan.lines),
        "seconds": {step: round(seconds, 3) for step, seconds in outcome.seconds.items()},
    }


def wishes_of(params: dict[str, t.Any]) -> Wishes:
    """What may happen to members that run.

    Raises:
        EnsembleError: `bad_option`.
    """
    if params["max_unavailable"] < 1:
        raise EnsembleError(
            f"max_unavailable: found {params['max_unavailable']}, expected a whole number from 1. Nothing was changed.",
            code="bad_option",
        )
    lists = {name: tuple(params[name]) for name in ("remove", "replace", "lost", "delete_data")}
    flags = {
        name: params[name] for name in ("allow_restart", "allow_rebuild", "allow_move", "interrupt", "max_unavailable")
    }
    return Wishes(**lists, **flags)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **TARGET,
            **FENCING,
            "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
            "delete_data": {"type": "list", "elements": "str", "default": []},
            "remove": {"type": "list", "elements": "str", "default": []},
            "replace": {"type": "list", "elements": "str", "default": []},
            "lost": {"type": "list", "elements": "str", "default": []},
            "allow_restart": {"type": "bool", "default": False},
            "allow_rebuild": {"type": "bool", "default": False},
            "allow_move": {"type": "bool", "default": True},
            "interrupt": {"type": "bool", "default": True},
            "max_unavailable": {"type": "int", "default": 1},
            "wait": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 300},
            "stop_timeout": {"type": "int", "default": 60},
            "lease_timeout": {"type": "int"},
        },
        supports_check_mode=True,
        required_if=[("state", "started", ("declaration",))],
        **TARGET_RULES,
    )
    run_module(module, work)


if __name__ == "__main__":
    main()
