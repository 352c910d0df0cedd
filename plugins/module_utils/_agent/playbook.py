# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The declaration as the voters keep it, on a member: the file that a playbook takes, and the run of the playbook."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import typing as t

from .._engine.credentials import write_cache, write_private
from .._model.declaration import Resource
from .._model.load import dump_yaml
from .._model.parse import PLUGIN_NAME, parse_declaration
from .._model.stacks import STACKS
from .errors import SettingsError
from .settings import Settings

#: seconds after which a run that does not end is ended
RUN_TIMEOUT = 1800.0
#: hosts that Ansible works on at the same time: a member has little memory
_FORKS = "3"
#: seconds for a new session to a hypervisor, on a machine that is busy: no lease hangs on it
_OPENS_IN = 5.0
#: what Ansible prints of a host for which a run failed, how many of those, and of their letters, are told
_FAULT = re.compile(r"(?:fatal|failed): \[(?P<host>[^\]\s]+)[^\]]*\](?P<words>.*)", re.DOTALL)
_MOST_FAULTS, _MOST_LETTERS = 3, 400
#: of one result
_MOST_LINES = 1000
#: seconds for the last words of a run that has ended
_LAST_WORDS = 5.0
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_COLLECTION = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))


def declared(content: t.Mapping[str, t.Any], settings: Settings) -> dict[str, t.Any]:
    """A declaration of what the voters keep of one, with this node's own ways to the hypervisors."""
    raw: dict[str, t.Any] = {"plugin": PLUGIN_NAME, **content}
    raw["roles"] = dict(content["roles"])
    raw["ssh"] = {"private_key": settings.private_key, "timeout": max(_OPENS_IN, settings.timings.op_timeout)}
    if settings.known_hosts is not None:
        raw["known_hosts"] = settings.known_hosts
    ways = {host.name: {"user": host.user, "port": host.port} for host in (*settings.hosts, *settings.voters)}
    raw["pool"] = [{**hv, "ssh": ways[hv["name"]]} if hv["name"] in ways else dict(hv) for hv in content["pool"]]
    election = dict(content.get("election") or {})
    if settings.etcd is not None:
        files = {
            name: getattr(settings.etcd, name) for name in ("password_file", "ca_cert", "client_cert", "client_key")
        }
        election.update({name: path for name, path in files.items() if path})
    if election.get("witnesses"):
        election["witnesses"] = [
            {**host, "ssh": ways[host["name"]]} if host["name"] in ways else dict(host)
            for host in election["witnesses"]
        ]
    return {**raw, "election": election} if election else raw


def read_variables(path: str | None) -> dict[str, dict[str, t.Any]]:
    """Host -> its variables, as role convergence has written them; none without a file.

    Raises:
        SettingsError: what stands there is no such mapping.
    """
    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
        hosts = {str(host): dict(values) for host, values in found.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SettingsError(f"{path}: {error}. Apply role convergence again.") from error
    strange = [host for host in hosts if not _HOST.fullmatch(host)]
    if strange:
        raise SettingsError(f"{path}: found {strange[0]!r}, expected names of hosts. Apply role convergence again.")
    return hosts


class Ended(t.NamedTuple):
    """How a run of the playbook ended.

    Attributes:
        code: its exit status, 124 when it took too long.
        faults: the first hosts for which it failed, and why.
    """

    code: int
    faults: tuple[str, ...] = ()


def fault_of(text: str) -> str | None:
    """What Ansible's output says of a host for which the run failed; None if it says no such thing."""
    found = _FAULT.match(text)
    if found is None:
        return None
    words, _arrow, data = found["words"].partition("=> ")
    try:
        told = str(json.loads(data)["msg"])
    except (ValueError, KeyError, TypeError):
        told = data or words
    return f"{found['host']}: {told.strip(': ')}"[:_MOST_LETTERS]


class Playbook:
    """Runs the stack's playbook against the declaration that the voters keep.

    Args:
        folder: below which the declaration is written, and beside it the variables of hosts, for root only.
    """

    def __init__(self, settings: Settings, folder: str) -> None:
        self._settings = settings
        self._folder = os.path.join(folder, settings.resource)
        self._path = os.path.join(self._folder, "resource.yml")

    def resource(self, content: t.Mapping[str, t.Any]) -> Resource:
        """The stored declaration, read as from a file here.

        Raises:
            DeclarationError: it was written by a version that knows more.
        """
        return parse_declaration(declared(content, self._settings), self._path)

    def run(self, resource: Resource, secrets: t.Mapping[str, str]) -> Ended:
        """Bring it about; its words go to the journal.

        What this process is told meanwhile does not end the run: whoever wants the lease waits for it.
        """
        write_cache(resource, secrets)
        self._write(declared(resource.content, self._settings))
        name = STACKS[resource.stack].playbook
        words = [sys.executable, "-m", "ansible", "playbook", "-i", self._path]
        process = subprocess.Popen(
            [*words, os.path.join(_COLLECTION, "playbooks", f"{name}.yml")],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        faults: list[str] = []
        listener = threading.Thread(target=_pass_on, args=(process.stdout, faults), daemon=True)
        listener.start()
        try:
            code = process.wait(RUN_TIMEOUT)
        except subprocess.TimeoutExpired:
            code = 124
        finally:
            if process.poll() is None:
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10.0)
        listener.join(_LAST_WORDS)
        return Ended(code, tuple(faults))

    def _write(self, raw: t.Mapping[str, t.Any]) -> None:
        """The declaration, and the variables that the controller's inventory had for its hosts.

        Raises:
            SettingsError: the file with those variables cannot be read.
        """
        hosts = os.path.join(self._folder, "host_vars")
        os.makedirs(hosts, mode=0o700, exist_ok=True)
        variables = read_variables(self._settings.variables)
        for host, values in variables.items():
            write_private(os.path.join(hosts, f"{host}.json"), json.dumps(values).encode())
        for name in set(os.listdir(hosts)) - {f"{host}.json" for host in variables}:
            os.unlink(os.path.join(hosts, name))
        write_private(self._path, dump_yaml(raw).encode())

    @staticmethod
    def _environment() -> dict[str, str]:
        collections = os.path.normpath(os.path.join(_COLLECTION, "..", "..", ".."))
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            "ANSIBLE_COLLECTIONS_PATH": collections,
            "ANSIBLE_FORKS": _FORKS,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOST_KEY_CHECKING": "True",
            "ANSIBLE_PIPELINING": "True",
            "LC_ALL": "C.UTF-8",
        }


def _pass_on(stream: t.IO[bytes], faults: list[str]) -> None:
    """Its output to the journal, and the first faults to whoever asks."""
    begun: list[str] = []
    for line in stream:
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
        text = line.decode(errors="replace").rstrip()
        if begun or (text.endswith("=> {") and _FAULT.match(text)):
            begun.append(text)
            if text != "}" and len(begun) < _MOST_LINES:
                continue
            text, begun = "\n".join(begun), []
        fault = fault_of(text)
        if fault is not None and len(faults) < _MOST_FAULTS:
            faults.append(fault)
