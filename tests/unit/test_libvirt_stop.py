# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Through libvirt: stopping is asked, asked again, forced at the deadline; and the record that counts."""

from __future__ import annotations

import contextlib
import errno
import pathlib
import typing as t

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers import libvirt_common, libvirt_driver, qemu
from ansible_collections.ensemble.stacks.plugins.module_utils._host.settings import Settings


class FakeError(Exception):
    def __init__(self, code: int = 55, number: int = 0) -> None:
        super().__init__(code)
        self.code, self.number = code, number

    def get_int1(self) -> int:
        return self.number

    def get_error_code(self) -> int:
        return self.code


class FakeLibvirt:
    """The names that are used here, with libvirt's own numbers."""

    libvirtError = FakeError
    VIR_DOMAIN_RUNNING, VIR_DOMAIN_PAUSED, VIR_DOMAIN_CRASHED, VIR_DOMAIN_PMSUSPENDED = 1, 3, 6, 7
    VIR_ERR_OPERATION_INVALID, VIR_ERR_NO_DOMAIN, VIR_ERR_SYSTEM_ERROR = 55, 42, 38
    VIR_DOMAIN_METADATA_ELEMENT = 2
    VIR_DOMAIN_AFFECT_CURRENT, VIR_DOMAIN_AFFECT_CONFIG = 0, 2
    VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN = 1
    VIR_DOMAIN_UNDEFINE_MANAGED_SAVE = 1
    VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA = 2
    VIR_DOMAIN_UNDEFINE_NVRAM = 4
    VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA = 16
    VIR_DOMAIN_UNDEFINE_TPM = 32


class FakeDomain:
    """Powers off when it has been asked so many times."""

    def __init__(self, deaf_for: int, state: int = FakeLibvirt.VIR_DOMAIN_RUNNING) -> None:
        self.deaf_for = deaf_for
        self.calls: list[str] = []
        self._state = state
        self.active = True
        self.persistent = True
        self.refusal = FakeError()
        self.wakes = True

    def isActive(self) -> bool:
        if not self.active and not self.persistent:
            raise FakeError(FakeLibvirt.VIR_ERR_NO_DOMAIN)
        return self.active

    def pMWakeup(self, _flags: int) -> None:
        self.calls.append("wake")
        if not self.wakes:
            raise FakeError
        self._state = FakeLibvirt.VIR_DOMAIN_RUNNING

    def resume(self) -> None:
        self.calls.append("resume")

    def create(self) -> None:
        self.calls.append("create")
        self.active = True

    def state(self) -> tuple[int, int]:
        return self._state, 0

    def shutdownFlags(self, flags: int) -> None:
        assert flags == FakeLibvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
        self.calls.append("button")
        if self.calls.count("button") == 1 < self.deaf_for:
            raise self.refusal
        self.active = self.calls.count("button") < self.deaf_for

    def destroy(self) -> None:
        self.calls.append("destroy")
        self.active = False

    def undefineFlags(self, flags: int) -> None:
        self.calls.append(f"undefine {flags}")


