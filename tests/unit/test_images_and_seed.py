# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The image cache and what makes a clone a member."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import shutil
import stat
import tarfile
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.base import Ownership, Seed
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.lxc import domain_xml
from ansible_collections.ensemble.stacks.plugins.module_utils._host.drivers.seed import seed_files, write_seed
from ansible_collections.ensemble.stacks.plugins.module_utils._host.images import ImageError, Images
from ansible_collections.ensemble.stacks.plugins.module_utils._host.settings import Settings, read_settings
from ansible_collections.ensemble.stacks.plugins.module_utils._model.errors import EnsembleError
from ansible_collections.ensemble.stacks.plugins.module_utils._model.identity import member_mac, member_uuid
from declared import parsed

SEED = Seed("PRIVATE\n", "ssh-ed25519 AAAA", ("ssh-ed25519 BBBB", "ssh-ed25519 CCCC"))


def make_tar(path: pathlib.Path, text: str = "hello") -> str:
    """A root file system of one file; its sha256."""
    source = path.with_suffix(".dir")
    (source / "etc").mkdir(parents=True, exist_ok=True)
    (source / "etc" / "issue").write_text(text)
    with tarfile.open(path, "w") as archive:
        archive.add(source / "etc", "etc")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def images(tmp_path: pathlib.Path) -> Images:
    return Images(str(tmp_path / "state"))


@pytest.fixture
def tar(tmp_path: pathlib.Path) -> pathlib.Path:
    make_tar(tmp_path / "node.tar")
    return tmp_path / "node.tar"


def test_imported_once(images: Images, tar: pathlib.Path) -> None:
    digest = hashlib.sha256(tar.read_bytes()).hexdigest()
    assert images.names() == {}
    assert images.import_file("node", str(tar), digest) is True
    assert images.import_file("node", str(tar), digest) is False
    assert images.import_file("node", str(tar), None) is False
    assert (images.names(), images.digest("node", "tar")) == ({"node": {"tar": digest}}, digest)
    assert (pathlib.Path(images.root(digest)) / "etc" / "issue").read_text() == "hello"


def test_two_names_share_one_root(images: Images, tar: pathlib.Path) -> None:
    images.import_file("a", str(tar), None)
    assert images.import_file("b", str(tar), None) is True
    assert images.digest("a", "tar") == images.digest("b", "tar")


def test_the_same_name_again_with_another_content(images: Images, tar: pathlib.Path) -> None:
    images.import_file("node", str(tar), None)
    old = images.digest("node", "tar")
    new = make_tar(tar, "another greeting")
    assert images.import_file("node", str(tar), new) is True
    assert images.digest("node", "tar") == new
    assert os.path.isdir(images.root(old)), "members still stand on it"


def test_a_wrong_checksum_imports_nothing(images: Images, tar: pathlib.Path) -> None:
    with pytest.raises(ImageError) as caught:
        images.import_file("node", str(tar), "0" * 64)
    assert caught.value.code == "image_checksum"
    assert images.names() == {}
    with pytest.raises(ImageError):
        images.digest("node", "tar")


def test_a_wrong_checksum_is_noticed_though_the_name_is_known(images: Images, tar: pathlib.Path) -> None:
    images.import_file("node", str(tar), None)
    with pytest.raises(ImageError):
        images.import_file("node", str(tar), "0" * 64)


def test_what_was_half_unpacked_is_unpacked_anew(images: Images, tar: pathlib.Path, tmp_path: pathlib.Path) -> None:
    digest = hashlib.sha256(tar.read_bytes()).hexdigest()
    left = tmp_path / "state" / "images" / f".half-{digest}" / "root"
    left.mkdir(parents=True)
    (left / "leftover").write_text("x")
    assert images.import_file("node", str(tar), None) is True
    assert sorted(os.listdir(images.root(digest))) == ["etc"]
    assert not left.parent.exists()


def test_an_image_that_was_removed_from_the_cache_can_be_imported_again(images: Images, tar: pathlib.Path) -> None:
    images.import_file("node", str(tar), None)
    digest = images.digest("node", "tar")
    shutil.rmtree(os.path.dirname(images.root(digest)))
    with pytest.raises(ImageError, match="import it again"):
        images.root(digest)
    assert images.import_file("node", str(tar), None) is True
    assert os.path.isdir(images.root(digest))


@pytest.mark.parametrize("what", ["missing", "garbage", "folder"])
def test_what_cannot_be_imported(images: Images, tmp_path: pathlib.Path, what: str) -> None:
    path = tmp_path / "image.tar"
    if what == "garbage":
        path.write_bytes(b"no archive at all" * 100)
    elif what == "folder":
        path.mkdir()
    with pytest.raises(EnsembleError):
        images.import_file("node", str(path), None)
    assert images.names() == {}


