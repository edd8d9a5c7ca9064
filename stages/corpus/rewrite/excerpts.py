"""A function cut out of its program with all that it needs, so that it can stand alone in an answer."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

from stages.corpus.rewrite.texts import Code

MAX_HELPERS = 2
Function = ast.FunctionDef | ast.AsyncFunctionDef
_BUILTINS = frozenset(dir(builtins)) | {"const"}


class Program:
    """The top level of a program, by the names it defines."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self._defined: dict[str, list[ast.stmt]] = {}
        for statement in code.tree.body:
            for name in _names_defined(statement):
                self._defined.setdefault(name, []).append(statement)

    def functions(self) -> Iterator[Function]:
        """The functions of the top level that are defined once and have no decorator."""
        for statement in self.code.tree.body:
            plain = isinstance(statement, Function) and not statement.decorator_list
            if plain and isinstance(statement, Function) and len(self._defined[statement.name]) == 1:
                yield statement

    def alone(self, function: Function) -> str | None:
        """The function led by the imports, constants and up to two helpers that it needs.

        None where it needs anything else of the program: a class, a variable that changes, an object made at the top.
        """
        needed: list[ast.stmt] = []
        waiting: list[ast.stmt] = [function]
        used: set[str] = set()
        while waiting:
            statement = waiting.pop()
            if statement in needed:
                continue
            needed.append(statement)
            if any(isinstance(node, ast.Global | ast.Nonlocal) for node in ast.walk(statement)):
                return None
            for name in _names_used(statement):
                used.add(name)
                found = self._defined.get(name, [])
                if not found and name not in _BUILTINS:
                    return None
                if found and (len(found) != 1 or not _may_come_along(found[0])):
                    return None
                waiting += found
        if sum(isinstance(statement, Function) for statement in needed) > 1 + MAX_HELPERS:
            return None
        return self._written(needed, used)

    def _written(self, needed: list[ast.stmt], used: set[str]) -> str:
        ordered = sorted(needed, key=lambda statement: statement.lineno)
        imports = [self._import(each, used) for each in ordered if isinstance(each, ast.Import | ast.ImportFrom)]
        constants = [self._lines(each) for each in ordered if isinstance(each, ast.Assign)]
        functions = [self._lines(each) for each in ordered if isinstance(each, Function)]
        heads = ["\n".join(part) for part in (imports, constants) if part]
        return "\n\n\n".join(["\n\n".join(heads), *functions] if heads else functions) + "\n"

    def _import(self, statement: ast.Import | ast.ImportFrom, used: set[str]) -> str:
        """The import with only those names that are used."""
        names = [alias for alias in statement.names if (alias.asname or alias.name.partition(".")[0]) in used]
        listed = ", ".join(f"{alias.name} as {alias.asname}" if alias.asname else alias.name for alias in names)
        return (
            f"from {statement.module} import {listed}" if isinstance(statement, ast.ImportFrom) else f"import {listed}"
        )

    def _lines(self, statement: ast.stmt) -> str:
        """The whole lines of a statement, with the comment that may end the last."""
        return "".join(self.code.lines[statement.lineno - 1 : statement.end_lineno]).rstrip("\n")


def _may_come_along(statement: ast.stmt) -> bool:
    """Imports, helpers, and constants that are made of numbers, texts and other constants."""
    match statement:
        case ast.Import():
            return True
        case ast.ImportFrom(names=names, level=level):
            return level == 0 and all(alias.name != "*" for alias in names)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return not statement.decorator_list
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            made_of = (
                *(ast.Constant, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop),
                *(ast.Tuple, ast.List, ast.Dict),
            )
            parts = list(ast.walk(value))
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "const":
                parts = [part for part in parts if part is not value]
            return name.isupper() and all(isinstance(part, made_of) for part in parts)
    return False


def _names_defined(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in names)
        case _:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id


def _names_used(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement reads and does not bind itself; imports use nothing."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return
    bound: set[str] = set()
    for node in ast.walk(statement):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                bound.add(name)
            case ast.ExceptHandler(name=str() as name) | ast.FunctionDef(name=name):
                bound.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                bound.update(alias.asname or alias.name.partition(".")[0] for alias in names)
    loads = (node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    yield from sorted(set(loads) - bound)
