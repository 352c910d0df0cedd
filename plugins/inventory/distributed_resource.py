# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: distributed_resource
short_description: The members of a declared resource, and its pool, as hosts and groups
version_added: 0.1.0
description:
  - The declaration of a resource I(is) an inventory source; C(-i resource.yml) is all that a playbook needs.
  - Yields a host per member, named C(<resource>-<member>), and one per hypervisor.
  - Groups are C(<role>), C(<resource>), C(<resource>_<role>) and C(pool).
  - Contacts nobody. Everything in the file is checked, and all faults are reported together.
  - Ansible goes on with an empty inventory when a file has faults; the playbooks of this collection therefore begin
    with M(ensemble.stacks.resource_preflight_info).
author:
  - the ensemble.stacks authors (@ensemble-stacks)
options:
  plugin:
    description: Marks the file as a declaration.
    type: str
    required: true
    choices: [ensemble.stacks.distributed_resource]
  name:
    description: Name of the resource; members' host names begin with it.
    type: str
    required: true
  stack:
    description: What kind of resource it is.
    type: str
    choices: [custom, torque]
    default: custom
  pool:
    description:
      - The hypervisors, each with C(name) and C(address), and optionally C(host_key) (a public key),
        C(labels) (a mapping), C(capacity) (C(memory_mb), C(vcpus)) and C(ssh) (as O(ssh)).
    type: list
    elements: dict
    required: true
  known_hosts:
    description: File with the hypervisors' host keys, relative to the declaration; the user's own by default.
    type: path
  ssh:
    description:
      - How the hypervisors are reached, C(user), C(port), C(private_key) (relative to the declaration) and
        C(timeout) in seconds.
    type: dict
  network:
    description:
      - C(bridge) and C(cidr), and optionally C(range) (first-last, for counted roles), C(gateway) and C(dns).
    type: dict
    required: true
  defaults:
    description:
      - Settings for all members, C(driver) (C(lxc) or C(qemu)), C(image), C(vcpus), C(memory_mb) (MiB) and C(template),
        the name of a domain template on the hypervisors.
    type: dict
  roles:
    description:
      - Role name to its mapping, with C(count) or C(members), and optionally C(after), C(spread), C(stateful),
        C(removed), C(range) and the settings of O(defaults).
    type: dict
    required: true
  members:
    description:
      - Named members, each with its C(address), and optionally C(hypervisor) and the settings of O(defaults).
      - With C(driver=existing) they are machines that somebody else provides, reached as C(ssh) and C(host_key) say.
    type: dict
  overcommit:
    description: How far sizes may exceed what a hypervisor has, factors C(memory) and C(vcpus).
    type: dict
  election:
    description:
      - What keeps the lease and who may lead. C(backend) is C(quorum) or C(etcd); C(ttl), C(op_timeout) and
        C(preempt_delay) are seconds; C(preempt) prefers the first of C(candidates), which are members.
      - C(voters) are names of hypervisors and of C(witnesses), hosts with C(name) and C(address) that carry no members.
      - With C(backend=etcd) also C(endpoints), C(user), C(password_file), C(ca_cert), C(client_cert), C(client_key).
    type: dict
  monitor:
    description:
      - What is looked at. C(interval), C(starting), C(converge), C(timeout) and C(member_ttl) are seconds; C(services)
        is role name to a list of systemd units, C(probes) role name to a list of probes.
      - C(repair) bounds repairs by C(member) and C(resource) within C(window) seconds; C(port) is that of the page.
    type: dict
"""

EXAMPLES = r"""
plugin: ensemble.stacks.distributed_resource
name: mytorque
stack: torque
pool:
  - {name: hv1, address: 172.30.0.2}
  - {name: hv2, address: 172.30.0.3}
defaults: {image: batch-node, memory_mb: 512}
network: {bridge: br0, cidr: 172.30.0.0/24, range: 172.30.0.50-172.30.0.250}
roles:
  head: {count: 1}
  compute: {count: 4, after: [head], spread: hypervisor}
