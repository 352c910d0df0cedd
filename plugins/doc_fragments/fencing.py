# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The option by which a module works under a lease that is held already."""

from __future__ import annotations


class ModuleDocFragment:
    """Under whose lease a module works."""

    DOCUMENTATION = r"""
options:
  fencing_token:
    description:
      - The token of a lease that is held, as M(ensemble.stacks.leader_election) returns it.
      - Every hypervisor refuses a token that is lower than one which it has seen (C(stale_token)).
      - Without it the module takes the lease of the resource itself and gives it back at its end.
    type: list
    elements: int
"""
