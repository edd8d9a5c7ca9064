"""Bring texts into one form, drop what should not be learnt, and hold back for validation what training will not see.

Four passes over shards, spread over the workers and always in the order of the documents: each document on its own,
then duplicates, then the split, then a proof of the split from what was written. A few hundred bytes per document stay
in memory; the texts and their shingles lie in scratch files.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from pipeline.errors import StageError
from pipeline.stage import Context, Metrics, Section, Stage
from stages.corpus.counts import Record
from stages.corpus.documents import (
    Chunk,
    Document,
    ShardWriter,
    chunks,
    conversation_text,
    read_chunk,
    to_json,
)
from stages.corpus.near.kept import Entry, Kept, Sketched
from stages.corpus.near.leak import closest
from stages.corpus.near.overlap import hold_back
from stages.corpus.near.pairs import SIMILAR, likely_pairs, similarities
from stages.corpus.near.shingles import common, jaccard, shingles
from stages.corpus.near.split import KINDS, Clusters, Mask
from stages.corpus.rules import heldout, licenses, quality, secrets

LEAK = 0.7  # a split with documents as similar as that, one on each side, is refused
PAIRS_AT_ONCE = 20_000

_CONTROLS = bytes({*range(32), 127} - {*b"\t\n"})
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{4,}")


class CleanConfig(Section):
    min_chars: Annotated[int, Field(ge=1)] = 32
    near_duplicate_threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.8
    licenses: tuple[str, ...] = licenses.PERMISSIVE
    secrets: Literal["mask", "drop", "keep"] = "mask"
    decontaminate: tuple[str, ...] = (heldout.BUILTIN,)
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.05


def run(context: Context) -> Metrics:
    config = context.section(CleanConfig)
    train, val = context.out / "train", context.out / "val"
    with Record(context.out) as record, Kept(context.out) as kept:
        clean_each(context, config, kept, record)
        clusters, present = without_near_duplicates(context, config, kept, record)
        usable = int(np.count_nonzero(present))
        if usable < 2:
            raise StageError(
                f"clean: {usable} usable documents; at least 2 are needed for training and validation",
                hint="add documents to the folders in gather.sources, or lower clean.min_chars",
            )
        index = context.out / ".index"
        held_back = hold_back(context.map, kept.shelf, index, kept.table(), clusters, present, config.val_fraction)
        if not held_back.any():
            raise StageError(
                f"clean: the {usable} usable documents are versions of one text, so that none can be held back",
                hint="add documents about something else",
            )
        with ShardWriter(train) as training, ShardWriter(val) as validation:
            for number in np.flatnonzero(present).tolist():
                side, shards = ("val", validation) if held_back[number] else ("train", training)
                shards.write(kept.line(number))
                record.keep(side, kept.kind(number), kept.size(number), *kept.origin(number))
    found = closest(context.map, train, val, context.out / ".proof")
    if found.similarity >= LEAK:
        raise StageError(
            f"clean: validation leaks into training: {found.held_back} and {found.training} are "
            f"{found.similarity:.2f} similar",
            hint="this is an error of the program: please report it with the two documents",
        )
    for line in record.told():
        context.say(line)
    if found.held_back:
        context.say(f"closest across: {found.similarity:.2f}, {found.held_back} and {found.training}")
    similarity = {"highest": round(found.similarity, 4), "val": found.compared[0], "train": found.compared[1]}
    return {**record.metrics(), "similarity": similarity}


@dataclass(frozen=True)
class Work:
    """Some documents to clean, and all that decides what becomes of them."""

    chunk: Chunk
    config: CleanConfig
    held_out: heldout.HeldOut
    seed: int


@dataclass
class Cleaned:
    """What became of the documents of a chunk, `read` of them. Those dropped come without their text, with its size."""

    entries: list[Entry]
    sketched: Sketched
    dropped: list[tuple[Document, int, str]] = field(default_factory=list)
    masked: list[tuple[Document, Counter[str]]] = field(default_factory=list)
    read: Counter[str] = field(default_factory=Counter)


def clean_each(context: Context, config: CleanConfig, kept: Kept, record: Record) -> None:
    """Keep what passes by itself and was not there before, letter for letter."""
    held_out = heldout.HeldOut.read(heldout.places(config.decontaminate, context.base))
    works = [Work(chunk, config, held_out, context.seed) for chunk in chunks(context.inputs["extract"])]
    spread = context.map if len(works) > 2 else map
    seen: dict[bytes, str] = {}
    with context.progress(sum(work.chunk.size for work in works) / 1e6, "MB") as bar:
        for work, cleaned in zip(works, spread(clean_chunk, works), strict=True):
            record.read.update(cleaned.read)
            for document, size, reason in cleaned.dropped:
                record.drop(document, reason, size)
            for document, found in cleaned.masked:
                record.mask(document, found)
            new = []
            for entry in cleaned.entries:
                new.append(entry.digest not in seen)
                first = seen.setdefault(entry.digest, entry.id)
                if not new[-1]:
                    record.drop(entry, "duplicate", entry.size, of=first)
            entries = [entry for entry, is_new in zip(cleaned.entries, new, strict=True) if is_new]
            kept.add(entries, cleaned.sketched.only(new))
            bar.advance(work.chunk.size / 1e6)


def clean_chunk(work: Work) -> Cleaned:
    """Judge each document on its own; pure, so that it can be done anywhere."""
    dropped: list[tuple[Document, int, str]] = []
    masked = []
    passed: list[tuple[Document, bytes]] = []
    read: Counter[str] = Counter()
    for given, line in read_chunk(work.chunk):
        read.update(documents=1, characters=len(given.text))
        document, found, reason = screened(given, work.config)
        if reason:
            dropped.append((replace(document, text="", messages=()), len(document.text), reason))
            continue
        if found:
            masked.append((replace(document, text="", messages=()), found))
        passed.append((document, line if document is given else to_json(document).encode()))
    hashes, ends = shingles([document.text for document, _ in passed])
    entries, clean = [], []
    for (document, line), start, end in zip(passed, [0, *ends.tolist()], ends.tolist(), strict=False):
        task = work.held_out.found_in_shingles(hashes[start:end])
        clean.append(task is None)
        if task is None:
            entries.append(_entry(document, line, work.seed))
        else:
            size = len(document.text)
            dropped.append((replace(document, text="", messages=()), size, f"evaluation task: {task}"))
    return Cleaned(entries, Sketched.of(hashes, ends).only(clean), dropped, masked, read)


def screened(document: Document, config: CleanConfig) -> tuple[Document, Counter[str], str | None]:
    """The document in its normal form, the secrets that were masked in it, and why it is dropped, if it is."""
    none: Counter[str] = Counter()
    if reason := _refused(document.license, _acceptable(document, config.licenses)):
        return document, none, reason
    document, found = (normalise_document(document), none) if config.secrets == "keep" else without_secrets(document)
    if found and config.secrets == "drop":
        return document, none, f"secret: {', '.join(sorted(found))}"
    if len(document.text) < config.min_chars:
        return document, none, "too short"
    return document, found, quality.problem(document)


def _acceptable(document: Document, allow: tuple[str, ...]) -> tuple[str, ...]:
    """The list, without patterns of names that are one's own where a file chose the name itself."""
    if "license_stated" not in document.meta:
        return allow
    return tuple(each for each in allow if not each.lower().startswith("licenseref-") or "*" not in each)


