#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tells who leads."""

from __future__ import annotations

DOCUMENTATION = r"""
module: leader_election_info
short_description: Who has the lease of a resource
version_added: 0.1.0
description:
  - Asks what keeps the lease and changes nothing.
author:
  - the ensemble.stacks authors (@ensemble-stacks)
extends_documentation_fragment:
  - ensemble.stacks.attributes
  - ensemble.stacks.attributes.info
  - ensemble.stacks.lease
"""

EXAMPLES = r"""
- name: Who is at work on the cluster?
  ensemble.stacks.leader_election_info:
    declaration: inventories/demo/resource.yml
  register: lease
"""

RETURN = r"""
leader_id:
  description: The node that leads, empty when nobody does.
  returned: success
  type: str
  sample: demo-head-0
leader:
  description: Who that is, in words.
  returned: success
  type: str
  sample: agent on demo-head-0
session:
  description: The session that leads.
  returned: success
  type: str
  sample: demo-head-0/7d0e2f3a/3b6f7c1e
term:
  description: Second part of the latest token.
  returned: success
  type: int
  sample: 17
fencing_token:
  description: The token of the lease, empty when nobody has it.
  returned: success
  type: list
  elements: int
  sample: [1, 17]
expires_in_s:
  description: Seconds for which the lease holds unless it is renewed.
  returned: success
  type: float
  sample: 14.2
quorum:
  description: How the voters answered.
  returned: success
  type: dict
  sample: {needed: 2, acks: 3, silent: {}}
wanted:
  description: Who wants the lease besides, empty when nobody does; C(person) tells a person's run from a candidate.
  returned: success
  type: dict
  sample: {}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ensemble.stacks.plugins.module_utils._module.election import LEASE, LEASE_RULES
from ansible_collections.ensemble.stacks.plugins.module_utils._module.lead import look
from ansible_collections.ensemble.stacks.plugins.module_utils._module.main import run_module


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Look and return what the documentation promises."""
    return {"changed": False, **look({**module.params, "preempt": False})}


def main() -> None:
    module = AnsibleModule(argument_spec=dict(LEASE), supports_check_mode=True, **LEASE_RULES)
    run_module(module, work)


if __name__ == "__main__":
    main()
