"""Whether a text is a MicroPython program, as the cross compiler sees it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from pipeline.hardware import usable_cores
from stages.corpus.rewrite.compiler import compiles as accepted

# Strings and comments. Not by `tokenize`: what that makes of a foreign character differs between versions of Python.
_TOLD = re.compile(
    r'''"""(?:\\.|[^\\])*?"""|\'\'\'(?:\\.|[^\\])*?\'\'\'|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|#[^\n]*''', re.DOTALL
)


@lru_cache(maxsize=4096)  # rates ask for the same programs as verdicts
def compiles(code: str) -> bool:
    """Whether mpy-cross accepts a program that says anything at all, written in ASCII but for strings and comments.

    mpy-cross takes any character beyond ASCII for a letter: `print(“a”)` would print a variable.
    """
    said = _TOLD.sub("", code)
    return bool(said.strip()) and said.isascii() and accepted(code)


def compile_all(codes: Sequence[str]) -> list[bool]:
    """The same of many programs, a compiler process at a time on each core."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(compiles, codes))
