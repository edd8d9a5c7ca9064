"""How byte-level tokenizers cut text into words before they join bytes, and which of them llama.cpp follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

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


PRE_TOKENIZERS: Mapping[str, tuple[dict[str, Any], ...]] = {  # by llama.cpp's names
    "gpt-2": (_GPT2_WORDS,),
    "smollm": ({"type": "Digits", "individual_digits": True}, _GPT2_WORDS),
    "qwen2": _split(""),
    "llama-bpe": _split("{1,3}"),
}
IGNORE_MERGES = {"llama-bpe"}  # a word that is a token is taken whole, whatever the merges give


def pre_tokenizer(told: Mapping[str, Any] | None) -> str | None:
    """llama.cpp's name for the way in which text is cut into words; None where it has none."""
    steps: Iterable[Any] = (told or {}).get("pretokenizers", [told])
    found = tuple({key: value for key, value in (step or {}).items() if key != "trim_offsets"} for step in steps)
    found = tuple(_GPT2_WORDS | step if step.get("type") == "ByteLevel" else step for step in found)
    return next((name for name, wanted in PRE_TOKENIZERS.items() if wanted == found), None)


def not_followed(told: Mapping[str, Any]) -> list[str]:
    """The parts of a `tokenizer.json` of byte-level BPE because of which llama.cpp would split text otherwise.

    Raises KeyError, TypeError or AttributeError where it is no such file.
    """
    model, pre = told["model"], pre_tokenizer(told.get("pre_tokenizer"))
    unusual = {
        "model.type": model.get("type", "BPE") != "BPE",
        "model.byte_fallback (a SentencePiece model needs its tokenizer.model here)": model.get("byte_fallback"),
        "model.ignore_merges": bool(model.get("ignore_merges")) != (pre in IGNORE_MERGES),
        "model.dropout": model.get("dropout"),
        "model.continuing_subword_prefix": model.get("continuing_subword_prefix"),
        "model.end_of_word_suffix": model.get("end_of_word_suffix"),
        "normalizer": told.get("normalizer"),
        "pre_tokenizer": pre is None,
        "added_tokens": any(
            token.get(rule) for token in told.get("added_tokens") or [] for rule in ("lstrip", "rstrip", "single_word")
        ),
    }
    return [name for name, value in unusual.items() if value]
