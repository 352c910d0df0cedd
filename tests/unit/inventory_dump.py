# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Print what Ansible makes of inventory sources, as JSON.

A program of its own, because Ansible's collection finder must be there before anything of a collection is imported.

Usage: inventory_dump.py SOURCE... -> {"common", "hosts", "groups", "ours": those that our plugin takes}
"""

from __future__ import annotations

import json
import sys

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, inventory_loader


def main(sources: list[str]) -> int:
    init_plugin_loader([])
    inventory = InventoryManager(loader=DataLoader(), sources=sources)
    common = inventory.groups["all"].get_vars()
    hosts = {name: host.get_vars() for name, host in inventory.hosts.items()}
    plugin = inventory_loader.get("ensemble.stacks.distributed_resource")
    ours = [source for source in sources if plugin.verify_file(source)]
    json.dump({"common": common, "hosts": hosts, "groups": inventory.get_groups_dict(), "ours": ours}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
