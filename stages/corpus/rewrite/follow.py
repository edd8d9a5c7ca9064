"""Numbers followed back from where a program uses them to where it writes them, if they have no other use."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from stages.corpus.rewrite.bindings import Bindings, last_name
from stages.corpus.rewrite.texts import Code, Doubt

_NUMBER = re.compile(r"\d[\d_]*(?:\.\d+)?")


class Numbers:
    """The numbers of one kind in the programs of a text: what is taken in by `enter`, and where it is written.

    `found` holds the literals by the id of their node, each with its program and the unit it was entered with.
    """

    def __init__(self, programs: Iterable[Code]) -> None:
        self.programs = tuple(programs)
        self.known = Bindings(code.tree for code in self.programs)
        self.found: dict[int, tuple[Code, ast.Constant, str]] = {}
        self._owner = {id(node): code for code in self.programs for node in ast.walk(code.tree)}
        self._followed: set[int] = set()
        self._names: set[str] = set()

    def enter(self, node: ast.expr, unit: str) -> None:
        """Follow an expression to the numbers it may be. Raises Doubt where it is anything but a number or its name."""
        if id(node) in self._followed:
            return
        self._followed.add(id(node))
        match node:
            case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
                self._record(node, unit)
            case ast.Name(id=name):
                bound = self.known.of_name(node)
                if not bound:
                    raise Doubt(f"a number that comes from elsewhere: {name}")
                self._names.add(name)
                for value, steps in bound:
                    if steps == ("each",) and isinstance(value, ast.Tuple | ast.List):
                        for element in value.elts:
                            self.enter(element, unit)
                    elif not steps:
                        self.enter(value, unit)
                    else:
                        raise Doubt("a number out of something else")
            case ast.Call(func=function, args=[value]) if last_name(function) == "const":
                self.enter(value, unit)
            case _:
                raise Doubt("a number that is computed")

    def _record(self, node: ast.Constant, unit: str) -> None:
        code = self._owner[id(node)]
        if not _NUMBER.fullmatch(code.source(node)):
            raise Doubt("a number inside of an f-string, or in another base")
        before = self.found.setdefault(id(node), (code, node, unit))
        if before[2] != unit:
            raise Doubt("a number in two units")

    def refuse_other_uses(self) -> None:
        """Raises Doubt where a name that was followed is read for anything else than to be printed."""
        for code in self.programs:
            printed = {
                id(part)
                for node in ast.walk(code.tree)
                if isinstance(node, ast.JoinedStr)
                or (isinstance(node, ast.Call) and last_name(node.func) in ("print", "format"))
                for part in ast.walk(node)
            }
            for node in ast.walk(code.tree):
                is_read = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in self._names
                if is_read and id(node) not in self._followed | printed:
                    raise Doubt("a number with another use")
                if (
                    isinstance(node, ast.Attribute | ast.keyword)
                    and (node.attr if isinstance(node, ast.Attribute) else node.arg) in self._names
                ):
                    raise Doubt("a number known from outside")
