"""The scopes of a program, and for each name what may be assigned to it; told from the source alone."""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
GROWING = ("append", "extend", "insert", "appendleft")


@dataclass(frozen=True)
class Given:
    """How a name gets its value, from the node seen in the scope.

    `how` is one of: value (of an expression), item (one of `of`), each (in a loop over it), named (`name` in the class
    of the index), import (the module `name`), from (`name` of the module in `module`), function, class, self (of a
    method of the class), class self, parameter, caught (by a handler), augmented, nothing (that could be told).
    """

    how: str
    node: Any = None
    scope: Scope | None = None
    name: str = ""
    module: str = ""
    of: Given | None = None


NOTHING = Given("nothing")


@dataclass(eq=False)
class Scope:
    """Names and what may be assigned to them; of a class, the attributes too that its methods set."""

    node: ast.AST
    parent: Scope | None = None
    kind: str = "function"
    names: dict[str, list[Given]] = field(default_factory=dict)
    attributes: dict[str, list[Given]] = field(default_factory=dict)
    outer: dict[str, Scope] = field(default_factory=dict)

    def bind(self, name: str, given: Given) -> None:
        self.outer.get(name, self).names.setdefault(name, []).append(given)

    def find(self, name: str) -> Scope | None:
        """The scope that a name is looked up in; those of a class are seen only from its own body."""
        scope: Scope | None = self
        while scope and not (name in scope.names and (scope is self or scope.kind != "class")):
            scope = scope.parent
        return scope


