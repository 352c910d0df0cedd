# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Commands on a member: bounded in time and in what is kept of their output, ended together with all they started."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
import typing as t

#: bytes of output that are kept where only its end matters
TAIL = 16384
_CHUNK = 65536
#: seconds after which a command's end is noticed although something it started keeps its output open
_NOTICE = 0.1
_DETAIL = 200


class Ran(t.NamedTuple):  # loading dataclasses takes longer than a look
    """What came of a command.

    Attributes:
        fault: why it is no success, in words; empty when it ended with 0.
        out, err: the last bytes of both; `err` is empty unless they were kept apart.
        cut: there was more.
    """

    fault: str
    out: bytes = b""
    err: bytes = b""
    cut: bool = False


def run(argv: t.Sequence[str], seconds: float, keep: int = TAIL, apart: bool = False) -> Ran:
    """Run a command for at most that long.

    Args:
        keep: bytes of its output that are kept, the last ones.
        apart: keep errors apart from the output.
    """
    deadline = time.monotonic() + seconds
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if apart else subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Ran(f"cannot be run: {getattr(error, 'strerror', None) or error}")
    try:
        out, err, cut = _read(process, deadline, keep)
        ended = _wait(process, deadline - time.monotonic())
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            _wait(process, 1.0)
        for stream in filter(None, (process.stdout, process.stderr)):
            stream.close()
    code = process.returncode
    if not ended:
        return Ran(f"had not answered after {seconds:g} s", out, err, cut)
    fault = f"ended by signal {-code}" if code < 0 else f"exit {code}" if code else ""
    return Ran(fault, out, err, cut)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, seconds))
    return process.poll() is not None


def _read(process: subprocess.Popen[bytes], deadline: float, keep: int) -> tuple[bytes, bytes, bool]:
    """The ends of both outputs, until they are closed, the command is over, or the deadline."""
    kept = {stream: bytearray() for stream in (process.stdout, process.stderr) if stream is not None}
    cut = False
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < deadline:
            events = selector.select(min(_NOTICE, max(0.0, deadline - time.monotonic())))
            if not events and process.poll() is not None:
                break
            for key, _mask in events:
                stream = t.cast("t.IO[bytes]", key.fileobj)
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(stream)
                kept[stream] += chunk
                if len(kept[stream]) > keep:
                    del kept[stream][:-keep]
                    cut = True
    ends = [bytes(body) for body in kept.values()]
    return ends[0], ends[1] if len(ends) > 1 else b"", cut


def last_line(output: bytes) -> str:
    """The last line that is not blank, without control characters, of at most 200 characters."""
    for line in reversed(output.decode(errors="replace").splitlines()):
        if line.strip():
            return "".join(sign if sign.isprintable() else " " for sign in line.strip())[:_DETAIL]
    return ""
