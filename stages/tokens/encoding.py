"""The one door to tokenizers: a folder's files say which of the three kinds it holds."""

from __future__ import annotations

from pathlib import Path

from stages.tokens.byte_level import TOKENIZER_FILE, ByteLevelEncoding
from stages.tokens.characters import CHARACTERS_FILE, CharacterEncoding, UnknownCharacters
from stages.tokens.interface import BOS, EOS, FIM_MARKERS, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, PAD, UNK, Encoding
from stages.tokens.pieces import MODEL_FILE, SentencePieceEncoding

__all__ = [
    "BOS", "EOS", "FIM_MARKERS", "FIM_MIDDLE", "FIM_PREFIX", "FIM_SUFFIX", "MODEL_FILE", "PAD", "UNK",
    "ByteLevelEncoding", "CharacterEncoding", "Encoding", "SentencePieceEncoding", "UnknownCharacters",
    "load_encoding",
]  # fmt: skip


def load_encoding(folder: Path) -> Encoding:
    """The tokenizer of a folder; raises FileNotFoundError where it holds none."""
    if (folder / MODEL_FILE).is_file():
        return SentencePieceEncoding.load(folder)
    if (folder / TOKENIZER_FILE).is_file():
        return ByteLevelEncoding.load(folder)
    if (folder / CHARACTERS_FILE).is_file():
        return CharacterEncoding.load(folder)
    raise FileNotFoundError(f"{folder} holds no tokenizer: {MODEL_FILE}, {TOKENIZER_FILE} or {CHARACTERS_FILE}")
