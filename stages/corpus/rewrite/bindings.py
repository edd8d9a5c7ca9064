"""What is bound to the names of programs, as far as their text says: by assignments, loops, parameters.

A step towards following a value back to where it is written (`pinflow`). The programs share one module.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# How a value is taken from an expression: by an index, as "each" element or key, as one of the "values".
Steps = tuple[int | str, ...]
Bound = tuple[ast.expr, Steps]


@dataclass(eq=False)
class Scope:
    """The names of a module, function, class or comprehension, each with all that is bound to it."""

    parent: Scope | None
    names: dict[str, list[Bound]] = field(default_factory=dict)
    of_class: bool = False

    def bind(self, name: str, value: ast.expr, steps: Steps) -> None:
        self.names.setdefault(name, []).append((value, steps))


@dataclass(frozen=True)
class Callable:
    """A function or class of the text; `returns` are what a function gives back."""

    scope: Scope
    parameters: tuple[str, ...]
    returns: tuple[ast.expr, ...]


class Bindings:
    """Reads programs.

    `callables` are their functions, methods and classes by name, `calls` all calls. `described` are values
    with the name of the variable, parameter, attribute or key that holds them, `compared` numbers with the
    name of what they are compared to. `numbers` are all integers, `shifts` those that shift.
    """

    def __init__(self, programs: Iterable[ast.Module]) -> None:
        self.callables: dict[str, list[Callable]] = {}
        self.calls: list[ast.Call] = []
        self.described: list[tuple[str, ast.expr]] = []
        self.compared: list[tuple[str, ast.Constant]] = []
        self.numbers: set[int] = set()
        self.shifts: set[int] = set()
        self._module = Scope(None)
        self._attributes = Scope(None)
        self._scope_of: dict[int, Scope] = {}
        for program in programs:
            for statement in program.body:
                self._collect(statement, self._module)
        for call in self.calls:
            self._pass_arguments(call)

    def of_name(self, node: ast.Name) -> Sequence[Bound]:
        """What a name in the programs may be: what is bound to it in the innermost scope that binds it."""
        scope = self._scope_of.get(id(node))
        while scope is not None:
            if node.id in scope.names:
                return scope.names[node.id]
            scope = scope.parent
        return ()

    def of_attribute(self, name: str) -> Sequence[Bound]:
        """What an attribute may be, whatever it is an attribute of."""
        return self._attributes.names.get(name) or self._module.names.get(name) or ()

    def _collect(self, node: ast.AST, scope: Scope) -> None:
        inner = scope
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                inner = self._enter_function(node, scope)
            case ast.ClassDef():
                inner = Scope(scope, of_class=True)
                self._enter_class(node, inner)
                return
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                inner = Scope(scope)
                for part in node.generators:
                    self._bind(part.target, part.iter, ("each",), inner)
            case ast.Assign():
                for target in node.targets:
                    self._bind(target, node.value, (), scope)
            case ast.AnnAssign(value=ast.expr() as value):
                self._bind(node.target, value, (), scope)
            case ast.NamedExpr():
                self._bind(node.target, node.value, (), scope)
            case ast.AugAssign():
                self._bind(node.target, ast.BinOp(node.target, node.op, node.value), (), scope)
            case ast.For() | ast.AsyncFor():
                self._bind(node.target, node.iter, ("each",), scope)
            case ast.Call():
                self.calls.append(node)
            case ast.Name():
                self._scope_of[id(node)] = scope
            case ast.Dict():
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        self.described.append((key.value, value))
            case ast.Compare(left=name, comparators=[ast.Constant() as value]) if number_of(value) is not None:
                self.compared.append((last_name(name), value))
            case ast.BinOp(op=ast.LShift(), right=ast.Constant(value=int() as bit)):
                self.shifts.add(bit)
            case ast.Constant(value=int() as number) if not isinstance(node.value, bool):
                self.numbers.add(number)
        for child in ast.iter_child_nodes(node):
            self._collect(child, inner)

    def _enter_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: Scope) -> Scope:
        inner = Scope(scope)
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        pairs = [
            *zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True),
            *((name, value) for name, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value),
        ]
        for parameter, default in pairs:
            inner.bind(parameter.arg, default, ())
            self.described.append((parameter.arg, default))
        if not isinstance(node, ast.Lambda):
            names = [parameter.arg for parameter in (*positional, *arguments.kwonlyargs)]
            if scope.of_class and names[:1] in (["self"], ["cls"]):
                names = names[1:]
            returns = tuple(part.value for part in ast.walk(node) if isinstance(part, ast.Return) and part.value)
            self.callables.setdefault(node.name, []).append(Callable(inner, tuple(names), returns))
        return inner

    def _enter_class(self, node: ast.ClassDef, inner: Scope) -> None:
        for child in ast.iter_child_nodes(node):
            self._collect(child, inner)
        for name, values in inner.names.items():
            for value, steps in values:
                self._attributes.bind(name, value, steps)
        own = any(isinstance(part, ast.FunctionDef) and part.name == "__init__" for part in node.body)
        inherited = [known for base in node.bases for known in self.callables.get(last_name(base), ())]
        for constructor in self.callables.get("__init__", [])[-1:] if own else inherited[:1]:
            made = Callable(constructor.scope, constructor.parameters, ())
            self.callables.setdefault(node.name, []).append(made)

    def _bind(self, target: ast.expr, value: ast.expr, steps: Steps, scope: Scope) -> None:
        match target:
            case ast.Name(id=name):
                scope.bind(name, value, steps)
                if not steps:
                    self.described.append((name, value))
            case ast.Attribute(attr=name):
                self._attributes.bind(name, value, steps)
                if not steps:
                    self.described.append((name, value))
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for index, part in enumerate(parts):
                    if not steps and isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(parts):
                        self._bind(part, value.elts[index], (), scope)
                    else:
                        self._bind(part, value, (*steps, index), scope)
            case ast.Subscript(value=container):
                self._bind(container, ast.List([value]), steps, scope)
            case ast.Starred(value=part):
                self._bind(part, value, (*steps, "rest"), scope)

    def _pass_arguments(self, call: ast.Call) -> None:
        for called in self.callables.get(last_name(call.func), ()):
            for position, argument in enumerate(call.args):
                if isinstance(argument, ast.Starred):
                    for name in called.parameters[position:]:
                        called.scope.bind(name, argument.value, ("each",))
                    break
                if position < len(called.parameters):
                    called.scope.bind(called.parameters[position], argument, ())
            for keyword in call.keywords:
                if keyword.arg in called.parameters:
                    called.scope.bind(keyword.arg or "", keyword.value, ())


def last_name(node: ast.AST) -> str:
    """`Pin` of `machine.Pin`; "" for what is no name."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def number_of(node: ast.expr) -> int | None:
    """The integer that an expression is, if it is one."""
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