class Scopes:
    """All scopes of a program, by the node that opens them.

    `stored` are attributes that are set anywhere and methods of any class, `grown` names of what is added to,
    `tested` names that `hasattr` asks for. `starred` are the modules that everything is imported from.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.of: dict[ast.AST, Scope] = {}
        self.stored, self.grown, self.tested = set[str](), set[str](), set[str]()
        self.starred: list[tuple[str, Scope]] = []
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id="hasattr" | "getattr"), args=[_, ast.Constant(value=str() as name), *_]):
                    self.tested.add(name)
                case ast.Call(func=ast.Attribute(value=base, attr=name)) if name in GROWING:
                    self.grown.add(last_name(base))
                case ast.Subscript(value=base, ctx=ast.Store()):
                    self.grown.add(last_name(base))
                case ast.Attribute(attr=name, ctx=ast.Store()):
                    self.stored.add(name)
                case ast.ClassDef(body=body):
                    methods = (part for part in body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef))
                    self.stored |= {method.name for method in methods}
        self.module = self.of[tree] = Scope(tree, kind="module")
        self._fill(tree.body, self.module)

    def _fill(self, body: Iterable[ast.AST], scope: Scope) -> None:
        nodes = [*walk_scope(body)]
        for node in nodes:
            if isinstance(node, ast.Global):
                scope.outer |= dict.fromkeys(node.names, self.module)
            elif isinstance(node, ast.Nonlocal) and scope.parent:
                scope.outer |= {name: found for name in node.names if (found := scope.parent.find(name))}
        for node in nodes:
            self._bind(node, scope)

    def _bind(self, node: ast.AST, scope: Scope) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                self._bind_import(node, scope)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                scope.bind(node.name, Given("function", node))
                self._fill_function(node, scope)
            case ast.Lambda():
                self._fill_function(node, scope)
            case ast.ClassDef():
                inner = self.of[node] = Scope(node, scope, "class")
                scope.bind(node.name, Given("class", node))
                self._fill(node.body, inner)
            case ast.Assign():
                for target in node.targets:
                    self._bind_target(target, Given("value", node.value, scope), scope)
            case ast.AnnAssign(value=None):
                self._bind_target(node.target, NOTHING, scope)
            case ast.AnnAssign() | ast.NamedExpr():
                self._bind_target(node.target, Given("value", node.value, scope), scope)
            case ast.AugAssign():
                self._bind_target(node.target, Given("augmented", node, scope), scope)
            case ast.For() | ast.AsyncFor():
                self._bind_loop(node.target, node.iter, scope, scope)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    if item.optional_vars:
                        self._bind_target(item.optional_vars, Given("value", item.context_expr, scope), scope)
            case ast.ExceptHandler(name=str() as name):
                scope.bind(name, Given("caught", node, scope))
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                inner = self.of[node] = Scope(node, scope, "comprehension")
                for number, generator in enumerate(node.generators):
                    self._bind_loop(generator.target, generator.iter, inner, inner if number else scope)
                self._fill(inside(node), inner)

    def _bind_import(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        module = "" if isinstance(node, ast.Import) or node.level else str(node.module)
        for alias in node.names:
            if isinstance(node, ast.Import):
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                scope.bind(alias.asname or name, Given("import", name=name))
            elif alias.name == "*":
                self.starred.append((module, scope))
            else:
                scope.bind(alias.asname or alias.name, Given("from", name=alias.name, module=module))

    def _fill_function(self, node: Function, scope: Scope) -> None:
        inner = self.of[node] = Scope(node, scope)
        method = scope.kind == "class" and not isinstance(node, ast.Lambda)
        arguments = node.args
        for number, argument in enumerate([*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]):
            given = Given("parameter", argument, scope)
            if method and not number and not decorated(node, "staticmethod"):
                given = Given("class self" if decorated(node, "classmethod") else "self", scope.node)
            inner.bind(argument.arg, given)
        for rest in (arguments.vararg, arguments.kwarg):
            if rest:
                inner.bind(rest.arg, NOTHING)
        self._fill([node.body] if isinstance(node, ast.Lambda) else node.body, inner)

    def _bind_target(self, target: ast.expr, given: Given, scope: Scope) -> None:
        match target:
            case ast.Name(id=name):
                scope.bind(name, given)
            case ast.Attribute(value=ast.Name(id=owner), attr=attribute):
                of = _class_of(owner, scope)
                if of:
                    of.attributes.setdefault(attribute, []).append(given)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                value = given.node if given.how == "value" else None
                each = value.elts if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(parts) else None
                for number, part in enumerate(parts):
                    told = Given("value", each[number], given.scope) if each else Given("item", of=given)
                    self._bind_target(part, told, scope)
            case ast.Starred(value=part):
                self._bind_target(part, NOTHING, scope)

    def _bind_loop(self, target: ast.expr, over: ast.expr, scope: Scope, seen_from: Scope) -> None:
        """The names of a loop, `for i, led in enumerate(leds)` among them."""
        match over, target:
            case ast.Call(func=ast.Name(id="enumerate"), args=[inner, *_]), ast.Tuple(elts=[count, each]):
                self._bind_target(count, Given("named", name="int"), scope)
                self._bind_loop(each, inner, scope, seen_from)
            case ast.Call(func=ast.Name(id="zip"), args=inner), ast.Tuple(elts=parts) if len(inner) == len(parts):
                for part, of in zip(parts, inner, strict=True):
                    self._bind_loop(part, of, scope, seen_from)
            case ast.Call(func=ast.Attribute(value=of, attr="items"), args=[]), ast.Tuple(elts=[key, each]):
                self._bind_target(key, NOTHING, scope)
                self._bind_target(each, Given("item", of=Given("value", of, seen_from)), scope)
            case _:
                self._bind_target(target, Given("each", over, seen_from), scope)


def _class_of(owner: str, scope: Scope) -> Scope | None:
    """The class whose object `owner` is, where that is the first parameter of a method around."""
    within: Scope | None = scope
    while within and owner not in within.names:
        within = within.parent
    given = within.names[owner][0] if within else NOTHING
    return within.parent if within and given.how in ("self", "class self") else None


def last_name(node: ast.AST) -> str:
    """The last name of `a.b(c)`, which is b."""
    match node:
        case ast.Call(func=inner):
            return last_name(inner)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def decorated(node: Function, name: str) -> bool:
    return any(last_name(decorator) == name for decorator in getattr(node, "decorator_list", ()))


def defaults(node: Function) -> list[ast.expr]:
    """The default values of parameters, which belong to the scope around the function."""
    return [*node.args.defaults, *(default for default in node.args.kw_defaults if default)]


def inside(node: Comprehension) -> Iterator[ast.AST]:
    """What of a comprehension belongs to its own scope: all but what it first loops over."""
    for number, generator in enumerate(node.generators):
        yield generator.target
        if number:
            yield generator.iter
        yield from generator.ifs
    yield from (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)


def walk_scope(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of one scope: those that open another are among them, but nothing that is in these."""
    waiting = deque(body)
    while waiting:
        node = waiting.popleft()
        yield node
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                waiting += [*node.decorator_list, *defaults(node)]
            case ast.Lambda():
                waiting += defaults(node)
            case ast.ClassDef():
                waiting += [*node.decorator_list, *node.bases]
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                waiting.append(node.generators[0].iter)
            case _:
                waiting += ast.iter_child_nodes(node)
