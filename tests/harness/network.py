# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Faults of the network: packets between some addresses are dropped by nft, in the network namespace of every machine.

A hypervisor's own packets pass the hooks of family `ip`, its members' those of family `bridge`; so every machine gets
the same rules in both, and a member is met wherever it runs. Each fault has tables of its own, so that faults may lie
over each other and end in any order. A machine that reboots loses its part of the fault.
"""

from __future__ import annotations

import contextlib
import itertools
import typing as t

from .lab import Hypervisor, Lab
from .members import run_everywhere

Pair = t.Tuple[str, str]  # packets from one address to another
_UPLINK = "eth0"  # what joins a hypervisor's bridge to the lab's network
_numbers = itertools.count(1)


@contextlib.contextmanager
def cut(lab: Lab, pairs: t.Iterable[Pair]) -> t.Iterator[None]:
    """Drop what goes from one address to another, for each pair; only in that direction.

    Addresses are those of hypervisors, witnesses, members and of the machine itself (`lab.address(1)`), on which the
    controllers run.
    """
    listed = sorted({pair for pair in pairs if pair[0] != pair[1]})
    elements = ", ".join(f"{source} . {target}" for source, target in listed)
    known = f"set cut {{\n type ipv4_addr . ipv4_addr;\n elements = {{ {elements} }}\n}}\n"
    rule = "ip saddr . ip daddr @cut drop"
    with _tables(lab.machines, known, {"ip": {"input": rule, "output": rule}, "bridge": {"forward": rule}}):
        yield


def one_way(lab: Lab, source: str, target: str) -> t.ContextManager[None]:
    """What `source` sends never comes to `target`; the other way is open."""
    return cut(lab, [(source, target)])


def partition(lab: Lab, groups: t.Sequence[t.Sequence[str]]) -> t.ContextManager[None]:
    """No packet between addresses of different groups; addresses in no group reach everybody."""
    return cut(
        lab,
        [(source, target) for one, other in itertools.permutations(groups, 2) for source in one for target in other],
    )


def ring(lab: Lab, addresses: t.Sequence[str]) -> t.ContextManager[None]:
    """Each address reaches its two neighbours only, so that no two see the same part of the world."""
    count = len(addresses)
    return cut(
        lab,
        [
            (addresses[one], addresses[other])
            for one, other in itertools.permutations(range(count), 2)
            if (one - other) % count not in (1, count - 1)
        ],
    )


@contextlib.contextmanager
def isolate(lab: Lab, address: str) -> t.Iterator[None]:
    """Nothing comes to an address and nothing leaves it, whatever the other end. A hypervisor's members are reached."""
    rule = f"ip saddr {address} ip daddr != {address} drop\n ip daddr {address} ip saddr != {address} drop"
    with _tables(lab.machines, "", {"ip": {"input": rule, "output": rule}, "bridge": {"forward": rule}}):
        yield


@contextlib.contextmanager
def loss(lab: Lab, address: str, percent: int) -> t.Iterator[None]:
    """Lose so many percent of what an address sends, and of what is sent to it, each packet by chance.

    Raises:
        ValueError: not from 1 to 100.
    """
    if not 1 <= percent <= 100:
        raise ValueError(f"percent: found {percent}, expected 1 to 100")
    chance = f"numgen random mod 100 < {percent} drop"
    sent, received = f"ip saddr {address}", f"ip daddr {address}"
    own = next((one for one in lab.machines if one.address == address), None)
    if own is not None:
        chains = {"ip": {"output": f"{sent} {chance}", "input": f"{received} {chance}"}}
        with _tables([own], "", chains):
            yield
        return
    # a member: at its own port of the bridge, so that a packet that passes two hypervisors has one chance
    ports = {
        "prerouting": f'iifname != "{_UPLINK}" {sent} {chance}',
        "postrouting": f'oifname != "{_UPLINK}" {received} {chance}',
    }
    with _tables(lab.hypervisors, "", {"bridge": ports}):
        yield


@contextlib.contextmanager
def _tables(
    machines: t.Sequence[Hypervisor], common: str, chains: t.Mapping[str, t.Mapping[str, str]]
) -> t.Iterator[None]:
    """Tables of a fault on all machines; they hold as soon as nft has committed them.

    Args:
        common: what each table begins with.
        chains: family -> hook -> rules.
    """
    name = f"ensemble_fault_{next(_numbers)}"
    made, gone = "", ""
    for family, hooks in chains.items():
        body = "".join(
            f"chain {hook} {{\n type filter hook {hook} priority 0;\n {rules}\n}}\n" for hook, rules in hooks.items()
        )
        # a table of that name may be left of a session that was killed
        gone += f"table {family} {name} {{ }}\ndelete table {family} {name}\n"
        made += f"table {family} {name} {{\n{common}{body}}}\n"
    try:
        run_everywhere(machines, "nft", "-f", "-", stdin=(gone + made).encode())
        yield
    finally:
        run_everywhere(machines, "nft", "-f", "-", stdin=gone.encode())
