"""The vocabulary of a GGUF, from either kind of tokenizer that llama.cpp splits text with as the trainer does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.release.errors import ReleaseError
from stages.release.folder import read_json

if TYPE_CHECKING:
    from gguf import GGUFWriter

# What llama.cpp calls the kinds of token.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
END_OF_TURN = "<|im_end|>"
FIM = {"FIM_PRE_ID": "<fim_prefix>", "FIM_SUF_ID": "<fim_suffix>", "FIM_MID_ID": "<fim_middle>"}  # names in gguf.Keys
# How byte-level tokenizers cut text into words before they join bytes, by llama.cpp's names for it.
_BYTES = {"type": "ByteLevel", "add_prefix_space": False}
_GPT2_WORDS = _BYTES | {"use_regex": True}
_WORDS = (  # alternatives of a regular expression
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    r"[^\r\n\p{L}\p{N}]?\p{L}+",
    r"\p{N}DIGITS",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
)


def _split(digits: str) -> tuple[dict[str, Any], ...]:
    words = {"Regex": "|".join(_WORDS).replace("DIGITS", digits)}
    split = {"type": "Split", "pattern": words, "behavior": "Isolated", "invert": False}
    return split, _BYTES | {"use_regex": False}


PRE_TOKENIZERS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "gpt-2": (_GPT2_WORDS,),
    "smollm": ({"type": "Digits", "individual_digits": True}, _GPT2_WORDS),
    "qwen2": _split(""),
    "llama-bpe": _split("{1,3}"),
}
# llama.cpp does not normalise; what is in NFC already, as nearly all text is, it splits alike.
_NFC = {"type": "NFC"}
IGNORE_MERGES = {"llama-bpe"}  # a word that is a token is taken whole, whatever the merges give


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
    if chat_template:
        writer.add_chat_template(chat_template)


def read_chat_template(huggingface: Path) -> str:
    """The Jinja template that transformers would use; empty where there is none."""
    path = huggingface / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = _tokenizer_config(huggingface).get("chat_template", "")
    if isinstance(template, list):  # several by name
        template = next((entry["template"] for entry in template if entry["name"] == "default"), "")
    return str(template)


def _tokenizer_config(huggingface: Path) -> dict[str, Any]:
    path = huggingface / "tokenizer_config.json"
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
        pieces, merges = dict(model["vocab"]), [" ".join(_pair(merge)) for merge in model["merges"]]
        pieces |= {token["content"]: token["id"] for token in added}
    except (KeyError, TypeError, ValueError) as error:
        raise ReleaseError(f"{path}: not a tokenizer of byte-level BPE: {error!r}") from None
    pre = _pre_tokenizer(told.get("pre_tokenizer"))
    unusual = {
        "model.type": model.get("type", "BPE") != "BPE",
        "model.byte_fallback (a SentencePiece model needs its tokenizer.model here)": model.get("byte_fallback"),
        "model.ignore_merges": bool(model.get("ignore_merges")) != (pre in IGNORE_MERGES),
        "model.dropout": model.get("dropout"),
        "model.continuing_subword_prefix": model.get("continuing_subword_prefix"),
        "model.end_of_word_suffix": model.get("end_of_word_suffix"),
        "normalizer": (told.get("normalizer") or _NFC) != _NFC,
        "pre_tokenizer": pre is None,
        "added_tokens": any(token.get(rule) for token in added for rule in ("lstrip", "rstrip", "single_word")),
    }
    if found := [name for name, value in unusual.items() if value]:
        raise ReleaseError(f"{path}: llama.cpp would split text otherwise because of {', '.join(found)}")
    if len(set(pieces.values())) < len(pieces):
        raise ReleaseError(f"{path}: two tokens have one id")
    if missing := [byte for byte in _byte_letters() if byte not in pieces]:
        raise ReleaseError(f"{path}: {len(missing)} of the 256 bytes have no token")
    kinds = dict.fromkeys(pieces, NORMAL) | {
        token["content"]: CONTROL if token["special"] else USER_DEFINED for token in added
    }
    by_id = {token: piece for piece, token in pieces.items()}
    tokens = range(max(by_id) + 1)
    return Vocabulary(
        model="gpt2",
        pre=str(pre),
        pieces=[by_id.get(token, f"[PAD{token}]") for token in tokens],  # llama.cpp's own name for a gap
        kinds=[kinds[by_id[token]] if token in by_id else UNUSED for token in tokens],
        ids=_special_ids(path, config, pieces),
        add_bos=bool(config.get("add_bos_token", False)),
        merges=tuple(merges),
    )


def _pair(merge: str | list[str]) -> tuple[str, str]:
    """The two halves of a merge; files of tokenizers before 0.20 have them in one string."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _pre_tokenizer(told: Mapping[str, Any] | None) -> str | None:
    """llama.cpp's name for the way in which text is cut into words; None where it has none."""
    steps: Iterable[Any] = (told or {}).get("pretokenizers", [told])
    found = tuple({key: value for key, value in (step or {}).items() if key != "trim_offsets"} for step in steps)
    found = tuple(_GPT2_WORDS | step if step.get("type") == "ByteLevel" else step for step in found)
    return next((name for name, wanted in PRE_TOKENIZERS.items() if wanted == found), None)


def _special_ids(path: Path, config: Mapping[str, Any], pieces: Mapping[str, int]) -> dict[str, int]:
    ids = {}
    for name in ("bos", "eos", "unk", "pad"):
        token = config.get(f"{name}_token")
        content = token.get("content") if isinstance(token, dict) else token
        if content is not None:
            if content not in pieces:
                raise ReleaseError(f"{path}: has no token {content!r}, which tokenizer_config.json names as {name}")
            ids[name] = pieces[content]
    return ids


def _byte_letters() -> list[str]:
    """The letters that stand for the 256 bytes: a printable byte for itself, the others from U+0100 on (GPT-2)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
