# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What an agent needs of the world: time, chance, processes, signals and the service manager; replaced in tests."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import threading
import time
import typing as t

from .processes import Command

#: does a piece of work beside the main thread and returns the seconds until the next one, None for never
Step = t.Callable[[], "float | None"]
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_RELEASE_SIGNAL = signal.SIGUSR1


class Process(t.Protocol):
    """A run of the command, as `processes.Command` says."""

    def wait(self, seconds: float) -> int | None: ...

    def hurry(self) -> None: ...

    def end(self, grace: float) -> int: ...


class Orders:
    """What a person or the service manager has told this agent."""

    def __init__(self) -> None:
        self.stop = False
        self.release = False


class World(t.Protocol):
    """All that is outside of the agent's own decisions."""

    orders: Orders

    def clock(self) -> float:
        """CLOCK_BOOTTIME in seconds: monotonic, and it counts suspension."""

    def chance(self) -> float:
        """Random, from 0 to 1."""

    def pause(self, seconds: float) -> None:
        """Wait; less when there is something to look at."""

    def wake(self) -> None:
        """Let the main thread look at once."""

    def start(self, words: t.Sequence[str], environment: t.Mapping[str, str], kill_time: float) -> Process:
        """Start the command."""

    def beside(self, step: Step, first: float, patience: float) -> contextlib.AbstractContextManager[None]:
        """Do a step again and again beside the main thread until the block ends.

        Args:
            first: seconds until the first one.
            patience: seconds to wait for a step that is at work at the end.
        """

    def alive(self, words: str, within: float | None = None) -> None:
        """Tell the service manager that all is well.

        Args:
            within: seconds within which it must hear the next word, when that changes.
        """


class RealWorld:
    """The world of a service."""

    def __init__(self) -> None:
        self.orders = Orders()
        self._wake = threading.Event()
        self._notify = _Notify()

    def clock(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def chance(self) -> float:
        return random.random()  # noqa: S311 - spreads campaigns, keeps no secret

    def pause(self, seconds: float) -> None:
        self._wake.wait(max(0.0, seconds))
        self._wake.clear()

    def wake(self) -> None:
        self._wake.set()

    def start(self, words: t.Sequence[str], environment: t.Mapping[str, str], kill_time: float) -> Process:
        return Command(words, environment, kill_time)

    @contextlib.contextmanager
    def beside(self, step: Step, first: float, patience: float) -> t.Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=_repeat, args=(step, first, over), daemon=True, name="renewer")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(patience)

    def alive(self, words: str, within: float | None = None) -> None:
        self._notify.alive(words, within)

    def listen(self) -> None:
        """Take signals in a thread of their own: a handler could interrupt whatever holds a lock."""
        taken = {*_STOP_SIGNALS, _RELEASE_SIGNAL}
        signal.pthread_sigmask(signal.SIG_BLOCK, taken)
        threading.Thread(target=self._take, args=(taken,), daemon=True, name="signals").start()

    def _take(self, taken: t.Collection[signal.Signals]) -> None:
        while True:
            if signal.sigwait(taken) == _RELEASE_SIGNAL:
                self.orders.release = True
            else:
                self.orders.stop = True
            self.wake()


def _repeat(step: Step, first: float, over: threading.Event) -> None:
    delay: float | None = first
    while delay is not None and not over.wait(delay):
        delay = step()


class _Notify:
    """sd_notify(3), which is datagrams to a socket; without one nobody listens."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._words = ""
        self._within = 0.0

    def alive(self, words: str, within: float | None) -> None:
        if not self._address:
            return
        lines = ["READY=1", "WATCHDOG=1"]
        if words != self._words:
            lines.append(f"STATUS={words}")
        if within is not None and within != self._within:
            lines.insert(0, f"WATCHDOG_USEC={within * 1e6:.0f}")
            self._within = within
        self._words = words
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1.0)
            sock.sendto("\n".join(lines).encode(), self._address)
