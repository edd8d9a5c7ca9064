"""Write the files that training reads: ids with one `<eos>` after each document, and conversations with a mask.

Or take such files as nanoGPT writes them, and add what training wants to know of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from pipeline.errors import StageError
from pipeline.stage import Context, Metrics, Section, Stage
from stages.corpus.documents import Document, read_documents
from stages.tokens import bins
from stages.tokens.characters import shown
from stages.tokens.chat import CHAT_MARKERS, answered, with_system
from stages.tokens.encoding import BOS, EOS, FIM_MARKERS, PAD, UNK, Encoding, UnknownCharacters, load_encoding
from stages.tokens.fim import near_middle
from stages.tokens.usage import Usage

# Training reads windows of context_length tokens wherever they fall: a gap with its surroundings in half of that lies
# whole in every second one. Spread over a long program, the model would never see both sides of it.
FIM_SHARE = 2
UNSAYABLE = (*CHAT_MARKERS, *FIM_MARKERS, UNK, BOS, EOS, PAD, '"""')


class TokenizeConfig(Section):
    """`system` is what a chat starts with in Ollama; half of the conversations learn with it and half without.

    `from_bins` is a folder with nanoGPT's own `train.bin` and `val.bin`, which are taken instead of the documents.
    """

    context_length: Annotated[int, Field(ge=8, le=131_072, multiple_of=8)] = 512
    system: str = "You are a helpful assistant that writes MicroPython code."
    from_bins: str = ""
    foreign_names: ClassVar[Mapping[str, str]] = {
        "block_size": "context_length", "max_seq_len": "context_length", "max_seq_length": "context_length",
        "sequence_len": "context_length", "n_positions": "context_length",
    }  # fmt: skip

    @field_validator("system")
    @classmethod
    def _sayable(cls, system: str) -> str:
        """Runtimes take a marker in a text for a special token, and a Modelfile drops what cannot be printed."""
        found = [*(word for word in UNSAYABLE if word in system), *(c for c in system if not _sayable(c))]
        if found:
            raise ValueError(
                f"{', '.join(map(ascii, dict.fromkeys(found)))} cannot be said to Ollama in a system message"
            )
        return system


def _sayable(character: str) -> bool:
    return character.isprintable() or character in "\n\t"


