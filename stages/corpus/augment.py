"""Add honest variants of the training documents: other names, other pins, other words in the question."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from pipeline.shards import map_ordered
from pipeline.stage import Context, Metrics, Section, Stage
from stages.corpus.documents import Document, Message, conversation_text, read_documents, write_documents
from stages.corpus.rewrite import (
    change_pins,
    change_pins_in_messages,
    compiles,
    fenced_python,
    rename_identifiers,
    rephrase,
)

Method = Literal["rename", "pins", "rephrase"]


class AugmentConfig(Section):
    copies: Annotated[int, Field(ge=0, le=20)] = 2
    methods: tuple[Method, ...] = ("rename", "pins", "rephrase")


@dataclass(frozen=True)
class Task:
    """One document to vary, with everything that decides the result."""

    document: Document
    config: AugmentConfig
    seed: int


def run(context: Context) -> Metrics:
    config = context.section(AugmentConfig)
    originals = list(read_documents(context.inputs["clean"] / "train"))
    tasks = (Task(document, config, context.seed) for document in originals)
    counts: Counter[str] = Counter()

    def documents() -> Iterator[Document]:
        with context.progress(len(originals), "documents") as bar:
            for original, variants in zip(originals, map_ordered(variants_of, tasks), strict=True):
                yield original
                yield from variants
                counts.update(method for variant in variants for method in variant.meta["augmented"])
                bar.advance()

    total = write_documents(context.out, documents())
    context.say(f"{len(originals)} documents and {total - len(originals)} variants")
    return {"originals": len(originals), "variants": total - len(originals), "methods": dict(sorted(counts.items()))}


def variants_of(task: Task) -> list[Document]:
    """Up to `copies` different variants of a document; each one's code compiles if the original's does."""
    document, found = task.document, []
    seen = {document.text}
    for copy in range(task.config.copies):
        rng = random.Random(f"{task.seed}:{document.id}:{copy}")
        variant = _vary(document, task.config.methods, rng)
        if variant is None or variant.text in seen or not _still_compiles(document, variant):
            continue
        seen.add(variant.text)
        meta = {**variant.meta, "variant_of": document.id}
        found.append(replace(variant, id=f"{document.id}-{copy + 1}", meta=meta))
    return found


def _vary(document: Document, methods: Sequence[Method], rng: random.Random) -> Document | None:
    applied = []
    varied = document
    for method in methods:
        changed = _APPLY[method](varied, rng)
        if changed is not None:
            varied = changed
            applied.append(method)
    return replace(varied, meta={**document.meta, "augmented": applied}) if applied else None


def _rename(document: Document, rng: random.Random) -> Document | None:
    renamed = rename_identifiers(document.text, rng) if document.kind == "code" else None
    return replace(document, text=renamed) if renamed else None


def _pins(document: Document, rng: random.Random) -> Document | None:
    if document.messages:
        messages = change_pins_in_messages(document.messages, rng)
        return _with_messages(document, messages) if messages else None
    changed = change_pins(document.text, rng)
    return replace(document, text=changed) if changed else None


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
    "rephrase": _rephrase,
}


def _with_messages(document: Document, messages: Sequence[Message]) -> Document:
    return replace(document, messages=tuple(messages), text=conversation_text(messages))


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
    version=1,
    module=__name__,
    run=run,
    sections={"augment": AugmentConfig},
    needs=("clean",),
    seeded=True,
)
