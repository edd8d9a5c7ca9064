"""Turn every gathered file into documents; a file that cannot be read is left out, and the reason counted."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.errors import StageError
from pipeline.shards import LimitExceeded, call_limited
from pipeline.stage import Context, Metrics, Section, Stage
from stages.corpus.documents import Document, document_id, to_json
from stages.corpus.journal import Journal
from stages.corpus.readers import PRELOAD, Part, Unreadable, read_file
from stages.corpus.readers.part import encodable

BATCH_FILES, BATCH_BYTES = 32, 2**18
SHOWN_BOOKS, SHOWN_EXAMPLES = 20, 3
Entry = dict[str, Any]


class ExtractConfig(Section):
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 120.0
    max_memory_mb: Annotated[int, Field(ge=256)] = 2048
    max_file_mb: Annotated[float, Field(gt=0)] = 256.0
    on_error: Literal["skip", "fail"] = "skip"


@dataclass(frozen=True)
class Batch:
    """Files that one task reads, one after the other, each in a process of its own."""

    folder: Path
    entries: tuple[Entry, ...]
    config: ExtractConfig


@dataclass(frozen=True)
class Texts:
    """What was read from a file: its documents as lines of JSON, how much that is, and what was left out and why."""

    lines: tuple[str, ...] = ()
    kinds: dict[str, int] = field(default_factory=dict)
    characters: int = 0
    pages: int = 0
    code_blocks: int = 0
    reasons: tuple[str, ...] = ()


def run(context: Context) -> Metrics:
    config = context.section(ExtractConfig)
    gathered = context.inputs["gather"]
    with Journal(context.out) as journal:
        done = sum(len(note) for note in journal.notes())
        total = sum(1 for _ in _entries(gathered))
        with context.progress(total, "files") as bar:
            if done:
                context.say(f"going on after {done:,} of {total:,} files")
                bar.advance(done)
            batches = _batches(gathered, islice(_entries(gathered), done, None), config)
            for lines, notes in context.map(read_batch, batches):
                journal.append(lines, notes)
                bar.advance(len(notes), note=notes[-1]["path"])
        summary = Summary()
        with (context.out / "left_out.jsonl").open("w", encoding="utf-8", newline="\n") as left_out:
            for note in (note for notes in journal.notes() for note in notes):
                summary.add(note)
                for reason in note["reasons"]:
                    item = {"source": note["source"], "path": note["path"], "reason": reason}
                    left_out.write(json.dumps(item, ensure_ascii=False) + "\n")
    for line in summary.lines():
        context.say(line)
    count = summary.left_out.total()
    if count and config.on_error == "fail":
        raise StageError(f"extract: {count} inputs could not be read", hint="mend them, or set extract.on_error: skip")
    if not summary.kinds:
        raise StageError(
            "extract: no usable document in any source", hint="add readable files to the folders in gather.sources"
        )
    return summary.metrics()


def _entries(gathered: Path) -> Iterator[Entry]:
    with (gathered / "files.jsonl").open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield json.loads(line)


def _batches(folder: Path, entries: Iterable[Entry], config: ExtractConfig) -> Iterator[Batch]:
    """Small files together, so that handing them over costs little; a PDF or a large file on its own."""
    waiting: list[Entry] = []
    size = 0
    for entry in entries:
        waiting.append(entry)
        path = folder / entry["file"]
        size += path.stat().st_size if path.is_file() else 0
        if len(waiting) >= BATCH_FILES or size >= BATCH_BYTES or _format(entry) == ".pdf":
            yield Batch(folder, tuple(waiting), config)
            waiting, size = [], 0
    if waiting:
        yield Batch(folder, tuple(waiting), config)


def _format(entry: Entry) -> str:
    return PurePosixPath(entry["path"]).suffix.lower() or "none"


def read_batch(batch: Batch) -> tuple[list[str], list[dict[str, Any]]]:
    """The documents of the files as lines, and for each file a note of what came of it."""
    lines: list[str] = []
    notes = []
    for entry in batch.entries:
        began = time.monotonic()
        texts = _limited(batch.folder, entry, batch.config)
        lines += texts.lines
        notes.append(
            {
                "source": entry["source"],
                "path": entry["path"],
                "format": _format(entry),
                "kinds": texts.kinds,
                "characters": texts.characters,
                "pages": texts.pages,
                "code_blocks": texts.code_blocks,
                "reasons": texts.reasons,
                "seconds": round(time.monotonic() - began, 4),
            }
        )
    return lines, notes


def _limited(folder: Path, entry: Entry, config: ExtractConfig) -> Texts:
    """Whatever a file does to its reader, or was made to do, it costs this file only."""
    path = folder / entry["file"]
    if path.is_symlink() or not path.is_file():
        return Texts(reasons=("no file",))
    megabytes = path.stat().st_size / 1e6
    if megabytes > config.max_file_mb:
        return Texts(reasons=(f"size: {megabytes:,.0f} MB, and extract.max_file_mb is {config.max_file_mb:g}",))
    try:
        return call_limited(
            read_texts,
            (path, entry),
            timeout_seconds=config.timeout_seconds,
            max_memory_mb=config.max_memory_mb,
            preload=PRELOAD,
        )
    except LimitExceeded as error:
        return Texts(reasons=(f"limit: {error}",))
    except ImportError:
        raise  # the installation is broken, not the file
    except Exception as error:
        return Texts(reasons=(f"unreadable: {type(error).__name__}: {error}"[:400],))


def read_texts(file: tuple[Path, Entry]) -> Texts:
    """The documents of one file; runs in the process that is made for it."""
    path, entry = file
    lines: list[str] = []
    reasons: list[str] = []
    kinds: Counter[str] = Counter()
    characters = pages = code_blocks = 0
    try:
        for part in read_file(path, entry["path"], lines=entry.get("lines", False)):
            if isinstance(part, Unreadable):
                reasons.append(str(part))
                continue
            line = to_json(_document(entry, part, len(lines)))
            if not encodable(line):
                reasons.append("encoding: it has half a surrogate pair")
                continue
            lines.append(line)
            kinds[part.kind] += 1
            characters += len(part.text)
            pages += part.meta.get("pages", 0)
            code_blocks += part.meta.get("code_blocks", 0)
    except Unreadable as error:
        reasons.append(str(error))
    return Texts(tuple(lines), dict(kinds), characters, pages, code_blocks, tuple(reasons))


def _document(entry: Entry, part: Part, index: int) -> Document:
    meta = dict(part.meta) | ({"attribution": entry["attribution"]} if entry.get("attribution") else {})
    meta |= {"license_stated": True} if part.license else {}
    return Document(
        document_id(entry["source"], entry["path"], index),
        part.text,
        part.kind,
        entry["source"],
        entry["path"],
        part.license or entry["license"],
        meta,
        part.messages,
    )


class Summary:
    """What was read, by format, and what was left out, by reason; a few numbers however many files there are."""

    def __init__(self) -> None:
        self.formats: dict[str, Counter[str]] = {}
        self.seconds: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.books: list[str] = []
        self.more_books = 0

    def add(self, note: dict[str, Any]) -> None:
        row = self.formats.setdefault(note["format"], Counter(files=0, documents=0, characters=0, pages=0))
        row.update(files=1, characters=note["characters"], pages=note["pages"], documents=sum(note["kinds"].values()))
        self.seconds[note["format"]] += note["seconds"]
        self.kinds.update(note["kinds"])
        for reason in note["reasons"]:
            word = reason.partition(":")[0]
            self.left_out[word] += 1
            examples = self.examples.setdefault(word, [])
            if len(examples) < SHOWN_EXAMPLES and note["path"] not in examples:
                examples.append(note["path"])
        if note["pages"]:
            text = f"{note['pages']:,} pages, {note['code_blocks']:,} code blocks, {note['seconds']:.1f} s"
            if len(self.books) < SHOWN_BOOKS:
                self.books.append(f"{note['path']}: {text}")
            else:
                self.more_books += 1

    def lines(self) -> Iterator[str]:
        """The summary for people."""
        width = max((len(name) for name in self.formats), default=0)
        yield f"{'':<{width}} {'files':>9} {'documents':>10} {'characters':>13} {'pages':>7} {'seconds':>8}"
        for name, row in sorted(self.formats.items()):
            pages = f"{row['pages']:,}" if row["pages"] else "-"
            yield (
                f"{name:<{width}} {row['files']:>9,} {row['documents']:>10,} {row['characters']:>13,} {pages:>7}"
                f" {self.seconds[name]:>8.1f}"
            )
        yield from self.books
        if self.more_books:
            yield f"and {self.more_books:,} more PDFs"
        if self.left_out:
            yield f"left out {self.left_out.total():,}; pipeline show --dropped lists them (left_out.jsonl)"
        for word, count in self.left_out.most_common():
            examples = ", ".join(self.examples[word])
            yield f"  {count:>7,} {word}: {examples}{', …' if count > len(self.examples[word]) else ''}"

    def metrics(self) -> Metrics:
        return {
            "documents": dict(sorted(self.kinds.items())),
            "characters": sum(row["characters"] for row in self.formats.values()),
            "formats": {
                name: {**row, "seconds": round(self.seconds[name], 3)} for name, row in sorted(self.formats.items())
            },
            "left_out": dict(sorted(self.left_out.items())),
            "left_out_examples": dict(sorted(self.examples.items())),
        }


STAGE = Stage(
    name="extract",
    version=2,
    module=__name__,
    run=run,
    sections={"extract": ExtractConfig},
    needs=("gather",),
    resumable=True,
)
