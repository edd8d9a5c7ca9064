"""Strict YAML: plain data, the place of every key, and every error with line and column."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import yaml

MAX_DEPTH, MAX_DIGITS = 32, 100
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Mark:
    """Where a key and its value stand: `place` is a file name, or the `--set` argument that gave the value."""

    place: str
    line: int = 0
    column: int = 0
    value_line: int = 0
    value_column: int = 0

    def at_key(self) -> str:
        return f"{self.place}:{self.line}:{self.column}" if self.line else self.place

    def at_value(self) -> str:
        return f"{self.place}:{self.value_line}:{self.value_column}" if self.line else self.place

    def origin(self) -> str:
        return f"{self.place}:{self.line}" if self.line else "--set"


class _Loader(yaml.SafeLoader):
    """Composes nodes with the scalar rules of YAML 1.2's core schema (yaml.org/spec/1.2.2, chapter 10.3)."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (PyYAML's own attribute)


def _resolve(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), [*first, ""])


_resolve("null", r"^(~|null|Null|NULL|)$", "~nN")
_resolve("bool", r"^(true|True|TRUE|false|False|FALSE)$", "tTfF")
_resolve("int", r"^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789")
_resolve("float", r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$", "-+.0123456789")
_resolve("float", r"^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$", "-+.")


class YamlReader:
    """Turns one YAML text into plain data, the mark of every key path, and a list of errors."""

    def __init__(self, text: str, place: str, *, located: bool = True) -> None:
        self.place = place
        self.located = located
        self.errors: list[str] = []
        self.marks: dict[KeyPath, Mark] = {}
        self.data: Any = None
        try:
            for event in yaml.parse(text, Loader=_Loader):
                if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                    self._error(event.start_mark, "anchors and aliases (& and *) are not allowed; write the value out")
                elif tag := getattr(event, "tag", None):
                    self._error(event.start_mark, f"tags are not allowed; remove `{tag}`")
                elif re.search("[\ud800-\udfff]", getattr(event, "value", "")):
                    self._error(event.start_mark, "an escape stands for half a character; write the character itself")
            node = None if self.errors else yaml.compose(text, Loader=_Loader)
            if node is not None:
                self.data = self._build(node, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._error(mark, f"not valid YAML: {error.problem or error.context}")
        except yaml.reader.ReaderError as error:
            before = text[: error.position].split("\n")
            mark = yaml.Mark(place, error.position, len(before) - 1, len(before[-1]), "", 0)
            self._error(mark, f"not valid YAML: the control character {text[error.position]!r}")
        except RecursionError:
            self._error(None, "nested too deeply")

    def _error(self, mark: Any, message: str) -> None:
        at = f":{mark.line + 1}:{mark.column + 1}" if mark else ":1:1"
        self.errors.append(f"{self.place}{at if self.located else ''}: {message}")

    def _build(self, node: yaml.Node, path: KeyPath) -> Any:
        if len(path) > MAX_DEPTH:
            self._error(node.start_mark, f"nested more than {MAX_DEPTH} deep")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, child in enumerate(node.value):
                self._mark((*path, index), child, child)
                items.append(self._build(child, (*path, index)))
            return items
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._error(key_node.start_mark, "a key has to be a plain word")
                continue
            key = str(key_node.value)
            if key in built:
                first = f" (first on line {self.marks[(*path, key)].line})" if self.located else ""
                self._error(key_node.start_mark, f"`{key}` is given twice{first}")
                continue
            self._mark((*path, key), key_node, value_node)
            built[key] = self._build(value_node, (*path, key))
        return built

    def _mark(self, path: KeyPath, key: yaml.Node, value: yaml.Node) -> None:
        start, at = key.start_mark, value.start_mark
        self.marks[path] = (
            Mark(self.place, start.line + 1, start.column + 1, at.line + 1, at.column + 1)
            if self.located
            else Mark(self.place)
        )

    def _scalar(self, node: yaml.Node) -> Any:
        kind = node.tag.rpartition(":")[2]
        text = str(node.value)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind in ("int", "float") and len(text) > MAX_DIGITS:
            self._error(node.start_mark, "this number has too many digits")
            return 0
        if kind == "int":
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if kind == "float":
            number = math.nan if text.lstrip("+-")[:2] in (".i", ".I", ".n", ".N") else float(text)
            if not math.isfinite(number):
                self._error(node.start_mark, f"`{text}` is not a finite number")
            return number
        return text
