# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A TCP relay with a delay in each direction, since the lab's kernel has none to offer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import typing as t

_CHUNK = 65536
_START_SECONDS = 10


class Relay:
    """Takes connections and passes them on to a target, each byte later by the delay of its direction.

    The delay is that of a long line: what was sent together comes together, however much that is. Delays may be set at
    any time and hold for what comes after.

    Attributes:
        there: seconds from the client to the target.
        back: seconds from the target to the client.
        address, port: where it listens.
    """

    def __init__(self, target: tuple[str, int], there: float, back: float, address: str) -> None:
        self.target = target
        self.there = there
        self.back = back
        self.address = address
        self.port = 0
        self._ready = threading.Event()
        self._failed: OSError | None = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address is not this machine's, or the machine is too slow.
        """
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise TimeoutError(f"no relay to {self.target} within {_START_SECONDS} s")
        if self._failed is not None:
            self._thread.join()
            raise self._failed

    def stop(self) -> None:
        """End it with all its connections."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._connect(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        try:
            server = await asyncio.start_server(accept, self.address, 0)
        except OSError as error:
            self._failed = error
            self._ready.set()
            return
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await self._stop.wait()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            try:
                far_reader, far_writer = await asyncio.open_connection(*self.target)
            except OSError:
                return  # the client sees a connection that ends at once
            with contextlib.closing(far_writer):
                await asyncio.gather(
                    self._pump(reader, far_writer, lambda: self.there),
                    self._pump(far_reader, writer, lambda: self.back),
                )

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: t.Callable[[], float]
    ) -> None:
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sender = asyncio.ensure_future(self._send(line, writer))
        try:
            while True:
                data = b""
                with contextlib.suppress(OSError):
                    data = await reader.read(_CHUNK)
                line.put_nowait((self._loop.time() + delay(), data))
                if not data:
                    break
            await sender
        finally:
            sender.cancel()

    async def _send(self, line: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        """Let out what is due; no bytes stand for the end."""
        with contextlib.suppress(OSError):
            while True:
                due, data = await line.get()
                await asyncio.sleep(due - self._loop.time())
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()


@contextlib.contextmanager
def relay(
    target: tuple[str, int], there: float = 0.0, back: float = 0.0, address: str = "127.0.0.1"
) -> t.Iterator[Relay]:
    """A relay that is up. Delays are in seconds; members reach one that listens on `lab.address(1)`."""
    one = Relay(target, there, back, address)
    one.start()
    try:
        yield one
    finally:
        one.stop()
