# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What is asked for and what is there: read a request from argv, print all its faults, or every image; change nothing.

An image's digest is that of its whole recipe: lists of all its layers, Debian release, mirrors, and the programs that
build it. So an image under that name is the one that is asked for, apart from the day's packages.
"""

import hashlib
import json
import os
import re
import sys

LISTS = ("packages", "enable", "disable", "mask", "remove")
DIGITS = 12
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@\\-]*\.(service|socket|target|timer|mount|automount|path)")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MIRROR = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/+-]*)?")
_FOLDER = re.compile(r"(/[A-Za-z0-9._+@-]+)+")
_PATH = re.compile(r"(/[^/\s]+){2,}")
_EXPECTED = {
    "packages": (_PACKAGE, "the name of a Debian package"),
    "enable": (_UNIT, "a systemd unit with its suffix, such as haproxy.service"),
    "disable": (_UNIT, "a systemd unit with its suffix, such as haproxy.service"),
    "mask": (_UNIT, "a systemd unit with its suffix, such as haproxy.service"),
    "remove": (_PATH, "an absolute path of at least two parts, without '..'"),
}


def recipe_faults(name, recipe, recipes):
    """What is wrong with one recipe, apart from loops of bases."""
    where = f"image_recipes.{name}"
    if not isinstance(recipe, dict):
        return [f"{where}: found {json.dumps(recipe)}, expected a mapping"]
    faults = [
        f"{where}.{key}: unknown; expected image, base, {', '.join(LISTS)}"
        for key in recipe
        if key not in ("image", "base", *LISTS)
    ]
    image = recipe.get("image", name)
    if not isinstance(image, str) or not _NAME.fullmatch(image):
        faults.append(f"{where}: the image's name is {json.dumps(image)}, expected lower case letters, digits, dashes")
    if "base" in recipe and recipe["base"] not in list(recipes):
        faults.append(f"{where}.base: no recipe {json.dumps(recipe['base'])}; there are {', '.join(sorted(recipes))}")
    for key in LISTS:
        faults += list_faults(f"{where}.{key}", key, recipe.get(key, []))
    return faults


def list_faults(where, key, found):
    """What is wrong with one list of a recipe."""
    if not isinstance(found, list):
        return [f"{where}: found {json.dumps(found)}, expected a list"]
    pattern, expected = _EXPECTED[key]
    return [
        f"{where}: found {json.dumps(item)}, expected {expected}"
        for item in found
        if not isinstance(item, str) or not pattern.fullmatch(item) or ".." in item.split("/")
    ]


def chain(name, recipes):
    """A recipe's names from its first base to itself; None when the bases go round in a circle."""
    names = []
    while name is not None:
        if name in names:
            return None
        names.insert(0, name)
        name = recipes[name].get("base")
    return names


def wanted_faults(request, recipes):
    """What is wrong with the choice of recipes; the recipes themselves are sound."""
    faults = [
        f"image_recipes.{name}.base: the bases go round in a circle" for name in recipes if not chain(name, recipes)
    ]
    wanted = request["wanted"]
    faults += [
        f"image_wanted: no recipe {json.dumps(name)}; there are {', '.join(sorted(recipes))}"
        for name in wanted
        if name not in recipes
    ]
    images = [recipes[name].get("image", name) for name in wanted if name in recipes]
    faults += [
        f"image_wanted: two of these recipes make the image {image}; build one of them, or give one another name"
        for image in sorted(set(images))
        if images.count(image) > 1
    ]
    return faults


def setting_faults(request):
    """What is wrong with the other variables."""
    faults = []
    for key, pattern, expected in (
        ("mirror", _MIRROR, "http://host/folder or https://host/folder"),
        ("security_mirror", _MIRROR, "http://host/folder, https://host/folder, or nothing"),
        ("folder", _FOLDER, "an absolute path of letters, digits and ._+@-"),
    ):
        optional = key == "security_mirror" and request[key] == ""
        if not optional and (not pattern.fullmatch(request[key]) or ".." in request[key].split("/")):
            faults.append(f"image_{key}: found {json.dumps(request[key])}, expected {expected}")
    for key, least, unit in (("timeout", 60, "seconds"), ("disk_mb", 1024, "MiB")):
        if request[key] < least:
            faults.append(f"image_{key}: found {request[key]}, expected at least {least} {unit}")
    for key in ("wanted", "formats"):
        if not request[key]:
            faults.append(f"image_{key}: found nothing, expected at least one")
    if "qcow2" in request["formats"] and request["architecture"] != "x86_64":
        faults.append(f"image_formats: disks are made on x86_64 only, and the builder is {request['architecture']}")
    return faults


def find_faults(request):
    """All faults, sorted as they are found."""
    recipes = request["recipes"]
    broken = [fault for name, recipe in recipes.items() for fault in recipe_faults(name, recipe, recipes)]
    return setting_faults(request) + (broken or wanted_faults(request, recipes))


def describe(request, name, kind):
    """One image in one format: what the builder needs, and which of its files is absent."""
    recipes, layers = request["recipes"], request["layers"]
    parts = [layers["member"], layers[kind], *(recipes[each] for each in chain(name, recipes))]
    image = {
        "name": recipes[name].get("image", name),
        "recipe": name,
        "format": kind,
        "suite": request["suite"],
        "architecture": request["architecture"],
        "mirror": request["mirror"].rstrip("/"),
        "security_mirror": request["security_mirror"].rstrip("/"),
        "serial": request["serial"],
        "programs": request["programs"],
        "disk_mb": request["disk_mb"] if kind == "qcow2" else 0,
        **{key: list(dict.fromkeys(item for part in parts for item in part.get(key, []))) for key in LISTS},
    }
    digest = hashlib.sha256(json.dumps(image, sort_keys=True).encode()).hexdigest()[:DIGITS]
    stem = f"{request['folder']}/{image['name']}-{digest}"
    image.update(digest=digest, folder=request["folder"], timeout=request["timeout"])
    image.update(path=f"{stem}.{kind}", record=f"{stem}.json", line="")
    image["absent"] = next((path for path in (image["path"], image["record"]) if not os.path.isfile(path)), "")
    if not image["absent"]:
        with open(image["record"], encoding="utf-8") as stream:
            checksum = json.load(stream)["sha256"]
        image["line"] = f"image: {{name: {image['name']}, path: {image['path']}, checksum: {checksum}}}"
    return image


def main():
    request = json.loads(sys.argv[1])
    faults = find_faults(request)
    kinds = list(dict.fromkeys(request["formats"]))
    images = [] if faults else [describe(request, name, kind) for name in request["wanted"] for kind in kinds]
    json.dump({"faults": faults, "images": images}, sys.stdout)


if __name__ == "__main__":
    main()
