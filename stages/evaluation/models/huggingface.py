"""A folder as HuggingFace has it, ours or another's, through transformers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import UsageError
from stages.evaluation.models.beside import read_beside
from stages.evaluation.models.interface import Chat, Defaults, Gap, Prompt
from stages.evaluation.models.template import GAP_MARKERS, chat_ids
from stages.evaluation.models.tokens import LONGEST, TokenModel, torch_losses, whole_characters
from stages.tokens.chat import Message, with_system
from stages.tokens.sampling import Generated, Sampling, choose

if TYPE_CHECKING:
    import torch

ROWS = 32  # written beside each other


class HuggingFace(TokenModel):
    """A local folder of safetensors; no code of its own is run. On the GPU where there is one.

    The folder `huggingface` of a release is asked as the Modelfile above it says.
    """

    kind = "huggingface"

    def __init__(self, folder: Path, *, system: str | None = None) -> None:
        """Raises UsageError where transformers cannot load it."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise UsageError(f"{folder} has no .safetensors file; weights in other formats can carry code")
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        dtype: Any = "auto" if self.device == "cuda" else torch.float32  # which every processor computes
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **local)
            network = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True, **local)
        except Exception as error:  # whatever a folder of anyone makes of transformers
            first = str(error).strip().split("\n")[0]
            raise UsageError(f"{folder} cannot be loaded by transformers: {first}") from None
        self._tokenizer: Any = tokenizer
        self._network: Any = network.eval().to(self.device)
        named = folder.resolve()
        self.name, self.source = named.name, str(folder)
        if named.name == "huggingface":
            self.name = f"{named.parent.name}/huggingface"
        self.size = sum(path.stat().st_size for path in weights)
        sizes = network.config.get_text_config()
        self.vocab_size = int(sizes.vocab_size)
        self.context_length = min(LONGEST, int(getattr(sizes, "max_position_embeddings", None) or LONGEST))
        beside = read_beside(named.parent) if named.name == "huggingface" else None
        self.system = system if system is not None else beside.system if beside else ""
        self.defaults = beside.defaults if beside else Defaults()
        self.chats = bool(tokenizer.chat_template) and (beside is None or beside.chats)
        self._gap = self._markers()
        self.fills = bool(self._gap) and (beside is None or beside.fills)
        ends = network.generation_config.eos_token_id
        self.stops = frozenset({*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None})
        self._lead = [id for id in tokenizer("").input_ids[:1] if id == tokenizer.bos_token_id]
        taken = inspect.signature(network.forward).parameters
        if "past_key_values" not in taken:
            raise UsageError(f"{folder} is a {network.config.model_type} model, which keeps no keys and values")
        self._placed = "position_ids" in taken

    def close(self) -> None:
        self._network.to("meta")

    @property
    def edges(self) -> tuple[int | None, int | None]:
        return self._tokenizer.bos_token_id, self._tokenizer.eos_token_id

    def _markers(self) -> list[int]:
        known = self._tokenizer.get_added_vocab()
        return next(([known[text] for text in each] for each in GAP_MARKERS if all(text in known for text in each)), [])

    def _tokenize(self, text: str, special: bool) -> list[int]:
        found: list[int] = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=not special, verbose=False
        ).input_ids
        return found

    def _render(self, messages: Sequence[Message], begin: bool) -> str:
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    [dict(message) for message in messages], tokenize=False, add_generation_prompt=begin
                )
            )
        except Exception as error:  # of Jinja, or the template's own
            raise UsageError(f"{self.name}: its chat template refuses the conversation: {error}") from None

    def _specials(self) -> list[str]:
        added = self._tokenizer.added_tokens_decoder.values()
        return [token.content for token in added if token.special]

    def ids(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, Chat):
            messages = with_system(prompt.messages, self.system)
            return chat_ids(messages, render=self._render, tokenize=self._tokenize, specials=self._specials)
        if isinstance(prompt, Gap):
            prefix, suffix, middle = self._gap
            return [*self._lead, prefix, *self.encode(prompt.prefix), suffix, *self.encode(prompt.suffix), middle]
        ids = [*self._lead, *self.encode(prompt.text)]
        return ids or [id for id in self.edges if id is not None][:1]

    def encode(self, text: str) -> list[int]:
        return self._tokenize(text, False)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def text(self, ids: Sequence[int]) -> str:
        # at once, `decode` takes each byte of a run that is not all UTF-8 for a broken character
        return "".join(whole_characters(ids, self.decode))

    def draw(self, ids: Sequence[int], *, sampling: Sampling, limit: int, seed: int) -> Iterator[int]:
        with closing(self._rows([ids], sampling=sampling, limits=[limit], seeds=[seed])) as drawn:
            yield from (token for _, token in drawn if token is not None)

    def draw_many(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        sampling: Sampling,
        limit: int,
        seeds: Sequence[int],
        advance: Callable[[int], object],
    ) -> list[Generated]:
        texts: list[list[int]] = [[] for _ in prompts]
        ended = [False] * len(prompts)
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))  # little to fill up
        for at in range(0, len(order), ROWS):
            now = order[at : at + ROWS]
            limits = [min(limit, self.context_length - len(prompts[index])) for index in now]
            asked, given = [prompts[index] for index in now], [seeds[index] for index in now]
            for row, token in self._rows(asked, sampling=sampling, limits=limits, seeds=given):
                if token is None:
                    ended[now[row]] = True
                else:
                    texts[now[row]].append(token)
            advance(len(now))
        return [Generated(tuple(ids), end) for ids, end in zip(texts, ended, strict=True)]

    def _rows(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        sampling: Sampling,
        limits: Sequence[int],
        seeds: Sequence[int],
    ) -> Generator[tuple[int, int | None], None, None]:
        """The tokens of each row as they are drawn, None where the model ends it; rows that are done are let go."""
        import torch
        from transformers import DynamicCache

        randoms = [np.random.default_rng(seed) for seed in seeds]
        texts = [list(prompt) for prompt in prompts]
        rows = [row for row, limit in enumerate(limits) if limit > 0]
        width = max((len(prompts[row]) for row in rows), default=0)
        ids = torch.tensor([[0] * (width - len(texts[row])) + texts[row] for row in rows], device=self.device)
        mask = torch.tensor(
            [[0] * (width - len(texts[row])) + [1] * len(texts[row]) for row in rows], device=self.device
        )
        cache = DynamicCache(config=self._network.config)
        while rows:
            logits, cache = self._step(ids, mask, cache)
            kept, tokens = [], []
            for place, row in enumerate(rows):
                token = choose(logits[place], sampling, texts[row], randoms[row])
                if token in self.stops:
                    yield row, None
                    continue
                texts[row].append(token)
                yield row, token
                if len(texts[row]) - len(prompts[row]) < limits[row]:
                    kept.append(place)
                    tokens.append([token])
            if kept and len(kept) < len(rows):
                with torch.inference_mode():
                    cache.batch_select_indices(torch.tensor(kept, device=self.device))
                mask = mask[kept]
            rows = [rows[place] for place in kept]
            ids = torch.tensor(tokens, device=self.device)
            mask = torch.cat([mask[: len(rows)], mask.new_ones((len(rows), 1))], dim=1)

    def _step(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any) -> tuple[np.ndarray[Any, Any], Any]:
        import torch

        places = {}
        if self._placed:
            places = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]}
        with torch.inference_mode():
            told = self._network(
                input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1, **places
            )
            return told.logits[:, -1].float().cpu().numpy(), told.past_key_values

    def losses(self, windows: Sequence[Sequence[int]]) -> Iterable[float]:
        def logits(ids: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self._network(input_ids=ids, use_cache=False).logits
            return found

        return torch_losses(logits, windows, vocab_size=self.vocab_size, device=self.device)
