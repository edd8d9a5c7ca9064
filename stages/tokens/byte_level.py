"""The kind `byte_level`: GPT-2's BPE over bytes (Radford et al. 2019), trained here or taken from a pretrained model.

The vocabulary of one that is trained here lies as GPT-2's own does: first the 256 bytes in the order of GPT-2's byte
alphabet, then what was learnt, then the special tokens

    <bos> <eos> <pad> <|im_start|> <|im_end|> <fim_prefix> <fim_suffix> <fim_middle>

One that is taken keeps all its ids and its own tokens for start and end (GPT-2's `<|endoftext|>` is both), and those of
the special tokens above that it lacks are appended: the padding, unless it names one, and the markers. So in both the
special tokens stand last, as "added tokens" for HuggingFace and as control tokens for llama.cpp, which go by what a
token is and not by where it stands.

A folder has `tokenizer.json` (HuggingFace's format) and `tokenizer_config.json`, which names the three roles.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.tokens.chat import CHAT_MARKERS
from stages.tokens.interface import BOS, EOS, FIM_MARKERS, PAD, Encoding
from stages.tokens.words import not_followed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE, ROLES_FILE = "tokenizer.json", "tokenizer_config.json"
MARKERS = (*CHAT_MARKERS, *FIM_MARKERS)
SPECIAL = (BOS, EOS, PAD, *MARKERS)
END_OF_TEXT = "<|endoftext|>"
ROLES = ("bos_token", "eos_token", "pad_token")


class ByteLevelEncoding(Encoding):
    """BPE over bytes: every text comes back to the byte."""

    def __init__(self, tokenizer: Tokenizer, roles: Sequence[str]) -> None:
        """`roles` are the tokens that start a text, end it, and fill up."""
        self.tokenizer = tokenizer
        tokenizer.encode_special_tokens = True  # a literal `<bos>` is encoded like any other text
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.vocab_size = max(tokenizer.get_vocab().values()) + 1
        self.bos_token, self.eos_token, self.pad_token = roles
        self.bos_id, self.eos_id, self.pad_id = map(self.token_id, roles)

    @staticmethod
    def load(folder: Path) -> ByteLevelEncoding:
        from tokenizers import Tokenizer

        named = json.loads((folder / ROLES_FILE).read_bytes())
        tokenizer = Tokenizer.from_str((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
        return ByteLevelEncoding(tokenizer, [named[role] for role in ROLES])

    def save(self, folder: Path) -> None:
        """Write the two files."""
        (folder / TOKENIZER_FILE).write_text(self.tokenizer.to_str(pretty=True), encoding="utf-8", newline="\n")
        named = dict(zip(ROLES, (self.bos_token, self.eos_token, self.pad_token), strict=True))
        told = {"tokenizer_class": "PreTrainedTokenizerFast", **named, "clean_up_tokenization_spaces": False}
        (folder / ROLES_FILE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8", newline="\n")

    def not_followed(self) -> list[str]:
        """What in it llama.cpp would do otherwise, so that a model with it cannot be released."""
        return not_followed(json.loads(self.tokenizer.to_str()))

    def token_id(self, piece: str) -> int:
        found = self.tokenizer.token_to_id(piece)
        if found is None:
            raise KeyError(piece)
        return int(found)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode([int(token) for token in tokens]))

    def sizes(self) -> list[int]:
        added = self.tokenizer.get_added_tokens_decoder()
        found = [0] * self.vocab_size
        for piece, token in self.tokenizer.get_vocab(with_added_tokens=True).items():
            if token not in added:
                found[token] = len(piece)  # each byte is spelled as one character
            elif not added[token].special:
                found[token] = len(added[token].content.encode())
        return found


def train(texts: Iterable[str], vocab_size: int) -> ByteLevelEncoding:
    """BPE over the bytes of the texts, cut into words by GPT-2's pattern; a small corpus gives fewer pieces than asked.

    The same texts give the same pieces.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    return ByteLevelEncoding(tokenizer, (BOS, EOS, PAD))


def from_huggingface(folder: Path) -> ByteLevelEncoding:
    """The tokenizer of a pretrained model with what it lacks appended.

    If it composes letters (NFC, as Qwen's does), that is left out: llama.cpp does not, and texts could not come back.

    Reads `tokenizer.json`, or `vocab.json` and `merges.txt`, and what `tokenizer_config.json` says of start, end and
    padding. Raises ValueError where there is none, or none that gives texts back.
    """
    from tokenizers import AddedToken, normalizers

    tokenizer = _tokenizer(folder)
    if isinstance(tokenizer.normalizer, normalizers.NFC):
        tokenizer.normalizer = None
    named = _roles(folder)
    here = tokenizer.get_vocab()
    ends = [named.get(role) for role in ("eos_token", "bos_token")] + [END_OF_TEXT, EOS]
    eos = next((token for token in ends if token in here), None)
    if eos is None:
        raise ValueError(f"{ROLES_FILE} names no eos_token that is in the vocabulary")
    given = named.get("bos_token")
    bos = given if given in here else eos
    pad = named["pad_token"] if named.get("pad_token") in here else PAD
    missing = [token for token in (pad, *MARKERS) if token not in here]
    known = (token for token in (bos, eos, pad, *SPECIAL) if token in here)
    special = dict.fromkeys([*known, *missing])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    encoding = ByteLevelEncoding(tokenizer, (bos, eos, pad))
    for probe in ("a", " A  b\n\tcÉ🙂\r\n\n x "):
        if encoding.decode(encoding.encode(probe)) != probe:
            raise ValueError("it does not give texts back as they were; byte_level needs BPE over bytes")
    return encoding


def _tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    whole, parts = folder / TOKENIZER_FILE, (folder / "vocab.json", folder / "merges.txt")
    if whole.is_file():
        tokenizer = Tokenizer.from_str(whole.read_text(encoding="utf-8"))
        if not isinstance(tokenizer.model, models.BPE) or "ByteLevel" not in str(tokenizer.decoder):
            raise ValueError(f"{TOKENIZER_FILE} is no BPE over bytes")
        return tokenizer
    if not all(part.is_file() for part in parts):
        raise ValueError(f"it has neither {TOKENIZER_FILE} nor vocab.json with merges.txt")
    tokenizer = Tokenizer(models.BPE.from_file(*map(str, parts)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _roles(folder: Path) -> dict[str, str]:
    """The special tokens that the files name; each may be a string or an object with its `content`."""
    found: dict[str, str] = {}
    for name in ("special_tokens_map.json", ROLES_FILE):
        if (folder / name).is_file():
            told: dict[str, Any] = json.loads((folder / name).read_bytes())
            for role in ROLES:
                token = told.get(role)
                if token is not None:
                    found[role] = token["content"] if isinstance(token, dict) else token
    return found
