"""Which licences a training text may have: licence expressions (SPDX specification 2.3, annex D) and allow-lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

# Texts under these may be used, changed and passed on for any purpose if the notice goes with them. A LicenseRef is a
# name of one's own for terms that SPDX does not list: who declares it says that the text may be used.
PERMISSIVE = (
    "0BSD", "AFL-3.0", "Apache-2.0", "Artistic-2.0", "BlueOak-1.0.0", "BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause",
    "BSD-3-Clause-Clear", "BSD-4-Clause", "BSL-1.0", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "HPND", "ISC", "MIT", "MIT-0",
    "MIT-CMU", "NCSA", "PostgreSQL", "PSF-2.0", "Python-2.0", "Unlicense", "UPL-1.0", "W3C", "WTFPL", "X11", "Zlib",
    "LicenseRef-*",
)  # fmt: skip

_TOKEN = re.compile(r"\s*(?:([()])|([A-Za-z0-9.:+-]+))")
_OPERATORS = ("AND", "OR", "WITH")


class InvalidExpression(ValueError):
    """A text that is no SPDX licence expression; the message says why."""


def allowed(expression: str, allow: Sequence[str]) -> bool:
    """Whether a licence expression can be satisfied with the licences of the list.

    Entries of the list are identifiers or patterns such as `LicenseRef-*`; case counts for nothing. Of `A OR B` one
    has to be allowed, of `A AND B` both; an exception (`WITH`) only adds permissions; `A+` is A or any later version.
    Raises InvalidExpression.
    """
    patterns = [pattern.lower() for pattern in allow]
    tokens = list(_tokens(expression))
    verdict, rest = _either(tokens, patterns)
    if rest:
        raise InvalidExpression(f"`{expression}`: `{rest[0]}` is not expected there")
    return verdict


def check(expression: str) -> str:
    """The expression itself; raises InvalidExpression where it is none."""
    allowed(expression, ())
    return expression


def _tokens(expression: str) -> Iterator[str]:
    place = 0
    while expression[place:].strip():
        match = _TOKEN.match(expression, place)
        if match is None:
            raise InvalidExpression(f"`{expression}`: `{expression[place:].strip()[0]}` cannot stand in a licence")
        yield match[1] or match[2]
        place = match.end()


def _either(tokens: list[str], patterns: Sequence[str]) -> tuple[bool, list[str]]:
    verdict, tokens = _both(tokens, patterns)
    while tokens and tokens[0].upper() == "OR":
        other, tokens = _both(tokens[1:], patterns)
        verdict = verdict or other
    return verdict, tokens


def _both(tokens: list[str], patterns: Sequence[str]) -> tuple[bool, list[str]]:
    verdict, tokens = _one(tokens, patterns)
    while tokens and tokens[0].upper() == "AND":
        other, tokens = _one(tokens[1:], patterns)
        verdict = verdict and other
    return verdict, tokens


def _one(tokens: list[str], patterns: Sequence[str]) -> tuple[bool, list[str]]:
    if not tokens:
        raise InvalidExpression("a licence is missing at the end")
    if tokens[0] == "(":
        verdict, tokens = _either(tokens[1:], patterns)
        if not tokens or tokens[0] != ")":
            raise InvalidExpression("a `)` is missing")
        return verdict, tokens[1:]
    name = tokens[0]
    if name == ")" or name.upper() in _OPERATORS:
        raise InvalidExpression(f"`{name}` stands where a licence should")
    tokens = tokens[1:]
    if tokens and tokens[0].upper() == "WITH":
        if len(tokens) < 2 or tokens[1] in "()":
            raise InvalidExpression("an exception is missing after WITH")
        tokens = tokens[2:]
    plain = name.lower().removesuffix("+")
    return any(fnmatchcase(plain, pattern) for pattern in patterns), tokens
