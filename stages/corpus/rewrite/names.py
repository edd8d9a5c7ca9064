"""What the names of a Python program stand for: which variable of which scope, and whether it may be renamed.

libcst says in which scope a name stands. Whose variable it is follows here from the language reference (4.2,
naming and binding): libcst orders accesses and assignments, and so finds two owners where a loop reads a
variable above the line that assigns it.
"""

from __future__ import annotations

import ast
import functools
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import libcst as cst
    from libcst.metadata import CodeSpan, ExpressionContext, Scope

# Decorators that leave a function to this program alone. Others may register it, or call it with keywords.
_PLAIN_DECORATOR = re.compile(
    r"property|staticmethod|classmethod|(micropython\.)?(native|viper)|\w+\.(setter|getter|deleter)"
)
_HOUSEKEEPING = re.compile(r"gc\.\w+\(.*\)|(micropython\.)?alloc_emergency_exception_buf\(.*\)|sys\.path\..*")
_WORD = re.compile(r"[^\W\d]\w*")
_RUN_TEXT = frozenset({"exec", "eval", "compile", "execfile"})
_TELL_NAMES = frozenset({"globals", "locals", "vars", "dir"})

Span = tuple[int, int]


@dataclass(eq=False)
class Variable:
    """One variable: its name, its places (start and end in bytes), what it is, whether its name must stay."""

    name: str
    places: list[Span] = field(default_factory=list)
    parameter: bool = False
    function: bool = False
    type_name: bool = False
    fixed: bool = False


@dataclass(frozen=True)
class Names:
    """The variables of a program, and where its comments and docstrings are (start and end in bytes).

    `others` counts the names that are no variable's: attributes, keywords of calls, imported names, builtins.
    `dynamic` says that the program finds variables by names that cannot be read from its text.
    """

    variables: list[Variable]
    others: Counter[str]
    notes: list[Span]
    dynamic: bool


@functools.lru_cache(1)  # the variants of one program come one after the other
def read_names(source: str) -> Names | None:
    """The names of a program; None where it cannot be parsed."""
    import libcst as cst

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in the program's strings
            ast.parse(source)  # refuses nesting so deep that libcst's parser would run out of stack and crash
            return _Reader(source).names()
    except (SyntaxError, cst.ParserSyntaxError, ValueError, MemoryError, RecursionError):
        return None


