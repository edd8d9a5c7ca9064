"""What the expressions of a program stand for, told from its source alone.

A value is followed from where it is made (`i2c = I2C(0)`) through variables, attributes of the program's own classes,
lists, loops and what its functions return. A name that gets values of different kinds is of no known kind, and so is a
parameter.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stages.evaluation.api_names import Api, Entry
from stages.evaluation.api_scopes import Given, Scope, Scopes, last_name, walk_scope

MAX_DEPTH = 40
TEXTS = ("builtins.str", "builtins.bytes")
SLICED = (*TEXTS, "builtins.bytearray", "builtins.memoryview", "builtins.list", "builtins.tuple")
ITEMS = {"builtins.str": "str", "builtins.bytes": "int", "builtins.bytearray": "int", "builtins.range": "int"}
# Decorators that leave what a function gives as it is.
PLAIN = {"staticmethod", "classmethod", "native", "viper"}


@dataclass(frozen=True)
class Value:
    """What an expression may stand for.

    `kind` is module, class, object (an instance of the API's class `name`), function or coroutine (that gives an object
    of the type `name`), awaitable (of `item`), or one of the program's own: own class, own object, own function; none
    for None. `item` is what a collection holds.
    """

    kind: str
    name: str = ""
    item: Value | None = None
    node: Any = None


NONE = Value("none")


class Values:
    """The values of one program."""

    def __init__(self, tree: ast.Module, api: Api) -> None:
        self.api, self.scopes = api, Scopes(tree)
        self.found: dict[tuple[ast.AST, Scope], Value | None] = {}
        self.depth = 0
        self.any_name = False  # whether everything of a module that is not known was imported
        for module, scope in self.scopes.starred:
            known = self.api.module(module)
            self.any_name = self.any_name or known is None
            for name in self.api.modules.get(known or "", {}).get("names", ()):
                scope.bind(name, Given("from", name=name, module=module))

    def of(self, node: ast.expr, scope: Scope) -> Value | None:
        """What an expression stands for, or None where that is not known."""
        key = (node, scope)
        if key not in self.found:
            self.found[key] = None  # what leads back to itself is not known
            self.found[key] = self._evaluated(node, scope)
        return self.found[key]

    def lineage(self, node: ast.ClassDef) -> tuple[list[Scope], list[str]]:
        """The program's own classes that a class is made of, and those of the API: none where a base is not known."""
        own, foreign, waiting = [self.scopes.of[node]], [], [node]
        while waiting and len(own) < MAX_DEPTH:
            node = waiting.pop(0)
            for base in node.bases:
                found = self.of(base, self.scopes.of[node].parent or self.scopes.module)
                if found and found.kind == "class":
                    foreign.append(found.name)
                elif found and found.kind == "own class":
                    if self.scopes.of[found.node] not in own:
                        own.append(self.scopes.of[found.node])
                        waiting.append(found.node)
                else:
                    return own, []
        return own, foreign

    def _evaluated(self, node: ast.expr, scope: Scope) -> Value | None:
        match node:
            case ast.Constant(value=value):
                return NONE if value is None else self._object(type(value).__name__)
            case ast.JoinedStr():
                return self._object("str")
            case ast.Name(id=name):
                return self._held(self._named(name, scope), name)
            case ast.Attribute(value=base, attr=name):
                return self._held(self._attribute(self.of(base, scope), name), name)
            case ast.Call():
                return self._call(node, scope)
            case ast.Await(value=inner):
                found = self.of(inner, scope)
                return found.item if found and found.kind == "awaitable" else None
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                return self._collection(type(node).__name__.lower(), parts, scope)
            case ast.Dict(values=parts):
                return self._collection("dict", parts, scope)
            case ast.ListComp() | ast.SetComp():
                kind = "list" if isinstance(node, ast.ListComp) else "set"
                return self._collection(kind, [node.elt], self.scopes.of[node])
            case ast.DictComp():
                return self._collection("dict", [node.value], self.scopes.of[node])
            case ast.Subscript():
                return self._subscript(node, scope)
            case ast.IfExp(body=one, orelse=other):
                return self._agreed(Given("value", part, scope) for part in (one, other))
            case ast.BoolOp(values=parts):
                return self._agreed(Given("value", part, scope) for part in parts)
            case ast.NamedExpr(value=inner):
                return self.of(inner, scope)
            case ast.Compare() | ast.UnaryOp(op=ast.Not()):
                return self._object("bool")
            case ast.BinOp(left=left, right=right):
                return self._operation(self.of(left, scope), node.op, self.of(right, scope))
        return None

    def _given(self, given: Given) -> Value | None:
        """The value that a name gets."""
        match given:
            case Given(how="value", node=node, scope=Scope() as scope):
                return self.of(node, scope)
            case Given(how="item", of=Given() as whole):
                found = self._given(whole)
                return found.item if found and found.kind == "object" else None
            case Given(how="each", node=node, scope=Scope() as scope):
                return self._each(node, scope)
            case Given(how="named", name=name):
                return self._object(name)
            case Given(how="import", name=name):
                module = self.api.module(name)
                return Value("module", module) if module else None
            case Given(how="from", name=name, module=module):
                known = self.api.module(module)
                return self._of_entry(self.api.in_module(known, name) if known else None)
            case Given(how="function", node=node):
                return self._function(node)
            case Given(how="class" | "class self", node=node):
                return Value("own class", node=node)
            case Given(how="self", node=node):
                return Value("own object", node=node)
            case Given(how="parameter", node=ast.arg(annotation=ast.expr() as kind), scope=Scope() as scope):
                return self._instance(self.of(kind, scope))
            case Given(how="caught", node=node, scope=Scope() as scope):
                return self._caught(node, scope)
            case Given(how="augmented", node=node, scope=Scope() as scope):
                found = self.of(node.value, scope)
                return found if found and found.name in TEXTS and isinstance(node.op, ast.Add) else None
        return None

    def _agreed(self, several: Iterable[Given]) -> Value | None:
        """The one value that all of them give, None aside."""
        if self.depth > MAX_DEPTH:
            return None
        self.depth += 1
        try:
            values = {self._given(given) for given in several}
        finally:
            self.depth -= 1
        values.discard(NONE)
        return values.pop() if len(values) == 1 else None if values else NONE

    def _object(self, type: str) -> Value | None:
        """An object of a type of the index, `list[str]`."""
        if type == "None":
            return NONE
        name, _, item = type.partition("[")
        full = self.api.full(name)
        return Value("object", full, self._object(item.rstrip("]")) if item else None) if full else None

    def _of_entry(self, entry: Entry | None) -> Value | None:
        kinds = {"m": "module", "c": "class", "f": "function", "a": "coroutine"}
        if entry is None:
            return None
        return Value(kinds[entry.kind], entry.type) if entry.kind in kinds else self._object(entry.type)

    def _held(self, value: Value | None, name: str) -> Value | None:
        """A variable; of a collection that the program adds to, nothing is known of what it holds."""
        grows = value and value.item and value.kind == "object" and name in self.scopes.grown
        return Value(value.kind, value.name) if value and grows else value

    def _named(self, name: str, scope: Scope) -> Value | None:
        if found := scope.find(name):
            return self._agreed(found.names[name])
        return None if self.any_name else self._of_entry(self.api.in_module("builtins", name))

    def _attribute(self, base: Value | None, name: str) -> Value | None:
        match base:
            case Value(kind="module", name=module):
                return self._of_entry(self.api.in_module(module, name))
            case Value(kind="class" | "object", name=of):
                return self._of_entry(self.api.in_class(of, name))
            case Value(kind="own class" | "own object", node=node):
                own, foreign = self.lineage(node)
                for scope in own:
                    if several := scope.attributes.get(name, []) + scope.names.get(name, []):
                        return self._agreed(several)
                return self._of_entry(next((found for of in foreign if (found := self.api.in_class(of, name))), None))
        return None

    def _call(self, node: ast.Call, scope: Scope) -> Value | None:
        match node:
            case ast.Call(func=ast.Name(id="super")):
                return self._super(scope)
            case ast.Call(func=ast.Name(id="const") | ast.Attribute(attr="const"), args=[value]):
                return self.of(value, scope)
            case ast.Call(func=ast.Name(id="list" | "tuple" | "sorted" | "set"), args=[over]):
                whole = self._called(self.of(node.func, scope))
                return whole and Value(whole.kind, whole.name, self._each(over, scope), whole.node)
        return self._called(self.of(node.func, scope))

    def _called(self, found: Value | None) -> Value | None:
        match found:
            case Value(kind="class") | Value(kind="own class"):
                return self._instance(found)
            case Value(kind="function", name=type):
                return self._object(type)
            case Value(kind="coroutine", name=type):
                return Value("awaitable", item=self._object(type))
            case Value(kind="own function", node=ast.FunctionDef() as node):
                return self._returned(node)
            case Value(kind="own function", node=ast.AsyncFunctionDef() as node):
                return Value("awaitable", item=self._returned(node))
        return None

    def _instance(self, found: Value | None) -> Value | None:
        if found and found.kind == "own class":
            return Value("own object", node=found.node)
        return (
            Value("object", found.name) if found and found.kind == "class" and found.name != "builtins.type" else None
        )

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Value | None:
        names = {last_name(decorator) for decorator in node.decorator_list}
        if names == {"property"}:
            return self._returned(node)
        return Value("own function", node=node) if names <= PLAIN else None

    def _returned(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Value | None:
        here = [*walk_scope(node.body)]
        if any(isinstance(part, ast.Yield | ast.YieldFrom) for part in here):
            return None
        scope, given = (
            self.scopes.of[node],
            [part.value for part in here if isinstance(part, ast.Return) and part.value],
        )
        return self._agreed(Given("value", value, scope) for value in given)

    def _super(self, scope: Scope) -> Value | None:
        within: Scope | None = scope
        while within and within.kind != "class":
            within = within.parent
        match within:
            case Scope(node=ast.ClassDef(bases=[base]), parent=Scope() as around):
                return self._instance(self.of(base, around))
        return None

    def _caught(self, node: ast.ExceptHandler, scope: Scope) -> Value | None:
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type] if node.type else []
        found = [self.of(kind, scope) for kind in kinds]
        if len(found) > 1 and all(kind and kind.name.startswith("builtins.") for kind in found):
            return self._object("BaseException")
        return self._instance(found[0]) if len(found) == 1 else None

    def _each(self, over: ast.expr, scope: Scope) -> Value | None:
        """What a loop over something gives."""
        match over:
            case ast.Call(func=ast.Attribute(value=inner, attr="values"), args=[]):
                return self._given(Given("item", of=Given("value", inner, scope)))
            case ast.Call(func=ast.Name(id="reversed" | "iter"), args=[inner]):
                return self._each(inner, scope)
        found = self.of(over, scope)
        if not found or found.kind != "object" or found.name == "builtins.dict":
            return None
        return found.item or self._object(ITEMS.get(found.name, ""))

    def _collection(self, kind: str, parts: Iterable[ast.expr], scope: Scope) -> Value | None:
        item = self._agreed(Given("value", part, scope) for part in parts)
        return Value("object", f"builtins.{kind}", None if item == NONE else item)

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Value | None:
        found = self.of(node.value, scope)
        if not found or found.kind != "object":
            return None
        if isinstance(node.slice, ast.Slice):
            return found if found.name in SLICED else None
        return found.item or self._object(ITEMS.get(found.name, ""))

    def _operation(self, left: Value | None, op: ast.operator, right: Value | None) -> Value | None:
        one, other = (found.name if found and found.kind == "object" else "" for found in (left, right))
        if one in TEXTS and isinstance(op, ast.Mod | ast.Add | ast.Mult):
            return left
        if other in TEXTS and isinstance(op, ast.Add | ast.Mult):
            return right
        if one == "builtins.list" and isinstance(op, ast.Mult):
            return left
        return left if one == other == "builtins.int" and not isinstance(op, ast.Div | ast.Pow) else None
