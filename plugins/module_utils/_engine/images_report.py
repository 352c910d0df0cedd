# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What was found and done in image caches, as the plain data that a module returns."""

from __future__ import annotations

import typing as t

from .images import Transfer

Facts = t.Dict[str, t.Any]


def filled_facts(found: t.Sequence[Transfer], done: t.Sequence[Transfer]) -> Facts:
    """`hypervisors`, `changed` and `diff` of filling.

    Args:
        found: what the survey said of every image; it alone decides what changes.
        done: what was brought, empty in check mode.
    """
    brought = {(transfer.hypervisor, transfer.image, transfer.format): transfer for transfer in done}
    images: dict[str, list[Facts]] = {}
    before, after = "", ""
    for transfer in found:
        moved = brought.get((transfer.hypervisor, transfer.image, transfer.format), transfer)
        images.setdefault(transfer.hypervisor, []).append(
            {
                "name": transfer.image,
                "format": transfer.format,
                "sha256": transfer.sha256,
                "changed": transfer.changed,
                "bytes": moved.bytes,
                "seconds": round(moved.seconds, 3),
            }
        )
        if transfer.changed:
            line = f"{transfer.hypervisor} {transfer.image} {transfer.format}: "
            same = transfer.before == transfer.sha256
            before += line + (f"{transfer.before} (removed)" if same else transfer.before or "absent") + "\n"
            after += line + transfer.sha256 + "\n"
    return _facts(images, {}, {"before": before, "after": after})


def pruned_facts(removed: t.Mapping[str, t.Sequence[Facts]]) -> Facts:
    """`hypervisors`, `changed` and `diff` of pruning."""
    before = "".join(
        f"{name} {', '.join(entry['names']) or 'without a name'} {entry['format'] or 'half'}: {entry['sha256']}\n"
        for name, entries in removed.items()
        for entry in entries
    )
    return _facts({name: [] for name in removed}, removed, {"before": before, "after": ""})


def _facts(
    images: t.Mapping[str, t.Sequence[Facts]], removed: t.Mapping[str, t.Sequence[Facts]], diff: dict[str, str]
) -> Facts:
    hypervisors = []
    for name, entries in images.items():
        gone = list(removed.get(name, ()))
        hypervisors.append(
            {
                "name": name,
                "changed": bool(gone) or any(entry["changed"] for entry in entries),
                "images": list(entries),
                "removed": gone,
                "bytes": sum(entry["bytes"] or 0 for entry in (*entries, *gone)),
                "seconds": round(sum(entry["seconds"] for entry in entries), 3),
            }
        )
    return {"hypervisors": hypervisors, "changed": any(entry["changed"] for entry in hypervisors), "diff": diff}
