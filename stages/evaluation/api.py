"""Which names of MicroPython's API a program uses, and which of those do not exist. Nothing is run."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from stages.evaluation.api_names import Entry, api
from stages.evaluation.api_scopes import Scope, defaults, inside, last_name
from stages.evaluation.api_values import Value, Values

# Files that people write beside their program and import from it.
OWN_FILES = ("app", "boot", "config", "credentials", "main", "secrets", "settings")
# Functions with these decorators are written in another language.
ASSEMBLY = ("asm_pio", "asm_thumb", "asm_xtensa", "asm_rv32")
# What a handler may be there for; a bare one, and one of all exceptions, is taken to expect a missing module alone.
WITHOUT_MODULE = frozenset({"ImportError", "Exception", "BaseException"})
WITHOUT_ATTRIBUTE = frozenset({"AttributeError"})
WITHOUT_NAME = frozenset({"NameError"})
# Built into CPython, and not into MicroPython. Any other name that nothing defines may come from code around.
NOT_BUILT_IN = frozenset({
    "aiter", "anext", "ascii", "breakpoint", "copyright", "credits", "exit", "format", "license", "quit", "vars",
    "BaseExceptionGroup", "BlockingIOError", "BrokenPipeError", "BufferError", "BytesWarning", "ChildProcessError",
    "ConnectionAbortedError", "ConnectionError", "ConnectionRefusedError", "ConnectionResetError", "DeprecationWarning",
    "EncodingWarning", "EnvironmentError", "ExceptionGroup", "FileExistsError", "FileNotFoundError",
    "FloatingPointError", "FutureWarning", "IOError", "ImportWarning", "InterruptedError", "IsADirectoryError",
    "ModuleNotFoundError", "NotADirectoryError", "PendingDeprecationWarning", "PermissionError", "ProcessLookupError",
    "RecursionError", "ReferenceError", "ResourceWarning", "RuntimeWarning", "SyntaxWarning", "SystemError", "TabError",
    "TimeoutError", "UnboundLocalError", "UnicodeDecodeError", "UnicodeEncodeError", "UnicodeTranslateError",
    "UnicodeWarning", "UserWarning", "Warning",
})  # fmt: skip


@dataclass(frozen=True)
class Uses:
    """How often a program uses the API.

    `known` uses exist, `unknown` ones do not, one entry for each use: `machine.Pin.blink`. `unchecked` are those on
    values of no known kind, in modules that are not told in full, and names that the program does not define.
    `elsewhere` are those of the known ones that the first port of the index lacks, with who has them:
    `machine.DAC (esp32, samd)`.
    """

    known: int = 0
    unknown: tuple[str, ...] = ()
    unchecked: int = 0
    elsewhere: tuple[str, ...] = ()


def uses(code: str) -> Uses:
    """The uses of the API in a program; none in what is no program."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
        found = _Count(tree)
        found.add(tree.body, found.scopes.module)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Uses()
    return Uses(found.known, tuple(found.unknown), found.unchecked, tuple(found.elsewhere))


