"""The vocabulary of a GGUF, from either kind of tokenizer that llama.cpp splits text with as the trainer does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.release.errors import ReleaseError
from stages.release.folder import read_json, read_text
from stages.tokens.words import not_followed, pre_tokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter

# What llama.cpp calls the kinds of token.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
END_OF_TURN = "<|im_end|>"
CONFIG = "tokenizer_config.json"
FIM = {"FIM_PRE_ID": "<fim_prefix>", "FIM_SUF_ID": "<fim_suffix>", "FIM_MID_ID": "<fim_middle>"}  # names in gguf.Keys
MAX_PIECES = 2**22  # an id beyond is no id of a vocabulary


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, and how text becomes tokens."""

    model: str  # "llama": SentencePiece BPE; "gpt2": byte-level BPE
    pre: str
    pieces: list[str]
    kinds: list[int]
    ids: Mapping[str, int]  # bos, eos, unk, pad: those that there are
    add_bos: bool
    space_prefix: bool = False
    scores: tuple[float, ...] = ()
    merges: tuple[str, ...] = ()


def read_vocabulary(huggingface: Path) -> Vocabulary:
    """The vocabulary of a Hugging Face directory: of `tokenizer.model`, or without it of `tokenizer.json`.

    Raises ReleaseError for a tokenizer whose token ids llama.cpp would not give.
    """
    if (path := huggingface / "tokenizer.model").is_file():
        return _read_sentencepiece(path)
    if not (huggingface / "tokenizer.json").is_file():
        raise ReleaseError(f"{huggingface}: there is neither tokenizer.model nor tokenizer.json")
    return _read_byte_level(huggingface)


def add_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary, chat_template: str) -> None:
    """Write the tokenizer and what it adds by itself."""
    from gguf import Keys

    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.pieces)
    writer.add_token_types(vocabulary.kinds)
    if vocabulary.scores:
        writer.add_token_scores(list(vocabulary.scores))
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    add_id = {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "unk": writer.add_unk_token_id,
        "pad": writer.add_pad_token_id,
    }
    for name, token in vocabulary.ids.items():
        add_id[name](token)
    if END_OF_TURN in vocabulary.pieces:
        writer.add_eot_token_id(vocabulary.pieces.index(END_OF_TURN))
    for key, piece in FIM.items():
        if piece in vocabulary.pieces:
            writer.add_uint32(getattr(Keys.Tokenizer, key), vocabulary.pieces.index(piece))
    writer.add_add_space_prefix(vocabulary.space_prefix)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(False)
    writer.add_add_sep_token(False)
    if chat_template:
        writer.add_chat_template(chat_template)


def read_chat_template(huggingface: Path) -> str:
    """The Jinja template that transformers would use; empty where there is none."""
    path = huggingface / "chat_template.jinja"
    if path.is_file():
        return read_text(path)
    template = _tokenizer_config(huggingface).get("chat_template", "")
    if isinstance(template, list):  # several by name
        named = [entry for entry in template if isinstance(entry, dict) and entry.get("name") == "default"]
        template = named[0].get("template") if named else ""
    if not isinstance(template, str):
        raise ReleaseError(f"{huggingface / CONFIG}: its chat_template is no text")
    return template


def _tokenizer_config(huggingface: Path) -> dict[str, Any]:
    path = huggingface / CONFIG
    return read_json(path) if path.is_file() else {}


def _read_sentencepiece(path: Path) -> Vocabulary:
    import sentencepiece

    try:
        model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise ReleaseError(f"{path}: not a SentencePiece model: {error}") from None
    # llama.cpp does not normalise: it only puts a space in front, if told so, and turns spaces into U+2581.
    sample, spaced = " \ufb01  x\u3000\u00b2 ", "\u2581\ufb01\u2581\u2581x\u3000\u00b2\u2581"
    normalised = model.normalize(sample)
    if normalised not in (spaced, "\u2581" + spaced):
        raise ReleaseError(f"{path}: normalises {sample!r} to {normalised!r}, as llama.cpp would not")
    tokens = range(model.get_piece_size())
    kinds = [
        UNKNOWN
        if model.is_unknown(token)
        else CONTROL
        if model.is_control(token)
        else BYTE
        if model.is_byte(token)
        else UNUSED
        if model.is_unused(token)
        else NORMAL
        for token in tokens
    ]
    scores = tuple(float(model.get_score(token)) for token in tokens)
    learned = [score for score, kind in zip(scores, kinds, strict=True) if kind == NORMAL]
    if learned != [-float(rank) for rank in range(len(learned))]:
        raise ReleaseError(f"{path}: not plain BPE; only that is split alike by llama.cpp")
    ids = {"bos": model.bos_id(), "eos": model.eos_id(), "unk": model.unk_id(), "pad": model.pad_id()}
    return Vocabulary(
        model="llama",
        pre="default",  # pre-tokenisers belong to "gpt2"
        pieces=[model.id_to_piece(token) for token in tokens],
        kinds=kinds,
        ids={name: token for name, token in ids.items() if token >= 0},
        add_bos=model.bos_id() >= 0,
        space_prefix=normalised != spaced,
        scores=scores,
    )


