# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Telling the network where an address lives now.

Addresses are used again by other members, whose MAC address differs. Neighbours that remember the former one would
send into the void until their entry ages, many seconds long, unless somebody announces the new one. And a member that
is made anew here keeps its MAC address: bridges remember where it was. The announcement tells those beyond this
machine; its own bridge learns from what comes in by its ports only, and a member may say nothing for a minute.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess

_ETH_P_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_ETHERNET, _IPV4, _REPLY = 1, 0x0800, 2
#: seconds for one command
_TIMEOUT = 5.0


def announcement(mac: str, address: str) -> bytes:
    """A gratuitous ARP reply as an Ethernet frame (RFC 826, RFC 5227 section 2.3)."""
    sender = bytes.fromhex(mac.replace(":", ""))
    ip = socket.inet_aton(address)
    ethernet = _BROADCAST + sender + struct.pack("!H", _ETH_P_ARP)
    header = struct.pack("!HHBBH", _ETHERNET, _IPV4, len(sender), len(ip), _REPLY)
    return ethernet + header + sender + ip + _BROADCAST + ip


def announce(bridge: str, port: str, mac: str, address: str) -> None:
    """Tell a bridge behind which port a member is, and all others its address; without it both are learnt, later."""
    # bridge(8), of iproute2; a port that does not forward yet takes static entries only, and loses them with its end
    learn = ["bridge", "fdb", "replace", mac, "dev", port, "master", "static"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(learn, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, check=False)
    with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((bridge, _ETH_P_ARP))
        raw.send(announcement(mac, address))
