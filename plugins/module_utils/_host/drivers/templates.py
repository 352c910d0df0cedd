# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Domain templates that an administrator put on this hypervisor: read, and refused where they say what is not theirs.

A request names a template, it never carries one. What a template may not say is in `_OURS`, in the driver's `Rules`,
and in `_shared`.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from xml.parsers import expat

from ..._model.errors import EnsembleError, Fault
from ..._model.identity import METADATA_NS, TEMPLATE_NAME

TEMPLATES_DIR = "/etc/ensemble/templates"
MAX_BYTES = 1024 * 1024
_SUFFIX = ".xml"
_FROM_DECLARATION = "nothing: the declaration says it"
_DERIVED = "nothing: it is derived from resource and member"
#: what the domain gets from us -> what a template must say there
_OURS = {
    "name": _DERIVED,
    "uuid": _DERIVED,
    f"metadata/{{{METADATA_NS}}}record": "nothing: it is the member's ownership record",
    "memory": f"{_FROM_DECLARATION} (memory_mb)",
    "currentMemory": f"{_FROM_DECLARATION} (memory_mb)",
    "maxMemory": f"{_FROM_DECLARATION} (memory_mb)",
    "devices/memory": f"{_FROM_DECLARATION} (memory_mb)",
    "cpu/numa": f"{_FROM_DECLARATION} (memory_mb, vcpus)",
    "vcpu": f"{_FROM_DECLARATION} (vcpus)",
    "vcpus": f"{_FROM_DECLARATION} (vcpus)",
    "resource/partition": "nothing: it is the hypervisor's (hypervisor_partition)",
    "devices/interface/mac": f"{_DERIVED}; all members would share this one",
}


class TemplateError(EnsembleError):
    """A template is not there, or says what it may not."""

    code = "bad_template"


@dataclass(frozen=True)
class Rules:
    """What one driver demands of a template.

    Attributes:
        types: the words that may stand as the domain's type; a template may leave the choice open.
        ours: further elements that are not the template's, as path -> what is expected there.
        targets: targets of the member's own disks and file systems.
    """

    types: tuple[str, ...]
    ours: t.Mapping[str, str] = field(default_factory=dict)
    targets: frozenset[str] = frozenset()


class _Element(ET.Element):
    """An element that knows its line."""

    line = 0


@dataclass(frozen=True)
class Template:
    """One template's file as it was read once."""

    name: str
    path: str
    body: bytes = field(repr=False)

    @functools.cached_property
    def digest(self) -> str:
        """The file's sha256."""
        return hashlib.sha256(self.body).hexdigest()

    def domain(self, rules: Rules) -> ET.Element:
        """The template's own copy of its elements, free for the caller to change.

        Raises:
            TemplateError: `bad_template`, naming the file and every fault.
        """
        try:
            root = _Reader().read(self.body)
        except expat.ExpatError as error:
            raise self._bad([f"line {error.lineno}: no well-formed XML: {expat.ErrorString(error.code)}"]) from error
        except _DoctypeError as error:
            raise self._bad([str(error)]) from error
        if root.tag != "domain":
            raise self._bad([str(_fault(root, root.tag, "another element", "<domain>"))])
        faults = _faults(root, rules)
        if faults:
            raise self._bad([str(fault) for fault in faults])
        return root

    def _bad(self, faults: t.Sequence[str]) -> TemplateError:
        return TemplateError(
            f"{self.path} is no template for this member: {'; '.join(faults)}. "
            "Correct the file that hypervisor_templates names and run playbooks/pool.yml.",
            template=self.name,
            faults=list(faults),
        )


class Templates:
    """The templates of this hypervisor; role `hypervisor` writes them, nothing here does."""

    def __init__(self, folder: str = TEMPLATES_DIR) -> None:
        self._folder = folder

    def digests(self) -> dict[str, str]:
        """Name -> sha256 of every template that can be named."""
        try:
            files = sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return {}
        names = [name[: -len(_SUFFIX)] for name in files if name.endswith(_SUFFIX)]
        return {name: found.digest for name in names for found in (self._find(name),) if found is not None}

    def read(self, name: str) -> Template:
        """The template of that name.

        Raises:
            TemplateError: `no_template`.
        """
        found = self._find(name)
        if found is None:
            raise TemplateError(
                f"template {name} is not there: {self._path(name)} is not a file of at most {MAX_BYTES} bytes. "
                "Name it in hypervisor_templates and run playbooks/pool.yml.",
                code="no_template",
                template=name,
            )
        return found

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name + _SUFFIX)

    def _find(self, name: str) -> Template | None:
        return template_at(name, self._path(name)) if TEMPLATE_NAME.fullmatch(name) else None


