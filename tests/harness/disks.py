# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Faults of disks: one that is full to the last block, and state that is broken.

They work on the folder of one resource, `/var/lib/ensemble/<resource>`. The host program's locks are held while files
are moved or broken, so that no vote is lost between two moments: a voter rolled back to an older state is nothing that
the protocol promises to bear.
"""

from __future__ import annotations

import contextlib
import typing as t

from .lab import STATE, Hypervisor

_MIB = 16

# Reads a program from standard input and runs it while all locks of a folder are held.
_LOCKED = """
import contextlib, errno, fcntl, os, pathlib, random, shutil, stat, subprocess, sys
folder = pathlib.Path(sys.argv[1])

def call(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout

def copy(source, target):
    # all but the members, whose disks no small file system would hold
    for entry in list(target.iterdir()):
        if entry.name not in ("members", "lost+found"):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for entry in source.iterdir():
        if entry.name not in ("members", "lost+found", BALLAST):
            call("cp", "-a", str(entry), str(target))
    shutil.copystat(source, target)
    call("sync", "-f", str(target))

BALLAST = ".ballast"
locks = [open(path, "rb+") for path in sorted(folder.glob("**/*.lock")) if "members" not in path.parts]
for lock in locks:
    fcntl.flock(lock, fcntl.LOCK_EX)
"""

_SMALL = """
behind, size = pathlib.Path(sys.argv[2]), int(sys.argv[3])
if folder.is_mount():
    sys.exit(f"{folder} is a mount point already")
former, new, disk = behind / "former", behind / "new", behind / "disk"
for path in (behind, former, new):
    path.mkdir(mode=0o700)
with open(disk, "wb") as handle:
    os.truncate(handle.fileno(), size)
call("mkfs.ext4", "-q", "-F", "-b", "1024", "-m", "0", "-O", "^has_journal", str(disk))
call("mount", "--bind", str(folder), str(former))
call("mount", "--make-private", str(former))  # else it would be covered together with the folder
call("mount", "-o", "loop", str(disk), str(new))
copy(folder, new)
if (folder / "members").is_dir():
    (new / "members").mkdir(exist_ok=True)
    call("mount", "--rbind", str(folder / "members"), str(new / "members"))
    # else the members' own disks would be unmounted with the small one
    call("mount", "--make-rslave", str(new / "members"))
call("mount", "--rbind", str(new), str(folder))
"""

_WHOLE = """
behind = pathlib.Path(sys.argv[2])
former, new = behind / "former", behind / "new"
if former.is_mount():
    if folder.is_mount():
        copy(folder, former)
        call("umount", "--lazy", str(folder))
    call("umount", "--lazy", str(former))
if new.is_mount():
    call("umount", "--lazy", str(new))
shutil.rmtree(behind, ignore_errors=True)
"""

_FILL = """
with open(folder / BALLAST, "wb") as handle:
    size, step = 0, 1 << 20
    while step:
        try:
            os.posix_fallocate(handle.fileno(), size, step)
            size += step
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            step //= 2
    os.fsync(handle.fileno())
probe = folder / ".probe"
try:
    with open(probe, "wb") as handle:
        handle.write(b"x")
        handle.flush()
        os.fsync(handle.fileno())
    sys.exit(f"{folder} still takes a byte")
except OSError as error:
    if error.errno != errno.ENOSPC:
        raise
finally:
    probe.unlink(missing_ok=True)
"""

_BREAK = """
path, how = folder / sys.argv[2], sys.argv[3]
sound = path.read_bytes()
random.seed(sys.argv[4])
broken = {"truncated": sound[: len(sound) // 2], "garbage": random.randbytes(len(sound)), "zeroed": bytes(len(sound))}
with open(path, "rb+") as handle:
    handle.truncate()
    handle.write(broken[how])
    handle.truncate()
    os.fsync(handle.fileno())
print(broken[how].hex())
"""

_FORGET = """
path = folder / sys.argv[2]
with contextlib.suppress(FileNotFoundError):
    if path.read_bytes().hex() == sys.argv[3]:
        path.unlink()
"""


def _under_locks(machine: Hypervisor, resource: str, program: str, *argv: str) -> str:
    return machine.run("python3", "-c", _LOCKED + program, f"{STATE}/{resource}", *argv)


def _behind(resource: str) -> str:
    return f"/run/ensemble-lab-disk-{resource}"


@contextlib.contextmanager
def small_disk(machine: Hypervisor, resource: str, mib: int = _MIB) -> t.Iterator[None]:
    """The state folder of a resource lies on an ext4 file system of so many MiB of its own, its content moved there.

    The members' disks stay where they are; no member can be added meanwhile. Best made before the resource is used:
    a process that waits for a lock just now goes on in the new folder with the former lock.
    """
    try:
        _under_locks(machine, resource, _SMALL, _behind(resource), str(mib << 20))
        yield
    finally:
        _under_locks(machine, resource, _WHOLE, _behind(resource))


@contextlib.contextmanager
def full_disk(machine: Hypervisor, resource: str) -> t.Iterator[None]:
    """Not a byte more can be written into the state folder of a resource, which is put on a small disk if need be."""
    with contextlib.ExitStack() as undo:
        if "yes" not in machine.run("sh", "-c", f"mountpoint -q {STATE}/{resource} && echo yes", check=False):
            undo.enter_context(small_disk(machine, resource))
        undo.callback(machine.run, "rm", "-f", f"{STATE}/{resource}/.ballast")
        _under_locks(machine, resource, _FILL)
        yield


@contextlib.contextmanager
def corrupt(
    machine: Hypervisor, resource: str, name: str, how: t.Literal["truncated", "garbage", "zeroed"], seed: int = 0
) -> t.Iterator[None]:
    """A file in the state folder of a resource holds its first half only, random bytes, or zeros.

    At the end one that is still broken is removed, never restored: it may be older than what others know by then.

    Args:
        seed: of the random bytes.

    Raises:
        RuntimeError: there is no such file.
    """
    broken = _under_locks(machine, resource, _BREAK, name, how, str(seed)).strip()
    try:
        yield
    finally:
        _under_locks(machine, resource, _FORGET, name, broken)
