"""Make the tokenizer: trained on the training documents, taken from a pretrained model, or simply all characters."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.errors import StageError, UsageError
from pipeline.stage import Context, Metrics, Section, Stage, section_error
from stages.corpus.documents import read_documents
from stages.tokens import byte_level, pretrained
from stages.tokens.chat import CHAT_MARKERS
from stages.tokens.encoding import (
    BOS,
    EOS,
    FIM_MARKERS,
    MODEL_FILE,
    PAD,
    UNK,
    CharacterEncoding,
    SentencePieceEncoding,
    load_encoding,
)
from stages.tokens.usage import longest_pieces

MIN_PIECES = 300  # 256 are bytes, 9 are special
CHUNK_CHARS = 1000  # SentencePiece passes over a training sentence of more than 4192 bytes


class TokenizerConfig(Section):
    """`vocab_size` is exact for sentencepiece and the most for the others, as a corpus may not have so much to learn.

    A tokenizer that is taken (`init_from`: a HuggingFace folder or hub name) has the size it has; `plan` reckons with
    `vocab_size` all the same. `characters_from` is a text whose characters are taken instead of those of the corpus.
    """

    kind: Literal["sentencepiece", "byte_level", "char"] = "sentencepiece"
    vocab_size: Annotated[int, Field(ge=2, le=65_536)] = 8192
    init_from: str = ""
    characters_from: str = ""
    foreign_names: ClassVar[Mapping[str, str]] = {"type": "kind", "from_pretrained": "init_from"}

    @model_validator(mode="after")
    def _fits_the_kind(self) -> Self:
        if self.kind != "char" and self.vocab_size < MIN_PIECES:
            raise section_error("vocab_size", f"{self.vocab_size} is too few for {self.kind}; at least {MIN_PIECES}")
        if self.kind == "char" and self.init_from:
            raise section_error("init_from", "is for sentencepiece and byte_level; for char see characters_from")
        if self.kind != "char" and self.characters_from:
            raise section_error("characters_from", "is for kind: char")
        return self


def run(context: Context) -> Metrics:
    config = context.section(TokenizerConfig)
    if config.init_from:
        metrics = _take(context, config)
    elif config.kind == "char":
        metrics = _collect(context, config)
    else:
        metrics = _learn(context, config)
    encoding = load_encoding(context.out)
    context.say(f"{encoding.vocab_size:,} pieces")
    pieces: dict[str, Any] = {"longest": longest_pieces(encoding)}
    metrics = {"vocab_size": encoding.vocab_size, "pieces": pieces} | metrics
    if "clean" not in context.inputs:
        return metrics
    sizes: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for document in read_documents(context.inputs["clean"] / "val"):
        if encoding.chats or document.kind != "pair":
            sizes[document.kind] += len(document.text.encode())
            tokens[document.kind] += len(encoding.encode(document.text))
    if not tokens:
        return metrics
    whole = sizes.total() / tokens.total()
    context.say(f"{whole:.2f} bytes per token on the validation documents")
    pieces["bytes_per_token"] = {kind: round(sizes[kind] / tokens[kind], 4) for kind in sorted(tokens)}
    return metrics | {"bytes_per_token": round(whole, 4)}


def _learn(context: Context, config: TokenizerConfig) -> Metrics:
    context.say(f"training {config.vocab_size} pieces")
    texts = (document.text for document in read_documents(context.inputs["clean"] / "train"))
    if config.kind == "sentencepiece":
        (context.out / MODEL_FILE).write_bytes(train(texts, config.vocab_size))
    else:
        learnt = byte_level.train(texts, config.vocab_size)
        if learnt.vocab_size < config.vocab_size:
            context.warn(f"the corpus has no more than {learnt.vocab_size} of the {config.vocab_size} pieces to learn")
        learnt.save(context.out)
    return {}


def _collect(context: Context, config: TokenizerConfig) -> Metrics:
    """All characters of both sides: what is held back may have some that training lacks, and has to be sayable."""
    if config.characters_from:
        path = context.base / Path(config.characters_from).expanduser()
        texts: Iterable[str] = [_text(path)]
    else:
        folders = [context.inputs["clean"] / side for side in ("train", "val")]
        texts = (each.text for folder in folders for each in read_documents(folder) if each.kind != "pair")
    found: set[str] = set()
    for text in texts:
        found.update(text)
    encoding = CharacterEncoding(found)
    if encoding.vocab_size > config.vocab_size:
        raise StageError(
            f"tokenizer: {len(found)} characters and the start are more than vocab_size {config.vocab_size}",
            hint=f"--set tokenizer.vocab_size={encoding.vocab_size}, or leave out documents in other scripts",
        )
    encoding.save(context.out)
    return {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"tokenizer.characters_from: {path} cannot be read: {error}") from error


def _take(context: Context, config: TokenizerConfig) -> Metrics:
    folder = pretrained.pretrained_folder(config.init_from, context.base)
    try:
        if config.kind == "byte_level":
            taken = byte_level.from_huggingface(folder)
            taken.save(context.out)
            if found := taken.not_followed():
                context.warn(
                    f"{config.init_from}: llama.cpp would split text otherwise because of {', '.join(found)}, so that "
                    "`convert` will refuse the model; take another tokenizer, or end the run with `until: pretrain`"
                )
        else:
            _copy_sentencepiece(folder, context.out)
    except Exception as error:  # a damaged file makes the tokenizers package raise plain exceptions
        raise StageError(f"tokenizer.init_from: {config.init_from}: {error}") from error
    return {"init_from": config.init_from}


def _copy_sentencepiece(folder: Path, out: Path) -> None:
    """Take a model as it is; raises ValueError where it lacks the special tokens, which cannot be added to it."""
    if not (folder / MODEL_FILE).is_file():
        raise ValueError(f"it has no {MODEL_FILE}; is its tokenizer.kind byte_level?")
    encoding = SentencePieceEncoding.load(folder)
    lacking = [piece for piece in (BOS, EOS, PAD, *CHAT_MARKERS, *FIM_MARKERS) if not encoding.has(piece)]
    if lacking:
        raise ValueError(f"its {MODEL_FILE} lacks {' '.join(lacking)}: only one that was made here can be taken")
    shutil.copyfile(folder / MODEL_FILE, out / MODEL_FILE)


def fingerprint(sections: Mapping[str, Section], base: Path) -> Any:
    """The digests of local files that the tokenizer is taken from; the hub is not asked."""
    config = sections["tokenizer"]
    assert isinstance(config, TokenizerConfig)
    folder = pretrained.local_folder(config.init_from, base) if config.init_from else None
    found = [folder / name for name in pretrained.FILES] if folder else []
    if config.characters_from:
        found.append(base / Path(config.characters_from).expanduser())
    return [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in found if path.is_file()]


def spared(sections: Mapping[str, Section]) -> frozenset[str]:
    """What is taken from elsewhere needs no corpus."""
    config = sections["tokenizer"]
    assert isinstance(config, TokenizerConfig)
    return frozenset({"clean"} if config.init_from or config.characters_from else ())


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
    version=3,
    module=__name__,
    run=run,
    sections={"tokenizer": TokenizerConfig},
    needs=("clean",),
    fingerprint=fingerprint,
    spared=spared,
)
