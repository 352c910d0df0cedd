# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""KVM or emulation: found by trial once per boot, since a /dev/kvm that exists may still run no guest."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from ..files import RUN_DIR, locked, read_json, write_file, write_json
from .libvirt_common import libvirt

KVM, TCG, UNTRIED = "kvm", "tcg", "untried"
#: seconds that the trial's guest may take to switch itself off; where KVM works it is a fraction of one
TRIAL_TIMEOUT = 10.0
_POLL = 0.02
_NAME = "ensemble-trial"
#: a boot sector for 16-bit x86: mov dx, 0x604; mov ax, 0x2000; out dx, ax; 1: hlt; jmp 1b
#: port 0x604 is the power management register of QEMU's machine `pc`, 0x2000 means off (ACPI PM1a_CNT, SLP_EN)
_OFF = bytes.fromhex("ba0406 b80020 ef f4 ebfd".replace(" ", ""))
_SECTOR = _OFF.ljust(510, b"\0") + b"\x55\xaa"


def known_accelerator(run_dir: str = RUN_DIR) -> str:
    """What the trial of this boot found, `untried` before it; costs nothing."""
    found = read_json(_path(run_dir))
    return str(found["accelerator"]) if found else UNTRIED


def accelerator(connection: t.Any, partition: str, run_dir: str = RUN_DIR) -> str:
    """`kvm` where a guest really runs with it, else `tcg`; tries once per boot.

    Raises:
        BusyError: another trial did not end in time.
    """
    os.makedirs(run_dir, mode=0o755, exist_ok=True)
    with locked(_path(run_dir) + ".lock", 3 * TRIAL_TIMEOUT):
        known = known_accelerator(run_dir)
        if known != UNTRIED:
            return known
        reason = _why_not_kvm(connection, partition, run_dir)
        found = KVM if reason is None else TCG
        write_json(_path(run_dir), {"accelerator": found, "reason": reason}, 0o644)
        return found


def _path(run_dir: str) -> str:
    return os.path.join(run_dir, "accelerator.json")


def _why_not_kvm(connection: t.Any, partition: str, run_dir: str) -> str | None:
    """None when a guest ran: a few instructions in a machine that switches itself off."""
    if not os.path.exists("/dev/kvm"):
        return "there is no /dev/kvm"
    disk = os.path.join(run_dir, "trial.img")
    write_file(disk, _SECTOR, 0o444)
    try:
        # gone with this connection, whatever happens to us
        domain = connection.createXML(trial_xml(disk, partition), libvirt.VIR_DOMAIN_START_AUTODESTROY)
    except libvirt.libvirtError as error:
        return str(error)
    deadline = time.monotonic() + TRIAL_TIMEOUT
    with contextlib.suppress(libvirt.libvirtError):  # a domain without a definition is unknown once it ended
        while domain.isActive():
            if time.monotonic() >= deadline or domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                domain.destroy()
                return f"a guest did not run to its end within {TRIAL_TIMEOUT:g} s"
            time.sleep(_POLL)
    return None


def trial_xml(disk: str, partition: str) -> str:
    """The trial's machine, started the way members are; of the arguments none comes from a request."""
    place = f"<resource><partition>{partition}</partition></resource>" if partition else ""
    return (
        f"<domain type='kvm'><name>{_NAME}</name><memory unit='MiB'>32</memory>{place}"
        "<os><type machine='pc'>hvm</type></os><features><acpi/></features><cpu mode='host-passthrough'/>"
        "<on_reboot>destroy</on_reboot><devices>"
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{disk}'/>"
        "<target dev='vda' bus='virtio'/><readonly/></disk>"
        "<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"
    )
