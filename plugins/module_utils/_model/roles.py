# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The roles of a declaration and the members that play them."""

from __future__ import annotations

import typing as t

from .addresses import Range, nth, size, split
from .declaration import Access, Hypervisor, Member, Network, Role
from .drivers import EXISTING
from .errors import Fault
from .identity import MEMBER_NAME, RESERVED_NAMES, ROLE_NAME, group_name, member_of_role
from .reader import Section, label_pattern, shown
from .roster import Roster
from .sections import Settings, read_range, read_settings
from .stacks import STACKS

MAX_MEMBERS = 10_000


class _Context(t.NamedTuple):
    """What reading one role needs to know besides its own section."""

    sections: dict[str, Section]
    blocks: dict[str, Range]
    defaults: Settings
    named: Section
    roster: Roster


def read_roles(
    top: Section,
    resource: str,
    defaults: Settings,
    network: Network | None,
    whole: Range | None,
    pool: t.Sequence[Hypervisor],
    access: Access,
) -> tuple[tuple[Role, ...], tuple[Member, ...]]:
    """All roles in declared order, and all members."""
    section = top.section("roles", "at least one role")
    sections = {name: section.section(name) for name in section.key_names()}
    own_groups = {group_name(resource), *(group_name(resource, name) for name in sections)}
    if "roles" in top and not sections:
        top.fault("roles", "no role", "at least one role")
    for name in sections:
        if not ROLE_NAME.fullmatch(name):
            section.fault(name, f"the name {shown(name)}", f"a role's name matching {ROLE_NAME.pattern}")
        elif name in RESERVED_NAMES or group_name(name) in own_groups:
            section.fault(name, f"the name {name!r}", "another name: this one is taken by a group of its own")
    counted = [name for name, role in sections.items() if "members" not in role]
    blocks = dict(zip(counted, split(whole, len(counted)))) if whole and counted else {}
    roster = Roster(top.faults, resource, network, pool, access)
    named = top.section("members")
    context = _Context(sections, blocks, defaults, named, roster)
    roles = [_role(name, role, context) for name, role in sections.items()]
    for name in named.key_names():
        played = [role for role in roles if name in role.members]
        stateful = any(role.stateful for role in played)
        roster.named(name, named.section(name), [role.name for role in played], defaults, stateful)
    _refuse_circle(roles, section)
    _refuse_self_contradiction(roles, section)
    return tuple(roles), roster.members(roles)


def refuse_missing_roles(stack: str | None, roles: t.Sequence[Role], faults: list[Fault]) -> None:
    """Note the roles that the stack needs and that nobody declared."""
    have = {role.name for role in roles}
    for name in STACKS[stack].required_roles if stack in STACKS else ():
        if name not in have:
            faults.append(Fault(f"roles.{name}", "nothing", f"a role that stack {stack} needs"))


def _role(name: str, section: Section, context: _Context) -> Role:
    after = section.names("after", ROLE_NAME, "a role's name")
    for index, other in enumerate(after):
        if other not in context.sections or other == name:
            section.fault(f"after[{index}]", other, "another declared role")
    stateful = section.flag("stateful")
    relocate = section.flag("relocate")
    if relocate and stateful:
        section.fault("relocate", "true, of a stateful role", "one of them: data does not move by itself")
    spread = section.text("spread", None, label_pattern(), "`hypervisor` or a label's name")
    apart = section.names("anti_affinity", ROLE_NAME, "a role's name")
    for index, other in enumerate(apart):
        if other not in context.sections:
            section.fault(f"anti_affinity[{index}]", other, "a declared role")
    least = section.integer("min_count", None, 0, MAX_MEMBERS)
    if ("count" in section) == ("members" in section):
        section.fault(
            "count", "both count and members" if "count" in section else "neither count nor members", "one of them"
        )
    if "members" in section:
        members = section.names("members", MEMBER_NAME, "a member's name", required=True)
        for index, member in enumerate(members):
            if member not in context.named:
                section.fault(f"members[{index}]", member, "a name under the top-level key members")
        section.close("count")
        removed = None
    else:
        members, removed = _counted(name, section, context, stateful)
    if least is not None and members and least > len(members):
        section.fault("min_count", least, f"at most the number of members, {len(members)}")
    return Role(name, members, after, spread, stateful, "members" not in section, apart, least, removed, relocate)


def _counted(
    name: str, section: Section, context: _Context, stateful: bool
) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """The members of a counted role, the `count` lowest indices that were not removed; and the removed ones."""
    count = section.integer("count", None, 1, MAX_MEMBERS) or 0
    removed = _removed(section)
    settings = read_settings(section, context.defaults)
    if settings.driver == EXISTING:
        section.fault("driver", EXISTING, "`members`, by name: nobody can make more of them")
    indices = [index for index in range(count + len(removed)) if index not in removed][:count]
    block = _block(name, section, context, indices)
    section.close("members")
    members = tuple(member_of_role(name, index) for index in indices)
    for index, member in zip(indices, members):
        address = nth(block, index) if block else None
        context.roster.add(section.path, member, (name,), settings, address, None, stateful)
    return members, tuple(sorted(removed)) if "removed" in section else None


def _removed(section: Section) -> set[int]:
    found = set()
    for index, value in enumerate(section.items("removed", "members' indices")):
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            found.add(value)
        else:
            section.fault(f"removed[{index}]", value, "a member's index, a whole number from 0")
    return found


def _block(name: str, section: Section, context: _Context, indices: t.Sequence[int]) -> Range | None:
    """The role's addresses: its own range, else its share of the network's."""
    network = context.roster.network
    own = section.text("range", None, what="a range such as 172.30.0.50-172.30.0.99")
    block = context.blocks.get(name)
    if own is not None:
        block = read_range(section, "range", own, network.cidr) if network is not None else None
    elif block is None and network is not None and not any(fault.path == "network.range" for fault in section.faults):
        expected = f"a range of addresses for roles.{name}, or roles.{name}.range"
        section.faults.append(Fault("network.range", "nothing", expected))
    if block is not None and indices and indices[-1] >= size(block):
        found = f"{len(indices)} members up to index {indices[-1]} in a block of {size(block)} addresses"
        section.fault("count", found, "a larger network.range, or a range of its own")
    return block


def _refuse_self_contradiction(roles: t.Sequence[Role], section: Section) -> None:
    """A member cannot keep away from itself."""
    for role in roles:
        for other in roles:
            both = sorted(set(role.members) & set(other.members))
            if other.name in role.anti_affinity and other is not role and both:
                section.fault(f"{role.name}.anti_affinity", other.name, f"a role that {both[0]} does not play as well")


def _refuse_circle(roles: t.Sequence[Role], section: Section) -> None:
    names = {role.name for role in roles}
    left = {role.name: set(role.after) & names for role in roles}
    done: set[str] = set()
    while left:
        ready = [name for name, after in left.items() if after <= done]
        if not ready:
            section.fault("after", "a circle: " + ", ".join(sorted(left)), "an order in which every role can start")
            return
        done.update(ready)
        left = {name: after for name, after in left.items() if name not in done}
