"""Weights as training left them, in torch: an artifact of `pretrain` or `finetune`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from stages.evaluation.models.interface import Chat, Gap, Prompt
from stages.evaluation.models.tokens import TokenModel, torch_losses
from stages.tokens.chat import with_system
from stages.tokens.encoding import UnknownCharacters, load_encoding
from stages.tokens.fim import trained_with_gaps
from stages.tokens.sampling import Generated, Sampling

MANIFEST = "manifest.json"


class Checkpoint(TokenModel):
    """An artifact with `model.json` and `model.safetensors`, in float32; its tokenizer is found by the manifests.

    It answers if its last training was on conversations, and fills gaps if there were some in its texts.
    """

    kind = "checkpoint"

    def __init__(self, folder: Path, *, system: str | None = None) -> None:
        """Raises UsageError where an artifact that it was made from is gone, or its weights are damaged."""
        import torch

        from stages.training.model import load_model

        folder = folder.resolve()
        manifest = read_manifest(folder)
        tokens = made_from(folder, manifest, "tokenize")
        tokenizer = made_from(tokens, read_manifest(tokens), "tokenizer")
        self.name, self.source = f"{folder.parent.name}/{folder.name}", str(folder)
        weights = folder / "model.safetensors"
        try:
            meta = json.loads((tokens / "meta.json").read_bytes())
            self.encoding = load_encoding(tokenizer)
            self.network = load_model(folder)
            self.fills = trained_with_gaps(tokens, self.encoding)
            self.size = weights.stat().st_size
        except (OSError, ValueError) as error:
            raise UsageError(f"{folder} cannot be loaded: {error}", hint="pipeline verify") from None
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network.to(self.device)
        self.context_length = self.network.context_length
        taught = manifest.get("stage") == "finetune" and manifest.get("metrics", {}).get("steps", 1) > 0
        self.chats = self.encoding.chats and taught and _conversations(meta) > 0
        self.system = str(meta["system"]) if system is None else system

    @property
    def edges(self) -> tuple[int | None, int | None]:
        return self.encoding.bos_id, self.encoding.eos_id

    def ids(self, prompt: Prompt) -> list[int]:
        try:
            if isinstance(prompt, Chat):
                return self.encoding.encode_chat(with_system(prompt.messages, self.system), prompt=True)[0]
            if isinstance(prompt, Gap):
                return [self.encoding.bos_id, *self.encoding.encode_fim(prompt.prefix, "", prompt.suffix)]
            return [self.encoding.bos_id, *self.encode(prompt.text)]
        except UnknownCharacters as error:
            raise UsageError(f"{self.name}: {error}", hint="start with other characters, or with none") from None

    def encode(self, text: str) -> list[int]:
        return self.encoding.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.encoding.decode(ids)

    def draw(self, ids: Sequence[int], *, sampling: Sampling, limit: int, seed: int) -> Iterator[int]:
        from stages.training.sample import generate

        return generate(self.network, ids, max_tokens=limit, sampling=sampling, stop=self.encoding.stops, seed=seed)

    def draw_many(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        sampling: Sampling,
        limit: int,
        seeds: Sequence[int],
        advance: Callable[[int], object],
    ) -> list[Generated]:
        from stages.training.sample import generate_batch

        return generate_batch(
            self.network,
            prompts,
            max_tokens=limit,
            sampling=sampling,
            stop=self.encoding.stops,
            seeds=seeds,
            advance=advance,
        )

    def losses(self, windows: Sequence[Sequence[int]]) -> Iterable[float]:
        return torch_losses(self.network, windows, vocab_size=self.network.vocab_size, device=self.device)

    def close(self) -> None:
        self.network.to("meta")


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """What an artifact says of itself; raises UsageError for a folder that is none."""
    try:
        told = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        told = None
    if not isinstance(told, dict) or "inputs" not in told:
        raise UsageError(
            f"{folder} is no artifact: it has no {MANIFEST} that leads to its tokenizer",
            hint="name it where it is: artifacts/finetune/v0001-…",
        )
    return told


def made_from(folder: Path, manifest: Mapping[str, Any], stage: str) -> Path:
    """The artifact of a stage that another was made from, in the same store."""
    label = manifest["inputs"].get(stage, {}).get("artifact", "")
    found: Path = folder.parent.parent / label
    if not label or not found.is_dir():
        raise UsageError(
            f"{folder} was made from {label or stage}, which is not in {folder.parent.parent}",
            hint="copy both artifacts, or run the pipeline again",
        )
    return found


def _conversations(meta: Mapping[str, Any]) -> int:
    return int(meta.get("sides", {}).get("train_pairs", {}).get("conversations", 1))
