"""Stub files (.pyi) as API documentation: each signature in a fence, its docstring as prose below it."""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from stages.corpus.readers.fences import fenced
from stages.corpus.readers.part import Part, Unreadable
from stages.corpus.readers.python import source_text, stated_licence
from stages.corpus.readers.rst import rst_markdown

OWN_PAGE_CHARS = 800
Function = ast.FunctionDef | ast.AsyncFunctionDef
_FOLDER = re.compile(r".*stubs.*|stdlib|typings|site-packages|src|\d+|.*-.*", re.IGNORECASE)
_PROVENANCE = re.compile(
    r"^(?:MicroPython module:|CPython module:|Module: ').*$\n?|^-{3,}\s*(?=\nModule: ')\n?", re.MULTILINE
)


def read_stub(data: bytes, path: str) -> Iterator[Part]:
    """A module's documentation, and that of each of its larger classes as a page of its own.

    Ports share most classes and differ in a few: by class, near-duplicates are found and dropped one by one, and a
    page begins with what it is about. Raises Unreadable for what is no Python
    and for packages like `_typeshed`, which document nothing that can be imported.
    """
    if any(part.startswith("_") for part in PurePosixPath(path).parts[:-1]):
        raise Unreadable("stub: of a private package, for type checkers only")
    source = source_text(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(f"stub: not Python: {type(error).__name__}: {error}") from None
    module, licence = module_name(path), stated_licence(source[:2000])
    prose = _prose(_docstring(tree), 2)
    pages = [[f"# {module}", *([prose] if prose else [])]]
    rest = _Members(module).blocks(tree.body, 2)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and _is_public(node.name):
            page = _class(node, module, 1)
            if len("\n\n".join(page)) >= OWN_PAGE_CHARS:
                pages.append(page)
            else:
                rest += _class(node, module, 2)
    pages[0] += rest
    for page in pages:
        if len(page) > 1:
            meta = {"title": page[0].lstrip("# "), "module": module}
            yield Part("\n\n".join(page) + "\n", "docs", meta, license=licence)


def module_name(path: str) -> str:
    """`machine` for `micropython_esp32_stubs/machine.pyi`, `umqtt.simple` for `stubs/umqtt/simple.pyi`."""
    parts = list(PurePosixPath(path).with_suffix("").parts)
    while len(parts) > 1 and _FOLDER.fullmatch(parts[0]):
        parts.pop(0)
    if len(parts) > 1 and parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def _class(node: ast.ClassDef, module: str, level: int) -> list[str]:
    bases = ", ".join(ast.unparse(base) for base in node.bases if ast.unparse(base) not in ("object", "Incomplete"))
    blocks = [f"{'#' * level} class {module}.{node.name}"]
    if bases:
        blocks.append(f"A subclass of `{bases}`.")
    prose = _prose(_docstring(node), level + 1)
    return blocks + ([prose] if prose else []) + _Members(node.name).blocks(node.body, level + 1)


class _Members:
    """Writes the functions, constants and attributes of a module or a class; overloads stand together."""

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def blocks(self, body: Sequence[ast.stmt], level: int) -> list[str]:
        found: list[str] = []
        undocumented: list[str] = []
        for signatures, doc in _documented(body):
            undocumented += signatures
            prose = _prose(doc, level + 1)
            if prose:
                found += [fenced("\n".join(undocumented), "python"), prose]
                undocumented = []
        return found + ([fenced("\n".join(undocumented), "python")] if undocumented else [])


def _documented(body: Sequence[ast.stmt]) -> Iterator[tuple[list[str], str]]:
    """The signatures that belong together, in order, with their docstrings joined."""
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for index, node in enumerate(body):
        following = body[index + 1] if index + 1 < len(body) else None
        if isinstance(node, Function) and _is_wanted(node):
            shown, doc = _signature(node), _docstring(node)
            key = f"def {node.name}"
        elif isinstance(node, ast.AnnAssign | ast.Assign) and (name := _constant(node)):
            shown, doc = ast.unparse(node), _text(following)
            key = f"={doc}" if doc else f"={name}"
        else:
            continue
        signatures, docs = groups.setdefault(key, ([], []))
        if shown not in signatures:
            signatures.append(shown)
        if doc and doc not in docs:
            docs.append(doc)
    for _, (signatures, docs) in sorted(groups.items(), key=lambda group: group[0] != "def __init__"):
        yield signatures, "\n\n".join(docs)


def _is_public(name: str) -> bool:
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def _is_wanted(node: Function) -> bool:
    """Whether a function says something: it is public and has a docstring, or types that are known."""
    if not _is_public(node.name):
        return False
    if _docstring(node):
        return True
    known = [a.annotation for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs] if a.annotation]
    return bool(known) or (node.returns is not None and ast.unparse(node.returns) not in ("Incomplete", "Any", "None"))


def _signature(node: Function) -> str:
    """The function without decorators (but property and its like) and body, on one line."""
    marks = [f"@{ast.unparse(mark)}\n" for mark in node.decorator_list
             if ast.unparse(mark) in ("property", "staticmethod", "classmethod")]  # fmt: skip
    start = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{''.join(marks)}{start} {node.name}({', '.join(_arguments(node.args))}){returns}: ..."


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    """The parameters as they are written by hand: `ast.unparse` puts no spaces around the defaults of typed ones."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    for index, (argument, default) in enumerate(zip(positional, defaults, strict=True), 1):
        yield _argument(argument, default)
        if index == len(arguments.posonlyargs):
            yield "/"
    if arguments.vararg:
        yield f"*{_argument(arguments.vararg, None)}"
    elif arguments.kwonlyargs:
        yield "*"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _argument(argument, default)
    if arguments.kwarg:
        yield f"**{_argument(arguments.kwarg, None)}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    value = "" if default is None else f" = {ast.unparse(default)}" if kind else f"={ast.unparse(default)}"
    return f"{argument.arg}{kind}{value}"


def _constant(node: ast.AnnAssign | ast.Assign) -> str:
    """The name of a public constant or attribute; nothing for aliases of types and the like."""
    target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
    value = ast.unparse(node.value) if node.value else ""
    kind = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
    if not isinstance(target, ast.Name) or not _is_public(target.id) or target.id.startswith("__"):
        return ""
    if kind in ("TypeAlias", "Incomplete") or value.startswith(("TypeVar", "ParamSpec", "NewType")):
        return ""
    return target.id


def _docstring(node: ast.Module | ast.ClassDef | Function) -> str:
    return ast.get_docstring(node) or ""


def _text(node: ast.stmt | None) -> str:
    """The string that stands as a statement after an attribute, as its documentation."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return inspect.cleandoc(node.value.value)
    return ""


def _prose(docstring: str, level: int) -> str:
    """A docstring as Markdown: reStructuredText is understood, Markdown is kept."""
    text = _evenly_indented(_PROVENANCE.sub("", docstring).strip())
    if not text or "```" in text:
        return text
    try:
        return rst_markdown(text, level).strip()
    except Unreadable:
        return text


def _evenly_indented(text: str) -> str:
    """Without the indentation that generated docstrings give to the rest of their first paragraph and what follows."""
    first, *rest = text.split("\n")
    if not rest or not rest[0].startswith(" ") or first.endswith(":"):
        return text
    indent = rest[0][: len(rest[0]) - len(rest[0].lstrip())]
    for index, line in enumerate(rest):
        if line.strip() and not line.startswith(indent):
            break
        rest[index] = line.removeprefix(indent)
    return "\n".join([first, *rest])
