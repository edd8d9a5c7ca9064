"""The index of MicroPython's API that api_index made, and how names are looked up in it."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

INDEX = Path(__file__).with_name("stubs") / "micropython.json"


class Entry(NamedTuple):
    """A name in the index: value `v`, function `f`, coroutine `a`, class `c`, module `m`; its type, and who has it."""

    kind: str
    type: str
    ports: tuple[str, ...]


class Api:
    """The index that api_index made."""

    def __init__(self, path: Path = INDEX) -> None:
        told = json.loads(path.read_text(encoding="utf-8"))
        self.sources: list[dict[str, str]] = told["sources"]
        self.aliases: dict[str, str] = told["aliases"]
        self.modules: dict[str, dict[str, Any]] = told["modules"]
        self.classes: dict[str, dict[str, Any]] = told["classes"]
        self.packages = {name.rpartition(".")[0] for name in self.modules}

    def module(self, name: str) -> str | None:
        """A module under its own name (`time` for `utime`), or None where there is none."""
        name = self.aliases.get(name, name)
        return name if name in self.modules or name in self.packages else None

    def in_module(self, module: str, name: str) -> Entry | None:
        if self.module(f"{module}.{name}"):
            return Entry("m", f"{module}.{name}", ())
        return self._entry(self.modules.get(module, {}), name)

    def in_class(self, class_name: str, name: str) -> Entry | None:
        found = self.classes[class_name]
        if entry := self._entry(found, name):
            return entry
        return next((entry for base in self.bases(class_name) if (entry := self.in_class(base, name))), None)

    def _entry(self, owner: dict[str, Any], name: str) -> Entry | None:
        if (told := owner.get("names", {}).get(name)) is None:
            return None
        told, _, ports = told.partition("@")
        return Entry(told[0], told[2:], tuple(ports.split(",")) if ports else tuple(owner.get("ports", ())))

    def is_open(self, kind: str, name: str) -> bool:
        """Whether a module or class may have names that the index does not tell."""
        if kind == "module":
            return name not in self.modules or "open" in self.modules[name]
        return "open" in self.classes[name] or any(self.is_open(kind, base) for base in self.bases(name))

    def bases(self, class_name: str) -> list[str]:
        return [full for base in self.classes[class_name].get("bases", ()) if (full := self.full(base))]

    def full(self, type: str) -> str:
        """The class of a type in the index, `builtins.str` for `str`; nothing where it tells none."""
        name = type.partition("[")[0]
        return name if name in self.classes else f"builtins.{name}" if f"builtins.{name}" in self.classes else ""


@functools.cache
def api() -> Api:
    """The index that ships."""
    return Api()
