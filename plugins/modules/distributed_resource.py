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
options:
  state:
    description:
      - V(started) makes every declared member, copy-on-write from its image, and starts it.
      - V(stopped) stops every member of the resource and keeps its disk and definition.
      - V(absent) removes every domain, disk, mount and key of the resource.
      - V(stopped) and V(absent) include members that the declaration no longer names.
    type: str
    choices: [started, stopped, absent]
    default: started
  delete_data:
    description:
      - Roles marked C(stateful) whose disks may be removed by O(state=absent).
      - Without it O(state=absent) is refused while such a role has disks, before anything is touched.
    type: list
    elements: str
    default: []
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
      - Seconds to wait while another run is at work on the same resource.
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
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.run import DEFAULT_TTL, Request, converge
from ansible_collections.ensemble.stacks.plugins.module_utils._module.argspec import TARGET, TARGET_RULES
from ansible_collections.ensemble.stacks.plugins.module_utils._module.main import connect_of, run_module, target_of


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Carry out the request and return what the documentation promises."""
    params = module.params
    target = target_of(params)
    ttl = target.resource.lease_ttl if target.resource is not None else DEFAULT_TTL
    request = Request(
        name=target.name,
        pool=target.pool,
        state=params["state"],
        resource=target.resource,
        delete_data=tuple(params["delete_data"]),
        wait=params["wait"],
        timeout=params["timeout"],
        stop_timeout=min(300, params["stop_timeout"]),
        lease_ttl=ttl,
        lease_timeout=ttl + 15 if params["lease_timeout"] is None else params["lease_timeout"],
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
        "seconds": {step: round(seconds, 3) for step, seconds in outcome.seconds.items()},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **TARGET,
            "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
            "delete_data": {"type": "list", "elements": "str", "default": []},
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