@cache
def _refused(expression: str, allow: tuple[str, ...]) -> str | None:
    try:
        return None if licenses.allowed(expression, allow) else f"licence: {expression}"
    except licenses.InvalidExpression as error:
        return f"licence: {error}"


def _entry(document: Document, line: bytes, seed: int) -> Entry:
    kind = KINDS.index(document.kind)
    content = json.dumps(document.messages) if document.messages else document.text
    digest = hashlib.sha256(content.encode()).digest()[:16]
    order = int.from_bytes(hashlib.sha256(f"{seed}:{document.id}".encode()).digest()[:8])
    named = (document.id, document.source, document.path)
    return Entry(line, *named, kind, len(document.text), order, digest, document.license)


def without_secrets(document: Document) -> tuple[Document, Counter[str]]:
    """The document in its normal form with its secrets masked, and how many there were of each kind."""
    document = normalise_document(document)
    if not document.messages:
        text, found = secrets.mask(document.text)
        return (replace(document, text=text) if found else document), found
    masked = [secrets.mask(message["content"]) for message in document.messages]
    found = sum((counts for _, counts in masked), Counter[str]())
    if not found:
        return document, found
    messages = tuple(
        {**message, "content": content} for message, (content, _) in zip(document.messages, masked, strict=True)
    )
    return replace(document, text=conversation_text(messages), messages=messages), found


