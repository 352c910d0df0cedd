# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The smallest root file system that runs as a container: folders to mount on, and an init that waits for its end."""

from __future__ import annotations

import io
import platform
import struct
import tarfile

#: what the driver sends to end a container, and init's mask of it
_POWER_OFF = 38
_MASK = 1 << (_POWER_OFF - 1)
_LOAD = 0x400000
_HEADERS = 64 + 56
_FOLDERS = ("dev", "etc", "etc/ssh", "proc", "root", "run", "sbin", "sys", "tmp", "var")
#: system calls of x86-64
_SIGPROCMASK, _SIGTIMEDWAIT, _EXIT_GROUP = 14, 128, 231


def tiny_root() -> bytes:
    """A tar archive of a root file system of one program.

    Raises:
        RuntimeError: this machine's processors are of another kind than the program.
    """
    if platform.machine() != "x86_64":
        raise RuntimeError(f"the smallest init is made for x86_64 only, this machine is {platform.machine()}")
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        for name in _FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        program = _program()
        init = tarfile.TarInfo("sbin/init")
        init.mode, init.size = 0o755, len(program)
        archive.addfile(init, io.BytesIO(program))
    return body.getvalue()


def _program() -> bytes:
    """An ELF executable that blocks one signal, waits for it, and exits.

    An init that does not block it would never see it: the kernel drops what a namespace's first process has no
    handler for.
    """
    block = _call(_SIGPROCMASK, rdi=0)
    wait = _call(_SIGTIMEDWAIT, rsi=0)
    end = b"\x31\xff" + b"\xb8" + struct.pack("<I", _EXIT_GROUP) + b"\x0f\x05"  # xor edi,edi; mov eax,..; syscall
    mask = _LOAD + _HEADERS + len(block) + len(wait) + len(end)
    code = _call(_SIGPROCMASK, rdi=0, rsi=mask) + _call(_SIGTIMEDWAIT, rdi=mask, rsi=0) + end
    body = code + struct.pack("<Q", _MASK)
    size = _HEADERS + len(body)
    # System V ABI, ELF-64: identification, executable for x86-64, entry point, one loaded segment, no sections
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, _LOAD + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD, _LOAD, size, size, 0x1000)
    return header + segment + body


def _call(number: int, rdi: int = 0, rsi: int = 0) -> bytes:
    """A system call whose third argument is null and whose fourth is the size of a mask; addresses fit 32 bits."""
    return (
        b"\xbf"
        + struct.pack("<I", rdi)  # mov edi, ..
        + b"\xbe"
        + struct.pack("<I", rsi)  # mov esi, ..
        + b"\x31\xd2"  # xor edx, edx
        + b"\x41\xba\x08\x00\x00\x00"  # mov r10d, 8
        + b"\xb8"
        + struct.pack("<I", number)  # mov eax, ..
        + b"\x0f\x05"  # syscall
    )
