"""Make the index of the API that ships from the stubs of MicroPython's ports.

    python -m stages.evaluation.api_index FOLDER...

Each folder is an unpacked wheel of micropython-<port>-stubs or of micropython-stdlib-stubs, or a checkout of
micropython-lib in a folder that is named micropython-lib-<commit>. The first port named is the one that answers are
written for; of the others the index says by name where they go beyond it. The same folders give the same bytes.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import UsageError

CORE = Path(__file__).with_name("stubs") / "core.pyi"
INDEX = Path(__file__).with_name("stubs") / "micropython.json"
LIBRARY = "micropython-lib"
UNIX = "unix"
SHED = "_mpy_shed"  # what the stubs of all ports share; no module of MicroPython
SKIPPED = ("__builtins__", "_boot", "_boot_fat", "inisetup", "flashbdev", "port_diag", "rp2.asm_pio")
# Classes whose members are those of a board, or of what a program describes.
OPEN = ("machine.Pin.board", "machine.Pin.cpu", "pyb.Pin.board", "pyb.Pin.cpu", "uctypes.struct")
UNUSED = ("test_", "tests", "multitests", "example")  # of micropython-lib
WRAPPERS = ("Final", "ClassVar", "Optional", "Annotated")
SEQUENCES = {name: name.lower() for name in ("list", "tuple", "List", "Tuple", "set", "Set", "frozenset")}
SIMPLE = {
    "int", "str", "bytes", "bytearray", "bool", "float", "complex", "list", "tuple", "dict", "set", "frozenset",
    "range", "memoryview", "object", "slice",
}  # fmt: skip


@dataclass
class Name:
    """What a name stands for: `c`lass, `f`unction, `a`sync function or `v`alue, its type, and where it exists."""

    kind: str
    type: str = ""
    ports: list[str] = field(default_factory=list)


@dataclass
class Named:
    """A module or a class. Of an open one, not all names are known."""

    names: dict[str, Name] = field(default_factory=dict)
    bases: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)
    open: bool = False


Stubs = dict[str, list[ast.stmt]]


def build(folders: Iterable[Path]) -> str:
    """The index as JSON; raises UsageError for a folder that is none of those."""
    sources, ports, library = [], {}, None
    shed: Stubs = {}
    for folder in folders:
        if folder.name.startswith(f"{LIBRARY}-"):
            library = folder
            sources.append({"name": LIBRARY, "version": folder.name.removeprefix(f"{LIBRARY}-"), "license": "MIT"})
            continue
        about = _about(folder)
        sources.append(about)
        port = about["name"].removeprefix("micropython-").removesuffix("-stubs")
        if port == "stdlib":
            shed = {name: body for name, body in _stubs(folder).items() if name.split(".")[0] == SHED}
        else:
            ports[port] = _stubs(folder)
    if not ports:
        raise UsageError(
            "no stubs of a port among the folders", hint="pip download micropython-rp2-stubs, and unpack it"
        )
    core: Stubs = {node.name: node.body for node in _parse(CORE) if isinstance(node, ast.ClassDef)}
    modules: dict[str, Named] = {}
    classes: dict[str, Named] = {}
    for port, stubs in ports.items():
        _Reader({**stubs, **shed, **core}, port, modules, classes).read()
    if library:
        _read_library(library, modules, classes)
    for module in modules.values():
        module.open = module.open or not module.names
    aliases = _aliases(next(iter(ports.values())), modules)
    first, everywhere = next(iter(ports)), [*ports]
    about_core = {"name": CORE.name, "version": "1.29.0-preview-731-g1c3c201149", "license": "AGPL-3.0-or-later"}
    index = {
        "about": "A name is a value v, function f, coroutine a or class c : of a type @ on ports, if not on the first",
        "sources": [about_core, *sources],
        "ports": [*ports],
        "aliases": aliases,
        "modules": {name: _told(modules[name], first, everywhere) for name in sorted(modules) if name not in aliases},
        "classes": {name: _told(classes[name], first, everywhere) for name in sorted(_reached(modules, classes))},
    }
    return json.dumps(index, indent=0, ensure_ascii=False) + "\n"


def _about(folder: Path) -> dict[str, str]:
    found = sorted(folder.glob("*.dist-info/METADATA"))
    if len(found) != 1:
        raise UsageError(f"{folder} is no unpacked wheel of stubs", hint="unzip NAME.whl -d FOLDER")
    lines = found[0].read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    told = dict(line.split(": ", 1) for line in lines if ": " in line)
    return {"name": told["Name"], "version": told["Version"], "license": told.get("License-Expression", "")}


def _parse(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text(encoding="utf-8")).body


def _stubs(folder: Path) -> Stubs:
    found = {}
    for path in sorted(folder.rglob("*.pyi")):
        name = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        if name.split(".")[0] not in ("stdlib", "stubs") and not name.startswith(SKIPPED):
            found[name] = _parse(path)
    return found


def _told(found: Named, first: str, everywhere: list[str]) -> dict[str, object]:
    """A module or class as JSON. A name says where it is if that is not the first port, or less than its owner says."""
    owners = _elsewhere(found.ports, first)
    names = {}
    for name in sorted(found.names):
        told = found.names[name]
        ports = _elsewhere(told.ports or everywhere, first)
        names[name] = f"{told.kind}:{told.type}" + (f"@{','.join(ports)}" if ports and ports != owners else "")
    told_of: dict[str, object] = {"names": names}
    if found.bases:
        told_of["bases"] = found.bases
    if owners:
        told_of["ports"] = owners
    if found.open:
        told_of["open"] = True
    return told_of


def _elsewhere(ports: list[str], first: str) -> list[str]:
    return [] if first in ports else ports


def _reached(modules: dict[str, Named], classes: dict[str, Named]) -> set[str]:
    """The classes that a program can come to: those that modules name, and what these lead to."""
    waiting = [told.type for module in modules.values() for told in module.names.values()]
    waiting += [name for name in classes if name.startswith("builtins.")]
    reached: set[str] = set()
    while waiting:
        for name in waiting.pop().replace("]", "").split("["):
            name = name if name in classes else f"builtins.{name}"
            if name in classes and name not in reached:
                reached.add(name)
                waiting += [told.type for told in classes[name].names.values()] + classes[name].bases
    return reached


def _aliases(stubs: Stubs, modules: dict[str, Named]) -> dict[str, str]:
    """`utime` for `time` and its like: stubs that import all of another module, or name nothing."""
    found = {}
    for name, body in stubs.items():
        stars = [node for node in body if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"]
        told = [str(stars[0].module)] if stars else [name[1:]]
        if name[0] == "u" and name[1:] == told[0] and told[0] in modules and not modules[name].names:
            found[name] = told[0]
    return dict(sorted(found.items()))


def _read_library(folder: Path, modules: dict[str, Named], classes: dict[str, Named]) -> None:
    """The packages that mip installs: known modules, of which not every name has to be known.

    What extends a module that boards have (`os.path`, `time.strftime`) is left out: a bare board lacks it.
    """
    for manifest in sorted(folder.rglob("manifest.py")):
        root = manifest.parent
        if "unix-ffi" in root.parts:
            continue
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            if path == manifest or any(part.startswith(UNUSED) for part in path.relative_to(folder).parts):
                continue
            if len(parts) > 1 and not (path.parent / "__init__.py").exists():
                modules.setdefault(parts[0], Named(ports=[LIBRARY], open=True))
            top = modules.get(parts[0])
            if top is None or LIBRARY in top.ports:
                stub = _parse(path) if folder / "micropython" in path.parents else []
                if stub or name not in modules:
                    _Reader({name: stub}, LIBRARY, modules, classes, open=True).read()


class _Reader:
    """The names of one port's stubs, added to those of the ports before it."""

    def __init__(
        self, stubs: Stubs, port: str, modules: dict[str, Named], classes: dict[str, Named], *, open: bool = False
    ) -> None:
        self.stubs, self.port, self.open = stubs, port, open
        self.modules, self.classes = modules, classes
        self.statements = {name: [*_flat(body)] for name, body in stubs.items()}

    def read(self) -> None:
        for name in self.statements:
            if name.split(".")[0] == SHED:
                self._names(name, name, self.statements[name], Named())
                continue
            module = self.modules.setdefault(name, Named(open=self.open))
            _add(module.ports, self.port)
            self._names(name, name, self.statements[name], module)

    def _names(self, module: str, owner: str, body: list[ast.stmt], found: Named) -> None:
        """Add what statements define to the module or class `owner`, which lies in `module`."""
        overloads: dict[str, list[str]] = {}
        for node in body:
            ports = [UNIX] if _marked(node, UNIX) else [self.port]
            match node:
                case ast.ClassDef():
                    self._class(module, f"{owner}.{node.name}", node, ports)
                    self._name(found, node.name, "c", f"{owner}.{node.name}", ports)
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    kind = "a" if isinstance(node, ast.AsyncFunctionDef) else "f"
                    kind = "v" if _marked(node, "property") else kind
                    told = overloads.setdefault(node.name, [])
                    told.append(self._type(module, owner, node.returns))
                    self._name(found, node.name, kind, _agreed(told), ports, newest=True)
                    if owner != module and not self.stubs.get(owner):
                        self._assigned(found, node)
                case ast.AnnAssign(target=ast.Name(id=name)) if not _is_alias(node):
                    self._name(found, name, "v", self._type(module, owner, node.annotation), ports)
                case ast.Assign() if not ast.unparse(node.value).startswith(("TypeVar", "ParamSpec")):
                    for target in node.targets:
                        for part in ast.walk(target):
                            if isinstance(part, ast.Name):
                                self._name(found, part.id, "v", "", ports)
                case ast.ImportFrom() if module != SHED:
                    for alias in node.names:
                        if alias.asname and alias.asname == alias.name:
                            kind, told_type = self._followed(_absolute(module, node, self.stubs), alias.name)
                            self._name(found, alias.name, kind, told_type, ports)

    def _assigned(self, found: Named, method: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """The attributes that a method of a program in Python sets."""
        for node in ast.walk(method):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
                self._name(found, node.attr, "v", "", [self.port])

    def _class(self, module: str, name: str, node: ast.ClassDef, ports: list[str]) -> None:
        found = self.classes.setdefault(name, Named(open=self.open or name in OPEN))
        for port in ports:
            _add(found.ports, port)
        for base in node.bases:
            if told := self._type(module, name.rpartition(".")[0], base):
                _add(found.bases, told)
            elif ast.unparse(base).partition("[")[0] not in ("Protocol", "Generic", "ABC", "abc.ABC", "NamedTuple"):
                found.open = True
        self._names(module, name, [*_flat(node.body)], found)

    def _name(self, found: Named, name: str, kind: str, type: str, ports: list[str], *, newest: bool = False) -> None:
        if name.startswith("_") and kind != "c":
            return
        known = found.names.setdefault(name, Name(kind, type))
        if newest and known.ports in ([], [self.port]):
            known.type = type
        known.type = known.type or type
        for port in ports:
            _add(known.ports, port)

    def _followed(self, module: str, name: str, depth: int = 0) -> tuple[str, str]:
        """Kind and type of a name of a module of these stubs, through what that imports."""
        for node in self.statements.get(module, ()):
            match node:
                case ast.ClassDef() if node.name == name:
                    return "c", f"{module}.{name}"
                case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name == name:
                    kind = "a" if isinstance(node, ast.AsyncFunctionDef) else "f"
                    return kind, self._type(module, module, node.returns)
                case ast.AnnAssign(target=ast.Name(id=target)) if target == name:
                    if _is_alias(node):
                        return "t", self._type(module, module, node.value)
                    return "v", self._type(module, module, node.annotation)
                case ast.ImportFrom() if depth < 8:
                    source = _absolute(module, node, self.stubs)
                    for alias in node.names:
                        if (alias.asname or alias.name) == name:
                            return self._followed(source, alias.name, depth + 1)
        return "v", ""

    def _type(self, module: str, owner: str, node: ast.expr | None) -> str:
        """`machine.Pin`, `list[str]`, `None`, or nothing where an annotation tells no single type."""
        return self._type_told(module, owner, node).removeprefix("builtins.")

    def _type_told(self, module: str, owner: str, node: ast.expr | None) -> str:
        match node:
            case ast.Constant(value=None):
                return "None"
            case ast.Constant(value=str() as text):
                return self._type(module, owner, ast.parse(text, mode="eval").body)
            case ast.Name(id="Self"):
                return owner
            case ast.Name(id=name):
                return self._type_named(module, owner, name)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                kind, found = self._followed(name, attribute)
                return found if kind in "ct" else ""
            case ast.BinOp(op=ast.BitOr()):
                return _agreed([self._type(module, owner, part) for part in (node.left, node.right)])
            case ast.Subscript():
                return self._generic(module, owner, ast.unparse(node.value).rpartition(".")[2], node.slice)
        return ""

    def _type_named(self, module: str, owner: str, name: str) -> str:
        while True:  # a class within classes, then the module's own
            if f"{owner}.{name}" in self.classes or any(
                isinstance(node, ast.ClassDef) and node.name == name for node in self.statements.get(owner, ())
            ):
                return f"{owner}.{name}"
            if owner == module:
                break
            owner = owner.rpartition(".")[0]
        kind, found = self._followed(module, name)
        if found or name not in SIMPLE:
            return found or (SEQUENCES.get(name, "")) if kind in "ct" or name in SEQUENCES else self._builtin(name)
        return name

    def _builtin(self, name: str) -> str:
        kind, found = self._followed("builtins", name)
        return found if kind == "c" else {"LiteralString": "str"}.get(name, "")

    def _generic(self, module: str, owner: str, name: str, inside: ast.expr) -> str:
        parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
        if name in WRAPPERS:
            return self._type(module, owner, parts[0])
        if name == "Union":
            return _agreed([self._type(module, owner, part) for part in parts])
        if name in SEQUENCES:
            items = {self._type(module, owner, part) for part in parts if ast.unparse(part) != "..."}
            item = items.pop() if len(items) == 1 else ""
            return f"{SEQUENCES[name]}[{item}]" if item and "[" not in item else SEQUENCES[name]
        if name in ("Dict", "dict"):
            return "dict"
        if name == "Literal":
            kinds = {type(part.value).__name__ for part in parts if isinstance(part, ast.Constant)}
            return kinds.pop() if len(kinds) == 1 else ""
        return ""


def _flat(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements, those under conditions and in attempts among them."""
    for node in body:
        match node:
            case ast.If():
                yield from _flat([*node.body, *node.orelse])
            case ast.Try():
                yield from _flat([*node.body, *(s for handler in node.handlers for s in handler.body)])
            case _:
                yield node


def _is_alias(node: ast.AnnAssign) -> bool:
    return ast.unparse(node.annotation).endswith("TypeAlias")


def _marked(node: ast.stmt, decorator: str) -> bool:
    return any(isinstance(d, ast.Name) and d.id == decorator for d in getattr(node, "decorator_list", ()))


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _absolute(module: str, node: ast.ImportFrom, stubs: Stubs) -> str:
    if not node.level:
        return str(node.module)
    package = any(name.startswith(f"{module}.") for name in stubs)
    parts = module.split(".")[: len(module.split(".")) - node.level + package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _agreed(types: Iterable[str]) -> str:
    """The one type that several say, None aside; nothing where they differ or one says nothing."""
    found = {*types} - {"None"}
    return found.pop() if len(found) == 1 else "" if found else "None"


def _add(items: list[str], item: str) -> None:
    if item not in items:
        items.append(item)


if __name__ == "__main__":
    INDEX.write_text(build(Path(name) for name in sys.argv[1:]), encoding="utf-8")
    print(f"{INDEX}: {INDEX.stat().st_size:,} bytes", file=sys.stderr)
