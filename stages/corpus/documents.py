"""The document: one text with its source and licence, kept as JSON Lines shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pipeline.errors import StageError

Kind = Literal["code", "docs", "pair"]
Message = Mapping[str, str]
SHARD_BYTES = 64 * 2**20
CHUNK_BYTES = 2**19


@dataclass(frozen=True)
class Document:
    """One text and where it comes from.

    `id` is stable over runs; `source` names the declared source and `path` the file in it; `license` is an SPDX
    expression. A `pair` carries its conversation in `messages` (`role` and `content` each), its plain text in `text`.
    """

    id: str
    text: str
    kind: Kind
    source: str
    path: str
    license: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Chunk:
    """Some whole lines of a shard, by their bytes: a piece of work that can be sent anywhere."""

    path: Path
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stop - self.start


def document_id(source: str, path: str, index: int = 0) -> str:
    """16 hexadecimal digits that name a document by where it stands."""
    return hashlib.sha256(f"{source}\0{path}\0{index}".encode()).hexdigest()[:16]


def conversation_text(messages: Iterable[Message]) -> str:
    """The contents of a conversation as one text, for counting, comparing and training a tokenizer."""
    return "\n".join(message["content"] for message in messages)


class ShardWriter:
    """Writes lines as `documents-00000.jsonl`, … of about 64 MiB each into a folder, which it makes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._shards, self._written = folder, 0, 0
        self._file = self._open()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, line: bytes) -> None:
        """Add a document: `to_json(document)` as UTF-8, without the line end."""
        if self._written >= SHARD_BYTES:
            self._file.close()
            self._shards, self._written = self._shards + 1, 0
            self._file = self._open()
        self._written += self._file.write(line) + self._file.write(b"\n")

    def _open(self) -> BinaryIO:
        return (self._folder / f"documents-{self._shards:05d}.jsonl").open("wb")


def write_documents(folder: Path, documents: Iterable[Document]) -> int:
    """Write documents as shards of about 64 MiB each; returns how many documents."""
    count = 0
    with ShardWriter(folder) as shards:
        for document in documents:
            shards.write(to_json(document).encode())
            count += 1
    return count


def read_documents(folder: Path) -> Iterator[Document]:
    """All documents of a folder of shards, in order; raises StageError on a line that is not a document."""
    for chunk in chunks(folder):
        for document, _ in read_chunk(chunk):
            yield document


def chunks(folder: Path, size: int | None = None) -> Iterator[Chunk]:
    """All lines of a folder of shards, in order, in pieces of about `size` bytes (default CHUNK_BYTES)."""
    size = size or CHUNK_BYTES
    for path in sorted(folder.glob("documents-*.jsonl")):
        with path.open("rb") as file:
            start = 0
            while file.read(1):
                file.seek(size - 1, 1)
                file.readline()
                stop = min(file.tell(), path.stat().st_size)
                yield Chunk(path, start, stop)
                start = file.seek(stop)


def read_chunk(chunk: Chunk) -> Iterator[tuple[Document, bytes]]:
    """The documents of a chunk, each with its line; raises StageError on a line that is not a document."""
    with chunk.path.open("rb") as file:
        file.seek(chunk.start)
        lines = file.read(chunk.size).removesuffix(b"\n").split(b"\n")
    for place, line in enumerate(lines, 1):
        try:
            yield from_json(line.decode()), line
        except (ValueError, TypeError) as error:
            with chunk.path.open("rb") as file:
                number = file.read(chunk.start).count(b"\n") + place
            raise StageError(f"{chunk.path}:{number}: not a document: {error}") from error


def to_json(document: Document) -> str:
    """One line of JSON, without the line end."""
    return json.dumps(asdict(document), ensure_ascii=False, sort_keys=True)


def from_json(line: str) -> Document:
    """The document of a line; raises ValueError or TypeError where it is none."""
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    values["messages"] = tuple(values.get("messages", ()))
    return Document(**values)


def count_by_kind(documents: Iterable[Document]) -> dict[str, int]:
    """How many documents there are of each kind."""
    counts: dict[str, int] = {}
    for document in documents:
        counts[document.kind] = counts.get(document.kind, 0) + 1
    return dict(sorted(counts.items()))
