"""A YAML file as plain values, with the line of each of them.

The file is composed into nodes and walked here, rather than loaded, because the nodes still know their lines and still
show a key that stands there twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from hitl_bridge.errors import SettingsProblem

Path: TypeAlias = "tuple[str | int, ...]"
Value: TypeAlias = "dict[str, Value] | list[Value] | object"

_MOST_NODES = 20_000
_DEEPEST = 30


@dataclass(frozen=True, slots=True)
class Document:
    """The file's values, the line of each (1-based, by path), and what is wrong with the YAML itself."""

    values: dict[str, object] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    problems: tuple[SettingsProblem, ...] = ()

    def line(self, path: Path) -> int:
        """The line of `path`, or of the nearest thing around it; 0 for what is nowhere in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def problem(self, path: Path, what: str) -> SettingsProblem:
        return SettingsProblem(self.line(path), spelled(path), what)


def spelled(path: Path) -> str:
    """A path as people read it: `triage.rules[2].tier`, counting from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the file"


def read_document(content: bytes) -> Document:
    """Never raises: what can't be read is a problem of the document."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return _broken(line, "this is not UTF-8 text; save the file as UTF-8")
    try:
        return _Reader().document(text)
    except MarkedYAMLError as error:
        return _broken(_line_of(error), f"this is not valid YAML: {_said(error)}")
    except ReaderError as error:
        return _broken(
            text.count("\n", 0, error.position) + 1, "there is a control character here that YAML does not allow; remove it"
        )
    except RecursionError:
        return _broken(1, "the file is nested too deeply to be read")


def _broken(line: int, what: str) -> Document:
    return Document(problems=(SettingsProblem(line, "the file", what),))


def _line_of(error: MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark is not None else 0


def _said(error: MarkedYAMLError) -> str:
    said = str(error.problem or error.context or "it can't be parsed")
    if "'\\t'" in said:
        return "a tab stands where spaces are due; indent with spaces"
    if "mapping values are not allowed" in said:
        return "a colon too many; put quotes around a text that holds `: `, or mend the indentation"
    if "another document" in said:
        return "there is a second document after `---`; keep one"
    opened = error.context_mark.line + 1 if error.context_mark is not None else 0
    return f"{said} ({error.context}, begun in line {opened})" if error.context and opened else said


class _Reader:
    """Walks the nodes of one file, collecting lines and problems."""

    def __init__(self) -> None:
        self._yaml = YAML(typ="safe", pure=True)
        self._lines: dict[Path, int] = {}
        self._problems: list[SettingsProblem] = []
        self._nodes = 0
        self._is_too_much = False

    def document(self, text: str) -> Document:
        root = self._yaml.compose(text)
        if root is None:
            return _broken(1, "the file is empty; `hitl-bridge init` writes one to begin with")
        if not isinstance(root, MappingNode):
            return _broken(root.start_mark.line + 1, "the file must be a list of settings like `task: text-classification`")
        values = self._mapping(root, ())
        return Document(values, self._lines, tuple(self._problems))

    def _value(self, node: Node, path: Path) -> object:
        self._nodes += 1
        # An alias can point back at what holds it, and a few of them can unfold into millions of values.
        if self._nodes > _MOST_NODES or len(path) > _DEEPEST:
            return self._too_much(node, path)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self._item(item, (*path, place)) for place, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _item(self, node: Node, path: Path) -> object:
        self._lines[path] = node.start_mark.line + 1
        return self._value(node, path)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, object]:
        values: dict[str, object] = {}
        for key, key_node, value_node in self._entries(node, path):
            here = (*path, key)
            line = key_node.start_mark.line + 1
            if key in values:
                first = self._lines[here]
                self._problems.append(SettingsProblem(line, spelled(here), f"stands here twice (first in line {first})"))
                continue
            self._lines[here] = line
            values[key] = self._value(value_node, here)
        return values

    def _entries(self, node: MappingNode, path: Path) -> Iterator[tuple[str, Node, Node]]:
        for key_node, value_node in node.value:
            if isinstance(key_node, ScalarNode):
                yield str(key_node.value), key_node, value_node
            else:
                self._wrong(key_node, path, "a setting's name must be a plain word")

    def _scalar(self, node: Node, path: Path) -> object:
        try:
            value: object = self._yaml.constructor.construct_object(node)
        except MarkedYAMLError:
            return self._wrong(node, path, f"the YAML tag {node.tag!r} is not understood here; write a plain value")
        except (ValueError, ArithmeticError):
            return self._wrong(node, path, "this can't be read as the value it looks like; put it in quotes")
        if isinstance(value, float) and not math.isfinite(value):
            return self._wrong(node, path, "must be a finite number")
        return value

    def _too_much(self, node: Node, path: Path) -> object:
        """Told once: it would be true of each of a million values."""
        if not self._is_too_much:
            self._is_too_much = True
            self._wrong(node, path, "there is too much in here, or an alias refers to itself")
        return UNREADABLE

    def _wrong(self, node: Node, path: Path, what: str) -> object:
        self._problems.append(SettingsProblem(node.start_mark.line + 1, spelled(path), what))
        return UNREADABLE


class _Unreadable:
    """Stands where a value could not be read, so that nothing more is said about it."""


UNREADABLE = _Unreadable()
