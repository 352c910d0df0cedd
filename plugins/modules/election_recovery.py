#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes new voters from what is left of the old ones."""

from __future__ import annotations

DOCUMENTATION = r"""
module: election_recovery
short_description: Make new voters when a majority of them was lost for good
version_added: 0.1.0
description:
  - Without a majority of its voters nothing of a resource is ever changed, and that is never healed by itself. By this
    module a person says which voters will never vote again; what the others keep counts from then on, under a new
    epoch.
  - It is refused while a majority is left, while a voter that is called lost answers, and while one that is not called
    lost does not.
author:
  - the ensemble.stacks authors (@ensemble-stacks)
extends_documentation_fragment:
  - ensemble.stacks.attributes
options:
  declaration:
    description:
      - Path of the resource's declaration on the controller.
      - Its C(election.voters) name the new voters; without them other hosts of the pool take the places of the lost.
    type: path
    required: true
  lost:
    description:
      - The voters that are lost for good.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: none
    details:
      - When it has succeeded nothing is lost any more, so that a second run is refused.
requirements:
  - paramiko
"""

EXAMPLES = r"""
- name: Two of three voters burnt down
  ensemble.stacks.election_recovery:
    declaration: inventories/demo/resource.yml
    lost: [hv2, hv3]
"""

RETURN = r"""
voters:
  description: The hosts that vote from now on.
  returned: success
  type: list
  elements: str
  sample: [hv1, hv4, hv5]
epoch:
  description: Of their configuration; every fencing token of an earlier one is refused.
  returned: success
  type: int
  sample: 2
generation:
  description: Of the declaration that is left.
  returned: success
  type: int
  sample: 7
may_be_lost:
  description: What may be lost, in words.
  returned: success
  type: list
  elements: str
  sample: []
code:
  description: Stable identifier of what went wrong.
  returned: failure
  type: str
  sample: not_lost
details:
  description: The data behind the message.
  returned: failure
  type: dict
  sample: {}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.leases import voting
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.recover import recover
from ansible_collections.ensemble.stacks.plugins.module_utils._model.load import load_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._module.main import connect_of, run_module, target_of


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Do it and return what the documentation promises."""
    resource = load_declaration(module.params["declaration"])
    connect = connect_of(target_of(module.params))
    with voting(resource.name, resource.pool, resource.election, connect) as votes:
        before = votes.electorate
        found = recover(votes, module.params["lost"], module.check_mode)
    names = [voter.name for voter in found.voters]
    return {
        "changed": True,
        "voters": names,
        "epoch": found.epoch,
        "generation": found.generation,
        "may_be_lost": list(found.warnings),
        "diff": {
            "before": f"epoch {before.epoch}: {', '.join(before.names)}\n",
            "after": f"epoch {found.epoch}: {', '.join(names)}\n",
        },
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "declaration": {"type": "path", "required": True},
            "lost": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    run_module(module, work)


if __name__ == "__main__":
    main()
