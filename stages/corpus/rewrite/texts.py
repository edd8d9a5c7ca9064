"""A text as a rewriter sees it: programs with their comments, and the prose around them.

Rewriters find places in the programs and in the words, and refuse with `Doubt` what they cannot change for certain.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import textwrap
import tokenize
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

_FENCE = re.compile(r"[ \t]*(```+|~~~+)[ \t]*([\w+-]*)")
_PYTHON = frozenset({"python", "python3", "py", "micropython"})
_BLOCK = "if 1:\n"

Kind = Literal["prose", "comment", "string"]


class Doubt(Exception):
    """The text cannot be changed with certainty."""


@dataclass(frozen=True)
class Words:
    """A stretch of words in one of the texts; `start` is its offset."""

    text: int
    start: int
    content: str
    kind: Kind


@dataclass(frozen=True)
class Edit:
    """In text number `text`, the characters from `start` to `end` become `new`."""

    text: int
    start: int
    end: int
    new: str


@dataclass(frozen=True)
class Code:
    """A program in one of the texts; `start` is its offset, `head` an `if` before it where it is indented."""

    text: int
    start: int
    content: str
    tree: ast.Module
    head: str

    @cached_property
    def lines(self) -> list[str]:
        return lines_of(self.head + self.content)

    @cached_property
    def _line_starts(self) -> list[int]:
        starts = [self.start - len(self.head)]
        for line in self.lines:
            starts.append(starts[-1] + len(line))
        return starts

    def offset(self, line: int, column: int) -> int:
        """The offset in the text of a line (from 1) and column (in characters) as `tokenize` gives them."""
        return self._line_starts[line - 1] + column

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Where a node starts and ends in the text."""
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self._from_bytes(node.lineno, node.col_offset), self._from_bytes(end_line, end_column)

    def source(self, node: ast.expr | ast.stmt) -> str:
        """The text of a node."""
        start, end = self.span(node)
        return self.content[start - self.start : end - self.start]

    def _from_bytes(self, line: int, column: int) -> int:
        """The offset of a line (from 1) and column in bytes, as `ast` gives them."""
        return self.offset(line, len(self.lines[line - 1].encode()[:column].decode()))

    def tokens(self) -> Iterator[tokenize.TokenInfo]:
        try:
            yield from tokenize.generate_tokens(io.StringIO(self.head + self.content).readline)
        except (tokenize.TokenError, IndentationError) as error:
            raise Doubt("code that cannot be split into tokens") from error

    def words(self) -> Iterator[Words]:
        """Its comments and strings; a string in triple quotes counts as a comment."""
        for token in self.tokens():
            name = tokenize.tok_name[token.type]
            if name in ("COMMENT", "STRING", "FSTRING_MIDDLE"):
                comment = name == "COMMENT" or token.string.startswith(('"' * 3, "'" * 3))
                start = self.offset(*token.start)
                yield Words(self.text, start, token.string, "comment" if comment else "string")


def read(texts: Sequence[str]) -> tuple[Sequence[Code], Sequence[Words]]:
    """The programs of texts that belong together, and all words in and around them; Doubt where code is broken."""
    return _read(tuple(texts))


@functools.lru_cache(2)  # what one rewriter left as it was the next one reads again
def _read(texts: tuple[str, ...]) -> tuple[tuple[Code, ...], tuple[Words, ...]]:
    if any(re.search(r"\r(?!\n)", text) for text in texts):
        raise Doubt("an end of line that is one to Python's parser and none to its tokenizer")
    parts = [part for index, text in enumerate(texts) for part in split(index, text)]
    code = [part for part in parts if isinstance(part, Code)]
    words = [part for part in parts if isinstance(part, Words)]
    return tuple(code), (*words, *(span for part in code for span in part.words()))


def split(index: int, text: str) -> Iterator[Code | Words]:
    """A text as code and words: all code if it is a program, else what its fences say."""
    if program := parse(index, 0, text):
        yield program
        return
    done = 0
    for start, end, language in fences(text):
        yield Words(index, done, text[done:start], "prose")
        done, content = end, text[start:end]
        program = parse(index, start, content) if language in _PYTHON or not language else None
        if program is None and language in _PYTHON:
            raise Doubt("code that cannot be parsed")
        yield program or Words(index, start, content, "prose")
    yield Words(index, done, text[done:], "prose")


def fences(text: str) -> Iterator[tuple[int, int, str]]:
    """Where the contents of fences start and end, and their language (CommonMark 4.5)."""
    opened, language, start, offset = "", "", 0, 0
    for line in lines_of(text):
        end = offset + len(line)
        if opened:
            mark = line.strip()
            if mark.startswith(opened) and not mark.strip(opened[0]):
                yield start, offset, language
                opened = ""
        elif fence := _FENCE.match(line):
            opened, language, start = fence[1], fence[2].lower(), end
        offset = end
    if opened:
        yield start, offset, language


def fenced_python(text: str) -> list[str]:
    """The fenced Python blocks of a Markdown text, without their indentation."""
    return [textwrap.dedent(text[start:end]) for start, end, language in fences(text) if language in _PYTHON]


def parse(index: int, start: int, content: str) -> Code | None:
    """A piece of a text as a program; None where it cannot be parsed or does nothing that a program does."""
    head = _BLOCK if content[:1].isspace() and content.strip() else ""
    tree = parsed(head + content)
    does_something = (ast.Import, ast.ImportFrom, ast.Assign, ast.Call, ast.FunctionDef, ast.ClassDef)
    if tree is None or not any(isinstance(node, does_something) for node in ast.walk(tree)):
        return None
    return Code(index, start, content, tree, head)


def parsed(source: str) -> ast.Module | None:
    """The tree of a source; None where Python cannot parse it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in the program's strings
            return ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def edited(texts: Sequence[str], edits: Iterable[Edit]) -> list[str]:
    """The texts with all edits made; of edits that overlap the first counts."""
    ordered = sorted(edits, key=lambda edit: (edit.text, edit.start))
    result = []
    for index, text in enumerate(texts):
        pieces, done = [], 0
        for edit in (each for each in ordered if each.text == index):
            if edit.start >= done:
                pieces += [text[done : edit.start], edit.new]
                done = edit.end
        result.append("".join([*pieces, text[done:]]))
    return result


def lines_of(text: str) -> list[str]:
    """The lines with their ends. Unlike `str.splitlines`, and like Python, form feeds end none."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)
