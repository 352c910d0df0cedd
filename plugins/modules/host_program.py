#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: host_program
short_description: Build the host program that hypervisors run
version_added: 0.1.0
description:
  - Packs the part of this collection that works on a hypervisor into one executable file.
  - The same collection always gives the same bytes.
  - It is used by the role C(ensemble.stacks.hypervisor), which installs the file.
author:
  - the ensemble.stacks authors (@ensemble-stacks)
extends_documentation_fragment:
  - ensemble.stacks.attributes
options:
  source:
    description: The folder C(plugins/module_utils) of this collection.
    type: path
    required: true
  dest:
    description: Where to write the file.
    type: path
    required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Build it
  ensemble.stacks.host_program:
    source: "{{ role_path }}/../../plugins/module_utils"
    dest: ~/.cache/ensemble/ensemble-host
  delegate_to: localhost
"""

RETURN = r"""
path:
  description: Where it lies.
  returned: success
  type: str
  sample: /root/.cache/ensemble/ensemble-host
version:
  description: Version of the collection that it was built from.
  returned: success
  type: str
  sample: 0.1.0
protocol:
  description: Protocol that it speaks.
  returned: success
  type: int
  sample: 1
sha256:
  description: Digest of the file.
  returned: success
  type: str
  sample: 5f3c0d1a
"""

import hashlib
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ensemble.stacks.plugins.module_utils._model.protocol import PROTOCOL, VERSION
from ansible_collections.ensemble.stacks.plugins.module_utils._module.main import run_module
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.archive import build


def work(module: AnsibleModule) -> dict[str, t.Any]:
    """Build it and return what the documentation promises."""
    body = build(module.params["source"])
    path = module.params["dest"]
    digest = hashlib.sha256(body).hexdigest()
    changed = not os.path.exists(path) or module.sha256(path) != digest
    if changed and not module.check_mode:
        os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
        aside = os.path.join(module.tmpdir, "ensemble-host")
        with open(aside, "wb") as stream:
            stream.write(body)
        module.atomic_move(aside, path)
        module.set_mode_if_different(path, "0755", False)
    return {"changed": changed, "path": path, "version": VERSION, "protocol": PROTOCOL, "sha256": digest}


def main() -> None:
    module = AnsibleModule(
        argument_spec={"source": {"type": "path", "required": True}, "dest": {"type": "path", "required": True}},
        supports_check_mode=True,
    )
    run_module(module, work, needs_ssh=False)


if __name__ == "__main__":
    main()