@pytest.fixture
def stopped(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> t.Callable[[FakeDomain, float], tuple[bool, list[str]]]:
    """Stops a domain; whether by force, and what was called."""
    for module in (libvirt_driver, qemu):
        monkeypatch.setattr(module, "libvirt", FakeLibvirt)
    monkeypatch.setattr(libvirt_driver, "_ASK_AGAIN", 0.01)
    monkeypatch.setattr(libvirt_driver, "_POLL", 0.001)

    def stop(domain: FakeDomain, timeout: float) -> tuple[bool, list[str]]:
        driver = qemu.QemuDriver(str(tmp_path), Settings())
        monkeypatch.setattr(driver, "_domain", lambda _resource, _member: domain)
        forced = driver.stop("demo", "head-0", timeout)
        driver.undefine("demo", "head-0")
        return forced, domain.calls

    return stop


Stopped = t.Callable[[FakeDomain, float], t.Tuple[bool, t.List[str]]]


@pytest.mark.parametrize(("number", "passes"), [(errno.ESRCH, True), (errno.EPERM, False)])
def test_a_member_whose_init_has_just_ended_is_waited_for(stopped: Stopped, number: int, passes: bool) -> None:
    domain = FakeDomain(deaf_for=2)
    domain.refusal = FakeError(FakeLibvirt.VIR_ERR_SYSTEM_ERROR, number)
    with contextlib.nullcontext() if passes else pytest.raises(FakeError):
        assert stopped(domain, 5.0)[0] is False
    assert domain.calls.count("button") == (2 if passes else 1)


def test_a_member_that_listens_is_asked_once(stopped: Stopped) -> None:
    assert stopped(FakeDomain(1), 5) == (False, ["button", "undefine 55"])


def test_one_that_did_not_listen_yet_is_asked_again(stopped: Stopped) -> None:
    assert stopped(FakeDomain(3), 5) == (False, ["button"] * 3 + ["undefine 55"])


def test_one_that_never_listens_is_ended_at_the_deadline(stopped: Stopped) -> None:
    forced, calls = stopped(FakeDomain(10**9), 0.05)
    assert forced is True
    assert calls[-2:] == ["destroy", "undefine 55"]


@pytest.mark.parametrize("state", [FakeLibvirt.VIR_DOMAIN_PAUSED, FakeLibvirt.VIR_DOMAIN_PMSUSPENDED])
def test_one_that_is_paused_or_sleeps_is_ended_at_once(stopped: Stopped, state: int) -> None:
    assert stopped(FakeDomain(1, state), 60) == (True, ["destroy", "undefine 55"])


def test_without_any_time_nobody_is_asked(stopped: Stopped) -> None:
    assert stopped(FakeDomain(1), 0) == (True, ["destroy", "undefine 55"])


def test_one_without_a_definition_is_gone_once_it_ended(stopped: Stopped) -> None:
    domain = FakeDomain(1)
    domain.persistent = False
    assert stopped(domain, 60) == (False, ["button", "undefine 55"])


@pytest.mark.parametrize(
    ("state", "wakes", "calls"),
    [
        (FakeLibvirt.VIR_DOMAIN_RUNNING, True, []),
        (FakeLibvirt.VIR_DOMAIN_PAUSED, True, ["resume"]),
        (FakeLibvirt.VIR_DOMAIN_PMSUSPENDED, True, ["wake"]),
        (FakeLibvirt.VIR_DOMAIN_PMSUSPENDED, False, ["wake", "destroy", "create"]),
        (FakeLibvirt.VIR_DOMAIN_CRASHED, True, ["destroy", "create"]),
    ],
)
def test_what_is_paused_sleeps_or_crashed_runs_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, state: int, wakes: bool, calls: list[str]
) -> None:
    monkeypatch.setattr(libvirt_driver, "libvirt", FakeLibvirt)
    monkeypatch.setattr(libvirt_driver, "ownership_record", lambda _domain: None)
    domain = FakeDomain(1, state)
    domain.wakes = wakes
    driver = qemu.QemuDriver(str(tmp_path), Settings())
    monkeypatch.setattr(driver, "_domain", lambda _resource, _member: domain)
    driver.start("demo", "head-0")
    assert domain.calls == calls


@pytest.mark.parametrize(
    ("state", "reason", "word"),
    [
        (1, 1, "booted"),
        (1, 11, "postcopy failed"),
        (3, 1, "user"),
        (3, 5, "ioerror"),
        (5, 1, "shutdown"),
        (5, 2, "destroyed"),
        (5, 3, "crashed"),
        (5, 6, "failed"),
        (5, 8, "daemon"),
        (6, 1, "panicked"),
        (7, 0, "unknown"),
        (5, 99, "unknown"),
        (5, -1, "unknown"),
    ],
)
def test_why_a_domain_is_in_its_state_is_a_word(state: int, reason: int, word: str) -> None:
    assert libvirt_common.reason_of(state, reason) == word


class RecordedDomain:
    """A running domain that was defined anew since its start; a transient one has no definition."""

    def __init__(self, **texts: str) -> None:
        self._texts = {{"live": 0, "defined": 2}[where]: text for where, text in texts.items()}

    def metadata(self, _kind: int, _namespace: str, flags: int) -> str:
        if flags not in self._texts:
            raise FakeError
        return self._texts[flags]


@pytest.mark.parametrize(
    ("texts", "digest"),
    [
        ({"live": "old", "defined": "new"}, "new"),
        ({"defined": "new"}, "new"),
        ({"live": "old"}, "old"),
        ({}, None),
    ],
    ids=str,
)
def test_the_definitions_record_counts(monkeypatch: pytest.MonkeyPatch, texts: dict[str, str], digest: str) -> None:
    monkeypatch.setattr(libvirt_common, "libvirt", FakeLibvirt)
    record = '<r>{{"resource": "demo", "member": "head-0", "digest": "{}"}}</r>'
    domain = RecordedDomain(**{where: record.format(text) for where, text in texts.items()})
    assert (libvirt_common.ownership_record(domain) or {}).get("digest") == digest
