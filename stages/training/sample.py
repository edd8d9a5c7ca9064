"""Text from a trained model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError

if TYPE_CHECKING:
    import torch

    from stages.training.networks.network import Network


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn: `temperature` 0 takes the likeliest; `top_k` 0 and `top_p` 1 leave all in."""

    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 1.0


def generate(
    model: Network, prompt: Sequence[int], *, max_tokens: int, sampling: Sampling, stop: frozenset[int], seed: int
) -> Iterator[int]:
    """Yield new token ids after `prompt` (not empty) until a stop token, which is not yielded, or `max_tokens`.

    Beyond `context_length` the oldest tokens fall out of sight. The same seed gives the same tokens.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    tokens = list(prompt)
    model.eval()
    device = model.embedding.weight.device
    for _ in range(max_tokens):
        window = torch.tensor([tokens[-model.context_length :]], device=device)
        with torch.no_grad():
            logits = model(window)[0, -1].float().cpu()
        token = draw(logits, sampling, generator)
        if token in stop:
            return
        tokens.append(token)
        yield token


def draw(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One token id from logits (vocab_size,). Nucleus as in Holtzman et al. 2019, arXiv 1904.09751."""
    import torch

    if sampling.temperature <= 0:
        return int(logits.argmax())
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(sampling.top_k).values[-1], -torch.inf)
    chances = logits.softmax(-1)
    if sampling.top_p < 1:
        ranked, order = chances.sort(descending=True)
        chances[order[ranked.cumsum(-1) - ranked >= sampling.top_p]] = 0
    return int(torch.multinomial(chances / chances.sum(), 1, generator=generator))


def stream_text(
    folders: Mapping[str, Path],
    stage: str,
    prompt: str,
    *,
    chat: bool,
    max_tokens: int,
    sampling: Sampling,
    seed: int,
) -> Iterator[str]:
    """Yield the text as it comes, the prompt first unless it is a chat.

    `folders` are the artifacts of a run by stage. Raises UsageError where the run has no weights of that stage.
    """
    trained = [name for name in ("finetune", "pretrain") if name in folders and stage in ("", name)]
    if not trained or "tokenizer" not in folders:
        raise UsageError(
            f"the newest trained run has no {stage or 'trained'} weights; --stage is pretrain or finetune",
            hint="pipeline log",
        )
    from stages.tokens.chat import CHAT_END
    from stages.tokens.encoding import load_encoding
    from stages.training.model import load_model

    encoding, model = load_encoding(folders["tokenizer"]), load_model(folders[trained[0]])
    if chat:
        ids, _ = encoding.encode_chat([{"role": "user", "content": prompt}], prompt=True)
    else:
        ids = [encoding.bos_id, *encoding.encode(prompt)]
        yield prompt
    stop = frozenset({encoding.eos_id, encoding.token_id(CHAT_END)})
    tokens: list[int] = []
    shown = ""
    for token in generate(model, ids, max_tokens=max_tokens, sampling=sampling, stop=stop, seed=seed):
        tokens.append(token)
        text = encoding.decode(tokens)
        if not text.endswith("\ufffd"):  # the bytes of one character can be several tokens
            yield text[len(shown) :]
            shown = text
