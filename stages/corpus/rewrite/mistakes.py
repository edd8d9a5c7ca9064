"""Mistakes in Python that beginners make on a board: each with what one sees of it and why.

A mistake is a function from a program to the ways of making it there. Every text has to be true for every program it
is made of: so the conditions are narrow, and the error messages are those that MicroPython gives.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stages.corpus.rewrite.bindings import number_of
from stages.corpus.rewrite.texts import Code, Edit


@dataclass(frozen=True)
class Bug:
    """A mistake at one place: what breaks the program, what one then sees, and the cause with its cure."""

    kind: str
    edit: Edit
    symptom: str
    cause: str


Mistake = Callable[[Code], Iterator[Bug]]


def replaced(code: Code, node: ast.expr | ast.stmt, new: str) -> Edit:
    return Edit(code.text, *code.span(node), new)


def missing_import(code: Code) -> Iterator[Bug]:
    """A name that was never imported."""
    loads = [node.id for node in ast.walk(code.tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    for statement in code.tree.body:
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        # The compiler knows `const` and the decorators of `micropython` even where they are not imported.
        names = set(loads) - {"const", "micropython"}
        plain = [alias for alias in statement.names if alias.asname is None and alias.name in names]
        for alias in plain:
            others = [other for other in statement.names if other is not alias]
            if isinstance(statement, ast.ImportFrom):
                new = f"from {statement.module} import {', '.join(map(ast.unparse, others))}" if others else ""
                cure = f"import it with `from {statement.module} import {alias.name}`"
            else:
                new = f"import {', '.join(map(ast.unparse, others))}" if others else ""
                cure = f"`import {alias.name}` belongs at the top"
            start, end = code.span(statement)
            if not new:
                end = min(end + 1, code.start + len(code.content))  # with its line end
            if statement.lineno == statement.end_lineno:
                yield Bug(
                    "missing import",
                    Edit(code.text, start, end, new),
                    f"It stops with `NameError: name '{alias.name}' isn't defined`.",
                    f"`{alias.name}` is used but never imported; {cure}.",
                )


def assigns_in_a_condition(code: Code) -> Iterator[Bug]:
    """`if x = 1:`"""
    for node in ast.walk(code.tree):
        if not isinstance(node, ast.If | ast.While):
            continue
        match node.test:
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
                new = f"{code.source(left)} = {code.source(right)}"
                if "\n" not in new:
                    yield Bug(
                        "= for ==",
                        replaced(code, node.test, new),
                        "It does not even start: `SyntaxError: invalid syntax`.",
                        f"A single `=` assigns, and a condition cannot do that; `{code.source(node.test)}` compares.",
                    )


def compares_instead_of_assigning(code: Code) -> Iterator[Bug]:
    """`last == now` as a statement, of a variable that keeps its first value then."""
    shared = {
        name for node in ast.walk(code.tree) if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names
    }
    for scope in _scopes(code.tree):
        assigned: dict[str, list[ast.Assign]] = {}
        others: set[str] = set()
        for node in _own_nodes(scope):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)]):
                    assigned.setdefault(name, []).append(node)
                case ast.AugAssign(target=ast.Name(id=name)) | ast.For(target=ast.Name(id=name)):
                    others.add(name)
        for name, places in assigned.items():
            first, last = min(places, key=_line), max(places, key=_line)
            if len(places) != 2 or name in others | shared or not isinstance(first.value, ast.Constant):
                continue
            is_simple = isinstance(last.value, ast.Name | ast.Constant | ast.Attribute | ast.BinOp)
            if first in getattr(scope, "body", ()) and is_simple and "\n" not in code.source(last):
                wrong = f"{name} == {code.source(last.value)}"
                yield Bug(
                    "== for =",
                    replaced(code, last, wrong),
                    f"`{name}` always stays {code.source(first.value)}, as if nothing were ever stored in it.",
                    f"`{wrong}` only compares and throws the result away; `{code.source(last)}` assigns.",
                )


def runs_past_the_end(code: Code) -> Iterator[Bug]:
    """`range(len(x) + 1)`, and `range(1, len(x))`."""
    for node in ast.walk(code.tree):
        match node:
            case ast.For(target=ast.Name(id=index), iter=ast.Call(func=ast.Name(id="range"), args=[length])):
                match length:
                    case ast.Call(func=ast.Name(id="len"), args=[ast.Name(id=items)]):
                        pass
                    case _:
                        continue
                inside = " ".join(code.source(statement) for statement in node.body)
                if f"{items}[{index}]" not in inside or re.search(rf"\b{index}\s*[-+]", inside):
                    continue
                right = code.source(node.iter)
                yield Bug(
                    "off by one",
                    replaced(code, node.iter, f"range(len({items}) + 1)"),
                    "At the end of the loop it stops with an `IndexError`: index out of range.",
                    f"The indexes of `{items}` go from 0 to `len({items}) - 1`; `range(len({items}) + 1)` gives one"
                    f" more. `{right}` ends in time.",
                )
                yield Bug(
                    "off by one",
                    replaced(code, node.iter, f"range(1, len({items}))"),
                    f"The first element of `{items}` is always left out.",
                    f"Indexes begin at 0, but `range(1, len({items}))` begins at 1; use `{right}`.",
                )


def counts_down_with_a_positive_step(code: Code) -> Iterator[Bug]:
    """`range(10, 0, 1)` is empty."""
    for node in ast.walk(code.tree):
        match node:
            case ast.For(
                iter=ast.Call(
                    func=ast.Name(id="range"), args=[ast.Constant() as start, stop, ast.UnaryOp(op=ast.USub()) as step]
                )
            ):
                last = re.fullmatch(r"-?\d+", ast.unparse(stop))
                if last and int(last[0]) < (number_of(start) or 0):
                    wrong = f"range({code.source(start)}, {code.source(stop)}, {code.source(step.operand)})"
                    yield Bug(
                        "step of the wrong sign",
                        replaced(code, node.iter, wrong),
                        f"The loop over `{wrong}` is never entered.",
                        f"To count down, the step has to be negative: `{code.source(node.iter)}`.",
                    )


def missing_self(code: Code) -> Iterator[Bug]:
    """A method without `self`, called with its arguments; and an attribute read as if it were a variable."""
    known = {node.id for node in ast.walk(code.tree) if isinstance(node, ast.Name)}
    known |= {node.arg for node in ast.walk(code.tree) if isinstance(node, ast.arg)}
    calls = [
        node.func.attr
        for node in ast.walk(code.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    for node in ast.walk(code.tree):
        match node:
            case ast.ClassDef(body=body):
                for method in body:
                    if isinstance(method, ast.FunctionDef) and not method.decorator_list and method.name in calls:
                        yield from _without_self(code, method)
            case ast.Return(value=ast.Attribute(value=ast.Name(id="self"), attr=name)) if name not in known:
                yield Bug(
                    "missing self",
                    Edit(code.text, *code.span(node), f"return {name}"),
                    f"It stops with `NameError: name '{name}' isn't defined`.",
                    f"`{name}` belongs to the object and is no variable of the method: write `self.{name}`.",
                )


def _without_self(code: Code, method: ast.FunctionDef) -> Iterator[Bug]:
    arguments = method.args
    names = [argument.arg for argument in arguments.args]
    special = arguments.defaults or arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs
    if names[:1] != ["self"] or special or any(argument.annotation for argument in arguments.args):
        return
    count = len(names) - 1
    head = f"def {method.name}({', '.join(names)})"
    wrong = f"def {method.name}({', '.join(names[1:])})"
    start, _ = code.span(method)
    if code.content[start - code.start :].startswith(head):
        yield Bug(
            "missing self",
            Edit(code.text, start, start + len(head), wrong),
            f"Calling `{method.name}` fails: `TypeError: function takes {count} positional arguments but {count + 1}"
            " were given`.",
            f"A method gets its object as the first argument, and `{method.name}` has no parameter for it: `{head}`.",
        )


def missing_await(code: Code) -> Iterator[Bug]:
    """`asyncio.sleep(1)` without `await` pauses nothing."""
    for loop in ast.walk(code.tree):
        if not isinstance(loop, ast.While):
            continue
        awaits = [node for node in ast.walk(loop) if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)]
        forever = isinstance(loop.test, ast.Constant) and bool(loop.test.value)
        leaves = any(isinstance(node, ast.Break | ast.Return | ast.Raise) for node in ast.walk(loop))
        for node in ast.walk(loop):
            match node:
                case ast.Expr(
                    value=ast.Await(value=ast.Call(func=ast.Attribute(attr="sleep" | "sleep_ms"))) as waiting
                ):
                    call = code.source(waiting.value)
                    alone = len(awaits) == 1 and forever and not leaves
                    yield Bug(
                        "missing await",
                        replaced(code, waiting, call),
                        "Nothing else runs any more: the loop never lets the other tasks have their turn."
                        if alone
                        else f"The program does not pause at `{call}`.",
                        f"Without `await` the call only makes a coroutine that is never run; `await {call}` pauses the"
                        " task and lets others run.",
                    )


def missing_call(code: Code) -> Iterator[Bug]:
    """`led.toggle` without parentheses."""
    for node in ast.walk(code.tree):
        match node:
            case ast.Expr(value=ast.Call(func=ast.Attribute() as method, args=[], keywords=[])):
                name = code.source(method)
                if re.fullmatch(r"[\w.]+", name):
                    yield Bug(
                        "missing parentheses",
                        replaced(code, node, name),
                        f"`{name}` seems to do nothing.",
                        f"Without parentheses the method is only named, not called: `{name}()`.",
                    )


def missing_global(code: Code) -> Iterator[Bug]:
    """A function that counts in a variable of the module."""
    for function in ast.walk(code.tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        counted = {
            node.target.id
            for node in ast.walk(function)
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)
        }
        for statement in function.body:
            if isinstance(statement, ast.Global) and len(statement.names) == 1 and statement.names[0] in counted:
                name = statement.names[0]
                _, end = code.span(statement)
                line = code.offset(statement.lineno, 0)
                follows = code.content[end - code.start : end - code.start + 1] == "\n"
                if follows and len(function.body) > 1:
                    yield Bug(
                        "missing global",
                        Edit(code.text, line, end + 1, ""),
                        "It stops with `NameError: local variable referenced before assignment`.",
                        f"`{function.name}` assigns to `{name}`, which makes it a local variable; `global {name}` says"
                        " that the one of the module is meant.",
                    )


def missing_return(code: Code) -> Iterator[Bug]:
    """A result that is computed and dropped."""
    for function in code.tree.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
        yields = any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function))
        last = function.body[-1]
        if yields or returns != [last] or not isinstance(last, ast.Return) or last.value is None:
            continue
        if isinstance(last.value, ast.Constant):
            continue
        value = code.source(last.value)
        if "\n" not in value:
            yield Bug(
                "missing return",
                replaced(code, last, value),
                f"`{function.name}` always gives `None`.",
                f"The result is computed but not handed back: the last line has to be `return {value}`.",
            )


def missing_colon(code: Code) -> Iterator[Bug]:
    """A block without the colon before it."""
    for node in ast.walk(code.tree):
        if isinstance(node, ast.While | ast.For | ast.If | ast.FunctionDef) and node.body[0].lineno > node.lineno:
            line = code.lines[node.lineno - 1]
            text = line.rstrip("\n")
            if text.endswith(":") and text.strip().startswith(("while ", "for ", "if ", "def ")):
                end = code.offset(node.lineno, len(text))
                yield Bug(
                    "missing colon",
                    Edit(code.text, end - 1, end, ""),
                    "It does not even start: `SyntaxError: invalid syntax`.",
                    f"The line that opens a block ends with a colon: `{text.strip()}`.",
                )


def _scopes(tree: ast.Module) -> Iterator[ast.Module | ast.FunctionDef]:
    yield tree
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """What belongs to a scope and not to a function or class within it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield child
            yield from _own_nodes(child)


def _line(node: ast.stmt) -> int:
    return node.lineno


MISTAKES: tuple[Mistake, ...] = (
    *(missing_import, assigns_in_a_condition, compares_instead_of_assigning, runs_past_the_end),
    *(counts_down_with_a_positive_step, missing_self, missing_await, missing_call, missing_global, missing_return),
    missing_colon,
)
