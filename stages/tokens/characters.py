"""The kind `char`: one token a character, and one that both starts and ends a text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from stages.tokens.interface import BOS, Encoding

CHARACTERS_FILE = "characters.json"


class UnknownCharacters(ValueError):
    """A text has characters that the vocabulary lacks; `counts` says how often each."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = Counter(counts)
        super().__init__(f"the tokenizer does not know {shown(self.counts)}")


def shown(counts: Counter[str], most: int = 5) -> str:
    """Characters with their code points and how often each occurs, the most frequent first."""
    told = [f"{character!r} (U+{ord(character):04X}) × {count:,}" for character, count in counts.most_common(most)]
    more = len(counts) - len(told)
    return ", ".join(told) + (f" and {more:,} more" if more else "")


class CharacterEncoding(Encoding):
    """The characters in the order of their code points, from id 0 on, as in nanoGPT's data; the start and stop last."""

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = sorted(set(characters))
        self._ids = {character: number for number, character in enumerate(self.characters)}
        self.bos_id = self.eos_id = self.pad_id = len(self.characters)
        self.vocab_size = len(self.characters) + 1

    @staticmethod
    def load(folder: Path) -> CharacterEncoding:
        return CharacterEncoding(json.loads((folder / CHARACTERS_FILE).read_bytes())["characters"])

    def save(self, folder: Path) -> None:
        text = json.dumps({"characters": "".join(self.characters)}, ensure_ascii=False)
        (folder / CHARACTERS_FILE).write_text(text + "\n", encoding="utf-8", newline="\n")

    def token_id(self, piece: str) -> int:
        return self.bos_id if piece == BOS else self._ids[piece]

    def encode(self, text: str) -> list[int]:
        try:
            return [self._ids[character] for character in text]
        except KeyError:
            raise UnknownCharacters(Counter(c for c in text if c not in self._ids)) from None

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.characters[token] for token in map(int, tokens) if token != self.bos_id)

    def sizes(self) -> list[int]:
        return [*(len(character.encode()) for character in self.characters), 0]
