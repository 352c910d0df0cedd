# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The options that say which lease a module is about."""

from __future__ import annotations


class ModuleDocFragment:
    """Which lease a module is about, and what keeps it."""

    DOCUMENTATION = r"""
options:
  declaration:
    description:
      - Path of the resource's declaration on the controller. Its section C(election) says all that the other options
        say.
    type: path
  resource:
    description:
      - Name of the resource, when there is no declaration at hand.
    type: str
  backend:
    description:
      - What keeps the lease; V(quorum) is a majority of O(voters), V(etcd) an etcd cluster at O(endpoints).
    type: str
    choices: [quorum, etcd]
    default: quorum
  voters:
    description:
      - The hosts that vote, with O(backend=quorum), as the hypervisors of a declaration's C(pool).
      - One, three or five; an even number works and tolerates no more than one less.
    type: list
    elements: dict
  known_hosts:
    description:
      - File with the host keys of O(voters); by default the user's own known hosts are looked up.
      - A host whose key is not known is never trusted.
    type: path
  epoch:
    description:
      - First part of the fencing token with O(backend=etcd) and no O(voters).
      - To be raised when the lease moves to another etcd cluster, whose revisions are others.
    type: int
    default: 1
  ttl:
    description:
      - Seconds that the lease lasts unless it is renewed, at least 3. By default 15, or what the declaration says.
    type: float
  op_timeout:
    description:
      - Seconds for one question to the voters; by default a fifth of O(ttl).
    type: float
  endpoints:
    description:
      - Client addresses of the etcd cluster, such as C(https://etcd1:2379).
    type: list
    elements: str
  ca_cert:
    description:
      - File with the authorities that sign the certificates of O(endpoints); by default the system's.
    type: path
  client_cert:
    description:
      - File with a client certificate for O(endpoints).
    type: path
  client_key:
    description:
      - File with the key of O(client_cert).
    type: path
  user:
    description:
      - User at O(endpoints).
    type: str
  password:
    description:
      - Password of O(user). A declaration names a file instead.
    type: str
  node_id:
    description:
      - Name of this candidate, unique among all; by default the controller's host name.
    type: str
requirements:
  - paramiko
"""
