"""Plain text as it is, and Markdown without what is not its text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stages.corpus.readers.part import Part, decoded

_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n(?:[^\n]*\n){0,200}?\1[ \t]*(?:\n|\Z)")
_FENCE = re.compile(r" {0,3}(?:> ?)*(`{3,}|~{3,})")
_IMPORT = re.compile(r"(?:import\s.+\sfrom\s+['\"].+['\"]|export\s+(?:const|default)\b.*);?\s*")


def read_text(data: bytes) -> Iterator[Part]:
    yield Part(decoded(data), "docs")


def read_lines(data: bytes) -> Iterator[Part]:
    """Each line that is not blank, without its end and the blanks around it; `meta["line"]` is its number, from 1."""
    for number, line in enumerate(decoded(data).split("\n"), 1):
        if text := line.strip():
            yield Part(text, "docs", {"line": number})


def read_markdown(data: bytes) -> Iterator[Part]:
    """Markdown without its front matter, HTML comments and MDX imports; all else, code above all, is kept."""
    yield Part(without_comments(_FRONT_MATTER.sub("", decoded(data), count=1)), "docs")


def without_comments(text: str) -> str:
    """The text without `<!-- -->` outside of fenced code and code spans, and without the lines that leaves empty."""
    kept: list[str] = []
    fence = ""
    commented = False
    for line in text.split("\n"):
        if not commented:
            mark = _FENCE.match(line)
            if mark and not fence:
                fence = mark[1]
            elif mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
                fence = ""
                kept.append(line)
                continue
        if fence or (not commented and "<!--" not in line and not _IMPORT.fullmatch(line)):
            kept.append(line)
            continue
        if not commented and _IMPORT.fullmatch(line):
            continue
        rest, commented = _outside_comments(line, commented)
        if rest.strip():
            kept.append(rest.rstrip())
    return re.sub(r"\A\n+", "", "\n".join(kept))


def _outside_comments(line: str, commented: bool) -> tuple[str, bool]:
    """What of a line stands outside of comments, and whether one is open at its end."""
    kept: list[str] = []
    position = 0
    while position < len(line):
        if commented:
            end = line.find("-->", position)
            if end < 0:
                return "".join(kept), True
            position, commented = end + 3, False
            continue
        start = _comment_start(line, position)
        if start < 0:
            kept.append(line[position:])
            break
        kept.append(line[position:start])
        position, commented = start + 4, True
    return "".join(kept), commented


def _comment_start(line: str, position: int) -> int:
    """Where the next `<!--` outside of a code span stands, or -1."""
    for match in re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)|<!--").finditer(line, position):
        if match[0] == "<!--":
            return match.start()
    return -1
