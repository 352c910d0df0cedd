# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A cluster of real etcd processes, one in each of some machines of a lab, which leaves nothing behind."""

from __future__ import annotations

import base64
import contextlib
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._pool.gateway import Endpoints, HttpGateway

from harness.etcd_server import Authority

UNIT = "ensemble-test-etcd"
FOLDER = "/var/lib/ensemble-test-etcd"
#: not etcd's own ports, so that a cluster of somebody else is left alone
CLIENT_PORT, PEER_PORT = 23790, 23800
UP_WITHIN = 60.0
CALL_TIMEOUT = 3.0


class Machine(t.Protocol):
    """Something in which commands are run as root; see `harness.lab.Hypervisor`."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> str: ...

    def run(self, *argv: str, check: bool = True, stdin: bytes | None = None) -> str: ...


@dataclass
class EtcdCluster:
    """A cluster while its context lasts.

    Args:
        authority: signs the members' certificates, and theirs who call; without one all goes in clear.
    """

    machines: t.Sequence[Machine]
    authority: Authority | None = None
    user: str | None = None
    password: str | None = None

    def __enter__(self) -> EtcdCluster:
        self._remove()
        try:
            for index, machine in enumerate(self.machines):
                self._start(index, machine)
            self.wait_for_leader()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._remove()

    # -- what it is

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(self._url(machine, CLIENT_PORT) for machine in self.machines)

    def settings(self, *urls: str) -> Endpoints:
        """How to call it, or only some members."""
        files: dict[str, str] = {}
        if self.authority is not None:
            # with authentication on, the gateway turns away certificates with a common name
            cert, key = self.authority.issue("controller", "127.0.0.1", named=False)
            files = {"ca_cert": str(self.authority.cert), "client_cert": cert, "client_key": key}
        return Endpoints(urls or self.urls, user=self.user, password=self.password, **files)

    def leader(self) -> int:
        """Which machine leads, as most of those that answer say; `wait_for_leader` waits for one.

        Raises:
            EnsembleError: nobody answers, or they know of no leader.
        """
        for url in self.urls:
            with contextlib.suppress(EnsembleError):
                status = self.call("/v3/maintenance/status", {}, url)
                members = self.call("/v3/cluster/member/list", {}, url)["members"]
                names = {member["ID"]: member["name"] for member in members}
                name = names.get(status.get("leader"))
                index = [machine.name for machine in self.machines].index(name) if name else -1
                if index >= 0 and self.call("/v3/maintenance/status", {}, self.urls[index]).get("leader"):
                    return index
        raise EnsembleError("no member of the etcd cluster knows a leader that answers", code="no_leader")

    def call(self, path: str, body: t.Mapping[str, t.Any], *urls: str) -> dict[str, t.Any]:
        """A call of the JSON gateway."""
        return HttpGateway(self.settings(*urls)).call(path, body, CALL_TIMEOUT)

    def revision(self, index: int) -> int:
        """How far the history of a member's data goes."""
        status = self.call("/v3/maintenance/status", {}, self.urls[index])
        return int(status["header"]["revision"])

    def leases(self) -> list[str]:
        """Ids of all leases."""
        return [lease["ID"] for lease in self.call("/v3/lease/leases", {}).get("leases", ())]

    # -- what is done to it

    def wait_for_leader(self) -> int:
        """Which machine leads, as soon as all members that run have one."""
        deadline = time.monotonic() + UP_WITHIN
        while True:
            try:
                return self.leader()
            except EnsembleError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def freeze(self, *indices: int) -> None:
        """Stop processes without ending them: connections to them are accepted and never answered."""
        for index in indices:
            self.machines[index].run("systemctl", "kill", "--signal=SIGSTOP", UNIT)

    def thaw(self, *indices: int) -> None:
        """Let them go on."""
        for index in indices:
            self.machines[index].run("systemctl", "kill", "--signal=SIGCONT", UNIT)

    @contextlib.contextmanager
    def frozen(self, *indices: int) -> t.Iterator[None]:
        """Stopped for a while."""
        self.freeze(*indices)
        try:
            yield
        finally:
            self.thaw(*indices)

    def protect(self, user: str, password: str, prefix: str) -> None:
        """Turn authentication on, with a user that may read and write below a prefix."""
        role = {
            "name": user,
            "perm": {"permType": "READWRITE", "key": _coded(prefix), "range_end": _coded(_end(prefix))},
        }
        for path, body in (
            ("user/add", {"name": "root", "password": f"root-{password}"}),
            ("role/add", {"name": "root"}),
            ("user/grant", {"user": "root", "role": "root"}),
            ("role/add", {"name": user}),
            ("role/grant", role),
            ("user/add", {"name": user, "password": password}),
            ("user/grant", {"user": user, "role": user}),
            ("enable", {}),
        ):
            self.call(f"/v3/auth/{path}", body)
        self.user, self.password = user, password

    def _start(self, index: int, machine: Machine) -> None:
        machine.run("mkdir", "-m", "0700", FOLDER)
        scheme = "https" if self.authority else "http"
        client, peer = self._url(machine, CLIENT_PORT), self._url(machine, PEER_PORT, "http")
        members = ",".join(f"{one.name}={self._url(one, PEER_PORT, 'http')}" for one in self.machines)
        tls: list[str] = []
        if self.authority is not None:
            cert, key = self.authority.issue(f"etcd-{index}", machine.address)
            for name, path in (("ca.pem", str(self.authority.cert)), ("own.pem", cert), ("own.key", key)):
                machine.run("install", "-m", "0600", "/dev/stdin", f"{FOLDER}/{name}", stdin=Path(path).read_bytes())
            tls = ["--cert-file", f"{FOLDER}/own.pem", "--key-file", f"{FOLDER}/own.key"]
            tls += ["--client-cert-auth", "--trusted-ca-file", f"{FOLDER}/ca.pem"]
        unit = ("systemd-run", f"--unit={UNIT}", "--quiet", "--collect", "--property=TimeoutStopSec=2")
        machine.run(
            *unit,
            "/usr/bin/etcd",
            *("--name", machine.name, "--data-dir", f"{FOLDER}/data"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", members, "--initial-cluster-token", f"{UNIT}-{scheme}"),
            *tls,
        )

    def _url(self, machine: Machine, port: int, scheme: str = "") -> str:
        return f"{scheme or ('https' if self.authority else 'http')}://{machine.address}:{port}"

    def _remove(self) -> None:
        for machine in self.machines:
            machine.run("systemctl", "kill", "--signal=SIGKILL", UNIT, check=False)
            machine.run("systemctl", "stop", UNIT, check=False)
            machine.run("rm", "-rf", FOLDER)


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _end(prefix: str) -> str:
    """The first key after all that begin with a prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