def _read_byte_level(huggingface: Path) -> Vocabulary:
    path = huggingface / "tokenizer.json"
    told, config = read_json(path), _tokenizer_config(huggingface)
    try:
        model, added = told["model"], told.get("added_tokens") or []
        learnt, merges = dict(model["vocab"]), [_pair(merge) for merge in model["merges"]]
        special = {token["content"]: token["id"] for token in added}
        kinds = dict.fromkeys(learnt, NORMAL) | {
            token["content"]: CONTROL if token.get("special") else USER_DEFINED for token in added
        }
        found = not_followed(told)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReleaseError(f"{path}: not a tokenizer of byte-level BPE: {error!r}") from None
    if found:
        raise ReleaseError(f"{path}: llama.cpp would split text otherwise because of {', '.join(found)}")
    pieces = learnt | special
    _check_pieces(path, pieces, learnt, merges)
    by_id = {token: piece for piece, token in pieces.items()}
    names = [by_id.get(token) or _name_of_gap(token, pieces) for token in range(max(by_id) + 1)]
    return Vocabulary(
        model="gpt2",
        pre=str(pre_tokenizer(told.get("pre_tokenizer"))),
        pieces=names,
        kinds=[kinds.get(name, UNUSED) for name in names],
        ids=_special_ids(path, config, pieces),
        add_bos=bool(config.get("add_bos_token", False)),
        merges=tuple(" ".join(merge) for merge in merges),
    )


def _check_pieces(
    path: Path, pieces: Mapping[str, int], learnt: Mapping[str, int], merges: Iterable[tuple[str, str]]
) -> None:
    """Raise ReleaseError unless each id has one piece and each byte, merge and piece has its one id."""
    for piece, token in pieces.items():
        if type(token) is not int or not 0 <= token < MAX_PIECES:
            raise ReleaseError(f"{path}: {piece!r} has the id {token!r}")
        if learnt.get(piece, token) != token:
            raise ReleaseError(f"{path}: {piece!r} is there twice, with the ids {learnt[piece]} and {token}")
    if len(set(pieces.values())) < len(pieces):
        token = next(token for token, count in Counter(pieces.values()).items() if count > 1)
        both = [piece for piece, other in pieces.items() if other == token]
        raise ReleaseError(f"{path}: two tokens have one id: {both[0]!r} and {both[1]!r} have {token}")
    if missing := [byte for byte in _byte_letters() if byte not in pieces]:
        raise ReleaseError(f"{path}: {len(missing)} of the 256 bytes have no token")
    for first, second in merges:
        if not {first, second, first + second} <= learnt.keys():
            raise ReleaseError(f"{path}: the merge of {first!r} and {second!r} is of pieces that are not there")


def _name_of_gap(token: int, pieces: Mapping[str, int]) -> str:
    """llama.cpp's own name for an id without a piece, unless some piece is called so."""
    name = f"[PAD{token}]"
    while name in pieces:
        name = f"[{name}]"
    return name


def _pair(merge: str | list[str]) -> tuple[str, str]:
    """The two halves of a merge; files of tokenizers before 0.20 have them in one string."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _special_ids(path: Path, config: Mapping[str, Any], pieces: Mapping[str, int]) -> dict[str, int]:
    ids = {}
    for name in ("bos", "eos", "unk", "pad"):
        token = config.get(f"{name}_token")
        content = token.get("content") if isinstance(token, dict) else token
        if content is not None:
            if not isinstance(content, str) or content not in pieces:
                raise ReleaseError(f"{path}: has no token {content!r}, which tokenizer_config.json names as {name}")
            ids[name] = pieces[content]
    return ids


def _byte_letters() -> list[str]:
    """The letters that stand for the 256 bytes: a printable byte for itself, the others from U+0100 on (GPT-2)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
