#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes, renews or gives back the lease of a resource."""

from __future__ import annotations

DOCUMENTATION = r"""
module: leader_election
short_description: Take, renew or give back the lease of a resource
version_added: 0.1.0
description:
  - Of all controllers and members that may want to converge a resource, exactly one may at a time; this module makes
    the calling playbook that one.
  - The lease is kept by a majority of voters, by default the first hypervisors of the pool, or in etcd.
  - With O(state=acquired) a process is left on the controller that renews the lease while the calling program of
    Ansible lives, gives it back however that ends, and ends it when the lease is lost. No task has to be shorter than
    O(ttl).
  - A run that an agent of the resource has started takes part in the agent's lease.
  - The lease is bookkeeping, not state, so RV(ignore:changed) is always false.
author:
  - the ensemble.stacks authors (@ensemble-stacks)
extends_documentation_fragment:
  - ensemble.stacks.attributes
  - ensemble.stacks.lease
options:
  state:
    description:
      - V(acquired) wins the lease, or finds that this playbook has it already.
      - V(renewed) extends a lease for which no process was left, by its O(session) and O(fencing_token).
      - V(released) gives it back; harmless for any session but the holder's.
    type: str
    choices: [acquired, renewed, released]
    default: acquired
  session:
    description:
      - The session whose lease is renewed or released, as RV(session) was returned.
      - With O(state=acquired) the session to use; a name, the boot and the run, joined by slashes.
    type: str
  fencing_token:
    description:
      - The token of the lease that is renewed, as RV(fencing_token) was returned.
    type: list
    elements: int
  keep:
    description:
      - Whether a process is left that renews the lease. Without it the lease ends after O(ttl) unless it is renewed.
    type: bool
    default: true
  scheduled:
    description:
      - Nobody waits for this run. If another one leads that is no failure, and it is not asked to yield.
    type: bool
    default: false
  wait:
    description:
      - Seconds to wait for the lease, while its holder is asked to yield; by default 60, and 0 for a scheduled run.
    type: float
  preempt:
    description:
      - Whether a lower O(node_id) is to be preferred. A holder that renews its lease gives it up for one that has
        wanted it for O(preempt_delay). A scheduled run that finds a higher one at work says that it is there.
    type: bool
    default: false
  preempt_delay:
    description:
      - Seconds for which a preferred candidate must have wanted the lease.
    type: float
    default: 60
attributes:
  check_mode:
    support: full
    details:
      - Asks the voters and writes nothing; RV(is_leader) is what a run would get.
  diff_mode:
    support: none
    details:
      - There is no state to compare.
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: This playbook leads until it ends
  ensemble.stacks.leader_election:
    declaration: inventories/demo/resource.yml
  register: lease

- name: Under that lease
  ensemble.stacks.distributed_resource:
    declaration: inventories/demo/resource.yml
    state: started
    fencing_token: "{{ lease.fencing_token }}"

- name: A nightly run that leaves the field to whoever is at work
  ensemble.stacks.leader_election:
    declaration: inventories/demo/resource.yml
    scheduled: true
  register: lease

- name: In etcd, for something that is no resource of this collection
  ensemble.stacks.leader_election:
    resource: nightly-report
    backend: etcd
    endpoints: ["https://etcd1:2379", "https://etcd2:2379", "https://etcd3:2379"]
    ca_cert: /etc/ssl/etcd-ca.pem
    keep: false
  register: lease
"""

RETURN = r"""
is_leader:
  description: Whether this run leads; in check mode, whether it would.
  returned: success
  type: bool
  sample: true
leader_id:
  description: The node that leads, empty when nobody does.
  returned: success
  type: str
  sample: desk
leader:
  description: Who that is, in words.
  returned: success
  type: str
  sample: ops@desk (pid 4711)
session:
  description: The session that leads.
  returned: success
  type: str
  sample: desk/7d0e2f3a/3b6f7c1e
term:
  description: Second part of the token, which every new leader raises.
  returned: success
  type: int
  sample: 17
fencing_token:
  description: What targets compare before they obey; empty while this run does not lead.
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
  description:
    - How the voters answered; C(needed) of them make a majority, C(silent) are those that did not answer, and why.
  returned: success
  type: dict
  sample: {needed: 2, acks: 3, silent: {}}
reason:
  description:
    - V(acquired), this run leads; V(held), another one does; V(lost), the lease was not renewed; V(not_preferred), it
      was given up for a preferred candidate; V(released), it was given back.
    - Failures have C(code) V(no_quorum) or V(amnesiac) when too few voters answer or remember.
  returned: success
  type: str
  sample: acquired
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
from ansible_collections.ensemble.stacks.plugins.module_utils._module.election import LEASE, LEASE_RULES
from ansible_collections.ensemble.stacks.plugins.module_utils._module.lead import lead
from ansible_collections.ensemble.stacks.plugins.module_utils._module.main import run_module


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Do it and return what the documentation promises."""
    return lead(module.params, module.check_mode, module.warn)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **LEASE,
            "state": {"type": "str", "choices": ["acquired", "renewed", "released"], "default": "acquired"},
            "session": {"type": "str"},
            "fencing_token": {"type": "list", "elements": "int", "no_log": False},
            "keep": {"type": "bool", "default": True},
            "scheduled": {"type": "bool", "default": False},
            "wait": {"type": "float"},
            "preempt": {"type": "bool", "default": False},
            "preempt_delay": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
        required_if=[("state", "renewed", ("session", "fencing_token")), ("state", "released", ("session",))],
        **LEASE_RULES,
    )
    run_module(module, work)


if __name__ == "__main__":
    main()
