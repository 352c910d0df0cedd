#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: image_cache
short_description: Fill the image caches of a pool's hypervisors, or remove from them what nobody uses
version_added: 0.1.0
description:
  - Members' disks are copy-on-write clones of images that each hypervisor keeps under the SHA-256 of their files.
    This module brings the images that a declaration has a C(path) or a C(url) for, to several hypervisors at once.
  - A transfer that was cut goes on where it stopped. Nothing is used before its checksum was verified, and an image's
    name means what it meant before until then.
author:
  - the ensemble.stacks authors (@ensemble-stacks)
extends_documentation_fragment:
  - ensemble.stacks.attributes
  - ensemble.stacks.target
  - ensemble.stacks.fencing
options:
  state:
    description:
      - V(present) brings every image of the declaration that has a source to every hypervisor of the pool.
      - V(pruned) removes images on which no member of any resource stands, and transfers that nobody continues.
        Images of this declaration are no exception; see O(keep).
    type: str
    choices: [present, pruned]
    default: present
  keep:
    description:
      - Names of images that O(state=pruned) leaves alone even though nobody uses them.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - Seconds that bringing one image to one hypervisor may take.
    type: int
    default: 3600
  parallel:
    description:
      - Hypervisors that are filled at the same time.
    type: int
    default: 4
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Every hypervisor has the cluster's images
  ensemble.stacks.image_cache:
    declaration: inventories/demo/resource.yml

- name: Room for new ones
  ensemble.stacks.image_cache:
    name: demo
    pool:
      - {name: hv1, address: 172.30.0.2}
      - {name: hv2, address: 172.30.0.3}
    state: pruned
    keep: [batch-node]
"""

RETURN = r"""
hypervisors:
  description:
    - What changed on each hypervisor, or would change in check mode.
    - C(bytes) were brought there by O(state=present), in check mode are still to be brought (none where only a web
      server knows), or are freed by O(state=pruned).
  returned: success
  type: list
  elements: dict
  sample:
    - name: hv1
      changed: true
      images:
        - {name: batch-node, format: tar, sha256: f2fbbb900317, changed: true, bytes: 240535040, seconds: 8.1}
      removed: []
      bytes: 240535040
      seconds: 8.1
seconds:
  description: How long the whole took, in seconds.
  returned: success
  type: float
  sample: 9.3
code:
  description: Stable identifier of what went wrong.
  returned: failure
  type: str
  sample: no_space
details:
  description: The data behind the message.
  returned: failure
  type: dict
  sample: {free: 1048576, needed: 548405248, hypervisor: hv2}
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.caches import fill, prune, survey_all
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.images_report import filled_facts, pruned_facts
from ansible_collections.ensemble.stacks.plugins.module_utils._engine.leases import confirm_lease
from ansible_collections.ensemble.stacks.plugins.module_utils._module.argspec import FENCING, TARGET, TARGET_RULES
from ansible_collections.ensemble.stacks.plugins.module_utils._module.main import (
    connect_of,
    run_module,
    target_of,
    token_of,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.pool import Pool


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Fill or prune, and return what the documentation promises."""
    params = module.params
    target = target_of(params)
    begun = time.monotonic()
    token = token_of(params["fencing_token"])
    if token is not None and not module.check_mode:
        confirm_lease(target.name, target.hosts, target.election, connect_of(target), token)
    with Pool(target.pool, connect_of(target)) as pool:
        if params["state"] == "pruned":
            result = pruned_facts(prune(pool, params["keep"], module.check_mode))
        else:
            sources = list(target.resource.images.values()) if target.resource is not None else []
            found = survey_all(pool, sources)
            needed = [transfer for transfer in found if transfer.changed]
            done = [] if module.check_mode else fill(pool, sources, needed, params["timeout"], params["parallel"])
            result = filled_facts(found, done)
    return {**result, "seconds": round(time.monotonic() - begun, 3)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **TARGET,
            **FENCING,
            "state": {"type": "str", "choices": ["present", "pruned"], "default": "present"},
            "keep": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 3600},
            "parallel": {"type": "int", "default": 4},
        },
        supports_check_mode=True,
        required_if=[("state", "present", ("declaration",))],
        **TARGET_RULES,
    )
    if module.params["parallel"] < 1 or module.params["timeout"] < 1:
        module.fail_json(msg="parallel and timeout are whole numbers from 1; nothing was changed", code="bad_option")
    run_module(module, work)


if __name__ == "__main__":
    main()