"""

import os
import typing as t

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible_collections.ensemble.stacks.plugins.module_utils._model.declaration import (
    Access,
    Etcd,
    Hypervisor,
    Member,
    Resource,
)
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.identity import group_name
from ansible_collections.ensemble.stacks.plugins.module_utils._model.load import is_declaration, load_declaration

CACHE = "~/.cache/ensemble"
#: members that may lead where the declaration names none
CANDIDATES = 5


class InventoryModule(BaseInventoryPlugin):
    """Turns a declaration into hosts, groups and the variables that a connection needs."""

    NAME = "ensemble.stacks.distributed_resource"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and is_declaration(path)

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        try:
            resource = load_declaration(path)
        except EnsembleError as error:
            raise AnsibleParserError(error.msg) from error
        self._add_common(resource, path)
        for member in resource.members:
            self._add_member(resource, member)
        for hypervisor in resource.pool:
            if hypervisor.sim is None:  # there is nothing to log in to in a folder
                self._add_hypervisor(resource, hypervisor, "pool")
        for witness in resource.election.witnesses:
            if witness.sim is None:
                self._add_hypervisor(resource, witness, "witnesses")
                self._set(witness.name, {"hypervisor_witness": True})

    def _set(self, host: str, values: dict[str, t.Any]) -> None:
        for key, value in values.items():
            self.inventory.set_variable(host, key, value)

    def _add_common(self, resource: Resource, path: str) -> None:
        group = group_name(resource.name)
        for name in ("pool", "witnesses", group, *(group_name(role.name) for role in resource.roles)):
            self.inventory.add_group(name)
        for role in resource.roles:
            own = group_name(resource.name, role.name)
            self.inventory.add_group(own)
            self.inventory.add_child(group, own)
            self.inventory.add_child(group_name(role.name), own)
        # `all` reaches the implicit localhost too, where the modules run
        self._set(
            "all",
            {
                "ensemble_declaration": os.path.abspath(path),
                "ensemble_resource": resource.name,
                "ensemble_stack": resource.stack,
                "ensemble_services": {role: list(units) for role, units in resource.monitor.services.items()},
                "ensemble_cache": _cache(resource),
                "ensemble_election": _election(resource),
            },
        )

    def _add_member(self, resource: Resource, member: Member) -> None:
        host = resource.domain(member.name)
        self.inventory.add_host(host)
        for role in member.roles:
            self.inventory.add_child(group_name(resource.name, role), host)
        self._set(
            host,
            {
                "ansible_host": member.spec.address,
                "ansible_python_interpreter": "/usr/bin/python3",
                "ansible_pipelining": True,
                **_login(resource, member),
                "ensemble_member": member.name,
                "ensemble_role": member.roles[0],
                "ensemble_roles": list(member.roles),
                "ensemble_address": member.spec.address,
                "ensemble_driver": member.spec.driver,
                "ensemble_image": member.spec.image,
                "ensemble_vcpus": member.spec.vcpus,
                "ensemble_memory_mb": member.spec.memory_mb,
                "ensemble_labels": dict(member.labels),
            },
        )

    def _add_hypervisor(self, resource: Resource, hypervisor: Hypervisor, group: str) -> None:
        self.inventory.add_host(hypervisor.name, group=group)
        values: dict[str, t.Any] = {
            "ansible_host": hypervisor.address,
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_pipelining": True,
            **_access(resource, hypervisor.access, hypervisor.host_key and "pool_known_hosts"),
            "ensemble_labels": dict(hypervisor.labels),
            "ensemble_bridge": resource.network.bridge,
        }
        if hypervisor.host_key is not None:
            values["ensemble_host_key"] = hypervisor.host_key
        self._set(hypervisor.name, values)


def _election(resource: Resource) -> dict[str, t.Any]:
    """What agents must know of the election; candidates by their host names, in order of preference."""
    election = resource.election
    members = [member.name for member in resource.members]
    return {
        "backend": election.backend,
        "ttl": election.ttl,
        "op_timeout": election.op_timeout,
        "preempt": election.preempt,
        "preempt_delay": election.preempt_delay,
        "candidates": [resource.domain(name) for name in election.candidates or members[:CANDIDATES]],
        "etcd": _etcd(election.etcd) if election.etcd is not None else {},
    }


def _etcd(etcd: Etcd) -> dict[str, t.Any]:
    """How it is reached; of what is secret only the files' paths on this controller."""
    found = {key: value for key, value in vars(etcd).items() if value is not None}
    return {**found, "endpoints": list(etcd.endpoints)}


def _login(resource: Resource, member: Member) -> dict[str, t.Any]:
    """With the resource's own key; on a machine that somebody else provides, with what the declaration says."""
    if member.access is not None:
        return _access(resource, member.access, member.host_key and "known_hosts")
    cache = _cache(resource)
    return {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": os.path.join(cache, "id_ed25519"),
        "ansible_ssh_common_args": _trust(os.path.join(cache, "known_hosts")),
    }


def _access(resource: Resource, access: Access, cached: str | None) -> dict[str, t.Any]:
    """`cached` is the file of this controller's cache that holds the machine's key, where the declaration names one."""
    values: dict[str, t.Any] = {"ansible_user": access.user, "ansible_port": access.port}
    if access.private_key is not None:
        values["ansible_ssh_private_key_file"] = access.private_key
    if cached:
        values["ansible_ssh_common_args"] = _trust(os.path.join(_cache(resource), cached))
    elif resource.known_hosts is not None:
        values["ansible_ssh_common_args"] = _trust(resource.known_hosts)
    else:
        values["ansible_ssh_common_args"] = "-o StrictHostKeyChecking=yes"
    return values


def _cache(resource: Resource) -> str:
    return os.path.join(os.path.expanduser(CACHE), resource.name)


def _trust(known_hosts: str) -> str:
    """ssh options that accept exactly the keys of one file."""
    return f"-o StrictHostKeyChecking=yes -o UserKnownHostsFile='\"{known_hosts}\"' -o GlobalKnownHostsFile=/dev/null"