def test_the_files_of_a_seed() -> None:
    spec = parsed(network={"dns": ["10.0.0.7"]}).members[0].spec
    files = seed_files("demo", "head-0", spec, SEED)
    assert files["etc/hostname"] == ("demo-head-0\n", 0o644)
    assert "10.0.0.50 demo-head-0\n" in files["etc/hosts"][0]
    assert "127.0.1.1" not in files["etc/hosts"][0]
    assert files["etc/machine-id"][0] == member_uuid("demo", "head-0").replace("-", "") + "\n"
    assert files["etc/resolv.conf"] == ("nameserver 10.0.0.7\n", 0o644)
    network = files["etc/systemd/network/10-ensemble.network"][0]
    assert f"MACAddress={member_mac('demo', 'head-0')}\n" in network
    assert "Address=10.0.0.50/24\nGateway=10.0.0.254\n" in network
    assert files["etc/ssh/ssh_host_ed25519_key"] == ("PRIVATE\n", 0o600)
    assert files["root/.ssh/authorized_keys"] == ("ssh-ed25519 BBBB\nssh-ed25519 CCCC\n", 0o600)
    assert all(not name.startswith("/") and ".." not in name for name in files)


def test_a_seed_is_written_with_its_modes(tmp_path: pathlib.Path) -> None:
    files = seed_files("demo", "head-0", parsed().members[0].spec, SEED)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "hostname").write_text("golden, and much longer than the new name\n")
    old = os.umask(0o077)
    try:
        write_seed(str(tmp_path), files)
        write_seed(str(tmp_path), files)
    finally:
        os.umask(old)
    for name, (text, mode) in files.items():
        assert ((tmp_path / name).read_text(), stat.S_IMODE((tmp_path / name).stat().st_mode)) == (text, mode)
    assert stat.S_IMODE((tmp_path / "root" / ".ssh").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["etc/resolv.conf", "etc/hostname", "root/.ssh/authorized_keys"])
def test_a_link_in_the_image_at_a_seeded_path_is_replaced(tmp_path: pathlib.Path, name: str) -> None:
    root, outside = tmp_path / "root-fs", tmp_path / "outside"
    outside.write_text("the hypervisor's own")
    (root / name).parent.mkdir(parents=True)
    (root / name).symlink_to(outside)
    write_seed(str(root), {name: ("seeded", 0o600)})
    assert outside.read_text() == "the hypervisor's own"
    assert not (root / name).is_symlink()
    assert (root / name).read_text() == "seeded"


@pytest.mark.parametrize(("link", "name"), [("root/.ssh", "root/.ssh/authorized_keys"), ("etc", "etc/hostname")])
def test_a_link_in_the_image_above_a_seeded_path_is_not_followed_outside(
    tmp_path: pathlib.Path, link: str, name: str
) -> None:
    root, outside = tmp_path / "root-fs", tmp_path / "outside"
    outside.mkdir()
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(outside)
    with contextlib.suppress(EnsembleError, OSError):
        write_seed(str(root), {name: ("seeded", 0o600)})
    assert list(outside.iterdir()) == [], "the hypervisor's own folder was written to"


def ownership(resource: str = "demo") -> Ownership:
    return Ownership(resource, "head-0", ("head",), 3, (1, 5), parsed().members[0].spec, "a" * 64, True)


def test_the_definition_of_a_container() -> None:
    domain = ET.fromstring(domain_xml(ownership(), "/state/demo/members/head-0/root", Settings("/ensemble")))
    assert (domain.get("type"), domain.findtext("name")) == ("lxc", "demo-head-0")
    assert domain.findtext("uuid") == member_uuid("demo", "head-0")
    assert (domain.findtext("memory"), domain.findtext("vcpu")) == ("512", "1")
    assert domain.findtext("cputune/quota") == domain.findtext("cputune/period")
    assert domain.findtext("resource/partition") == "/ensemble"
    assert domain.find("devices/interface/mac").get("address") == member_mac("demo", "head-0")  # type: ignore[union-attr]
    assert domain.find("devices/interface/source").get("bridge") == "br0"  # type: ignore[union-attr]
    assert "autostart" not in [element.tag for element in domain.iter()]


def test_the_definition_without_a_partition() -> None:
    assert ET.fromstring(domain_xml(ownership(), "/r", Settings())).find("resource") is None


def test_the_definition_escapes_what_it_is_given() -> None:
    nasty = "/a\"'><source dir='/'/>&amp;"
    domain = ET.fromstring(domain_xml(ownership("x<y>&]]>"), nasty, Settings("</partition>")))
    sources = domain.findall("devices/filesystem/source")
    assert [source.get("dir") for source in sources] == [nasty]
    assert domain.findtext("name") == "x<y>&]]>-head-0"


def test_settings_of_the_host(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "host.json"
    assert read_settings(str(path)) == Settings("")
    path.write_text('{"partition": "/machine"}')
    assert read_settings(str(path)) == Settings("/machine")
    for bad in ("", "[]", "7", '{"partitoin": "x"}'):
        path.write_text(bad)
        with pytest.raises(EnsembleError) as caught:
            read_settings(str(path))
        assert caught.value.code == "bad_settings"
