"""The notices that licences demand to travel on: those of whole sources, and those that single files begin with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from stages.corpus.documents import Document

RULE = "-" * 78
MOST_NAMES = 5  # of those that have a notice in common


def notices(gathered: Path, documents: Iterable[Document]) -> str:
    """Each different notice once, under the names of what it came with; empty where there is none.

    `gathered` is the artifact whose `sources.jsonl` names the licence files of each source. The notice that a file
    begins with is in its document's `meta["notice"]`.
    """
    found: dict[str, list[str]] = {}
    for name, text in (*_of_sources(gathered), *_of_files(documents)):
        found.setdefault(text.strip(), []).append(name)
    parts = [f"{RULE}\n{_listed(names)}\n{RULE}\n\n{text}\n" for text, names in found.items() if text]
    return "\n".join(["What this model was trained on came with these notices.\n", *parts]) if parts else ""


def _of_sources(gathered: Path) -> Iterator[tuple[str, str]]:
    with (gathered / "sources.jsonl").open(encoding="utf-8", newline="\n") as lines:
        for source in map(json.loads, lines):
            for file in source["license_files"]:
                path = gathered / file
                yield f"{source['source']}: {path.name}", path.read_text(encoding="utf-8", errors="replace")


def _of_files(documents: Iterable[Document]) -> Iterator[tuple[str, str]]:
    for document in documents:
        if notice := document.meta.get("notice"):
            yield f"{document.source}: {document.path}", str(notice)


def _listed(names: list[str]) -> str:
    different = list(dict.fromkeys(names))
    more = len(different) - MOST_NAMES
    return "\n".join(different[:MOST_NAMES]) + (f"\nand {more} more" if more > 0 else "")
