# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The programs of role image, without mmdebstrap: whole or not at all, in time, and nothing outside the image."""

from __future__ import annotations

import importlib
import io
import json
import os
import pathlib
import select
import subprocess
import sys
import tarfile
import time
import typing as t

import pytest

FILES = str(pathlib.Path(__file__).resolve().parents[2] / "roles" / "image" / "files")
sys.path.insert(0, FILES)

build = importlib.import_module("image_build")
customize = importlib.import_module("image_customize")

STATUS = """\
Package: munge
Status: install ok installed
Version: 0.5.16-1

Package: gone
Status: deinstall ok config-files
Version: 1
"""


@pytest.fixture
def image(tmp_path: pathlib.Path) -> dict[str, t.Any]:
    stem = f"{tmp_path}/batch-node-0123"
    return {
        "name": "batch-node",
        "recipe": "batch",
        "format": "tar",
        "suite": "trixie",
        "architecture": "x86_64",
        "digest": "0123",
        "folder": str(tmp_path),
        "timeout": 60,
        "path": f"{stem}.tar",
        "record": f"{stem}.json",
        "mirror": "http://deb.example/debian",
        "security_mirror": "http://deb.example/security",
        "disk_mb": 0,
    }


@pytest.fixture
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "release_date", lambda image: 1795140670)


def archive(workshop: t.Any) -> str:
    """What mmdebstrap would have left."""
    path = str(workshop.path("root.tar"))
    with tarfile.open(path, "w") as root:
        entry = tarfile.TarInfo("./var/lib/dpkg/status")
        entry.size = len(STATUS)
        root.addfile(entry, io.BytesIO(STATUS.encode()))
    return path


def built(image: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(image)))
    build.main()


def names(image: dict[str, t.Any]) -> list[str]:
    return sorted(path.name for path in pathlib.Path(image["folder"]).iterdir())


def test_the_record_tells_what_is_in_the_image(
    image: dict[str, t.Any], no_mirror: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "bootstrap", archive)
    built(image, monkeypatch)
    record = json.loads(pathlib.Path(image["record"]).read_text())
    assert record["packages"] == {"munge": "0.5.16-1"}
    assert record["size_bytes"] == pathlib.Path(image["path"]).stat().st_size
    assert (record["sha256"], record["name"]) == (build.sha256_of(image["path"]), "batch-node")
    assert names(image) == [".lock", "batch-node-0123.json", "batch-node-0123.tar"]
    monkeypatch.setattr(build, "make", lambda workshop: pytest.fail("built again"))
    built(image, monkeypatch)


def test_a_build_that_fails_leaves_nothing(
    image: dict[str, t.Any], no_mirror: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(workshop: t.Any) -> None:
        workshop.run([sys.executable, "-c", "print('no such package'); raise SystemExit(7)"])

    monkeypatch.setattr(build, "bootstrap", fails)
    with pytest.raises(SystemExit) as caught:
        built(image, monkeypatch)
    assert str(caught.value).startswith("image batch-node (tar): running ")
    assert str(caught.value).endswith("ended with status 7:\nno such package")
    assert names(image) == [".lock"]


def test_what_a_killed_build_left_is_removed(
    image: dict[str, t.Any], no_mirror: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = pathlib.Path(build.Workshop(image).folder)
    (left / "tmp").mkdir(parents=True)
    (left / "root.tar").write_text("half")
    monkeypatch.setattr(build, "bootstrap", archive)
    built(image, monkeypatch)
    assert names(image) == [".lock", "batch-node-0123.json", "batch-node-0123.tar"]


def test_a_command_ends_with_the_deadline(image: dict[str, t.Any]) -> None:
    workshop = build.Workshop({**image, "timeout": 0.5})
    pathlib.Path(workshop.folder).mkdir()
    begun = time.monotonic()
    with pytest.raises(build.BuildError, match=r"not done within 0.5 s, last while running sleep; raise image_timeout"):
        workshop.run(["sleep", "60"])
    assert time.monotonic() - begun < 10


BUILDER = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import image_build
workshop = image_build.Workshop(json.loads(sys.argv[2]))
os.mkdir(workshop.folder)
workshop.run(["sh", "-c", 'exec 3>"$1"; echo up >&3; exec sleep 60', "sh", sys.argv[3]])
"""


def test_a_command_ends_with_a_builder_that_is_killed(image: dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    """The command holds a pipe open for writing: its reader sees the end when nobody does any more."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    builder = subprocess.Popen([sys.executable, "-c", BUILDER, FILES, json.dumps(image), str(pipe)])
    with open(pipe, encoding="ascii") as stream:
        assert stream.readline() == "up\n"
        builder.kill()
        builder.wait()
        ended, _writable, _odd = select.select([stream], [], [], 10)
        assert ended
        assert stream.read() == ""


def test_a_build_waits_for_another_until_its_deadline(image: dict[str, t.Any]) -> None:
    with build.locked(build.Workshop(image)):
        late = build.Workshop({**image, "timeout": 0.2})
        with pytest.raises(build.BuildError, match="waiting for another build"), build.locked(late):
            pass


def test_a_mirror_that_is_none_is_named(image: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.urllib.request, "urlopen", lambda *a, **k: io.BytesIO(b"<html>welcome</html>"))
    with pytest.raises(build.BuildError, match=r"^http://deb.example/debian/dists/trixie/InRelease: no Debian release"):
        build.release_date(image)


def test_the_newest_part_of_the_release_gives_the_date(
    image: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(address: str, **options: t.Any) -> io.BytesIO:
        hour = {"trixie": 1, "trixie-updates": 3, "trixie-security": 2}[address.split("/")[-2]]
        return io.BytesIO(f"Suite: x\nDate: Thu, 01 Jan 1970 0{hour}:00:00 UTC\n".encode())

    monkeypatch.setattr(build.urllib.request, "urlopen", answer)
    assert build.release_date(image) == 3 * 3600


def test_removing_follows_no_link(tmp_path: pathlib.Path) -> None:
    root, outside = tmp_path / "ro[o]t", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    (root / "etc" / "17" / "main").mkdir(parents=True)
    (root / "etc" / "link").symlink_to(outside)
    (root / "etc" / "dangling").symlink_to("nowhere")
    customize.remove(str(root), ["/etc/*/main", "/etc/link", "/etc/dangling", "/etc/absent"])
    assert sorted(path.name for path in (root / "etc").iterdir()) == ["17"]
    assert list((root / "etc" / "17").iterdir()) == []
    assert (outside / "kept").exists()


def test_removing_stays_in_the_image(tmp_path: pathlib.Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    (root / "var").mkdir(parents=True)
    (root / "var" / "run").symlink_to(outside)
    with pytest.raises(SystemExit, match="leads out of the image"):
        customize.remove(str(root), ["/var/run/*"])
    assert (outside / "kept").exists()


def test_units_are_set_now_and_as_presets(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(customize, "inside", lambda root, *argv: ran.append(argv))
    customize.units(str(tmp_path), {"enable": ["ssh.service"], "disable": ["a.service", "b.socket"], "mask": []})
    assert ran == [("systemctl", "disable", "a.service", "b.socket"), ("systemctl", "enable", "ssh.service")]
    preset = (tmp_path / "etc/systemd/system-preset/10-ensemble.preset").read_text()
    assert preset == "enable ssh.service\ndisable a.service\ndisable b.socket\n"
