"""Readers: one module for each format, each from the bytes of a file to the texts in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from stages.corpus.pdf import UnreadablePdf, read_pdf
from stages.corpus.readers.html import read_html
from stages.corpus.readers.notebook import read_notebook
from stages.corpus.readers.pairs import read_pair_lines
from stages.corpus.readers.part import Part, Reader, Unreadable, encodable
from stages.corpus.readers.plain import read_lines, read_markdown, read_text
from stages.corpus.readers.python import read_python, spdx_licence
from stages.corpus.readers.rst import read_rst
from stages.corpus.readers.stubs import read_stub

__all__ = ["PRELOAD", "Part", "Unreadable", "read_file"]

READERS: Mapping[str, Reader] = {
    ".htm": read_html,
    ".html": read_html,
    ".ipynb": read_notebook,
    ".jsonl": read_pair_lines,
    ".md": read_markdown,
    ".py": read_python,
    ".rst": read_rst,
}
MARKUP = (".htm", ".html", ".md", ".rst", ".txt")
PRELOAD = ("stages.corpus.readers.warm",)


def read_file(path: Path, name: str, *, lines: bool = False) -> Iterator[Part | Unreadable]:
    """The texts of a file and the reasons for what was left out of it; `name` is its path in its source.

    Raises Unreadable where nothing can be had from it. A file of an unknown format is read as plain text. With `lines`
    each line of a `.txt` file is a text.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".pdf":
        parts: Iterator[Part | Unreadable] = iter([_pdf(path)])
    elif suffix == ".pyi":
        parts = read_stub(path.read_bytes(), name)
    elif suffix == ".txt" and lines:
        parts = read_lines(path.read_bytes())
    else:
        parts = READERS.get(suffix, read_text)(path.read_bytes())
    stated = _stated(path) if suffix in MARKUP else None
    nothing = True
    for part in parts:
        try:
            yield part if isinstance(part, Unreadable) else replace(_sound(part), license=part.license or stated)
        except Unreadable as error:
            yield error
        nothing = False
    if nothing:
        raise Unreadable("empty")


def _stated(path: Path) -> str | None:
    """The licence that a page states near its top, be it in a comment that the reader drops."""
    with path.open("rb") as file:
        return spdx_licence(file.read(4096).decode("utf-8", "replace"))


def _sound(part: Part) -> Part:
    if not part.text.strip():
        raise Unreadable("empty")
    if "\0" in part.text:
        raise Unreadable("binary: it has zero characters")
    if not encodable(part.text):
        raise Unreadable("encoding: it has half a surrogate pair")
    return part


def _pdf(path: Path) -> Part:
    try:
        text = read_pdf(path)
    except UnreadablePdf as error:
        raise Unreadable(f"{error.reason}: {error}") from error
    meta: dict[str, Any] = {"title": text.title, "pages": text.pages, "code_blocks": text.code_blocks}
    return Part(text.markdown, "docs", meta | {"page_starts": list(text.page_starts)})
