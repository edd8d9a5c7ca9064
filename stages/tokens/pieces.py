"""The kind `sentencepiece`: pieces of text learnt by BPE, with bytes for what they cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.tokens.interface import Encoding

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

MODEL_FILE = "tokenizer.model"


class SentencePieceEncoding(Encoding):
    """SentencePiece BPE without any normalisation: what goes in comes out, save that U+2581 comes back as a space."""

    def __init__(self, processor: SentencePieceProcessor) -> None:
        self._processor = processor
        self.vocab_size = int(processor.get_piece_size())
        self.bos_id = int(processor.bos_id())
        self.eos_id = int(processor.eos_id())
        self.pad_id = int(processor.pad_id())

    @staticmethod
    def load(folder: Path) -> SentencePieceEncoding:
        from sentencepiece import SentencePieceProcessor

        return SentencePieceEncoding(SentencePieceProcessor(model_proto=(folder / MODEL_FILE).read_bytes()))

    def token_id(self, piece: str) -> int:
        found = int(self._processor.piece_to_id(piece))
        if self._processor.id_to_piece(found) != piece:
            raise KeyError(piece)
        return found

    def encode(self, text: str) -> list[int]:
        return [int(token) for token in self._processor.encode(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._processor.decode([int(token) for token in tokens]))

    def sizes(self) -> list[int]:
        return [self._size(token) for token in range(self.vocab_size)]

    def _size(self, token: int) -> int:
        processor = self._processor
        if processor.is_control(token) or processor.is_unknown(token):
            return 0
        return 1 if processor.is_byte(token) else len(processor.id_to_piece(token).replace("\u2581", " ").encode())
