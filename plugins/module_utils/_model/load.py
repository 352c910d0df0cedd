# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Reading a declaration's YAML file: safe, and a key written twice is a fault instead of a silent loss."""

from __future__ import annotations

import os
import typing as t

from .declaration import Resource
from .errors import DeclarationError, Fault
from .parse import PLUGIN_NAME, parse_declaration

try:
    import yaml
except ImportError:  # the caller reports it: ansible-core itself depends on PyYAML
    yaml = None  # type: ignore[assignment]

#: a declaration is a page of text; more is a mistake
MAX_BYTES = 4 * 1024 * 1024
#: values with aliases followed: a few nested aliases can stand for more than a machine can hold
MAX_VALUES = 200_000


def dump_yaml(content: t.Mapping[str, t.Any]) -> str:
    """As a file that a person may read, in the order of the keys."""
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)


def read_yaml(path: str) -> tuple[t.Any, list[Fault]]:
    """The data of a YAML file and the faults of its form (keys written twice).

    Raises:
        DeclarationError: the file cannot be read or is no YAML.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read(MAX_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(path, [Fault("file", str(error), "a readable text file")]) from error
    if len(text) > MAX_BYTES:
        raise DeclarationError(path, [Fault("file", "more than 4 MiB", "a declaration of a few pages")])
    faults: list[Fault] = []
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if _count(node, {}) > MAX_VALUES:
            raise DeclarationError(
                path, [Fault("file", f"more than {MAX_VALUES} values", "a declaration of a few pages")]
            )
        _note_duplicates(node, "", faults, set())
        data = loader.construct_document(node) if node is not None else None
    # a value that its own tag contradicts (`!!bool maybe`) makes PyYAML raise whatever its constructor meets
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
        ArithmeticError,
        AttributeError,
        TypeError,
        RecursionError,
    ) as error:
        one_line = " ".join(str(error).split())
        raise DeclarationError(path, [Fault("file", one_line, "well-formed YAML")]) from error
    finally:
        if loader is not None:
            loader.dispose()
    return data, faults


def _count(node: t.Any, known: dict[int, int]) -> int:
    """Values below a node, each alias counted as what it stands for; an endless one counts as too many."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = MAX_VALUES + 1
    if isinstance(node, yaml.MappingNode):
        total = 1 + sum(_count(part, known) for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        total = 1 + sum(_count(part, known) for part in node.value)
    else:
        total = 1
    known[id(node)] = total
    return total


def _note_duplicates(node: t.Any, path: str, faults: list[Fault], seen_nodes: set[int]) -> None:
    if id(node) in seen_nodes:
        return
    seen_nodes.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name = str(getattr(key, "value", key))
            where = f"{path}.{name}" if path else name
            line = key.start_mark.line + 1
            if name in seen:
                faults.append(
                    Fault(where, f"the key again in line {line}", f"each key once (first in line {seen[name]})")
                )
            seen.setdefault(name, line)
            _note_duplicates(value, where, faults, seen_nodes)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_duplicates(value, f"{path}[{index}]", faults, seen_nodes)


def is_declaration(path: str) -> bool:
    """Whether a file looks like a declaration of ours: it names the inventory plugin. Never raises."""
    if not path.endswith((".yml", ".yaml")) or not os.path.isfile(path):
        return False
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read(MAX_BYTES)
    except (OSError, UnicodeDecodeError):
        return False
    bare = text.replace('"', "").replace("'", "")
    return any(line.split("#")[0].split() == ["plugin:", PLUGIN_NAME] for line in bare.splitlines())


def load_declaration(path: str) -> Resource:
    """Read and validate a declaration's file.

    Raises:
        DeclarationError: with every fault found.
    """
    raw, faults = read_yaml(path)
    return parse_declaration(raw, path, faults)
