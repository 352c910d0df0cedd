# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What a leader arms on its hypervisors: how long members may live there while nobody leads them, and which ones.

What is armed outlives a boot; when this machine last heard of a leader does not, so that the time counts anew then.
"""

from __future__ import annotations

import contextlib
import os
import threading
import typing as t
from dataclasses import dataclass

from .files import CorruptStateError, read_json, resource_dir, write_json
from .votes import boottime

_GUARD = "guard.json"
_DESTROYED = "destroyed.json"


@dataclass(frozen=True)
class Armed:
    """How long the named members live without a leader, in seconds."""

    ttl: float
    members: tuple[str, ...]


class Arming:
    """The guard's state of one resource on this hypervisor.

    Writing is allowed only under the resource's lock (`fence.fenced`, `fence.alone`).
    """

    _writing = threading.Lock()  # members that are started side by side are forgiven side by side

    def __init__(self, root: str, run_dir: str, resource: str) -> None:
        folder = resource_dir(root, resource)
        self._armed = os.path.join(folder, _GUARD)
        self._destroyed = os.path.join(folder, _DESTROYED)
        self._run_dir = run_dir
        self._heard = os.path.join(run_dir, f"guard-{resource}.json")

    # -- what is armed

    def armed(self) -> Armed | None:
        """None when nobody armed it.

        Raises:
            CorruptStateError: it cannot be told what is armed.
        """
        stored = read_json(self._armed)
        return None if stored is None else Armed(float(stored["ttl"]), tuple(stored["members"]))

    def arm(self, wanted: Armed | None) -> None:
        """Keep what is armed, on disk only where that differs; None disarms."""
        if wanted is None:
            self.forget()
            return
        try:
            stored = self.armed()
        except CorruptStateError:  # whoever leads knows it better
            stored = None
        if stored != wanted:
            os.makedirs(os.path.dirname(self._armed), mode=0o700, exist_ok=True)
            write_json(self._armed, {"ttl": wanted.ttl, "members": list(wanted.members)})

    def forget(self) -> None:
        """Nothing is armed, and nothing was destroyed."""
        for path in (self._armed, self._heard, self._destroyed):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    # -- who was heard

    def hear(self, at: float) -> None:
        """A leader was heard at this time of CLOCK_BOOTTIME; one that was heard later still counts."""
        if at > (self.heard() or -1.0):
            os.makedirs(self._run_dir, mode=0o755, exist_ok=True)
            write_json(self._heard, at, durable=False)

    def heard(self) -> float | None:
        """When a leader was heard last; None where none was since this machine's boot."""
        try:
            at = read_json(self._heard)
        except CorruptStateError:
            return None
        # what lies ahead is of another boot, in a folder that outlived it
        return float(at) if isinstance(at, (int, float)) and at <= boottime() else None

    def silence(self) -> float:
        """Seconds since a leader was heard; where none was since this boot, since it was asked for the first time."""
        heard = self.heard()
        if heard is None:
            heard = boottime()
            os.makedirs(self._run_dir, mode=0o755, exist_ok=True)
            write_json(self._heard, heard, durable=False)
        return boottime() - heard

    # -- who was destroyed

    def destroyed(self) -> tuple[str, ...]:
        """Members that the guard destroyed, or was about to, and that nobody started since."""
        try:
            return tuple(read_json(self._destroyed) or ())
        except CorruptStateError:
            return ()

    def condemn(self, members: t.Iterable[str]) -> None:
        """Note members before they are destroyed."""
        with self._writing:
            noted = sorted({*self.destroyed(), *members})
            if noted != list(self.destroyed()):
                write_json(self._destroyed, noted)

    def forgive(self, member: str) -> None:
        """Somebody who may starts a member, or takes it away."""
        if member not in self.destroyed():
            return
        with self._writing:
            left = [name for name in self.destroyed() if name != member]
            write_json(self._destroyed, left)

    def shown(self, up: t.Collection[str]) -> dict[str, t.Any]:
        """As `observe` tells it.

        Args:
            up: members that run here: they were not destroyed after all.
        """
        try:
            armed = self.armed()
        except CorruptStateError:  # the next keepalive repairs it; until then nothing is destroyed
            armed = None
        heard = self.heard() if armed is not None else None
        return {
            "armed": armed is not None,
            "ttl": armed.ttl if armed is not None else None,
            "heard_s": round(boottime() - heard, 3) if heard is not None else None,
            "destroyed": [member for member in self.destroyed() if member not in up],
        }