def normalise(text: str, *, code: bool) -> str:
    """One form for the same text: LF line ends, no control characters or trailing blanks, one line end at the end.

    Prose is put into Unicode NFC; code keeps its characters, and all keep their tabs. More than two blank lines in a
    row become two. The patterns are slow, so that each is used only where plain search finds it something to do.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.removeprefix("\ufeff")
    encoded = text.encode()
    plain = encoded.translate(None, _CONTROLS)
    if len(plain) != len(encoded):
        text = plain.decode()
    if " \n" in text or "\t\n" in text or text.endswith((" ", "\t")):
        text = _TRAILING.sub("", text)
    if not code and not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if "\n\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n\n", text)
    return text.strip("\n") + "\n"


def normalise_document(document: Document) -> Document:
    """The document with its text, or that of its messages, in normal form: itself, where it was so before.

    One that was a line among others has no line end.
    """
    if not document.messages:
        text = normalise(document.text, code=document.kind == "code")
        if "line" in document.meta:
            text = text.rstrip("\n")
        return document if text == document.text else replace(document, text=text)
    messages = tuple(
        {"role": message["role"], "content": normalise(message["content"], code=True).rstrip("\n")}
        for message in document.messages
    )
    changed = replace(document, text=conversation_text(messages), messages=messages)
    return document if changed == document else changed


def without_near_duplicates(context: Context, config: CleanConfig, kept: Kept, record: Record) -> tuple[Clusters, Mask]:
    """Clusters of similar documents, and which documents are present once near-duplicates are dropped.

    Of two near-duplicates the first in the order of the sources stays, be it code or docs. A conversation and a text
    only join a cluster; so do two conversations whose questions differ, since other words for a question are welcome.
    """
    bands = kept.finish()
    clusters, present = Clusters(len(bands)), np.ones(len(bands), np.bool_)
    pairs = likely_pairs(bands, kept.with_shingles())
    del bands
    works = [(kept.shelf, pairs[start : start + PAIRS_AT_ONCE]) for start in range(0, len(pairs), PAIRS_AT_ONCE)]
    spread = context.map if len(works) > 2 else map
    found = np.concatenate([np.zeros(0), *spread(similarities, works)])
    for place in np.lexsort((pairs[:, 0], pairs[:, 1])).tolist():
        first, second = map(int, pairs[place])
        similarity = float(found[place])
        if similarity < SIMILAR or not (present[first] and present[second]):
            continue
        if similarity >= config.near_duplicate_threshold and _replaces(kept, first, second, config):
            present[second] = False
            document = kept.document(second)
            of = kept.document(first).id
            size = kept.size(second)
            record.drop(document, "near-duplicate", size, of=of, similarity=round(similarity, 3))
        else:
            clusters.join(first, second)
    return clusters, present


def _replaces(kept: Kept, first: int, second: int, config: CleanConfig) -> bool:
    conversations = [kept.kind(number) == "pair" for number in (first, second)]
    if not all(conversations):
        return not any(conversations)
    asked = [_questions(kept.document(number)) for number in (first, second)]
    one, other = (shingles([text])[0] for text in asked)
    return jaccard(common(one, other), len(one), len(other)) >= config.near_duplicate_threshold


def _questions(document: Document) -> str:
    return "\n".join(message["content"] for message in document.messages if message["role"] != "assistant")


def fingerprint(sections: Mapping[str, Section], base: Path) -> Any:
    """The names and digests of the held-out tasks' files."""
    config = sections["clean"]
    assert isinstance(config, CleanConfig)
    files = [file for place in heldout.places(config.decontaminate, base) for file in heldout.files_of(place)]
    return [[file.name, hashlib.sha256(file.read_bytes()).hexdigest()] for file in files]


STAGE = Stage(
    name="clean",
    version=2,
    module=__name__,
    run=run,
    sections={"clean": CleanConfig},
    needs=("extract",),
    seeded=True,
    fingerprint=fingerprint,
)