class _Count:
    """The uses counted so far. `handled` are the exceptions that the code around handles."""

    def __init__(self, tree: ast.Module) -> None:
        self.api = api()
        self.values = Values(tree, self.api)
        self.scopes = self.values.scopes
        self.known = self.unchecked = 0
        self.unknown: list[str] = []
        self.elsewhere: list[str] = []

    def add(self, body: Iterable[ast.AST], scope: Scope, handled: frozenset[str] = frozenset()) -> None:
        """Count what statements and expressions use. Annotations are not: MicroPython does not look at them."""
        for node in body:
            match node:
                case ast.Import():
                    for alias in node.names:
                        self._count_import(alias.name, handled)
                case ast.ImportFrom():
                    self._count_from(node, handled)
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    self.add([*node.decorator_list, *defaults(node)], scope, handled)
                    if not any(last_name(decorator) in ASSEMBLY for decorator in node.decorator_list):
                        self.add(node.body, self.scopes.of[node], handled)
                case ast.Lambda():
                    self.add(defaults(node), scope, handled)
                    self.add([node.body], self.scopes.of[node], handled)
                case ast.ClassDef():
                    self.add([*node.bases, *node.decorator_list], scope, handled)
                    self.add(node.body, self.scopes.of[node], handled)
                case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                    self.add([node.generators[0].iter], scope, handled)
                    self.add(inside(node), self.scopes.of[node], handled)
                case ast.Try():
                    self.add(node.body, scope, handled.union(*map(_handled, node.handlers)))
                    for handler in node.handlers:
                        self.add([handler.type] if handler.type else [], scope, handled)
                        self.add(handler.body, scope, handled | _handled(handler))
                    self.add([*node.orelse, *node.finalbody], scope, handled)
                case ast.AnnAssign():
                    self.add([node.target, *([node.value] if node.value else [])], scope, handled)
                case ast.Name(id=name, ctx=ast.Load()):
                    self._count_name(name, scope, handled)
                case ast.Attribute():
                    self.add([node.value], scope, handled)
                    self._count_attribute(node, scope, handled)
                case _:
                    self.add(ast.iter_child_nodes(node), scope, handled)

    def _count_import(self, name: str, handled: frozenset[str]) -> str | None:
        """Count a module; its own name, or None where there is none."""
        module = self.api.module(name)
        if module is None:
            own = name.startswith("_") or name.rpartition("_")[2] in OWN_FILES
            self._count_missing(name, own or handled & WITHOUT_MODULE)
        else:
            self._count_known(name, tuple(self.api.modules.get(module, {}).get("ports", ())))
        return module

    def _count_from(self, node: ast.ImportFrom, handled: frozenset[str]) -> None:
        module = None if node.level else self._count_import(str(node.module), handled)
        names = [alias.name for alias in node.names if alias.name != "*"]
        if module is None:
            self.unchecked += len(names)
            return
        for name in names:
            self._count_in("module", module, name, self.api.in_module(module, name), handled & WITHOUT_MODULE)

    def _count_name(self, name: str, scope: Scope, handled: frozenset[str]) -> None:
        if scope.find(name) or name.startswith("__"):
            return
        if entry := self.api.in_module("builtins", name):
            self._count_known(name, entry.ports)
        else:
            self._count_missing(name, self.values.any_name or name not in NOT_BUILT_IN or handled & WITHOUT_NAME)

    def _count_attribute(self, node: ast.Attribute, scope: Scope, handled: frozenset[str]) -> None:
        name = node.attr
        forgiven = name in self.scopes.tested or isinstance(node.ctx, ast.Store) or handled & WITHOUT_ATTRIBUTE
        match self.values.of(node.value, scope):
            case _ if name.startswith("__"):
                return
            case Value(kind="module", name=module):
                self._count_in("module", module, name, self.api.in_module(module, name), forgiven)
            case Value(kind="class" | "object", name=of):
                self._count_in("class", of, name, self.api.in_class(of, name), forgiven)
            case Value(kind="own class" | "own object", node=of):
                self._count_own(of, name, forgiven)
            case _:
                self.unchecked += 1

    def _count_own(self, node: ast.ClassDef, name: str, forgiven: object) -> None:
        """What the program's own class defines is no use of the API; what it inherits is one."""
        own, foreign = self.values.lineage(node)
        if name in self.scopes.stored or any(name in scope.names for scope in own):
            return
        owner = next((of for of in foreign if self.api.in_class(of, name)), foreign[0] if foreign else "")
        if owner:
            own_kind = owner.startswith("builtins.")  # a class of its own in all but name: an exception
            self._count_in("class", owner, name, self.api.in_class(owner, name), forgiven or own_kind)
        else:
            self.unchecked += 1

    def _count_in(self, kind: str, of: str, name: str, entry: Entry | None, forgiven: object) -> None:
        full = f"{of.removeprefix('builtins.')}.{name}"
        if entry:
            self._count_known(full, entry.ports)
        else:
            self._count_missing(full, forgiven or name.startswith("_") or self.api.is_open(kind, of))

    def _count_known(self, name: str, ports: tuple[str, ...]) -> None:
        self.known += 1
        if ports:
            self.elsewhere.append(f"{name} ({', '.join(ports)})")

    def _count_missing(self, name: str, forgiven: object) -> None:
        if forgiven:
            self.unchecked += 1
        else:
            self.unknown.append(name)


def _handled(handler: ast.ExceptHandler) -> frozenset[str]:
    if handler.type is None:
        return frozenset({"BaseException"})
    return frozenset(map(last_name, handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]))