def template_at(name: str, path: str) -> Template | None:
    """The template in a file; None where there is no such file, or one that is too large to be a template."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            return None
        with open(path, "rb") as stream:
            return Template(name, path, stream.read(MAX_BYTES))
    except FileNotFoundError:  # also: it went away while we looked
        return None


def refuse_useless(path: str, rules: t.Iterable[Rules]) -> None:
    """Refuse a file from which no driver could define a member; the driver that it comes nearest to says why.

    Raises:
        TemplateError: `no_template`, `bad_template`.
    """
    template = template_at(os.path.basename(path), path)
    if template is None:
        raise TemplateError(f"{path} is not a file of at most {MAX_BYTES} bytes", code="no_template")
    refusals = []
    for each in rules:
        try:
            template.domain(each)
        except TemplateError as error:
            refusals.append(error)
        else:
            return
    raise min(refusals, key=lambda error: len(error.details["faults"]))


# -- reading


class _DoctypeError(Exception):
    """There is a document type declaration, the only place where entities can be declared."""


class _Reader:
    """Elements with their lines, in ElementTree's way of writing namespaces; comments are left out."""

    def __init__(self) -> None:
        self._builder = ET.TreeBuilder(element_factory=self._element)
        self._parser = expat.ParserCreate(None, "}")
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = lambda name: self._builder.end(_qualified(name))
        self._parser.CharacterDataHandler = self._builder.data

    def read(self, body: bytes) -> ET.Element:
        self._parser.Parse(body, True)
        return self._builder.close()

    def _element(self, tag: t.Any, attributes: t.Any) -> ET.Element:
        element = _Element(tag, attributes)
        element.line = self._parser.CurrentLineNumber
        return element

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._builder.start(_qualified(name), {_qualified(key): value for key, value in attributes.items()})

    def _refuse_doctype(self, name: str, *_rest: t.Any) -> None:
        line = self._parser.CurrentLineNumber
        raise _DoctypeError(f"line {line}: found a document type ({name}), expected none: entities are not read")


def _qualified(name: str) -> str:
    return "{" + name if "}" in name else name


# -- judging


def _faults(root: ET.Element, rules: Rules) -> list[Fault]:
    """Everything that the template may not say, in the order of its lines."""
    found = []
    kind = root.get("type")
    if kind is not None and kind not in rules.types:
        found.append(_fault(root, "domain", f"type {kind!r}", f"{' or '.join(rules.types)}, or no type"))
    for path, expected in {**_OURS, **rules.ours}.items():
        for element in root.findall(path):
            found.append(_fault(element, path.replace(f"{{{METADATA_NS}}}", ""), "an element", expected))
    card = root.find("devices/interface[@type='bridge']")
    source = card.find("source") if card is not None else None
    if source is not None:
        expected = "nothing in the first bridge interface: it is the member's own card, on network.bridge"
        found.append(_fault(source, "devices/interface/source", "a bridge", expected))
    found += _claimed(root, rules) + _shared(root)
    return sorted(found, key=_line)


def _claimed(root: ET.Element, rules: Rules) -> list[Fault]:
    """Disks and file systems that stand where the member's own ones go."""
    found = []
    for path, key in (("devices/disk/target", "dev"), ("devices/filesystem/target", "dir")):
        for target in root.findall(path):
            if target.get(key) in rules.targets:
                expected = f"another one: {', '.join(sorted(rules.targets))} is the member's own"
                found.append(_fault(target, path, f"{key} {target.get(key)!r}", expected))
    return found


def _shared(root: ET.Element) -> list[Fault]:
    """Files that all members of the template would write to."""
    found = []
    for disk in root.findall("devices/disk"):
        harmless = disk.get("device") == "cdrom" or any(disk.find(tag) is not None for tag in ("readonly", "shareable"))
        if disk.find("source") is not None and not harmless:
            expected = "<readonly/> or <shareable/>, or no such disk"
            found.append(_fault(disk, "devices/disk", "a source that every member would write to", expected))
    for nvram in root.findall("os/nvram"):
        if (nvram.text or "").strip() or nvram.find("source") is not None:
            found.append(
                _fault(nvram, "os/nvram", "a file that every member would write to", "none: libvirt makes one")
            )
    for loader in root.findall("os/loader"):
        if loader.get("readonly") == "no":
            found.append(_fault(loader, "os/loader", "firmware that every member would write to", "readonly='yes'"))
    return found


def _fault(element: ET.Element, path: str, found: str, expected: str) -> Fault:
    return Fault(f"line {getattr(element, 'line', 0)}, {path}", found, expected)


def _line(fault: Fault) -> int:
    return int(fault.path.split(",", 1)[0].split()[1])
