# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    """How a module is told which resource it is about."""

    DOCUMENTATION = r"""
options:
  declaration:
    description:
      - Path of the resource's declaration on the controller, the same file that serves as inventory.
    type: path
  name:
    description:
      - Name of the resource, when there is no declaration at hand.
    type: str
  pool:
    description:
      - The hypervisors of the pool as in a declaration, when there is none at hand.
      - Each has C(name) and C(address), and may have C(host_key), C(labels), C(capacity) and C(ssh);
        or C(name) and C(sim), the folder of a simulated one.
    type: list
    elements: dict
  known_hosts:
    description:
      - File with the host keys of the hypervisors of O(pool).
      - Without it, and without a C(host_key), the user's own known hosts are looked up.
    type: path
requirements:
  - paramiko
"""
