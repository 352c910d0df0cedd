#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lets the agents of a resource reach the hosts of its pool."""

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_access
short_description: Let the agents of a resource reach the hypervisors of its pool
version_added: 0.1.0
description:
  - Makes one key pair for the agents of a resource, kept with its secrets, and lets it in on every hypervisor of the
    pool and every witness.
  - There the key is forced to the host program, which answers it for this resource only, and never on who may log in or
    what images mean.
  - The private key is written to C(secrets/agent_key) of the resource's folder below C(~/.cache/ensemble), mode 0600.
author:
  - the ensemble.stacks authors (@ensemble-stacks)
extends_documentation_fragment:
  - ensemble.stacks.attributes
  - ensemble.stacks.fencing
options:
  declaration:
    description:
      - Path of the resource's declaration on the controller.
    type: path
    required: true
  state:
    description:
      - V(absent) takes the key from every list; the secret stays until the resource is removed.
    type: str
    choices: [present, absent]
    default: present
  wait:
    description:
      - Seconds to wait for the lease, where no O(fencing_token) is given.
    type: float
    default: 30
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - RV(hosts) names what changes.
  idempotent:
    support: full
requirements:
  - paramiko
"""

EXAMPLES = r"""
- name: The agents may reach the pool
  ensemble.stacks.agent_access:
    declaration: inventories/demo/resource.yml
  register: access
"""

RETURN = r"""
hosts:
  description: The hosts whose list of keys was changed.
  returned: success
  type: list
  elements: str
  sample: [hv1, hv2]
voters:
  description: The hosts that vote, as an agent must know them.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: hv1, address: 172.30.0.2, port: 22, user: root}
pool:
  description: All hosts of the pool and all witnesses, as an agent must know them.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: hv1, address: 172.30.0.2, port: 22, user: root}
epoch:
  description: Of the configuration of voters.
  returned: success
  type: int
  sample: 1
known_hosts:
  description: Lines of C(known_hosts) for all hosts.
  returned: success
  type: str
  sample: "172.30.0.2 ssh-ed25519 AAAA"
code:
  description: Stable identifier of what went wrong.
  returned: failure
  type: str
  sample: host_key_unknown
details:
  description: The data behind the message.
  returned: failure
  type: dict
  sample: {}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.access import give_access
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import Hypervisor
from ansible_collections.ensemble.stacks.plugins.module_utils._model.load import load_declaration
from ansible_collections.ensemble.stacks.plugins.module_utils._module.argspec import FENCING
from ansible_collections.ensemble.stacks.plugins.module_utils._module.main import (
    connect_of,
    run_module,
    target_of,
    token_of,
)


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Do it and return what the documentation promises."""
    params = module.params
    resource = load_declaration(params["declaration"])
    token = token_of(params["fencing_token"])
    present = params["state"] == "present"
    access = give_access(resource, connect_of(target_of(params)), present, token, params["wait"], module.check_mode)
    return {
        "changed": bool(access.changed),
        "hosts": list(access.changed),
        "voters": _ways(access.voters),
        "pool": _ways((*resource.pool, *resource.election.witnesses)),
        "epoch": access.epoch,
        "known_hosts": access.known_hosts,
    }


def _ways(hosts: t.Iterable[Hypervisor]) -> list[dict[str, t.Any]]:
    """How hosts are reached."""
    return [{"name": hv.name, "address": hv.address, "port": hv.access.port, "user": hv.access.user} for hv in hosts]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **FENCING,
            "declaration": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "wait": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )
    run_module(module, work)


if __name__ == "__main__":
    main()
