"""Normalise texts, drop what is too short or there twice, and split into training and validation by document."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from pipeline.errors import StageError
from pipeline.stage import Context, Metrics, Section, Stage
from stages.corpus.documents import Document, conversation_text, count_by_kind, read_documents, write_documents

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{4,}")


class CleanConfig(Section):
    min_chars: Annotated[int, Field(ge=1)] = 32
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.05


def run(context: Context) -> Metrics:
    config = context.section(CleanConfig)
    kept: list[Document] = []
    dropped: list[dict[str, str]] = []
    seen: dict[str, str] = {}
    for document in read_documents(context.inputs["extract"]):
        cleaned = normalise_document(document)
        digest = hashlib.sha256(cleaned.text.encode()).hexdigest()
        if len(cleaned.text) < config.min_chars:
            dropped.append({"id": document.id, "path": document.path, "reason": "too short"})
        elif digest in seen:
            dropped.append({"id": document.id, "path": document.path, "reason": "duplicate", "of": seen[digest]})
        else:
            seen[digest] = document.id
            kept.append(cleaned)
    if len(kept) < 2:
        raise StageError(
            f"clean: {len(kept)} usable documents; at least 2 are needed for training and validation",
            hint="add documents to the folders in gather.sources, or lower clean.min_chars",
        )
    train, val = split(kept, config.val_fraction, context.seed)
    write_documents(context.out / "train", train)
    write_documents(context.out / "val", val)
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in dropped)
    (context.out / "dropped.jsonl").write_text(lines, encoding="utf-8")
    context.say(f"{len(train)} for training, {len(val)} for validation, {len(dropped)} dropped")
    return {
        "train": count_by_kind(train),
        "val": count_by_kind(val),
        "dropped": dict(sorted(Counter(item["reason"] for item in dropped).items())),
    }


def normalise(text: str, *, code: bool) -> str:
    """One form for the same text: LF line ends, no control characters or trailing blanks, one line end at the end.

    Prose is put into Unicode NFC; code keeps its characters, and all keep their tabs. More than two blank lines in a
    row become two.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    text = _TRAILING.sub("", _CONTROL.sub("", text))
    if not code:
        text = unicodedata.normalize("NFC", text)
    return _BLANK_LINES.sub("\n\n\n", text).strip("\n") + "\n"


def normalise_document(document: Document) -> Document:
    if not document.messages:
        return replace(document, text=normalise(document.text, code=document.kind == "code"))
    messages = tuple(
        {"role": message["role"], "content": normalise(message["content"], code=True).rstrip("\n")}
        for message in document.messages
    )
    return replace(document, text=conversation_text(messages), messages=messages)


def split(documents: Sequence[Document], fraction: float, seed: int) -> tuple[list[Document], list[Document]]:
    """Training and validation documents: of each kind about `fraction` of the characters, chosen by a seeded hash.

    A document that alone exceeds twice the share is not chosen, unless no text would be: then it is the shortest, since
    the loss is measured on texts. Training keeps at least one of each kind, where there is a kind of two or more. Both
    sides keep the order of the input.
    """
    chosen: set[str] = set()
    for kind in sorted({document.kind for document in documents}):
        of_kind = [document for document in documents if document.kind == kind]
        share = fraction * sum(len(document.text) for document in of_kind)
        order = sorted(of_kind, key=lambda document: hashlib.sha256(f"{seed}:{document.id}".encode()).digest())
        taken = 0
        for document in order[:-1]:
            if taken < share and len(document.text) <= 2 * share:
                chosen.add(document.id)
                taken += len(document.text)
    if not any(document.id in chosen for document in documents if document.kind != "pair"):
        counts = count_by_kind(documents)
        spare = [document for document in documents if counts[document.kind] > 1]
        texts = [document for document in spare if document.kind != "pair"]
        if texts or not chosen:
            shortest = min(texts or spare or documents, key=lambda document: (len(document.text), document.id))
            chosen.add(shortest.id)
    train = [document for document in documents if document.id not in chosen]
    return train, [document for document in documents if document.id in chosen]


STAGE = Stage(
    name="clean",
    version=1,
    module=__name__,
    run=run,
    sections={"clean": CleanConfig},
    needs=("extract",),
    seeded=True,
)
