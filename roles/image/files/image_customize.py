# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Make a fresh root file system an image: the last step of mmdebstrap, with the root's path as only argument.

Beside this program lies ``image.json``, the image's description.
"""

import glob
import json
import os
import shutil
import subprocess
import sys

SSHD = """\
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
"""
CLOUD = """\
datasource_list: [NoCloud, None]
system_info:
  network:
    renderers: [networkd]
"""
FSTAB = "LABEL=root / ext4 errors=remount-ro 0 1\n"
GRUB = "/boot/grub/i386-pc"
GRUB_MODULES = ("biosdisk", "part_msdos", "ext2", "linux", "boot", "normal", "configfile")
GRUB_EARLY = """\
set root=(hd0,msdos1)
set prefix=(hd0,msdos1)/boot/grub
configfile /boot/grub/grub.cfg
"""
# The distribution keeps /vmlinuz and /initrd.img pointing to the newest kernel.
GRUB_MENU = """\
set timeout=0
menuentry "Debian" {
    linux /vmlinuz root=LABEL=root ro console=tty0 console=ttyS0 quiet
    initrd /initrd.img
}
"""
TIMEOUT = 300  # seconds for each command


def write(root, path, text):
    """Write a file of the image, and the folders above it."""
    target = root + path
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    with open(target, "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), 0o644)
        stream.write(text)


def inside(root, *argv):
    """Run a command in the image."""
    subprocess.run(["chroot", root, *argv], check=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL)


def remove(root, patterns):
    """Remove what the patterns find; a link is removed, not what it points to."""
    for pattern in patterns:
        for path in glob.glob(glob.escape(root) + pattern):
            folder = os.path.realpath(os.path.dirname(path))
            if os.path.commonpath([folder, os.path.realpath(root)]) != os.path.realpath(root):
                sys.exit(f"remove: {pattern} leads out of the image, to {folder}; name the path without the link")
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)


def units(root, image):
    """Set what starts at boot, now and when a first boot resets units to their presets."""
    for verb in ("disable", "enable", "mask"):
        if image[verb]:
            inside(root, "systemctl", verb, *image[verb])
    presets = [f"{verb} {unit}\n" for verb in ("enable", "disable") for unit in image[verb]]
    write(root, "/etc/systemd/system-preset/10-ensemble.preset", "".join(presets))


def make_bootable(root):
    """What a disk has and a container's root has not: cloud-init's source, GRUB without a mounted disk."""
    write(root, "/etc/cloud/cloud.cfg.d/90-ensemble.cfg", CLOUD)
    write(root, "/etc/fstab", FSTAB)
    write(root, f"{GRUB}/early.cfg", GRUB_EARLY)
    write(root, "/boot/grub/grub.cfg", GRUB_MENU)
    early = ["-c", f"{GRUB}/early.cfg"]
    inside(root, "grub-mkimage", "-O", "i386-pc", "-o", f"{GRUB}/core.img", "-p", GRUB, *early, *GRUB_MODULES)
    shutil.copyfile(root + "/usr/lib/grub/i386-pc/boot.img", f"{root}{GRUB}/boot.img")
    # names come from the seed by systemd-networkd
    os.symlink("../run/systemd/resolve/resolv.conf", root + "/etc/resolv.conf")


def main(root):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "image.json"), encoding="utf-8") as stream:
        image = json.load(stream)
    units(root, image)
    remove(root, image["remove"])
    write(root, "/etc/ssh/sshd_config.d/ensemble.conf", SSHD)
    write(root, "/etc/machine-id", "")
    os.makedirs(root + "/root/.ssh", exist_ok=True)
    os.chmod(root + "/root/.ssh", 0o700)
    if image["format"] == "qcow2":
        make_bootable(root)


if __name__ == "__main__":
    main(sys.argv[1])
