# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Role image: its recipes are sound and carry no secret, faults are found together, digests name what is built."""

from __future__ import annotations

import copy
import json
import pathlib
import subprocess
import sys
import typing as t

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "image"
PLAN = ROLE / "files" / "image_plan.py"
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from ensemble_lab import recipes as lab_recipes

_WRITTEN: dict[str, t.Any] = yaml.safe_load((ROLE / "vars" / "recipes.yml").read_text())
KNOWN: dict[str, t.Any] = {"layers": _WRITTEN["__image_layers"], "recipes": _WRITTEN["__image_own_recipes"]}
OWN = sorted(KNOWN["recipes"])
#: package -> units that must not start by themselves
DAEMONS = {
    "munge": {"munge.service"},
    "slurmctld": {"slurmctld.service"},
    "slurmd": {"slurmd.service"},
    "haproxy": {"haproxy.service"},
    "postgresql": {"postgresql.service"},
    "zookeeperd": {"zookeeper.service"},
    "memcached": {"memcached.service"},
    "rabbitmq-server": {"rabbitmq-server.service", "epmd.service", "epmd.socket"},
}
#: package -> what its installation makes that no two members may share
SECRETS = {
    "openssh-server": {"/etc/ssh/ssh_host_*"},
    "munge": {"/etc/munge/munge.key"},
    "postgresql": {"/var/lib/postgresql/*/main", "/etc/ssl/private/ssl-cert-snakeoil.key"},
    "rabbitmq-server": {"/var/lib/rabbitmq/.erlang.cookie"},
}


def request(folder: pathlib.Path | str = "/srv/images", **changes: t.Any) -> dict[str, t.Any]:
    """What the role asks the plan by default."""
    return {
        **copy.deepcopy(KNOWN),
        "wanted": ["batch"],
        "formats": ["tar"],
        "suite": "trixie",
        "mirror": "http://deb.debian.org/debian",
        "security_mirror": "http://deb.debian.org/debian-security",
        "serial": "",
        "disk_mb": 4096,
        "timeout": 1800,
        "folder": str(folder),
        "architecture": "x86_64",
        "programs": "0" * 64,
        **changes,
    }


def plan(asked: dict[str, t.Any]) -> dict[str, t.Any]:
    """The plan's answer, got as the role gets it."""
    argv = [sys.executable, "-", json.dumps(asked)]
    done = subprocess.run(argv, input=PLAN.read_bytes(), capture_output=True, timeout=30, check=True)
    return t.cast("dict[str, t.Any]", json.loads(done.stdout))


def image(**changes: t.Any) -> dict[str, t.Any]:
    """The one image that is planned."""
    answer = plan(request(**changes))
    assert answer["faults"] == []
    [found] = answer["images"]
    return t.cast("dict[str, t.Any]", found)


def own_images() -> list[dict[str, t.Any]]:
    answer = plan(request(wanted=OWN, formats=["tar", "qcow2"]))
    assert answer["faults"] == []
    return t.cast("list[dict[str, t.Any]]", answer["images"])


def test_own_recipes_are_sound_in_both_formats() -> None:
    made = {(each["name"], each["format"]) for each in own_images()}
    assert made == {(name, kind) for name in ("plain", "batch-node", "web", "platform") for kind in ("tar", "qcow2")}


def test_what_every_image_has() -> None:
    for each in own_images():
        assert {"systemd", "systemd-sysv", "openssh-server", "python3"} <= set(each["packages"])
        assert {"ssh.service", "systemd-networkd.service"} <= set(each["enable"])
        assert not set(each["enable"]) & {*each["disable"], *each["mask"]}


def test_daemons_wait_for_their_role_and_secrets_are_made_by_each_member() -> None:
    seen = set()
    for each in own_images():
        for package in each["packages"]:
            assert DAEMONS.get(package, set()) <= set(each["disable"]), (each["name"], package)
            assert SECRETS.get(package, set()) <= set(each["remove"]), (each["name"], package)
            seen.add(package)
    assert {*DAEMONS, *SECRETS} <= seen


def test_a_disk_boots_and_a_container_needs_no_kernel() -> None:
    for each in own_images():
        assert ("linux-image-cloud-amd64" in each["packages"]) == (each["format"] == "qcow2")
        assert ("cloud-init" in each["packages"]) == (each["format"] == "qcow2")
        assert ("systemd-udevd.service" in each["mask"]) == (each["format"] == "tar")


@pytest.mark.parametrize(("lab", "own"), [("plain", "plain"), ("batch-node", "batch")])
def test_the_lab_tests_what_users_build(lab: str, own: str) -> None:
    """The lab's tool has no YAML reader, since it starts before anything is installed: so its lists are compared."""
    lists = lab_recipes.load(lab).lists
    built = image(wanted=[own])
    for key in ("packages", "enable", "disable", "mask"):
        assert sorted(lists[key]) == sorted(built[key]), key


def test_a_base_is_extended() -> None:
    mine = {**KNOWN["recipes"], "mine": {"base": "web", "packages": ["redis-server", "haproxy"]}}
    web, extended = image(wanted=["web"]), image(wanted=["mine"], recipes=mine)
    assert extended["packages"] == [*web["packages"], "redis-server"]
    assert (extended["disable"], extended["name"]) == (web["disable"], "mine")


def digest(**changes: t.Any) -> str:
    return str(image(**changes)["digest"])


