# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What client and host program agree on: one JSON object per line, in both directions."""

from __future__ import annotations

#: of the collection; the host program carries it and is never downgraded
VERSION = "0.1.0"

#: raised when a request of one side can no longer be understood by the other
PROTOCOL = 5

#: bytes of one request or answer, line feed included
MAX_LINE = 8 * 1024 * 1024

#: verbs that change something and therefore carry a token
MUTATING = frozenset(
    {
        *("prepare", "define", "start", "stop", "undefine", "remove"),
        *("record_write", "secrets_write", "voters_write", "voter_join", "agent_key_write", "forget"),
        "keepalive",
    }
)

#: verbs on one member; those of different members run side by side
MEMBER_VERBS = frozenset({"prepare", "define", "start", "stop", "undefine", "remove"})

#: members of one batch at work side by side on a hypervisor
MEMBERS_AT_ONCE = 8

#: verbs that only wait for somebody else, each beside all others, and how many of them at once
WAITING = frozenset({"sign"})
SIGNS_AT_ONCE = 64

#: verbs that concern no resource
UNSCOPED = frozenset(
    {"hello", "image_import", "image_status", "image_upload", "image_download", "image_take", "image_prune"}
)

#: all that a hypervisor's boot key may ask of another one
READ_ONLY = frozenset({"hello", "record_read"})

#: all that a witness answers
VOTING = frozenset(
    {
        *("hello", "lease_read", "lease_request", "lease_release", "lease_wish"),
        *("record_read", "record_write", "secrets_read", "secrets_write"),
        *("voter_join", "voters_write", "agent_key_write", "forget"),
    }
)

#: all that the agents of a resource may ask, for that resource only: not who may log in, nor what images mean
AGENT = (VOTING | MUTATING | {"observe", "sign", "image_status"}) - {"agent_key_write"}

#: name of the host program's command on every hypervisor
COMMAND = "ensemble-host"
