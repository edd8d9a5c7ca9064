"""Questions and answers from documented functions: the docstring asks for the code, and the code for the docstring."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator

from stages.corpus.rewrite.excerpts import Function, Program
from stages.corpus.rewrite.grammar import infinitive, sentences, third_person
from stages.corpus.rewrite.texts import Code, lines_of, parse

MIN_WORDS, MAX_WORDS = 5, 60
MIN_LINES, MAX_LINES, MAX_CHARS = 3, 40, 1500

# A description that leans on something outside of it, or that is no plain prose.
_LEANS = re.compile(
    r">>>|::|->|\be\.g\.|\bi\.e\.|\b(?:TODO|FIXME|XXX|self|above|below|see|this (?:class|module|file|program"
    r"|example|demo|driver|game)|same|inherited|override|subclass|test|main loop|main program|entry point)\b"
    r"|:param|@param|https?:",
    re.IGNORECASE,
)

_TO = (
    "Write a MicroPython function to {}",
    "I need a MicroPython function to {}",
    "Give me a MicroPython function to {}",
    "Please write a function in MicroPython to {}",
)
_THAT = (
    "Write a MicroPython function that {}",
    "I need a MicroPython function that {}",
    "Give me a MicroPython function that {}",
    "Please write a function in MicroPython that {}",
)
_WHAT = (
    "What does this function do?",
    "Explain what this MicroPython function does.",
    "Can you tell me what this function does?",
    "What is this function for?",
)

Pair = tuple[str, str]


def docstring_pairs(source: str, rng: random.Random, limit: int) -> list[Pair]:
    """Up to `limit` questions with their answers, from different functions of a program where it has enough of them.

    Only top-level functions of readable length that need nothing of the program but imports, constants and helpers, and
    whose docstring is at least a sentence that says what they do.
    """
    code = parse(0, 0, source)
    if code is None or code.head:
        return []
    program = Program(code)
    functions = list(program.functions())
    rng.shuffle(functions)
    found: list[Pair] = []
    for function in functions:
        options = list(_pairs(program, function, rng))
        if options:
            found.append(rng.choice(options))
        if len(found) == limit:
            break
    return found


def _pairs(program: Program, function: Function, rng: random.Random) -> Iterator[Pair]:
    description = description_of(function)
    alone = program.alone(function) if description else None
    if description is None or alone is None:
        return
    if not MIN_LINES < len(lines_of(alone)) <= MAX_LINES or len(alone) > MAX_CHARS:
        return
    first, *rest = sentences(description)
    options = [
        *(template.format(said) for template in _TO if (said := infinitive(first))),
        *(template.format(said) for template in _THAT if (said := third_person(first))),
    ]
    if options:
        asked = " ".join([rng.choice(options), *rest])
        parameters = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
        if parameters & set(re.findall(r"\w+", description)) or rng.random() < 0.5:
            asked += f" Call it `{_signature(program.code, function)}`."
        yield asked, f"```python\n{alone}```"
    said_of_all = [third_person(sentence) for sentence in (first, *rest)]
    bare = _without_docstring(alone, function)
    if all(said_of_all) and bare is not None:
        explained = " ".join(f"It {said}" for said in said_of_all)
        yield f"{rng.choice(_WHAT)}\n\n```python\n{bare}```", explained


def description_of(function: Function) -> str | None:
    """The first paragraph of a docstring, if it is at least a sentence and says by itself what the function does."""
    docstring = ast.get_docstring(function)
    if not docstring:
        return None
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    words = len(paragraph.split())
    if not MIN_WORDS <= words <= MAX_WORDS or _LEANS.search(paragraph) or not paragraph.isascii():
        return None
    if paragraph[-1] in ":,;(":
        return None
    return paragraph if paragraph[-1] in ".!?" else paragraph + "."


def _signature(code: Code, function: Function) -> str:
    return f"{function.name}({ast.unparse(function.args)})"


def _without_docstring(alone: str, function: Function) -> str | None:
    """The excerpt without the docstring of its function; None where nothing would be left of it."""
    code = parse(0, 0, alone)
    if code is None:
        return None
    for statement in code.tree.body:
        if isinstance(statement, Function) and statement.name == function.name and len(statement.body) > 1:
            docstring = statement.body[0]
            lines = [*code.lines]
            first, last = docstring.lineno - 1, docstring.end_lineno or docstring.lineno
            while last < len(lines) and not lines[last].strip():
                last += 1
            if lines[first][: docstring.col_offset].strip():
                return None
            del lines[first:last]
            return "".join(lines)
    return None
