"""Train the tokenizer on the training documents: SentencePiece BPE with settings that every runtime reproduces."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field

from pipeline.errors import StageError
from pipeline.stage import Context, Metrics, Section, Stage
from stages.corpus.documents import read_documents
from stages.tokens.chat import CHAT_MARKERS
from stages.tokens.encoding import BOS, EOS, FIM_MARKERS, MODEL_FILE, PAD, UNK, load_encoding

MIN_PIECES = 300  # 256 are bytes, 9 are special
CHUNK_CHARS = 1000  # SentencePiece passes over a training sentence of more than 4192 bytes


class TokenizerConfig(Section):
    kind: Literal["sentencepiece"] = "sentencepiece"
    vocab_size: Annotated[int, Field(ge=MIN_PIECES, le=65_536)] = 8192


def run(context: Context) -> Metrics:
    config = context.section(TokenizerConfig)
    clean = context.inputs["clean"]
    context.say(f"training {config.vocab_size} pieces")
    model = train((document.text for document in read_documents(clean / "train")), config.vocab_size)
    (context.out / MODEL_FILE).write_bytes(model)

    encoding = load_encoding(context.out)
    size = tokens = 0
    for document in read_documents(clean / "val"):
        size += len(document.text.encode())
        tokens += len(encoding.encode(document.text))
    context.say(f"{size / tokens:.2f} bytes per token on the validation documents")
    return {"vocab_size": encoding.vocab_size, "bytes_per_token": round(size / tokens, 4)}


def train(texts: Iterable[str], vocab_size: int) -> bytes:
    """A SentencePiece model file. Raises StageError where the texts give fewer pieces or need more.

    No normalisation, no dummy prefix and no user-defined symbols: with any of them llama.cpp or the HuggingFace
    tokenizer give other ids than SentencePiece. Byte fallback makes every text encodable.
    """
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=chunks(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            split_by_unicode_script=False,
            split_digits=True,
            character_coverage=0.9995,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=3,
            unk_piece=UNK,
            bos_piece=BOS,
            eos_piece=EOS,
            pad_piece=PAD,
            unk_surface="",
            control_symbols=[*CHAT_MARKERS, *FIM_MARKERS],
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explained(str(error), vocab_size) from error
    return model.getvalue()


def _explained(told: str, vocab_size: int) -> StageError:
    """SentencePiece's error in the words of the config."""
    if most := re.search(r"set it to a value <= (\d+)", told):
        smaller = f"--set tokenizer.vocab_size={most[1]}, or " if int(most[1]) >= MIN_PIECES else ""
        return StageError(
            f"tokenizer: the corpus is too small for {vocab_size} pieces; it gives at most {most[1]}",
            hint=f"{smaller}add documents",
        )
    if least := re.search(r"required_chars\. \d+ vs (\d+)", told):
        return StageError(
            f"tokenizer: {vocab_size} pieces are too few; the characters of the corpus alone take {least[1]}",
            hint=f"--set tokenizer.vocab_size={2 * int(least[1])}, or leave out documents in other scripts",
        )
    return StageError(f"tokenizer: SentencePiece: {told}")


def chunks(texts: Iterable[str]) -> Iterator[str]:
    """Pieces of up to about 1000 characters, cut at line ends, so that pieces such as `):⏎` can be learnt."""
    for text in texts:
        chunk = ""
        for line in text.splitlines(keepends=True):
            if chunk and len(chunk) + len(line) > CHUNK_CHARS:
                yield chunk
                chunk = ""
            while len(line) > CHUNK_CHARS:
                yield line[:CHUNK_CHARS]
                line = line[CHUNK_CHARS:]
            chunk += line
        if chunk:
            yield chunk


STAGE = Stage(
    name="tokenizer",
    version=2,
    module=__name__,
    run=run,
    sections={"tokenizer": TokenizerConfig},
    needs=("clean",),
)
