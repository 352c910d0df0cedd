# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The lab's network: one bridge of the engine with a subnet of its own.

Members live on bridges inside the hypervisors, with addresses of the same subnet that the engine knows nothing of.
That works because a bridge of the engine forwards by MAC address, its isolation rules only look at the interface,
and its masquerading goes by the source subnet.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from typing import Any

from ensemble_lab.engine import LABEL, docker, inspect
from ensemble_lab.layout import DEFAULT_NAME, DEFAULT_SUBNET, Lab, bridge_of, checked_subnet
from ensemble_lab.system import LabError, run

_POOL = [ipaddress.IPv4Network(f"172.30.{third}.0/24") for third in range(1, 255)]


def choose_subnet(name: str, asked: str | None, count: int) -> ipaddress.IPv4Network:
    """Return the subnet of a lab: the living one, the one asked for, or the first free one.

    Raises LabError when the one asked for differs from the living one or is taken by something else.
    """
    living = _subnet_of(_find(name))
    if living is not None:
        if asked is not None and checked_subnet(asked, count) != living:
            raise LabError(f"lab {name} is up with subnet {living}; to have {asked}, run `down --name {name}` first")
        return checked_subnet(str(living), count)
    if asked is None and name != DEFAULT_NAME:
        taken = _taken(bridge_of(name))
        free = next((subnet for subnet in _POOL if not any(subnet.overlaps(other) for other in taken)), None)
        if free is None:
            raise LabError("no free subnet in 172.30.1.0/24 ... 172.30.254.0/24; name one with --subnet")
        return checked_subnet(str(free), count)
    wanted = checked_subnet(asked or DEFAULT_SUBNET, count)
    clash = next((other for other in _taken(bridge_of(name)) if wanted.overlaps(other)), None)
    if clash is not None:
        raise LabError(f"subnet {wanted} overlaps {clash}, which this machine uses already; name another with --subnet")
    return wanted


def ensure(lab: Lab) -> bool:
    """Create the network unless it is there; return whether it was created."""
    bridge = bridge_of(lab.name)
    if _find(lab.name) is not None:
        return False
    remove_bridge(lab.name)  # an engine that was killed may have left one
    docker(
        *("network", "create", "--driver", "bridge", "--label", f"{LABEL}={lab.name}"),
        *("--subnet", str(lab.subnet), "--gateway", lab.gateway),
        *("--opt", f"com.docker.network.bridge.name={bridge}"),
        lab.name,
    )
    return True


def is_broken(name: str) -> bool:
    """Tell whether the engine has the network but the machine has no bridge for it."""
    return _find(name) is not None and not bridge_exists(name)


def remove(name: str) -> bool:
    """Remove the network in the engine (when it is this lab's own) and the bridge; return whether there was any."""
    found = False
    network = _own(name)
    if network is not None:
        docker("network", "rm", str(network["Id"]))
        found = True
    return remove_bridge(name) or found


def remove_bridge(name: str) -> bool:
    """Delete the lab's bridge from the machine; return whether there was one."""
    if not bridge_exists(name):
        return False
    bridge = bridge_of(name)
    # A network namespace that the engine left mounted keeps its end of a veth pair, and so this one, alive.
    for port in json.loads(run(["ip", "-json", "link", "show", "master", bridge]).stdout or "[]"):
        run(["ip", "link", "delete", str(port["ifname"])], check=False)
    run(["ip", "link", "delete", bridge])
    return True


def bridge_exists(name: str) -> bool:
    """Tell whether the machine has the lab's bridge."""
    return bridge_of(name) in (interface for _index, interface in socket.if_nameindex())


def _own(name: str) -> dict[str, Any] | None:
    for network in inspect("network", name):
        if network["Name"] == name and (network.get("Labels") or {}).get(LABEL) == name:
            return network
    return None


def _find(name: str) -> dict[str, Any] | None:
    network = _own(name)
    if network is None and any(other["Name"] == name for other in inspect("network", name)):
        raise LabError(f"the engine has a network {name} that is not a lab's; choose another --name")
    return network


def _subnet_of(network: dict[str, Any] | None) -> ipaddress.IPv4Network | None:
    if network is None:
        return None
    return ipaddress.IPv4Network(network["IPAM"]["Config"][0]["Subnet"])


def _taken(own_bridge: str) -> list[ipaddress.IPv4Network]:
    """Return every subnet that the machine routes or the engine has given away, and the default lab's."""
    taken = [ipaddress.IPv4Network(DEFAULT_SUBNET)] if own_bridge != bridge_of(DEFAULT_NAME) else []
    for route in json.loads(run(["ip", "-json", "-4", "route", "show"]).stdout or "[]"):
        if route["dst"] != "default" and route.get("dev") != own_bridge:
            taken.append(ipaddress.IPv4Network(route["dst"]))
    for network in inspect("network", *docker("network", "ls", "-q").stdout.split()):
        for config in network["IPAM"]["Config"] or []:
            subnet = ipaddress.ip_network(config["Subnet"])
            if isinstance(subnet, ipaddress.IPv4Network):
                taken.append(subnet)
    return taken
