"""Other names for what a program names itself."""

from __future__ import annotations

import ast
import builtins
import functools
import keyword
import random
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from stages.corpus.rewrite.synonyms import SHORTENED, Thesaurus

if TYPE_CHECKING:
    from stages.corpus.rewrite.names import Names, Variable

_WORD = re.compile(r"[^\W\d]\w*")
_RESERVED = frozenset(dir(builtins)) | frozenset(keyword.kwlist) | frozenset(keyword.softkwlist) | {
    "const", "ptr", "ptr8", "ptr16", "ptr32", "uint", "main", "self", "cls",
}  # fmt: skip


def rename_identifiers(source: str, rng: random.Random) -> str | None:
    """Rename local variables, parameters, functions and classes consistently; None where nothing can be.

    Words are exchanged for synonyms (`synonyms`), in comments and docstrings too where they are clearly the
    name. A name stays where something outside the text may know it: attributes, methods, imports, `__all__`,
    keywords of calls, assembler functions, decorated handlers. Raises nothing: a program that cannot be
    parsed, or that looks its own names up (`exec` of a computed text, `globals()`), gives None.
    """
    from stages.corpus.rewrite.names import read_names

    names = read_names(source)
    if names is None or names.dynamic:
        return None
    data = source.encode()
    notes = [data[start:end].decode() for start, end in names.notes]
    new_names = _choose_names(names, notes, set(_WORD.findall(source)), rng)
    if not new_names:
        return None

    edits = [
        (start, end, new_names[variable.name])
        for variable in names.variables
        if not variable.fixed and variable.name in new_names
        for start, end in variable.places
    ]
    if any(data[start:end] != variable.name.encode() for variable in names.variables for start, end in variable.places):
        return None  # a byte order mark or a declared encoding has moved the text
    edits += [(*span, _reword(note, new_names)) for span, note in zip(names.notes, notes, strict=True)]
    return _edited(data, edits)


def _choose_names(names: Names, notes: Sequence[str], taken: set[str], rng: random.Random) -> dict[str, str]:
    """Old name to new name, none of which occurs in the program so far.

    Variables of the same name get the same new name, so that what a comment says of one is right for all.
    """
    thesaurus = Thesaurus(taken, rng)
    movable: dict[str, list[Variable]] = {}
    staying = Counter(names.others)
    for variable in names.variables:
        if variable.fixed or variable.name in _RESERVED:
            staying[variable.name] += len(variable.places)
        else:
            movable.setdefault(variable.name, []).append(variable)
    chosen: dict[str, str] = {}
    for name, variables in movable.items():
        function = any(variable.function for variable in variables)
        new = thesaurus.respell(name, function=function, type_name=any(variable.type_name for variable in variables))
        if new == name or new in taken or new in _RESERVED or new in chosen.values():
            continue
        pattern = _mention(name)
        if staying[name] and any(pattern.search(note) for note in notes):
            continue  # the comment may mean the one that keeps its name
        if not staying[name] and any(re.search(rf"\w\.{name}\b", note) for note in notes):
            continue  # an example in a docstring uses this program from outside
        chosen[name] = new
    return chosen


def _reword(note: str, new_names: Mapping[str, str]) -> str:
    """A comment or docstring with the new names where it means the old ones."""
    in_code = note.startswith("#") and _is_code(note.strip("# \t"))
    for old, new in new_names.items():
        if old in note:
            note = _mention(old, in_code=in_code).sub(functools.partial(_renamed, old, new), note)
    return note


def _renamed(old: str, new: str, mention: re.Match[str]) -> str:
    """A mention ends with the name; what stands before it, such as a back tick, stays."""
    return mention[0].removesuffix(old) + new


@functools.lru_cache(4096)
def _mention(name: str, *, in_code: bool = False) -> re.Pattern[str]:
    """Where a comment means the name: anywhere, but an English word only where it stands as in code."""
    whole = rf"(?<![\w.]){name}(?!\w)(?!\.m?py\b)"
    if in_code or not _is_english(name):
        return re.compile(whole)
    code = rf"{whole}(?=\((?!s\))|\[|\.\w| ?= ?[^=])"
    quoted = rf"`{name}(?!\w)"
    described = rf"(?::(?:param|arg|type) (?:\w+ )?|^[ \t#*\"'-]*)\b{name}(?=(?: \([^)\n]*\))?:)"
    return re.compile(f"{code}|{quoted}|{described}", re.MULTILINE)


def _is_english(name: str) -> bool:
    """Whether a sentence may hold the name as a word: `value`, `Button`, `LED`, not `buf`, `DELAY`."""
    word = name.lower()
    return word == "led" or (name[1:].islower() and word.isalpha() and word not in SHORTENED)


def _is_code(text: str) -> bool:
    """Whether a comment is code that was commented out."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            statements = ast.parse(text).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return any(isinstance(node, ast.Assign | ast.Call) for statement in statements for node in ast.walk(statement))


def _edited(data: bytes, edits: Iterable[tuple[int, int, str]]) -> str:
    result, done = [], 0
    for start, end, text in sorted(edits):
        result += [data[done:start], text.encode()]
        done = end
    return b"".join([*result, data[done:]]).decode()
