"""Fenced code in Markdown."""

from __future__ import annotations

import ast
import re
import warnings

_NAMES = {
    "py": "python", "python3": "python", "py3": "python", "ipython": "python", "ipython3": "python",
    "micropython": "python", "circuitpython": "python", "pycon3": "pycon", "pythonconsole": "pycon",
    "shell": "sh", "shell-session": "console", "none": "", "text": "", "plain": "", "plaintext": "", "txt": "",
    "default": None, "guess": None, "c++": "cpp",
}  # fmt: skip


def fenced(code: str, language: str | None = None) -> str:
    """The code in a fence longer than any in it; without a language it is guessed, as far as Python goes."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{named(language, code)}\n{code}\n{fence}"


def named(language: str | None, code: str) -> str:
    """The usual name of a language; sessions with `>>>` are `pycon`, as Pygments calls them."""
    name = _NAMES.get(language.lower(), language.lower()) if language else None
    if name is None:
        name = "python" if _is_python(code) else ""
    return "pycon" if name in ("python", "") and re.match(r"\s*>>> ", code) else name


def _is_python(code: str) -> bool:
    """Whether the code compiles and does more than name or write down things, as prose in a box might, too."""
    if re.match(r"\s*>>> ", code):
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    idle = (ast.Name, ast.Constant, ast.Tuple, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Attribute)
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, idle)) for node in body)