def run(context: Context) -> Metrics:
    config = context.section(TokenizeConfig)
    encoding = load_encoding(context.inputs["tokenizer"])
    usage = Usage(encoding)  # of the training side
    make_sides = _take_bins if config.from_bins else _encode
    sides = make_sides(context, config, encoding, usage)
    for side in bins.SIDES:
        if sides[side]["tokens"] <= config.context_length:
            raise StageError(
                f"tokenize: {sides[side]['tokens']} {side} tokens are too few for context_length "
                f"{config.context_length}",
                hint="add documents, raise clean.val_fraction, or lower tokenize.context_length",
            )
    meta = {
        "vocab_size": encoding.vocab_size,
        "context_length": config.context_length,
        "dtype": "uint16" if config.from_bins else id_type(encoding.vocab_size).name,
        "bos_id": encoding.bos_id,
        "eos_id": encoding.eos_id,
        "pad_id": encoding.pad_id,
        "system": config.system,
        "sides": sides,
    }
    (context.out / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
    context.say(f"{sides['train']['tokens']:,} tokens for training, {sides['val']['tokens']:,} for validation")
    found = {"vocab_size": encoding.vocab_size, "context_length": config.context_length, **sides}
    documents = {} if config.from_bins else usage.metrics(config.context_length)
    return {**found, "pieces": usage.pieces(), **documents}


def _encode(context: Context, config: TokenizeConfig, encoding: Encoding, usage: Usage) -> dict[str, dict[str, int]]:
    """The documents of each side as ids; its conversations, unless the tokenizer cannot say them."""
    found = {}
    for side, folder in zip(bins.SIDES, (context.inputs["augment"], context.inputs["clean"] / "val"), strict=True):
        total = sum(1 for _ in read_documents(folder))
        with context.progress(total, "documents") as bar:
            texts = _advancing((d for d in read_documents(folder) if d.kind != "pair"), bar)
            pairs = _advancing((d for d in read_documents(folder) if d.kind == "pair"), bar)
            room, counted = config.context_length // FIM_SHARE, usage if side == "train" else None
            found[side] = write_texts(context.out, side, texts, encoding, fim_room=room, usage=counted)
            if not encoding.chats and (silent := sum(1 for _ in pairs)):
                context.warn(f"left out {silent:,} {side} conversations: a char tokenizer cannot say them")
            found[f"{side}_pairs"] = write_pairs(context.out, side, pairs, encoding, config, counted)
    return found


def _take_bins(context: Context, config: TokenizeConfig, encoding: Encoding, usage: Usage) -> dict[str, dict[str, int]]:
    found = {}
    for side, path in zip(bins.SIDES, bins.files(bins_folder(config, context.base)), strict=True):
        found[side] = bins.take(path, context.out, side, encoding, usage if side == "train" else None)
        found[f"{side}_pairs"] = write_pairs(context.out, side, [], encoding, config)
        context.say(f"{path}: {found[side]['tokens']:,} tokens in {found[side]['documents']:,} documents")
    return found


def bins_folder(config: TokenizeConfig, base: Path) -> Path:
    """Where `from_bins` leads; a relative one starts at the project's folder."""
    return base / Path(config.from_bins).expanduser()


def id_type(vocab_size: int) -> np.dtype[Any]:
    """Little-endian uint16, or uint32 where an id needs it: what nanoGPT's `np.memmap` reads."""
    return np.dtype("<u2" if vocab_size <= 65_536 else "<u4")


def write_texts(
    folder: Path,
    side: str,
    documents: Iterable[Document],
    encoding: Encoding,
    *,
    fim_room: int,
    usage: Usage | None = None,
) -> dict[str, int]:
    """`<side>.bin` (ids) and `<side>.idx` (int64 start of each document); counts documents, tokens and bytes.

    A document with a gap (`meta["fim"]`) is written as prefix, suffix and middle, of about `fim_room` tokens at most.
    Raises StageError where there are characters that the tokenizer does not know, with all of them counted.
    """
    starts, tokens, size = [], 0, 0
    unknown: Counter[str] = Counter()
    first = ""
    with (folder / f"{side}.bin").open("wb") as file:
        for document in documents:
            try:
                parts = _with_gap(document, encoding, fim_room)
                ids = [*(encoding.encode_fim(*parts) if parts else encoding.encode(document.text)), encoding.eos_id]
            except UnknownCharacters as error:
                unknown.update(error.counts)
                first = first or f"{document.source}/{document.path}"
                continue
            np.asarray(ids, dtype=id_type(encoding.vocab_size)).tofile(file)
            if usage:
                usage.add(document, ids)
            starts.append(tokens)
            tokens += len(ids)
            size += len("".join(parts or document.text).encode())
    if unknown:
        raise StageError(
            f"tokenize: the {side} documents have characters that the tokenizer does not know, first in {first}: "
            f"{shown(unknown)}",
            hint="leave tokenizer.characters_from and augment.methods unset, or take tokenizer.kind: byte_level",
        )
    np.asarray(starts, dtype="<i8").tofile(folder / f"{side}.idx")
    return {"documents": len(starts), "tokens": tokens, "bytes": size}


def _with_gap(document: Document, encoding: Encoding, room: int) -> tuple[str, str, str] | None:
    if "fim" not in document.meta:
        return None
    if not encoding.fills:
        raise StageError("tokenize: a char tokenizer cannot say gaps", hint="leave fim out of augment.methods")
    start, end = document.meta["fim"]
    return near_middle(document.text, start, end, room - len(FIM_MARKERS), lambda line: len(encoding.encode(line)))


def write_pairs(
    folder: Path,
    side: str,
    documents: Iterable[Document],
    encoding: Encoding,
    config: TokenizeConfig,
    usage: Usage | None = None,
) -> dict[str, int]:
    """`<side>_pairs.bin`, `.idx` and `.mask` (uint8, 1 on the answer).

    A conversation is there once for each of its answers, up to it. Half of the conversations, by a hash of their id,
    are led by the system message. One of more than `context_length` + 1 tokens would be cut in its answer, so it is
    left out and counted.
    """
    starts, tokens, too_long = [], 0, 0
    name = f"{side}_pairs"
    with (folder / f"{name}.bin").open("wb") as ids_file, (folder / f"{name}.mask").open("wb") as mask_file:
        for document in documents:
            system = config.system if sha256(document.id.encode()).digest()[0] % 2 else ""
            for messages in answered(with_system(document.messages, system)):
                ids, mask = encoding.encode_chat(messages)
                fits = len(ids) <= config.context_length + 1
                if usage:
                    usage.add(document, ids, learnt=fits)
                if not fits:
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


def fingerprint(sections: Mapping[str, Section], base: Path) -> Any:
    """Size and time of change of the files that are taken."""
    config = sections["tokenize"]
    assert isinstance(config, TokenizeConfig)
    found = [path.stat() for path in bins.files(bins_folder(config, base))] if config.from_bins else []
    return [[stat.st_size, stat.st_mtime_ns] for stat in found]


def spared(sections: Mapping[str, Section]) -> frozenset[str]:
    """Files that are taken as they are need no documents."""
    config = sections["tokenize"]
    assert isinstance(config, TokenizeConfig)
    return frozenset({"augment", "clean"} if config.from_bins else ())


STAGE = Stage(
    name="tokenize",
    version=3,
    module=__name__,
    run=run,
    sections={"tokenize": TokenizeConfig},
    needs=("augment", "clean", "tokenizer"),
    fingerprint=fingerprint,
    spared=spared,
)
