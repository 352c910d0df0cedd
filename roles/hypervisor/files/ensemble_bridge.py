# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Make a bridge from a network interface: its IPv4 addresses and routes move to the bridge in one go.

Usage: ensemble_bridge.py BRIDGE PORT. Does nothing when the port already belongs to the bridge. When a step fails, the
former state is put back, so that the machine stays reachable.
"""

import json
import subprocess
import sys

TIMEOUT = 20


def ip_json(*words):
    out = subprocess.run(["ip", "-json", *words], check=True, capture_output=True, timeout=TIMEOUT).stdout
    return json.loads(out or b"[]")


def ip_batch(lines):
    """All lines in one process: an SSH session over the interface does not notice."""
    text = "".join(line + "\n" for line in lines).encode()
    return subprocess.run(["ip", "-batch", "-"], input=text, timeout=TIMEOUT, check=False).returncode == 0


def addresses(device):
    found = ip_json("-4", "address", "show", "dev", device)
    return [a for link in found for a in link.get("addr_info", []) if a.get("scope") == "global"]


def move(source, target, held, routes):
    """The lines that move addresses and the routes that the kernel does not make by itself."""
    lines = []
    for a in held:
        lines.append(f"address del {a['local']}/{a['prefixlen']} dev {source}")
        lines.append(f"address add {a['local']}/{a['prefixlen']} brd + dev {target}")
    for route in routes:
        words = [route["dst"], "dev", target]
        if "gateway" in route:
            words += ["via", route["gateway"]]
        if "metric" in route:
            words += ["metric", str(route["metric"])]
        lines.append("route replace " + " ".join(words))
    return lines


def main(bridge, port):
    links = {link["ifname"]: link for link in ip_json("link", "show")}
    if port not in links:
        sys.exit(f"ensemble-bridge: there is no interface {port}; there are {', '.join(sorted(links))}")
    if links[port].get("master") == bridge:
        return
    held = addresses(port)
    routes = [r for r in ip_json("-4", "route", "show", "dev", port) if r.get("protocol") != "kernel"]
    lines = [] if bridge in links else [f"link add name {bridge} address {links[port]['address']} type bridge"]
    lines += [f"link set dev {bridge} up", f"link set dev {port} master {bridge}", *move(port, bridge, held, routes)]
    if not ip_batch(lines):
        left = addresses(bridge)
        undo = [f"link set dev {port} nomaster", *move(bridge, port, left, routes)]
        ip_batch(undo + ([] if bridge in links else [f"link del dev {bridge}"]))
        sys.exit(f"ensemble-bridge: {bridge} could not be made from {port}; the former state was put back")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: ensemble_bridge.py BRIDGE PORT")
    main(sys.argv[1], sys.argv[2])
