"""A GGUF file in llama.cpp, asked as its own chat template and the Modelfile beside it say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from stages.evaluation.models.beside import read_beside
from stages.evaluation.models.interface import Chat, Defaults, Gap, Prompt
from stages.evaluation.models.template import GAP_MARKERS, chat_ids, renderer
from stages.evaluation.models.tokens import LONGEST, TokenModel
from stages.release.runtime import Runtime
from stages.tokens.chat import with_system
from stages.tokens.sampling import Generated, Sampling


class GGUF(TokenModel):
    """A GGUF file from anywhere. Where no Modelfile tells, it fills gaps if its vocabulary has markers for them."""

    kind = "gguf"

    def __init__(self, path: Path, *, name: str | None = None, system: str | None = None) -> None:
        """`name` is for tables, by default the file's.

        Raises ReleaseError for a file that llama.cpp refuses, RuntimeUnavailable without llama.cpp.
        """
        self.name, self.source = name or path.stem, str(path)
        self.runtime = runtime = Runtime(path, as_served=True)
        runtime.context_length = self.context_length = min(runtime.context_length, LONGEST)
        self.size = path.stat().st_size
        beside = read_beside(path.parent)
        self.system = system if system is not None else beside.system if beside else ""
        self.defaults = beside.defaults if beside else Defaults()
        self.chats = bool(runtime.chat_template) and (beside is None or beside.chats)
        self._gap = next((ids for each in GAP_MARKERS if (ids := self._specials(each))), None)
        self.fills = self._gap is not None and (beside is None or beside.fills)
        self._lead = [runtime.bos_id] if runtime.tokenize("", add_special=True)[:1] == [runtime.bos_id] else []
        bos, eos = (runtime.piece(id, special=True).decode() if id >= 0 else "" for id in self._edge_ids)
        self._render = renderer(runtime.chat_template or "", bos=bos, eos=eos, name=path.name)

    def close(self) -> None:
        self.runtime.close()

    @property
    def _edge_ids(self) -> tuple[int, int]:
        return self.runtime.bos_id, self.runtime.eos_id

    @property
    def edges(self) -> tuple[int | None, int | None]:
        start, end = (None if id < 0 else id for id in self._edge_ids)
        return start, end

    def _specials(self, texts: Sequence[str]) -> list[int]:
        """The ids of special tokens; empty unless each text is one."""
        found = [self.runtime.tokenize(text, parse_special=True) for text in texts]
        special = all(
            len(ids) == 1 and not self.runtime.piece(ids[0]) and self.runtime.piece(ids[0], special=True)
            for ids in found
        )
        return [ids[0] for ids in found] if special else []

    @cached_property
    def specials(self) -> list[str]:
        """The texts of all special tokens: those that are empty in a text and not by themselves."""
        piece = self.runtime.piece
        quiet = (token for token in range(self.runtime.vocab_size) if not piece(token))
        return [text.decode("utf-8", "replace") for token in quiet if (text := piece(token, special=True))]

    def encode(self, text: str) -> list[int]:
        return self.runtime.tokenize(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.runtime.detokenize(ids)

    def ids(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, Chat):
            ids = chat_ids(
                with_system(prompt.messages, self.system),
                render=self._render,
                tokenize=lambda text, special: self.runtime.tokenize(text, parse_special=special),
                specials=lambda: self.specials,
            )
            return ids if ids[:1] == self._lead else [*self._lead, *ids]
        if isinstance(prompt, Gap):
            assert self._gap
            prefix, suffix, middle = self._gap
            return [*self._lead, prefix, *self.encode(prompt.prefix), suffix, *self.encode(prompt.suffix), middle]
        ids = [*self._lead, *self.encode(prompt.text)]
        return ids or [id for id in self.edges if id is not None][:1]  # something has to be read first

    def draw(self, ids: Sequence[int], *, sampling: Sampling, limit: int, seed: int) -> Iterator[int]:
        return self.runtime.generate(ids, max_tokens=limit, sampling=sampling, seed=seed)

    def draw_many(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        sampling: Sampling,
        limit: int,
        seeds: Sequence[int],
        advance: Callable[[int], object],
    ) -> list[Generated]:
        if sampling.temperature == 0:
            return self._likeliest(prompts, sampling, limit, advance)
        return self.runtime.generate_batch(prompts, max_tokens=limit, sampling=sampling, seeds=seeds, advance=advance)

    def _likeliest(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, limit: int, advance: Callable[[int], object]
    ) -> list[Generated]:
        """Each text alone, as a service writes it, and once where it is asked for several times.

        Quantised matrices round what is read beside others otherwise, which changes some of the likeliest tokens.
        """
        known: dict[tuple[int, ...], Generated] = {}
        for ids in prompts:
            if tuple(ids) not in known:
                fits = len(ids) < self.context_length
                known[tuple(ids)] = self._whole(ids, sampling, limit) if fits else Generated((), ended=False)
            advance(1)
        return [known[tuple(ids)] for ids in prompts]

    def _whole(self, ids: Sequence[int], sampling: Sampling, limit: int) -> Generated:
        drawn, tokens = self.runtime.generate(ids, max_tokens=limit, sampling=sampling, seed=0), list[int]()
        while True:
            try:
                tokens.append(next(drawn))
            except StopIteration as stop:
                return Generated(tuple(tokens), bool(stop.value))

    def losses(self, windows: Sequence[Sequence[int]]) -> Iterable[float]:
        sums = np.zeros(len(windows))
        for step, rows in self.runtime.read([ids[:-1] for ids in windows]):
            at = 0
            for part in step:
                targets = windows[part.window][part.start + 1 : part.stop + 1]
                logits = rows[at : at + len(targets)].astype(np.float64)
                logits -= logits.max(axis=1, keepdims=True)
                said = logits[np.arange(len(targets)), targets]
                sums[part.window] += float((np.log(np.exp(logits).sum(axis=1)) - said).sum())
                at += len(targets)
        return [float(each) for each in sums]
