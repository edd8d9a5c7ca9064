"""Text from a trained model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError

if TYPE_CHECKING:
    import torch

    from stages.tokens.encoding import Encoding
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


def load_trained(folders: Mapping[str, Path], stage: str = "") -> tuple[Encoding, Network]:
    """Tokenizer and weights of a run, `folders` being its artifacts by stage.

    Raises UsageError where the run has no weights of that stage; without one, those of the last stage are taken.
    """
    trained = [name for name in ("finetune", "pretrain") if name in folders and stage in ("", name)]
    if not trained or "tokenizer" not in folders:
        raise UsageError(
            f"the newest trained run has no {stage or 'trained'} weights; --stage is pretrain or finetune",
            hint="pipeline log",
        )
    from stages.tokens.encoding import load_encoding
    from stages.training.model import load_model

    return load_encoding(folders["tokenizer"]), load_model(folders[trained[0]])


def stream_text(
    encoding: Encoding, model: Network, prompt: str = "", *, chat: bool, max_tokens: int, sampling: Sampling, seed: int
) -> Iterator[str]:
    """Yield the text as it comes, the prompt first unless it is a chat; without a prompt a text from its start.

    Raises UsageError for a prompt that the tokenizer cannot say.
    """
    ids = prompt_ids(encoding, prompt, chat=chat)
    if prompt and not chat:
        yield prompt
    waiting: list[int] = []
    for token in generate(model, ids, max_tokens=max_tokens, sampling=sampling, stop=encoding.stops, seed=seed):
        waiting.append(token)
        text = encoding.decode(waiting)
        if not text.endswith("\ufffd"):  # the bytes of one character can be several tokens
            yield text
            waiting = []


def stream_samples(
    encoding: Encoding,
    model: Network,
    prompt: str = "",
    *,
    samples: int,
    chat: bool,
    max_tokens: int,
    sampling: Sampling,
    seed: int,
) -> Iterator[str]:
    """Yield several texts, each ended by a line end and drawn with a seed of its own: `seed`, `seed` + 1, …

    Where a text has several lines, a line `---` parts it from the next.
    """
    for number in range(samples):
        long = False
        for text in stream_text(
            encoding, model, prompt, chat=chat, max_tokens=max_tokens, sampling=sampling, seed=seed + number
        ):
            long = long or "\n" in text
            yield text
        yield "\n---\n" if long and number + 1 < samples else "\n"


def prompt_ids(encoding: Encoding, prompt: str, *, chat: bool) -> list[int]:
    """The ids that a text or an answer goes on from."""
    from stages.tokens.encoding import UnknownCharacters

    if chat and not encoding.chats:
        raise UsageError("this tokenizer has no chat format", hint="pipeline sample  without --chat")
    try:
        if chat:
            return encoding.encode_chat([{"role": "user", "content": prompt}], prompt=True)[0]
        return [encoding.bos_id, *encoding.encode(prompt)]
    except UnknownCharacters as error:
        raise UsageError(str(error), hint="start with other characters, or with none") from error


def speaker(
    folder: Path, prompts: Sequence[str], *, chat: bool, max_tokens: int, seed: int
) -> Callable[[Network], list[dict[str, str]]]:
    """A function that lets a network go on from each prompt, or answer it, always drawing the same random numbers.

    Raises UsageError for a prompt that the tokenizer cannot say.
    """
    from stages.tokens.encoding import load_encoding

    encoding = load_encoding(folder)
    for prompt in prompts:
        prompt_ids(encoding, prompt, chat=chat)

    def speak(network: Network) -> list[dict[str, str]]:
        texts = (
            stream_text(encoding, network, prompt, chat=chat, max_tokens=max_tokens, sampling=Sampling(), seed=seed)
            for prompt in prompts
        )
        return [{"prompt": prompt, "text": "".join(text)} for prompt, text in zip(prompts, texts, strict=True)]

    return speak
