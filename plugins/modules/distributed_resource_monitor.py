#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: distributed_resource_monitor
short_description: Tell how every member of a resource is, and repair what is broken
version_added: 0.1.0
description:
  - Asks every hypervisor for its members, every member over SSH, and on each member what the key C(monitor) of the
    declaration names - systemd units, TCP ports, HTTP, commands, and the view that a batch system has of its nodes.
    All at once, each with a deadline.
  - Draws one verdict per member with its cause and the signs behind it, and one for the resource.
  - A member is called dead by its hypervisor's own word, or by two different signs. A hypervisor that does not answer
    makes its members V(unknown), never dead.
  - With O(repair) it tries, for each broken member, the mildest step that was not tried yet - have the scheduler take
    back a mistake of its own, restart units, restart the member, rebuild it unless it holds data - within the budget
    of C(monitor.repair), and waits for the effect.
extends_documentation_fragment:
  - ensemble.stacks.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  declaration:
    description: Path of the resource's declaration.
    type: path
    required: true
  repair:
    description: Repair what is broken. Needs O(fencing_token), except in check mode.
    type: bool
    default: false
  fencing_token:
    description: Config epoch and term of the lease under which repairs are made, as M(ensemble.stacks.leader_election)
      returns them.
    type: list
    elements: int
  lost:
    description:
      - Hypervisors of which a person says that nothing lives on them any more.
      - Their members are made anew on other hypervisors where the role says C(relocate).
    type: list
    elements: str
    default: []
  page:
    description: File on the controller that gets the page with all this as people look at it, in HTML.
    type: path
  events:
    description: Events of the resource's agents for the page, as C(ensemble-agent events --json) prints them, the
      oldest first.
    type: list
    elements: dict
    default: []
seealso:
  - module: ensemble.stacks.distributed_resource
  - module: ensemble.stacks.distributed_resource_info
  - module: ensemble.stacks.leader_election
author:
  - The ensemble.stacks authors (@ensemble-stacks)
"""

EXAMPLES = r"""
- name: How is it
  ensemble.stacks.distributed_resource_monitor:
    declaration: inventories/demo/resource.yml
  register: health

- name: Fail unless all of it works
  ansible.builtin.assert:
    that: health.verdict == 'healthy'
    fail_msg: "{{ health.cause }}"

- name: Lead
  ensemble.stacks.leader_election:
    declaration: inventories/demo/resource.yml
  register: lease

- name: Repair what is broken
  ensemble.stacks.distributed_resource_monitor:
    declaration: inventories/demo/resource.yml
    repair: true
    fencing_token: "{{ lease.fencing_token }}"
"""

RETURN = r"""
verdict:
  description: Of the resource, one of V(healthy), V(starting), V(degraded), V(failed), V(unknown), V(stopped).
  returned: success
  type: str
  sample: degraded
cause:
  description: Why it is not healthy, in words; empty when it is.
  returned: success
  type: str
  sample: compute-1 failed
members:
  description: One entry per declared member.
  returned: success
  type: list
  elements: dict
  contains:
    member: {description: Its name in the resource., type: str, sample: compute-1}
    name: {description: Its host name., type: str, sample: demo-compute-1}
    roles: {description: Its roles., type: list, elements: str}
    hypervisor: {description: Where it is., type: str, sample: hv2}
    address: {description: Its address., type: str, sample: 172.30.0.151}
    state: {description: Its hypervisor's word., type: str, sample: shutoff}
    verdict: {description: As that of the resource; also V(draining)., type: str, sample: failed}
    cause: {description: Why., type: str, sample: its hypervisor says shutoff (destroyed)}
    signs:
      description: What was looked at.
      type: list
      elements: dict
hypervisors:
  description: Name, address, whether it answers, and how many members it carries.
  returned: success
  type: list
  elements: dict
desired:
  description: What was asked for last.
  returned: success
  type: str
  sample: started
generation:
  description: Counter of the declaration as the voters keep it.
  returned: success
  type: int
  sample: 1
leader:
  description: Who leads now, empty when nobody does.
  returned: success
  type: dict
jobs:
  description: Jobs of the batch system, where the resource has one that answers.
  returned: success
  type: list
  elements: dict
table:
  description: The same as a table for terminals.
  returned: success
  type: list
  elements: str
actions:
  description: Repairs, with the member and the reason.
  returned: when O(repair)
  type: list
  elements: dict
exhausted:
  description: Member to the reason why it is not repaired although it is broken.
  returned: when O(repair)
  type: dict
pending:
  description: Members that were repaired and had not come back when their time was over.
  returned: when O(repair)
  type: list
  elements: str
fresh:
  description: Members that were made anew and have still to be configured by the stack's playbook.
  returned: when O(repair)
  type: list
  elements: str
seconds:
  description: How long the look took.
  returned: success
  type: float
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ensemble.stacks.plugins.module_utils._module.argspec import FENCING
from ansible_collections.ensemble.stacks.plugins.module_utils._module.main import run_module
from ansible_collections.ensemble.stacks.plugins.module_utils._module.monitor import monitor


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "declaration": {"type": "path", "required": True},
            "repair": {"type": "bool", "default": False},
            "lost": {"type": "list", "elements": "str", "default": []},
            "page": {"type": "path"},
            "events": {"type": "list", "elements": "dict", "default": []},
            **FENCING,
        },
        supports_check_mode=True,
    )
    run_module(module, monitor)


if __name__ == "__main__":
    main()
