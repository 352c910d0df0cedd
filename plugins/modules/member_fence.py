#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks on a member that nobody newer leads."""

from __future__ import annotations

DOCUMENTATION = r"""
module: member_fence
short_description: Check on a member that no later leader has been at work there
version_added: 0.1.0
description:
  - Runs on a member, as the first task of a role that configures it. The member keeps the highest fencing token that it
    has seen, on disk before the role goes on; with a lower one the task fails (C(stale_token)) and nothing is changed.
  - So a leader that has lost its lease completes there at most the task that was running already.
  - The token is bookkeeping, not state, so RV(ignore:changed) is always false.
author:
  - the ensemble.stacks authors (@ensemble-stacks)
extends_documentation_fragment:
  - ensemble.stacks.attributes
options:
  resource:
    description:
      - Name of the resource.
    type: str
    required: true
  fencing_token:
    description:
      - The token of the lease, as M(ensemble.stacks.leader_election) returns it. Without one nothing is checked, as in
        check mode, in which no lease is taken.
    type: list
    elements: int
attributes:
  check_mode:
    support: full
    details:
      - Compares the token and keeps nothing.
  diff_mode:
    support: none
    details:
      - There is no state to compare.
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Nobody newer leads
  ensemble.stacks.member_fence:
    resource: demo
    fencing_token: "{{ hostvars.localhost.ensemble_lease.fencing_token }}"
"""

RETURN = r"""
code:
  description: Stable identifier of what went wrong.
  returned: failure
  type: str
  sample: stale_token
details:
  description: The data behind the message.
  returned: failure
  type: dict
  sample: {token: [1, 6], highest: [1, 7]}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ensemble.stacks.plugins.module_utils._host.fence import MEMBER_DIR, fenced, refuse_stale
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.identity import RESOURCE_NAME
from ansible_collections.ensemble.stacks.plugins.module_utils._module.main import run_module, token_of

#: seconds to wait for another task that keeps a token here
LOCK_TIMEOUT = 10.0


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Compare, and keep the token."""
    resource, token = module.params["resource"], token_of(module.params["fencing_token"])
    if not RESOURCE_NAME.fullmatch(resource):
        raise EnsembleError(f"resource: found {resource!r}, expected a resource's name", code="bad_option")
    if token is None:
        return {"changed": False}
    if module.check_mode:
        refuse_stale(MEMBER_DIR, resource, token)
        return {"changed": False}
    with fenced(MEMBER_DIR, resource, token, 0, LOCK_TIMEOUT):
        return {"changed": False}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "resource": {"type": "str", "required": True},
            "fencing_token": {"type": "list", "elements": "int", "no_log": False},
        },
        supports_check_mode=True,
    )
    run_module(module, work, needs_ssh=False)


if __name__ == "__main__":
    main()
