"""Write the files that training reads: ids with one `<eos>` after each document, and conversations with a mask."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipeline.errors import StageError
from pipeline.stage import Context, Metrics, Section, Stage
from stages.corpus.documents import Document, read_documents
from stages.tokens.chat import with_system
from stages.tokens.encoding import FIM_MARKERS, SentencePieceEncoding, load_encoding
from stages.tokens.fim import near_middle

# Training reads windows of context_length tokens wherever they fall: a gap with its surroundings in half of that lies
# whole in every second one. Spread over a long program, the model would never see both sides of it.
FIM_SHARE = 2


class TokenizeConfig(Section):
    """`system` is what a chat starts with in Ollama; half of the conversations learn with it and half without."""

    context_length: Annotated[int, Field(ge=8, le=131_072, multiple_of=8)] = 512
    system: str = "You are a helpful assistant that writes MicroPython code."


def run(context: Context) -> Metrics:
    config = context.section(TokenizeConfig)
    context_length = config.context_length
    encoding = load_encoding(context.inputs["tokenizer"])
    sides = {"train": context.inputs["augment"], "val": context.inputs["clean"] / "val"}
    metrics: dict[str, Any] = {"vocab_size": encoding.vocab_size, "context_length": context_length}
    for side, folder in sides.items():
        total = sum(1 for _ in read_documents(folder))
        with context.progress(total, "documents") as bar:
            texts = _advancing((d for d in read_documents(folder) if d.kind != "pair"), bar)
            pairs = _advancing((d for d in read_documents(folder) if d.kind == "pair"), bar)
            metrics[side] = write_texts(context.out, side, texts, encoding, fim_room=context_length // FIM_SHARE)
            metrics[f"{side}_pairs"] = write_pairs(context.out, side, pairs, encoding, config)
    for side in sides:
        if metrics[side]["tokens"] <= context_length:
            raise StageError(
                f"tokenize: {metrics[side]['tokens']} {side} tokens are too few for context_length {context_length}",
                hint="add documents, raise clean.val_fraction, or lower tokenize.context_length",
            )
    meta = {
        "vocab_size": encoding.vocab_size,
        "context_length": context_length,
        "dtype": id_type(encoding.vocab_size).name,
        "bos_id": encoding.bos_id,
        "eos_id": encoding.eos_id,
        "pad_id": encoding.pad_id,
        "system": config.system,
        "sides": {name: value for name, value in metrics.items() if isinstance(value, dict)},
    }
    (context.out / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
    context.say(f"{metrics['train']['tokens']:,} tokens for training, {metrics['val']['tokens']:,} for validation")
    return metrics


def id_type(vocab_size: int) -> np.dtype[Any]:
    """Little-endian uint16, or uint32 where an id needs it: what nanoGPT's `np.memmap` reads."""
    return np.dtype("<u2" if vocab_size <= 65_536 else "<u4")


def write_texts(
    folder: Path, side: str, documents: Iterable[Document], encoding: SentencePieceEncoding, *, fim_room: int
) -> dict[str, int]:
    """`<side>.bin` (ids) and `<side>.idx` (int64 start of each document); counts documents, tokens and bytes.

    A document with a gap (`meta["fim"]`) is written as prefix, suffix and middle, of about `fim_room` tokens at most.
    """
    starts, tokens, size = [], 0, 0
    with (folder / f"{side}.bin").open("wb") as file:
        for document in documents:
            parts = _with_gap(document, encoding, fim_room)
            ids = [*(encoding.encode_fim(*parts) if parts else encoding.encode(document.text)), encoding.eos_id]
            np.asarray(ids, dtype=id_type(encoding.vocab_size)).tofile(file)
            starts.append(tokens)
            tokens += len(ids)
            size += len("".join(parts or document.text).encode())
    np.asarray(starts, dtype="<i8").tofile(folder / f"{side}.idx")
    return {"documents": len(starts), "tokens": tokens, "bytes": size}


def _with_gap(document: Document, encoding: SentencePieceEncoding, room: int) -> tuple[str, str, str] | None:
    if "fim" not in document.meta:
        return None
    start, end = document.meta["fim"]
    return near_middle(document.text, start, end, room - len(FIM_MARKERS), lambda line: len(encoding.encode(line)))


def write_pairs(
    folder: Path, side: str, documents: Iterable[Document], encoding: SentencePieceEncoding, config: TokenizeConfig
) -> dict[str, int]:
    """`<side>_pairs.bin`, `.idx` and `.mask` (uint8, 1 on what the assistant says).

    Half of the conversations, by a hash of their id, are led by the system message. One of more than `context_length`
    + 1 tokens would be cut in its answer, so it is left out and counted.
    """
    starts, tokens, too_long = [], 0, 0
    name = f"{side}_pairs"
    with (folder / f"{name}.bin").open("wb") as ids_file, (folder / f"{name}.mask").open("wb") as mask_file:
        for document in documents:
            system = config.system if sha256(document.id.encode()).digest()[0] % 2 else ""
            ids, mask = encoding.encode_chat(with_system(document.messages, system))
            if len(ids) > config.context_length + 1:
                too_long += 1
                continue
            np.asarray(ids, dtype=id_type(encoding.vocab_size)).tofile(ids_file)
            np.asarray(mask, dtype=np.uint8).tofile(mask_file)
            starts.append(tokens)
            tokens += len(ids)
    np.asarray(starts, dtype="<i8").tofile(folder / f"{name}.idx")
    return {"conversations": len(starts), "tokens": tokens, "too_long": too_long}


def _advancing(documents: Iterable[Document], bar: Any) -> Iterator[Document]:
    for document in documents:
        yield document
        bar.advance()


STAGE = Stage(
    name="tokenize",
    version=2,
    module=__name__,
    run=run,
    sections={"tokenize": TokenizeConfig},
    needs=("augment", "clean", "tokenizer"),
)
