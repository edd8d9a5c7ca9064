"""A trained tokenizer at work: text and conversations to token ids and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.tokens.chat import Message, chat_parts

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

MODEL_FILE = "tokenizer.model"
UNK, BOS, EOS, PAD = "<unk>", "<bos>", "<eos>", "<pad>"
FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE = FIM_MARKERS = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")


class SentencePieceEncoding:
    """SentencePiece BPE without any normalisation: what goes in comes out, save that U+2581 comes back as a space.

    Special tokens never come out of ordinary text: a literal `<bos>` in a program is text.
    """

    def __init__(self, processor: SentencePieceProcessor) -> None:
        self._processor = processor
        self.vocab_size = int(processor.get_piece_size())
        self.bos_id = int(processor.bos_id())
        self.eos_id = int(processor.eos_id())
        self.pad_id = int(processor.pad_id())

    def token_id(self, piece: str) -> int:
        """The id of a piece; raises KeyError where the vocabulary has none."""
        found = int(self._processor.piece_to_id(piece))
        if self._processor.id_to_piece(found) != piece:
            raise KeyError(piece)
        return found

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        return [int(token) for token in self._processor.encode(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids; special tokens give nothing."""
        return str(self._processor.decode([int(token) for token in tokens]))

    def encode_chat(self, messages: Sequence[Message], *, prompt: bool = False) -> tuple[list[int], list[int]]:
        """Ids of a conversation as the chat template renders it, and a mask that is 1 on what the assistant says.

        The mask covers each answer and the token that ends it. With `prompt` the ids end where the next answer starts.
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


def load_encoding(folder: Path) -> SentencePieceEncoding:
    """The tokenizer of a folder that holds a `tokenizer.model`."""
    from sentencepiece import SentencePieceProcessor

    return SentencePieceEncoding(SentencePieceProcessor(model_proto=(folder / MODEL_FILE).read_bytes()))
