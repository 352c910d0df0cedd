# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A real sshd of this machine with keys of its own, for as long as a test runs."""

from __future__ import annotations

import contextlib
import getpass
import os
import pathlib
import shutil
import socket
import subprocess
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.ensemble.stacks.plugins.module_utils._pool.keys import KeyPair, generate_key_pair

#: it must be called by its full path
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
MISSING = "no sshd is installed here (openssh-server)"
#: Debian's sshd, started by root, ends at once without it; only the service that is not started here makes it
_PRIVILEGE_SEPARATION = pathlib.Path("/run/sshd")

_CONFIG = """
ListenAddress 0.0.0.0:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 500
MaxSessions {sessions}
SetEnv HOME={folder}
"""


@dataclass(frozen=True)
class LocalSshd:
    """It answers at every address 127.x.y.z."""

    port: int
    user: str
    host: KeyPair
    key: KeyPair
    folder: pathlib.Path
    process: subprocess.Popen[bytes]

    @property
    def key_file(self) -> str:
        return str(self.folder / "key")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def running_sshd(folder: pathlib.Path, sessions: int = 10) -> t.Iterator[LocalSshd]:
    folder.mkdir(parents=True, exist_ok=True)
    host, key, port = generate_key_pair(), generate_key_pair(), free_port()
    for name, text in (("host_key", host.private), ("key", key.private)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    (folder / "authorized_keys").write_text(key.public + "\n")
    (folder / "config").write_text(_CONFIG.format(port=port, folder=folder, sessions=sessions))
    if os.geteuid() == 0:
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    argv = [str(SSHD), "-D", "-e", "-f", str(folder / "config")]
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stderr=log) as process:
        try:
            _await_port(port, process, folder)
            yield LocalSshd(port, getpass.getuser(), host, key, folder, process)
        finally:
            process.terminate()


def _await_port(port: int, process: subprocess.Popen[bytes], folder: pathlib.Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, f"sshd ended at once: {(folder / 'log').read_text()}"
            assert time.monotonic() < deadline, "sshd does not listen"
            time.sleep(0.02)
