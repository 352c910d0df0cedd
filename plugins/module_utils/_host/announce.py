# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Telling the network where an address lives now.

Addresses are used again by other members, whose MAC address differs. Neighbours that remember the former one would
send into the void until their entry ages, many seconds long, unless somebody announces the new one.
"""

from __future__ import annotations

import contextlib
import socket
import struct

_ETH_P_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_ETHERNET, _IPV4, _REPLY = 1, 0x0800, 2


def announcement(mac: str, address: str) -> bytes:
    """A gratuitous ARP reply as an Ethernet frame (RFC 826, RFC 5227 section 2.3)."""
    sender = bytes.fromhex(mac.replace(":", ""))
    ip = socket.inet_aton(address)
    ethernet = _BROADCAST + sender + struct.pack("!H", _ETH_P_ARP)
    header = struct.pack("!HHBBH", _ETHERNET, _IPV4, len(sender), len(ip), _REPLY)
    return ethernet + header + sender + ip + _BROADCAST + ip


def announce(bridge: str, mac: str, address: str) -> None:
    """Send the announcement into a bridge; without it things work too, only later."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((bridge, _ETH_P_ARP))
        raw.send(announcement(mac, address))
