"""Characters that typesetting puts in place of plainer ones, and marks that begin the items of lists."""

from __future__ import annotations

BULLETS = (
    "\u2022\u25e6\u25aa\u25ab\u2023\u2043\u25cf\u25cb\u25a0\u25a1\u25c6\u25c7"
    "\u25ba\u25b6\u25b8\u2219\u00b7\u22c6\u2713\u27a2\u27a4\uf0b7\uf0a7\uf076"
)
DASHES = "\u2013\u2014*-"  # begin an item of a list where a blank follows
SOFT_HYPHEN = "\u00ad"
HYPHENS = "-\u2010" + SOFT_HYPHEN
APOSTROPHES = "'\u2019"
UNKNOWN = "\ufffd"  # what MuPDF gives for a glyph without a character
INVISIBLE = dict.fromkeys(map(ord, "\u200b\ufeff" + SOFT_HYPHEN))

WRAP_MARKS = (
    "\u21aa\u21b3\u2937\u27a5\u2ba1\u21a9\u21b5\u23ce\u02d3\u2192"  # where a wrapped line of code ends or goes on
)

LIGATURES = str.maketrans(
    {chr(0xFB00 + i): text for i, text in enumerate(("ff", "fi", "fl", "ffi", "ffl", "st", "st"))}
)
TYPED = str.maketrans(  # what was typed, for what is printed, in code
    {
        **dict.fromkeys("\u2018\u2019\u201b\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201f\u2033", '"'),
        **dict.fromkeys("\u2010\u2011\u2212", "-"),
        "\u02dc": "~",
        "\u02c6": "^",
        "\u00a0": " ",
        "\u037e": ";",
    }
)


def as_typed(code: str) -> str:
    """Code without ligatures, curly quotes and the other characters that a keyboard does not have."""
    return code.translate(INVISIBLE).translate(LIGATURES).translate(TYPED)
