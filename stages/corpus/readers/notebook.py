"""Jupyter notebooks, nbformat 3 and 4, as Markdown: prose as it is, code fenced, outputs and raw cells left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from stages.corpus.readers.fences import fenced
from stages.corpus.readers.part import Part, Unreadable, decoded


def read_notebook(data: bytes) -> Iterator[Part]:
    yield Part(notebook_markdown(decoded(data)), "docs")


def notebook_markdown(text: str) -> str:
    """The notebook as Markdown, "magics" (`%run`, `!ls`) as they stand; raises Unreadable."""
    try:
        notebook = json.loads(text)
        metadata = notebook.get("metadata", {})
        language = metadata.get("language_info", {}).get("name") or metadata.get("kernelspec", {}).get("language")
        parts = [_cell(cell, language or "python") for cell in _cells(notebook)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Unreadable("notebook: not nbformat 3 or 4 JSON") from None
    kept = [part for part in parts if part.strip()]
    return "\n\n".join(kept) + "\n" if kept else ""


def _cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    if "cells" not in notebook and "worksheets" in notebook:
        return [cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
    cells: list[dict[str, Any]] = notebook["cells"]
    return cells


def _cell(cell: dict[str, Any], language: str) -> str:
    kind = cell["cell_type"]
    source = cell["input"] if kind == "code" and "source" not in cell else cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    text = text.strip("\n")
    if kind == "code":
        return fenced(text, cell.get("language", language)) if text.strip() else ""
    if kind == "heading":
        return f"{'#' * int(cell.get('level', 1))} {text}"
    return text if kind == "markdown" else ""
