#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: distributed_resource_info
short_description: What a resource is and where its members are
version_added: 0.1.0
description:
  - Observes a resource on all hypervisors of its pool and changes nothing.
author:
  - the ensemble.stacks authors (@ensemble-stacks)
extends_documentation_fragment:
  - ensemble.stacks.attributes
  - ensemble.stacks.attributes.info
  - ensemble.stacks.target
"""

EXAMPLES = r"""
- name: Look at the cluster
  ensemble.stacks.distributed_resource_info:
    declaration: inventories/demo/resource.yml
  register: demo
"""

RETURN = r"""
members:
  description: Every member that exists or is declared.
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
      state: running
hypervisors:
  description: The pool, with what each hypervisor has to give, images, templates, and the drivers that work there.
  returned: success
  type: list
  elements: dict
  sample:
    - name: hv1
      memory_mb: 23888
      vcpus: 2
      images: [batch-node]
      image_formats: {batch-node: [qcow2, tar]}
      drivers: {lxc: ok, qemu: ok}
      accelerators: {qemu: kvm}
      templates: [uefi]
      members: 2
desired:
  description: The state that was last asked for; V(absent) when the resource was never started.
  returned: success
  type: str
  sample: started
generation:
  description: Counter of the declaration as the voters keep it.
  returned: success
  type: int
  sample: 1
current:
  description: Whether the declaration at hand is the one that was carried out last.
  returned: when O(declaration) is given
  type: bool
  sample: true
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.look import look
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.report import hypervisor_facts, observed_members
from ansible_collections.ensemble.stacks.plugins.module_utils._module.argspec import TARGET, TARGET_RULES
from ansible_collections.ensemble.stacks.plugins.module_utils._module.main import connect_of, run_module, target_of


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Observe and return what the documentation promises."""
    target = target_of(module.params)
    observation = look(target.name, target.pool, target.resource, connect_of(target))
    result: dict[str, t.Any] = {
        "changed": False,
        "members": observed_members(observation, target.resource),
        "hypervisors": hypervisor_facts(observation),
        "desired": observation.record.desired,
        "generation": observation.record.generation,
    }
    if target.resource is not None:
        result["current"] = observation.record.digest == target.resource.digest
    return result


def main() -> None:
    module = AnsibleModule(argument_spec=dict(TARGET), supports_check_mode=True, **TARGET_RULES)
    run_module(module, work)


if __name__ == "__main__":
    main()
