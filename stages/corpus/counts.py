"""What became of documents in cleaning: counted as a whole and for each source and licence, listed where dropped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

SIDES = ("dropped", "train", "val")


class Origin(Protocol):
    """A document, or what is kept of one."""

    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def license(self) -> str: ...


class Counts:
    """Documents and characters on each side: by reason where dropped, else by kind."""

    def __init__(self) -> None:
        self.documents: dict[str, Counter[str]] = {side: Counter() for side in SIDES}
        self.characters: dict[str, Counter[str]] = {side: Counter() for side in SIDES}

    def add(self, side: str, what: str, size: int) -> None:
        self.documents[side][what] += 1
        self.characters[side][what] += size

    def metrics(self) -> dict[str, Any]:
        documents = {side: dict(sorted(counts.items())) for side, counts in self.documents.items()}
        characters = {side: dict(sorted(counts.items())) for side, counts in self.characters.items()}
        return {**documents, "characters": characters}


class Record:
    """Counts what goes where, and writes a line for each document that is dropped or has a secret masked.

    `read` is what came in, before it was put into its normal form.
    """

    def __init__(self, folder: Path) -> None:
        self._dropped = (folder / "dropped.jsonl").open("wb")
        self._masked = (folder / "masked.jsonl").open("wb")
        self.read: Counter[str] = Counter(documents=0, characters=0)
        self.whole = Counts()
        self.origins: dict[tuple[str, str], Counts] = {}
        self.masked: Counter[str] = Counter()

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self._dropped.close()
        self._masked.close()

    def keep(self, side: str, what: str, size: int, source: str, license: str) -> None:
        for counts in (self.whole, self.origins.setdefault((source, license), Counts())):
            counts.add(side, what, size)

    def drop(self, document: Origin, reason: str, size: int, **details: Any) -> None:
        self._dropped.write(_line(document, reason=reason, **details))
        self.keep("dropped", reason.partition(":")[0], size, document.source, document.license)

    def mask(self, document: Origin, found: Mapping[str, int]) -> None:
        self._masked.write(_line(document, masked=found))
        self.masked.update(found)

    def metrics(self) -> dict[str, Any]:
        origins = [
            {"source": source, "license": license, **counts.metrics()}
            for (source, license), counts in sorted(self.origins.items())
        ]
        masked = dict(sorted(self.masked.items()))
        return {"read": dict(self.read), **self.whole.metrics(), "masked": masked, "sources": origins}

    def told(self) -> Iterator[str]:
        """The way of all documents to training and validation, in lines for people."""
        documents, characters = self.whole.documents, self.whole.characters
        whole = [sum(counts.total() for counts in of.values()) for of in (documents, characters)]
        yield f"{whole[0]:>9,} documents, {whole[1]:,} characters"
        for side, label in (("dropped", "− {}"), ("train", "= {} for training"), ("val", "= {} for validation")):
            for what, count in sorted(documents[side].items(), key=lambda item: (-item[1], item[0])):
                yield f"{count:>9,} {label.format(what)}, {characters[side][what]:,} characters"
        if self.masked:
            yield "masked: " + ", ".join(f"{count} × {kind}" for kind, count in sorted(self.masked.items()))


def _line(document: Origin, **details: Any) -> bytes:
    named = {"id": document.id, "source": document.source, "path": document.path}
    return json.dumps({**named, **details}, ensure_ascii=False).encode() + b"\n"