def test_the_digest_is_that_of_what_decides_the_content() -> None:
    mine = {**KNOWN["recipes"], "batch": {**KNOWN["recipes"]["batch"], "mask": ["cron.service"]}}
    changes: list[dict[str, t.Any]] = [
        {},
        {"recipes": mine},
        {"formats": ["qcow2"]},
        {"formats": ["qcow2"], "disk_mb": 5000},
        {"suite": "bookworm"},
        {"serial": "2"},
        {"mirror": "http://mirror.example/debian"},
        {"security_mirror": ""},
        {"architecture": "aarch64"},
        {"programs": "1" * 64},
    ]
    assert len({digest(**change) for change in changes}) == len(changes)
    assert digest() == digest(timeout=60, folder="/var/images", disk_mb=5000, wanted=["batch"])


def test_an_image_is_there_when_it_and_its_record_are(tmp_path: pathlib.Path) -> None:
    first = image(folder=tmp_path)
    assert (first["absent"], first["line"]) == (first["path"], "")
    pathlib.Path(first["path"]).write_text("archive")
    assert image(folder=tmp_path)["absent"] == first["record"]
    pathlib.Path(first["record"]).write_text(json.dumps({"sha256": "abc"}))
    whole = image(folder=tmp_path)
    assert whole["absent"] == ""
    assert yaml.safe_load(whole["line"]) == {
        "image": {"name": "batch-node", "path": whole["path"], "checksum": "abc"},
    }


FAULTS: list[tuple[dict[str, t.Any], str]] = [
    ({"wanted": ["nothing"]}, 'image_wanted: no recipe "nothing"; there are batch, plain, platform, web'),
    ({"wanted": []}, "image_wanted: found nothing"),
    ({"formats": []}, "image_formats: found nothing"),
    ({"wanted": ["batch", "batch"]}, "two of these recipes make the image batch-node"),
    ({"formats": ["qcow2"], "architecture": "aarch64"}, "image_formats: disks are made on x86_64 only"),
    ({"mirror": "http://x/ trixie main"}, "image_mirror: found"),
    ({"mirror": "file:///srv/debian"}, "image_mirror: found"),
    ({"security_mirror": "x"}, "image_security_mirror: found"),
    ({"folder": "images"}, "image_folder: found"),
    ({"folder": "/srv/../etc"}, "image_folder: found"),
    ({"timeout": 59}, "image_timeout: found 59, expected at least 60 seconds"),
    ({"disk_mb": 1023}, "image_disk_mb: found 1023, expected at least 1024 MiB"),
    ({"recipes": {"x": ["haproxy"]}}, "image_recipes.x: found"),
    ({"recipes": {"x": {"package": []}}}, "image_recipes.x.package: unknown"),
    ({"recipes": {"x": {"image": "../x"}}}, "image_recipes.x: the image's name"),
    ({"recipes": {"x": {"base": "y"}}}, 'image_recipes.x.base: no recipe "y"'),
    ({"recipes": {"x": {"base": ["x"]}}}, "image_recipes.x.base: no recipe"),
    ({"recipes": {"x": {"base": "y"}, "y": {"base": "x"}}, "wanted": ["x"]}, "image_recipes.y.base: the bases go"),
    ({"recipes": {"x": {"packages": "haproxy"}}}, 'image_recipes.x.packages: found "haproxy", expected a list'),
    ({"recipes": {"x": {"packages": ["nginx,redis"]}}}, 'image_recipes.x.packages: found "nginx,redis"'),
    ({"recipes": {"x": {"packages": ["--option"]}}}, "image_recipes.x.packages: found"),
    ({"recipes": {"x": {"enable": ["haproxy"]}}}, "image_recipes.x.enable: found"),
    ({"recipes": {"x": {"disable": ["--root=/.service"]}}}, "image_recipes.x.disable: found"),
    ({"recipes": {"x": {"mask": [7]}}}, "image_recipes.x.mask: found 7"),
    ({"recipes": {"x": {"remove": ["/etc"]}}}, "image_recipes.x.remove: found"),
    ({"recipes": {"x": {"remove": ["/etc/../../srv"]}}}, "image_recipes.x.remove: found"),
    ({"recipes": {"x": {"remove": ["etc/x"]}}}, "image_recipes.x.remove: found"),
]


@pytest.mark.parametrize(("changes", "message"), FAULTS, ids=[message for _changes, message in FAULTS])
def test_a_fault_is_named(changes: dict[str, t.Any], message: str) -> None:
    answer = plan(request(**changes))
    assert answer["images"] == []
    assert [fault for fault in answer["faults"] if fault.startswith(message) or message in fault], answer["faults"]


def test_all_faults_are_named_together() -> None:
    recipes = {"x": {"packages": ["A"], "enable": ["b"]}, "y": 1}
    answer = plan(request(recipes=recipes, folder="", timeout=0))
    starts = [fault.split(":")[0] for fault in answer["faults"]]
    assert starts == [
        "image_folder",
        "image_timeout",
        "image_recipes.x.packages",
        "image_recipes.x.enable",
        "image_recipes.y",
    ]


@pytest.mark.parametrize("role", sorted(path.name for path in (ROOT / "roles").iterdir()))
def test_defaults_are_those_of_the_specification(role: str) -> None:
    folder = ROOT / "roles" / role
    defaults = yaml.safe_load((folder / "defaults" / "main.yml").read_text())
    specs = yaml.safe_load((folder / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    options: dict[str, t.Any] = {}
    for entry in specs.values():
        options.update(entry["options"])
    assert defaults == {key: option["default"] for key, option in options.items() if "default" in option}
