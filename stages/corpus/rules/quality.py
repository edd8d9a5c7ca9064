"""What makes a text not worth learning from, by the kind of the document.

Filters made for web prose drop good short programs, so each kind has its own. Each reason is a few words; what comes
after a colon is a detail.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

from stages.corpus.documents import Document, Kind
from stages.corpus.rewrite.texts import fenced_python, fences

LONG_LINE = 1_000  # characters; only a paragraph of prose has that many on one line
MANY_LINES = 30  # fewer repeat themselves for good reasons
_SESSION = re.compile(r"^\s*(>>>|\.\.\.|\$|In \[)", re.MULTILINE)
_DATA_LINE = re.compile(r"""^[\s\[\](){},'"b\\xA-Fa-f\d.+:_-]*\d[\s\[\](){},'"b\\xA-Fa-f\d.+:_-]*$""")
_GENERATED = re.compile(
    r"^\s*#.*\b((code|file|module|script|font|data|stubs?)( was| is)? generated (by|from|with)"
    r"|(auto-?|automatically |machine[- ])generated"
    r"|do not (edit|modify)( (this|the) file| by hand| manually|[.!]*\s*$))",
    re.IGNORECASE | re.MULTILINE,
)
_REFUSAL = re.compile(r"^(i'm sorry,? but|i am sorry,? but|as an ai\b|i can(no|')t (help|assist) )", re.IGNORECASE)


def problem(document: Document) -> str | None:
    """Why a document should not be learnt from, or None."""
    return _garbled(document.text) or _RULES[document.kind](document)


def _garbled(text: str) -> str | None:
    if text.count("\ufffd") > max(2, len(text) // 1_000):
        return "garbled: characters that could not be decoded"
    return None


def _code(document: Document) -> str | None:
    text = document.text
    error = syntax_error(text)
    if error:
        return f"not Python: {error}"
    lines = [line for line in text.split("\n") if line.strip()]
    if _GENERATED.search(text[:2_000]):
        return "generated"
    if any(len(line) > LONG_LINE and sum(map(str.isalpha, line)) < 0.5 * len(line) for line in lines):
        return f"long line: over {LONG_LINE} characters of data"
    if len(lines) >= MANY_LINES and sum(map(bool, map(_DATA_LINE.match, lines))) > 0.5 * len(lines):
        return "data: most lines are numbers"
    if _repetitive(lines):
        return "repetitive: the same lines over and over"
    if not any(_says_something(line) for line in lines):
        return "no code: only imports and comments"
    return None


def _docs(document: Document) -> str | None:
    lines = [line for line in document.text.split("\n") if line.strip()]
    if any(len(line) > LONG_LINE and " " not in line.strip() for line in lines):
        return "blob: a long line without a blank"
    if _repetitive(lines):
        return "repetitive: the same lines over and over"
    ink = [character for character in _prose(document.text) if not character.isspace()]
    if len(ink) > 200 and sum(map(str.isalpha, ink)) < 0.5 * len(ink):
        return "symbols: less than half of the prose is letters"
    return None


def _pair(document: Document) -> str | None:
    answers = [message["content"] for message in document.messages if message["role"] == "assistant"]
    questions = [message["content"] for message in document.messages if message["role"] == "user"]
    if any(_REFUSAL.match(answer) for answer in answers):
        return "refusal"
    if any(answer.strip() == question.strip() for answer, question in zip(answers, questions, strict=False)):
        return "echo: the answer is the question"
    for answer in answers:
        for code in fenced_python(answer):
            error = None if _SESSION.search(code) else syntax_error(code)
            if error:
                return f"answer not Python: {error}"
    return None


_RULES: dict[Kind, Callable[[Document], str | None]] = {"code": _code, "docs": _docs, "pair": _pair}


def syntax_error(source: str) -> str | None:
    """What CPython's parser says against a source, or None. MicroPython's language is a part of CPython's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as an invalid escape, which runs all the same
            compile(source, "document", "exec", flags=_ONLY_PARSE, dont_inherit=True)
    except SyntaxError as error:
        return f"{error.msg} (line {error.lineno})"
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        return type(error).__name__
    return None


_ONLY_PARSE = 0x400 | 0x2000  # ast.PyCF_ONLY_AST, and ast.PyCF_ALLOW_TOP_LEVEL_AWAIT as MicroPython's prompt has it


def _prose(markdown: str) -> str:
    """A text without what stands in its fences."""
    kept, place = [], 0
    for start, end, _ in fences(markdown):
        kept.append(markdown[place:start])
        place = end
    return "".join([*kept, markdown[place:]])


def _repetitive(lines: list[str]) -> bool:
    """Whether most lines of a long text say what another one says."""
    stripped = [line.strip() for line in lines]
    return len(stripped) >= MANY_LINES and len(set(stripped)) < 0.3 * len(stripped)


def _says_something(line: str) -> bool:
    return not line.lstrip().startswith(("#", "import ", "from "))