class _Reader:
    """Walks the tree once and notes what stands where; then gives each name to the scope that owns it."""

    def __init__(self, source: str) -> None:
        import libcst as cst
        from libcst import metadata

        self._cst, self._meta = cst, metadata
        self._module = cst.parse_module(source)
        wrapper = metadata.MetadataWrapper(self._module, unsafe_skip_copy=True)
        spans, contexts = metadata.ByteSpanPositionProvider, metadata.ExpressionContextProvider
        found: Mapping[Any, Any] = wrapper.resolve_many([metadata.ScopeProvider, contexts, spans])
        self._scopes: Mapping[cst.CSTNode, Scope] = found[metadata.ScopeProvider]
        self._contexts: Mapping[cst.CSTNode, ExpressionContext] = found[contexts]
        self._spans: Mapping[cst.CSTNode, CodeSpan] = found[spans]

        self._uses: list[tuple[cst.Name, Scope]] = []
        self._bound: dict[Scope, set[str]] = {}
        self._stores: list[tuple[Scope, str]] = []
        self._declared: dict[tuple[Scope, str], str] = {}
        self._scope_instead: dict[cst.Name, Scope] = {}
        self._no_variable: set[cst.Name] = set()
        self._kinds: dict[cst.Name, str] = {}
        self._variables: dict[tuple[Scope, str], Variable] = {}

        self._fixed_nodes: set[cst.Name] = set()
        self._fixed_names: set[str] = set()
        self._keywords: set[str] = set()
        self._texts: set[str] = set()
        self._others: Counter[str] = Counter()
        self._notes: list[Span] = []
        self._optional: set[cst.Name] = set()
        self._harmless: set[cst.Name] = set()
        self._assembler_names: set[str] = set()
        self._in_assembler = self._in_annotation = False
        self._star_import = self._star_call = self._is_library = False
        self._asks_for_names = self._asks_for_doc = False

    def names(self) -> Names:
        self._visit(self._module)
        self._is_library = not any(map(self._acts, self._module.body))
        for scope, name in self._stores:
            declared = self._declared.get((scope, name))
            if declared != "nonlocal":
                self._bound.setdefault(scope.globals if declared else scope, set()).add(name)
        dynamic = False
        for node, scope in self._uses:
            owner = self._owner(scope, node.value)
            if owner is None:
                self._others[node.value] += 1
                dynamic |= node.value in _RUN_TEXT | _TELL_NAMES and node not in self._harmless
                continue
            variable = self._variables.setdefault((owner, node.value), Variable(node.value))
            variable.places.append(self._span(node))
            kind = self._kinds.get(node)
            variable.parameter |= kind == "parameter"
            variable.function |= kind == "function"
            variable.type_name |= kind == "class"
            variable.fixed |= node in self._fixed_nodes or (self._is_library and node in self._optional)
        for (owner, _), variable in self._variables.items():
            variable.fixed |= self._must_stay(owner, variable)
        notes = [] if self._asks_for_doc else self._notes
        return Names(list(self._variables.values()), self._others, notes, dynamic)

    def _must_stay(self, owner: Scope, variable: Variable) -> bool:
        name, of_module = variable.name, isinstance(owner, self._meta.GlobalScope)
        defined = variable.function or variable.type_name
        return (
            name.startswith("__")
            or name in self._fixed_names
            or isinstance(owner, self._meta.ClassScope)
            or (of_module and self._star_import)
            # A text that is just the name: an entry of __all__, a key of globals(), the name of a namedtuple.
            or ((of_module or variable.parameter) and name in self._texts)
            or (variable.parameter and (self._star_call or name in self._keywords))
            or (defined and self._asks_for_names)
            or (self._is_library and of_module and name[0] != "_" and (defined or name.isupper()))
        )

    def _acts(self, statement: cst.CSTNode) -> bool:
        """Whether a statement does more than define. A module without such a one is a library."""
        cst = self._cst
        if isinstance(statement, cst.If) and "__name__" in self._module.code_for_node(statement.test):
            return True
        if isinstance(statement, cst.SimpleStatementLine):
            values = [part.value for part in statement.body if isinstance(part, cst.Expr)]
            calls = [self._module.code_for_node(value) for value in values if isinstance(value, cst.Call)]
            return not all(map(_HOUSEKEEPING.fullmatch, calls))
        if isinstance(statement, cst.If | cst.Try | cst.IndentedBlock | cst.Else | cst.Finally):
            return any(map(self._acts, statement.children))
        return isinstance(statement, cst.While | cst.For | cst.With)

    def _owner(self, scope: Scope, name: str) -> Scope | None:
        """The scope whose variable the name means; None for builtins and whatever is assigned nowhere."""
        for current in self._lookup(scope, name):
            if name not in self._bound.get(current, ()):
                continue
            if not isinstance(current, self._meta.ClassScope):
                return current
            # Until a class body has assigned its own variable it reads the outer one: both keep their name.
            outer = self._owner(current.parent, name)
            if outer is not None:
                self._variables.setdefault((outer, name), Variable(name)).fixed = True
            if current is scope:
                return current
        return None

    def _lookup(self, scope: Scope, name: str) -> Iterator[Scope]:
        """The scopes in which a name is looked for, from inside. Functions do not see the class around."""
        current, sees_class = scope, True
        while not isinstance(current, self._meta.BuiltinScope):
            declared = self._declared.get((current, name))
            if declared == "global":
                yield current.globals
                return
            if declared is None and (sees_class or not isinstance(current, self._meta.ClassScope)):
                yield current
            sees_class = sees_class and isinstance(current, self._meta.ComprehensionScope)
            current = current.parent

    def _span(self, node: cst.CSTNode) -> Span:
        span = self._spans[node]
        return span.start, span.start + span.length

    def _visit(self, node: cst.CSTNode) -> None:
        enter = getattr(self, "_visit_" + type(node).__name__, self._visit_children)
        enter(node)

    def _visit_children(self, node: cst.CSTNode) -> None:
        for child in node.children:
            self._visit(child)

    def _visit_Name(self, node: cst.Name) -> None:
        if node in self._no_variable:
            self._others[node.value] += 1
            return
        scope = self._scope_instead.get(node) or self._scopes[node]
        context, contexts = self._contexts.get(node), self._meta.ExpressionContext
        if node in self._kinds or context in (contexts.STORE, contexts.DEL):
            self._stores.append((scope, node.value))
        if self._in_assembler:
            self._fixed_names.add(node.value)
        self._asks_for_doc |= node.value == "__doc__"
        self._uses.append((node, scope))

    def _visit_Attribute(self, node: cst.Attribute) -> None:
        self._no_variable.add(node.attr)
        self._asks_for_names |= node.attr.value in ("__name__", "__qualname__")
        self._asks_for_doc |= node.attr.value == "__doc__"
        self._visit_children(node)

    def _visit_Assign(self, node: cst.Assign) -> None:
        """`self.speed = speed` reads best with one word: the parameter stays."""
        for target in node.targets:
            match target.target, node.value:
                case self._cst.Attribute(attr=attribute), self._cst.Name() as value if attribute.value == value.value:
                    self._fixed_nodes.add(value)
        self._visit_children(node)

    def _visit_Arg(self, node: cst.Arg) -> None:
        if node.keyword:
            self._keywords.add(node.keyword.value)
            self._no_variable.add(node.keyword)
        self._star_call |= node.star == "**"
        self._visit_children(node)

    def _visit_NamedExpr(self, node: cst.NamedExpr) -> None:
        target = self._cst.ensure_type(node.target, self._cst.Name)
        scope = self._scopes[target]
        while isinstance(scope, self._meta.ComprehensionScope):  # PEP 572: bound in the function around it
            scope = scope.parent
        self._scope_instead[target] = scope
        self._visit_children(node)

    def _visit_Global(self, node: cst.Global) -> None:
        self._declare(node, "global")

    def _visit_Nonlocal(self, node: cst.Nonlocal) -> None:
        self._declare(node, "nonlocal")

    def _declare(self, node: cst.Global | cst.Nonlocal, kind: str) -> None:
        for item in node.names:
            self._declared[self._scopes[node], item.name.value] = kind
            self._scope_instead[item.name] = self._scopes[node]
        self._visit_children(node)

    def _visit_Import(self, node: cst.Import | cst.ImportFrom) -> None:
        names = list(self._names_in(node))
        self._no_variable.update(names)
        self._fixed_names.update(name.value for name in names)
        if isinstance(node.names, self._cst.ImportStar):
            self._star_import = True
        else:
            for alias in node.names:
                if alias.evaluated_alias and alias.evaluated_name.split(".")[-1].startswith("asm_"):
                    self._assembler_names.add(alias.evaluated_alias)
        self._visit_children(node)

    _visit_ImportFrom = _visit_Import

    def _names_in(self, node: cst.CSTNode) -> Iterator[cst.Name]:
        if isinstance(node, self._cst.Name):
            yield node
        for child in node.children:
            yield from self._names_in(child)

    def _visit_ClassDef(self, node: cst.ClassDef) -> None:
        self._kinds[node.name] = "class"
        self._visit_children(node)

    def _visit_Param(self, node: cst.Param) -> None:
        self._kinds[node.name] = "parameter"
        if node.default is not None:
            self._optional.add(node.name)
        self._visit_children(node)

    def _visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self._kinds[node.name] = "function"
        outside = self._in_assembler
        for decorator in node.decorators:
            text = self._module.code_for_node(decorator.decorator)
            if any(word.startswith("asm_") or word in self._assembler_names for word in _WORD.findall(text)):
                self._in_assembler = True
            elif not _PLAIN_DECORATOR.fullmatch(text):
                self._fixed_nodes.add(node.name)
                self._fixed_nodes.update(self._parameters(node.params))
        self._visit_children(node)
        self._in_assembler = outside

    def _parameters(self, node: cst.Parameters) -> Iterator[cst.Name]:
        for child in node.children:
            if isinstance(child, self._cst.Param):
                yield child.name

    def _visit_Comment(self, node: cst.Comment) -> None:
        self._notes.append(self._span(node))

    def _visit_Expr(self, node: cst.Expr) -> None:
        if isinstance(node.value, self._cst.SimpleString):
            self._notes.append(self._span(node.value))
        else:
            self._visit_children(node)

    def _visit_SimpleString(self, node: cst.SimpleString) -> None:
        text = self._text(node)
        self._texts.add(text)
        if self._in_annotation:
            self._texts.update(_WORD.findall(text))

    def _visit_Annotation(self, node: cst.Annotation) -> None:
        self._in_annotation = True
        self._visit_children(node)
        self._in_annotation = False

    def _visit_FormattedStringExpression(self, node: cst.FormattedStringExpression) -> None:
        if node.equal is not None:  # f"{x=}" prints the name
            self._fixed_names.update(name.value for name in self._names_in(node))
        self._visit_children(node)

    def _visit_Call(self, node: cst.Call) -> None:
        called = node.func
        if isinstance(called, self._cst.Name) and node.args:
            first = node.args[0].value
            if called.value in _RUN_TEXT and isinstance(first, self._cst.SimpleString):
                self._fixed_names.update(_WORD.findall(self._text(first)))
                self._harmless.add(called)
            elif called.value in ("dir", "vars"):
                self._harmless.add(called)
        self._visit_children(node)

    def _visit_Subscript(self, node: cst.Subscript) -> None:
        """`globals()["led"]` names one variable."""
        called, index = node.value, node.slice[0].slice
        if (
            isinstance(called, self._cst.Call)
            and isinstance(called.func, self._cst.Name)
            and isinstance(index, self._cst.Index)
            and isinstance(index.value, self._cst.SimpleString)
            and called.func.value in _TELL_NAMES
        ):
            self._fixed_names.add(self._text(index.value))
            self._harmless.add(called.func)
        self._visit_children(node)

    def _text(self, node: cst.SimpleString) -> str:
        value: Any = node.evaluated_value
        return value if isinstance(value, str) else value.decode("latin-1")
