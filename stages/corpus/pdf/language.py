"""Which language a block of code is in, where that is evident."""

from __future__ import annotations

import ast
import json
import re
import warnings

KEYWORDS = re.compile(
    r"\s*(?:>>> |import \w|from \w[\w.]* import |(?:async )?def \w+\(|class \w+[(:]|@\w"
    r"|(?:if|elif|while|for|with) .*:|(?:else|try|finally):|except\b.*:|return\b|print\()"
)
PLAIN = re.compile(r"\s*(?:#|[\w.\[\]]+ (?:[-+*/|&%]|//|<<|>>)?= .*[^;{]$|[\w.]+\(.*[^;{]$)")
SESSION = re.compile(r">>>(?: |$)")
SHELL = re.compile(r"(?:[\w.-]+@[\w.-]+\S* ?|\S*~ ?)?[$%] \S|[A-Z]:\\[^>]*>|PS [A-Z]:\\")
COMMAND = re.compile(
    r"(?:sudo|cd|ls|mkdir|cp|mv|rm|git|make|cmake|pip3?|pipx|python3?|apt(?:-get)?|brew|npm|curl|wget|docker|export|source"
    r"|mpremote|esptool(?:\.py)?|mpy-cross|picotool|rshell|ampy|dfu-util|openocd|screen|minicom)(?: |$)"
)
C_LINE = re.compile(
    r"\s*#\s*(?:include\s*[<\"]|define \w|ifn?def \w|endif\b)|.*[;{]\s*(?://.*|/\*.*)?$|\s*(?:\}|/\*|\*/|//)"
)
C_TYPE = r"(?:void|int|char|bool|float|double|struct|enum|u?int\d+_t|mp_\w+_t)"
C_START = re.compile(
    r"^\s*#\s*(?:include\s*[<\"]|define \w|ifn?def \w)"
    rf"|^(?:static |const |extern |unsigned |typedef )*{C_TYPE}\b[^=\n]*[({{;]",
    re.MULTILINE,
)
MARKUP = re.compile(r"<(?:!DOCTYPE\b|\?xml\b|html\b|head\b|body\b|div\b|svg\b|script\b)", re.IGNORECASE)
SECTION = re.compile(r"\[[\w.:\" -]+\]$")
PAIR = re.compile(r"\s*[\w.-]+\s*=\s*\S")


def language(code: str) -> str:
    """The name of the language for a fence, as Pygments has it, or "" where none is evident."""
    lines = [line for line in code.split("\n") if line.strip()]
    if any(SESSION.match(line) for line in lines):
        return "pycon"
    if SHELL.match(lines[0]) or (lines[0].startswith("#") and len(lines) > 1 and SHELL.match(lines[1])):
        return "console"
    if MARKUP.match(lines[0]):
        return "xml" if lines[0].startswith("<?xml") else "html"
    if _is_json(code):
        return "json"
    if C_START.search(code) and _share(C_LINE, lines) >= 0.5:
        return "c"
    if all(COMMAND.match(line) or line.startswith("#") for line in lines) and not parses(code):
        return "sh"
    if SECTION.match(lines[0]) and len(lines) > 1 and _share(PAIR, lines[1:]) >= 0.7:
        return "ini"
    return "python" if python_like(code) else ""


def _share(pattern: re.Pattern[str], lines: list[str]) -> float:
    return sum(bool(pattern.match(line)) for line in lines) / len(lines)


def _is_json(code: str) -> bool:
    try:
        return code.lstrip()[:1] in ("{", "[") and isinstance(json.loads(code), dict)
    except (ValueError, RecursionError):
        return False


def python_like(code: str) -> bool:
    """Whether a block is Python: many of its lines begin like it, or all of it parses and does something."""
    lines = [line for line in code.split("\n") if line.strip()]
    sure = sum(bool(KEYWORDS.match(line)) for line in lines)
    likely = sum(bool(PLAIN.match(line)) for line in lines)
    if code.startswith(">>> ") or sure >= 0.25 * len(lines) > 0 or likely > max(2, 0.5 * len(lines)):
        return True
    tree = _parsed(code)
    return tree is not None and (any(not _is_word(node) for node in tree.body) or code.startswith("# "))


def parses(code: str) -> bool:
    return _parsed(code) is not None


def does_something(code: str) -> bool:
    """Whether code is Python and more than words and numbers."""
    tree = _parsed(code)
    return tree is not None and any(not _is_word(node) for node in tree.body)


def _parsed(code: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_word(node: ast.stmt) -> bool:
    """Whether a statement calls nothing and changes nothing: plain words and numbers parse too."""
    return isinstance(node, ast.Expr) and not any(isinstance(part, ast.Call) for part in ast.walk(node))
