#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: resource_preflight_info
short_description: Fail with every fault of a declaration before anything runs
version_added: 0.1.0
description:
  - Ansible turns the error of an inventory plugin into an empty inventory and goes on with exit code 0.
    A playbook that begins with this module fails instead, and names every fault of the declaration.
  - Contacts nobody.
author:
  - the ensemble.stacks authors (@ensemble-stacks)
extends_documentation_fragment:
  - ensemble.stacks.attributes
  - ensemble.stacks.attributes.info
options:
  sources:
    description:
      - The inventory sources of the run, that is C(ansible_inventory_sources).
    type: list
    elements: path
    required: true
  stack:
    description:
      - The stack that the playbook is made for; another one in the declaration is a fault.
    type: str
"""

EXAMPLES = r"""
- name: The declaration is sound
  ensemble.stacks.resource_preflight_info:
    sources: "{{ ansible_inventory_sources }}"
"""

RETURN = r"""
declaration:
  description: Path of the declaration.
  returned: success
  type: str
  sample: /srv/clusters/demo/resource.yml
resource:
  description: Name of the resource.
  returned: success
  type: str
  sample: demo
stack:
  description: Its stack.
  returned: success
  type: str
  sample: torque
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ensemble.stacks.plugins.module_utils._module.main import run_module
from ansible_collections.ensemble.stacks.plugins.module_utils._module.preflight import find_declaration


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Validate and return what the documentation promises."""
    path, resource = find_declaration(module.params["sources"], module.params["stack"])
    for words in resource.warnings:
        module.warn(words)
    return {"changed": False, "declaration": path, "resource": resource.name, "stack": resource.stack}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "sources": {"type": "list", "elements": "path", "required": True},
            "stack": {"type": "str"},
        },
        supports_check_mode=True,
    )
    run_module(module, work, needs_ssh=False)


if __name__ == "__main__":
    main()
