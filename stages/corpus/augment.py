"""Add honest variants of the training documents: other names, pins, numbers and words, and pairs made from programs."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import Field

from pipeline.stage import Context, Metrics, Section, Stage
from stages.corpus.documents import (
    Chunk,
    Document,
    Message,
    ShardWriter,
    chunks,
    conversation_text,
    read_chunk,
    to_json,
)
from stages.corpus.near.shingles import common, jaccard, shingles
from stages.corpus.rewrite import (
    bugfix_pairs,
    change_pins,
    change_pins_in_messages,
    change_units,
    change_units_in_messages,
    choose_gap,
    compiles,
    docstring_pairs,
    fenced_python,
    rename_identifiers,
    rephrase,
)

Method = Literal["rename", "pins", "units", "rephrase", "docstring", "bugfix", "fim"]
REWRITES: tuple[Method, ...] = ("rename", "pins", "units", "rephrase")
WORK_BYTES = 2**17
NEAR_COPY = 0.95  # of the shingles of five words: a variant that shares as many is only a repetition


class AugmentConfig(Section):
    """No method is on by default: at equal steps none beat plain repetition (docs/decisions.md has the figures).

    `copies` bounds the rewritten variants of a document, and as well the pairs that are made from its docstrings.
    Of each document at most one pair is about a bug: else they would soon be more than all other questions.
    `fim_rate` is the share of the programs that come a second time with a gap. Documents of more than `max_chars`
    characters get no variants. Of a source with so many documents that it could get more than
    `max_variants_per_source`, documents drawn by their id get variants.
    """

    copies: Annotated[int, Field(ge=0, le=20)] = 2
    methods: tuple[Method, ...] = ()
    fim_rate: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_chars: Annotated[int, Field(ge=0)] = 50_000
    max_variants_per_source: Annotated[int, Field(ge=0)] = 20_000


@dataclass(frozen=True)
class Task:
    """One document to vary, with everything that decides the result."""

    document: Document
    config: AugmentConfig
    seed: int


@dataclass(frozen=True)
class Work:
    """A chunk of the documents to vary; `shares` says of large sources what part of their documents gets variants."""

    chunk: Chunk
    config: AugmentConfig
    seed: int
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Written:
    """A line of the output, whose source it counts for, the characters of its text, and how a variant was made."""

    line: bytes
    source: str
    size: int
    methods: tuple[Method, ...] = ()


def run(context: Context) -> Metrics:
    config = context.section(AugmentConfig)
    train = context.inputs["clean"] / "train"
    sizes: Counter[str] = Counter()
    for counted in context.map(count_sources, chunks(train)):
        sizes.update(counted)
    shares = {source: share for source, count in sizes.items() if (share := _most(config) / count) < 1}
    work = (Work(chunk, config, context.seed, shares) for chunk in chunks(train, WORK_BYTES))
    made: Counter[str] = Counter()
    methods: Counter[str] = Counter()
    characters: Counter[str] = Counter(originals=0, variants=0)
    by_method: Counter[str] = Counter()
    with ShardWriter(context.out) as shards, context.progress(sizes.total(), "documents") as bar:
        for written in (each for lines in context.map(vary, work) for each in lines):
            if not written.methods:
                characters["originals"] += written.size
                bar.advance()
            elif made[written.source] < config.max_variants_per_source:
                made[written.source] += 1
                methods.update(written.methods)
                characters["variants"] += written.size
                by_method.update(dict.fromkeys(written.methods, written.size))
            else:
                continue
            shards.write(written.line)
    context.say(f"{sizes.total()} documents and {made.total()} variants")
    if shares:
        context.say(f"so large that only a part of the documents has variants: {', '.join(sorted(shares))}")
    return {
        "originals": sizes.total(),
        "variants": made.total(),
        "methods": dict(sorted(methods.items())),
        "characters": {**characters, "methods": dict(sorted(by_method.items()))},
        "capped_sources": sorted(shares),
    }


def count_sources(chunk: Chunk) -> Counter[str]:
    """How many documents of a chunk each source has."""
    return Counter(document.source for document, _ in read_chunk(chunk))


def _most(config: AugmentConfig) -> float:
    """Of how many documents all variants can be made without a source getting more than it may."""
    asked = set(config.methods)
    each = config.copies * (bool(asked & {*REWRITES}) + ("docstring" in asked))
    each += bool(config.copies) * (("bugfix" in asked) + ("fim" in asked))
    return config.max_variants_per_source / each if each else math.inf


def vary(work: Work) -> list[Written]:
    """The documents of a chunk in order, each followed by its variants."""
    found = []
    for document, line in read_chunk(work.chunk):
        found.append(Written(line, document.source, len(document.text)))
        if _drawn(document, "cap", work.seed) < work.shares.get(document.source, 1):
            variants = variants_of(Task(document, work.config, work.seed))
            found += [_written(each) for each in variants]
    return found


def _written(variant: Document) -> Written:
    return Written(to_json(variant).encode(), variant.source, len(variant.text), variant.meta["augmented"])


def variants_of(task: Task) -> list[Document]:
    """Different variants of a document; each one's code compiles if the original's does."""
    if not task.config.copies or len(task.document.text) > task.config.max_chars:
        return []
    made = [*_rewritten(task), *_pairs(task), *_with_gap(task)]
    original = {key: value for key, value in task.document.meta.items() if key != "page_starts"}
    return [replace(each, meta={**original, **each.meta, "variant_of": task.document.id}) for each in made]


def _rewritten(task: Task) -> Iterator[Document]:
    document = task.document
    different = [document]
    for copy in range(task.config.copies):
        rng = random.Random(f"{task.seed}:{document.id}:{copy}")
        variant = _vary(document, task.config.methods, rng)
        if variant is None or any(_is_near_copy(variant, other) for other in different):
            continue
        if _still_compiles(document, variant):
            different.append(variant)
            yield replace(variant, id=f"{document.id}-{copy + 1}")


def _vary(document: Document, methods: Sequence[Method], rng: random.Random) -> Document | None:
    applied = []
    varied = document
    for method in methods:
        changed = _APPLY[method](varied, rng) if method in _APPLY else None
        if changed is not None:
            varied = changed
            applied.append(method)
    return replace(varied, meta={"augmented": tuple(applied)}) if applied else None


def _rename(document: Document, rng: random.Random) -> Document | None:
    renamed = rename_identifiers(document.text, rng) if document.kind == "code" else None
    return replace(document, text=renamed) if renamed else None


def _pins(document: Document, rng: random.Random) -> Document | None:
    if document.messages:
        messages = change_pins_in_messages(document.messages, rng)
        return _with_messages(document, messages) if messages else None
    changed = change_pins(document.text, rng)
    return replace(document, text=changed) if changed else None


def _units(document: Document, rng: random.Random) -> Document | None:
    """Only programs and conversations: a page that explains a quantity speaks of it in more ways than are known."""
    if document.messages:
        messages = change_units_in_messages(document.messages, rng)
        return _with_messages(document, messages) if messages else None
    changed = change_units([document.text], rng) if document.kind == "code" else None
    return replace(document, text=changed[0]) if changed else None


def _rephrase(document: Document, rng: random.Random) -> Document | None:
    """Other words for the first question of a conversation."""
    for index, message in enumerate(document.messages):
        if message["role"] == "user":
            content = rephrase(message["content"], rng)
            if content is None:
                return None
            messages = [*document.messages]
            messages[index] = {"role": "user", "content": content}
            return _with_messages(document, messages)
    return None


_APPLY: dict[Method, Callable[[Document, random.Random], Document | None]] = {
    "rename": _rename,
    "pins": _pins,
    "units": _units,
    "rephrase": _rephrase,
}


def _pairs(task: Task) -> Iterator[Document]:
    """Questions and answers made from a program; of a conversation, bugs in the programs of its answers."""
    document, copies = task.document, task.config.copies
    if document.kind == "docs":
        return
    for method in ("docstring", "bugfix"):
        if method not in task.config.methods or (method == "docstring" and document.kind != "code"):
            continue
        rng = random.Random(f"{task.seed}:{document.id}:{method}")
        if method == "docstring":
            pairs = docstring_pairs(document.text, rng, copies)
        else:
            pairs = bugfix_pairs(_answers(document), rng, 1)
        for number, (question, answer) in enumerate(pairs, 1):
            if method == "docstring" and not all(map(compiles, fenced_python(f"{question}\n{answer}"))):
                continue
            messages = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
            pair = replace(document, id=f"{document.id}-{method}-{number}", kind="pair", meta={"augmented": (method,)})
            yield _with_messages(pair, messages)


def _answers(document: Document) -> str:
    if not document.messages:
        return document.text
    return "\n".join(message["content"] for message in document.messages if message["role"] == "assistant")


def _with_gap(task: Task) -> Iterator[Document]:
    """The program once more with a middle to be filled in: `meta["fim"]` says where it starts and ends."""
    document, config = task.document, task.config
    if document.kind != "code" or "fim" not in config.methods or _drawn(document, "fim", task.seed) >= config.fim_rate:
        return
    gap = choose_gap(document.text, random.Random(f"{task.seed}:{document.id}:fim"))
    if gap:
        yield replace(document, id=f"{document.id}-fim", meta={"augmented": ("fim",), "fim": gap})


def _drawn(document: Document, purpose: str, seed: int) -> float:
    """A number from 0 to 1 that depends on nothing but seed, purpose and document."""
    digest = sha256(f"{seed}:{purpose}:{document.id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _with_messages(document: Document, messages: Sequence[Message]) -> Document:
    return replace(document, messages=tuple(messages), text=conversation_text(messages))


def _is_near_copy(one: Document, other: Document) -> bool:
    """Whether nearly all five words in a row are the same, in a conversation in each of its turns."""
    parts = [[message["content"] for message in each.messages] or [each.text] for each in (one, other)]
    return all(_similarity(first, second) >= NEAR_COPY for first, second in zip(*parts, strict=True))


def _similarity(one: str, other: str) -> float:
    hashes, ends = shingles([one, other])
    first, second = hashes[: ends[0]], hashes[ends[0] :]
    return 1.0 if one == other else jaccard(common(first, second), len(first), len(second))


def _still_compiles(original: Document, variant: Document) -> bool:
    """Whether each Python block of the variant compiles whose counterpart in the original does."""
    before, after = _sources(original), _sources(variant)
    if len(before) != len(after):
        return False
    changed = ((old, new) for old, new in zip(before, after, strict=True) if old != new)
    return all(compiles(new) or not compiles(old) for old, new in changed)


def _sources(document: Document) -> list[str]:
    return [document.text] if document.kind == "code" else fenced_python(document.text)


STAGE = Stage(
    name="augment",
    version=2,
    module=__name__,
    run=run,
    sections={"augment": AugmentConfig},
    needs=("clean",),
    seeded=True,
)
