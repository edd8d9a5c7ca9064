"""What Ollama makes of a TEMPLATE, for machines without Go: the few words of text/template that ours is made of.

`render` is the same as ollama_template.go beside this file, which asks Go itself; the tests hold the two together.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_ACTION = re.compile(r"(\{\{-? .*? -?\}\})", re.DOTALL)
_WORD = re.compile(r'"[^"]*"|[()]|\$?\.?[\w.]+|\$|:=|=|,')
FUNCTIONS = {
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "or": lambda *values: next((value for value in values if value), values[-1]),
    "not": lambda value: not value,
    "eq": lambda one, other: one == other,
    "ne": lambda one, other: one != other,
    "len": len,
    "slice": lambda values, start: values[start:],
}


def render(template: str, *, messages: Sequence[Mapping[str, str]] = (), prompt: str = "", suffix: str = "") -> str:
    """The text that the model is given."""
    if prompt and suffix:
        dot: dict[str, Any] = {"Prompt": prompt, "Suffix": suffix}
    else:
        turns: list[dict[str, str]] = []
        for message in messages:
            if turns and turns[-1]["Role"] == message["role"]:
                turns[-1]["Content"] += "\n\n" + message["content"]
            else:
                turns.append({"Role": message["role"], "Content": message["content"]})
        systems = [message["content"] for message in messages if message["role"] == "system"]
        dot = {"System": "\n\n".join(systems), "Messages": turns}
        if ".Messages" not in template:
            dot["Prompt"] = "\n\n".join(turn["Content"] for turn in turns if turn["Role"] == "user")
    return _Template(template).run(dot)


class _Template:
    def __init__(self, text: str) -> None:
        self.parts = _ACTION.split(text)
        for index in range(1, len(self.parts), 2):  # `{{- ` and ` -}}` cut the white space beside them
            if self.parts[index].startswith("{{- "):
                self.parts[index - 1] = self.parts[index - 1].rstrip(" \t\r\n")
            if self.parts[index].endswith(" -}}"):
                self.parts[index + 1] = self.parts[index + 1].lstrip(" \t\r\n")
        self.names: dict[str, Any] = {}

    def run(self, dot: Any) -> str:
        self.names["$"] = dot
        tree, end = self._block(0)
        assert end == len(self.parts), "more ends than blocks"
        return "".join(self._said(tree, dot))

    def _block(self, index: int) -> tuple[list[Any], int]:
        """The texts and actions from part `index` to the `else` or `end` that closes them, and where that is."""
        found: list[Any] = []
        while index < len(self.parts):
            part = self.parts[index]
            words = _WORD.findall(part.strip("{}").strip("- ")) if index % 2 else []
            if not index % 2:
                found.append(part)
            elif words[0] in ("else", "end"):
                return found, index
            elif words[0] in ("if", "range"):
                body, index = self._block(index + 1)
                other: list[Any] = []
                if "else" in self.parts[index]:
                    other, index = self._block(index + 1)
                found.append((words, body, other))
            else:
                found.append((words, [], []))
            index += 1
        return found, index

    def _said(self, tree: list[Any], dot: Any) -> Iterator[str]:
        for part in tree:
            if isinstance(part, str):
                yield part
                continue
            words, body, other = part
            if words[0] == "if":
                yield from self._said(body if self._value(words[1:], dot) else other, dot)
            elif words[0] == "range":
                number, comma, each, declared, *listed = words[1:]
                assert (comma, declared) == (",", ":=")
                for index, value in enumerate(self._value(listed, dot)):
                    self.names |= {number: index, each: value}
                    yield from self._said(body, value)
            elif words[1:2] in ([":="], ["="]):
                self.names[words[0]] = self._value(words[2:], dot)
            else:
                value = self._value(words, dot)
                assert isinstance(value, str), f"{words} is {value!r}"
                yield value

    def _value(self, words: list[str], dot: Any) -> Any:
        values, rest = [], list(words)
        while rest:
            values.append(self._operand(rest, dot))
        return values[0](*values[1:]) if callable(values[0]) else values[0]

    def _operand(self, rest: list[str], dot: Any) -> Any:
        word = rest.pop(0)
        if word == "(":
            depth, inner = 1, []
            while depth:
                inner.append(rest.pop(0))
                depth += {"(": 1, ")": -1}.get(inner[-1], 0)
            return self._value(inner[:-1], dot)
        if word in FUNCTIONS:
            return FUNCTIONS[word]
        if word in ("true", "false"):
            return word == "true"
        if word.startswith('"') or word.isdigit():
            return int(word) if word.isdigit() else word[1:-1]
        name, _, field = word.partition(".")
        value = self.names[name or "$"] if word.startswith("$") else dot
        return value.get(field) if field else value


class Go:
    """ollama_template.go at work: built once, then asked a line at a time."""

    def __init__(self, folder: Path) -> None:
        program = folder / "ollama_template"
        subprocess.run(["go", "build", "-o", program, Path(__file__).with_suffix(".go")], check=True)
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    def render(self, template: str, **asked: Any) -> str:
        """The same as `render` above."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"template": template, **asked}) + "\n")
        self._process.stdin.flush()
        return str(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()
