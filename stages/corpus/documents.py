"""The document: one text with its source and licence, kept as JSON Lines shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import StageError

Kind = Literal["code", "docs", "pair"]
Message = Mapping[str, str]
SHARD_BYTES = 64 * 2**20


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


def document_id(source: str, path: str, index: int = 0) -> str:
    """16 hexadecimal digits that name a document by where it stands."""
    return hashlib.sha256(f"{source}\0{path}\0{index}".encode()).hexdigest()[:16]


def conversation_text(messages: Iterable[Message]) -> str:
    """The contents of a conversation as one text, for counting, comparing and training a tokenizer."""
    return "\n".join(message["content"] for message in messages)


def write_documents(folder: Path, documents: Iterable[Document]) -> int:
    """Write documents as `documents-00000.jsonl`, … of about 64 MiB each; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    count = shard = written = 0
    file = (folder / f"documents-{shard:05d}.jsonl").open("w", encoding="utf-8", newline="\n")
    try:
        for document in documents:
            if written >= SHARD_BYTES:
                file.close()
                shard, written = shard + 1, 0
                file = (folder / f"documents-{shard:05d}.jsonl").open("w", encoding="utf-8", newline="\n")
            line = to_json(document)
            written += file.write(line + "\n")
            count += 1
    finally:
        file.close()
    return count


def read_documents(folder: Path) -> Iterator[Document]:
    """All documents of a folder of shards, in order; raises StageError on a line that is not a document."""
    for path in sorted(folder.glob("documents-*.jsonl")):
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield from_json(line)
                except (ValueError, TypeError) as error:
                    raise StageError(f"{path}:{number}: not a document: {error}") from error


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
