"""What every tokenizer here is: text and conversations to token ids and back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from stages.tokens.chat import CHAT_END, Message, chat_parts

UNK, BOS, EOS, PAD = "<unk>", "<bos>", "<eos>", "<pad>"
FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE = FIM_MARKERS = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")


class Encoding(Protocol):
    """A tokenizer at work. A special token never comes out of ordinary text: a literal `<bos>` in a program is text.

    `bos_id`, `eos_id` and `pad_id` may be one and the same. `vocab_size` is the highest id and one.
    """

    vocab_size: int
    bos_id: int
    eos_id: int
    pad_id: int

    @abstractmethod
    def token_id(self, piece: str) -> int:
        """The id of a piece, such as a special token; raises KeyError where the vocabulary has none."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens; raises UnknownCharacters where a text cannot be said."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids; special tokens give nothing, and bytes that are no UTF-8 U+FFFD."""

    @abstractmethod
    def sizes(self) -> list[int]:
        """How many bytes of UTF-8 each id stands for."""

    def has(self, piece: str) -> bool:
        """Whether the vocabulary has a piece."""
        try:
            self.token_id(piece)
        except KeyError:
            return False
        return True

    @property
    def chats(self) -> bool:
        """Whether the vocabulary has the markers of the chat format."""
        return self.has(CHAT_END)

    @property
    def fills(self) -> bool:
        """Whether the vocabulary has the markers of a text with a gap."""
        return self.has(FIM_MIDDLE)

    @property
    def stops(self) -> frozenset[int]:
        """The ids that end a text or an answer."""
        return frozenset({self.eos_id, self.token_id(CHAT_END)} if self.chats else {self.eos_id})

    def encode_chat(self, messages: Sequence[Message], *, prompt: bool = False) -> tuple[list[int], list[int]]:
        """Ids of a conversation as the runtimes read it, and a mask that is 1 on the answer at its end, if any.

        The mask covers the answer and the token that ends it. With `prompt` the ids end where the next answer starts,
        or where one that was begun goes on.
        """
        tokens, mask = [self.bos_id], [0]
        for part in chat_parts(messages, prompt=prompt):
            ids = [self.token_id(part.text)] if part.special else self.encode(part.text)
            tokens += ids
            mask += [int(part.learned)] * len(ids)
        return tokens, mask

    def encode_fim(self, prefix: str, middle: str, suffix: str) -> list[int]:
        """Ids of a text with a gap and what fills it: prefix, suffix, middle, each encoded on its own."""
        return [
            *(self.token_id(FIM_PREFIX), *self.encode(prefix)),
            *(self.token_id(FIM_SUFFIX), *self.encode(suffix)),
            *(self.token_id(FIM_MIDDLE), *self.encode(middle)),
        ]
