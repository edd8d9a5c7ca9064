"""What is known of a release: the documents that it learnt from, and how each stage on the way went."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.store import MANIFEST
from stages.corpus.documents import Document, read_documents
from stages.release.markdown import line

Manifest = Mapping[str, Any]
ENGLISH = frozenset(
    {"the", "of", "and", "to", "in", "is", "for", "it", "with", "that", "as", "on", "are", "this", "be"}
)
LONGEST_QUESTION = 90  # characters of a question of the data that can stand in a command


@dataclass(frozen=True)
class Source:
    """Where training documents came from: their licence (SPDX), who has to be named, how many, how long together."""

    name: str
    license: str
    attribution: str
    documents: int
    characters: int = 0

    @property
    def terms(self) -> str:
        """The licence, and who has to be named."""
        return f"{self.license}, {self.attribution}" if self.attribution else self.license


@dataclass(frozen=True)
class Corpus:
    """What the documents themselves say of the data: where they are from, of what kind, and in what language.

    `question` is a short one that somebody asks in them, if any does.
    """

    sources: tuple[Source, ...]
    kinds: Mapping[str, int]
    notices: bool
    english: bool
    question: str


@dataclass(frozen=True)
class Facts:
    """All that a card tells. What is not known (a manifest that is not there, a file not measured) is left out.

    `shape` is the model.json of training; `manifests` has the manifest of each stage that led here; `files` says of
    each quantisation `file`, `bytes`, `fallbacks` ({tensor: type}) and what of MEASURES is known of it; `proven` are
    sentences, `notes` as well, on how the files were made.
    """

    name: str
    shape: Mapping[str, Any]
    system: str
    corpus: Corpus
    files: Mapping[str, Mapping[str, Any]]
    chosen: str
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    proven: Sequence[str] = ()
    notes: Sequence[str] = ()
    fim: bool = False

    def metrics(self, stage: str) -> Mapping[str, Any]:
        """What a stage told of its work."""
        found: Mapping[str, Any] = self.manifests.get(stage, {}).get("metrics", {})
        return found

    def config(self, stage: str, section: str = "") -> Mapping[str, Any]:
        """A section of the config that a stage read; by default the one of its own name."""
        sections = self.manifests.get(stage, {}).get("material", {}).get("config", {})
        found: Mapping[str, Any] = sections.get(section or stage, {})
        return found

    @property
    def family(self) -> str:
        """The name of the stock architecture that the files have."""
        model = self.shape["model"]
        if model["architecture"] == "gpt2":
            return "gpt2"
        return "qwen3" if model["qk_norm"] else "llama"

    @property
    def parameters(self) -> int:
        return int(self.metrics("pretrain").get("parameters", 0))

    @property
    def start(self) -> str:
        """What training started from; empty where that was nothing."""
        return str(self.shape["model"].get("init_from") or "")

    @property
    def answers(self) -> bool:
        """Whether it was taught to answer."""
        return bool(self.corpus.kinds.get("pair")) and self.metrics("finetune").get("steps", 1) > 0


def lineage(inputs: Mapping[str, Path]) -> dict[str, Manifest]:
    """The manifests of these artifacts and of those that they were made from, as far as they are still stored."""
    found: dict[str, Manifest] = {}
    waiting = dict(inputs)
    while waiting:
        stage, folder = waiting.popitem()
        try:
            found[stage] = json.loads((folder / MANIFEST).read_bytes())
        except (OSError, ValueError):
            continue
        for needed, made in found[stage].get("inputs", {}).items():
            if needed not in found:
                waiting.setdefault(needed, folder.parent.parent / made["artifact"])
    return found


def read_corpus(gathered: Path, cleaned: Path) -> Corpus:
    """Go through the documents once, and look for licence files among what was gathered."""
    documents: Counter[tuple[str, str, str]] = Counter()
    characters: Counter[tuple[str, str, str]] = Counter()
    kinds: Counter[str] = Counter()
    words = english = 0
    told = (gathered / "sources.jsonl").read_text(encoding="utf-8").splitlines()
    notices = any(json.loads(source)["license_files"] for source in told)
    for each in read_documents(cleaned / "train"):
        key = (each.source, each.license, str(each.meta.get("attribution", "")))
        documents[key] += 1
        characters[key] += len(each.text)
        kinds[each.kind] += 1
        notices = notices or bool(each.meta.get("notice"))
        if each.kind != "code" and words < 100_000:
            said = re.findall(r"\w+", each.text.lower())
            words += len(said)
            english += sum(word in ENGLISH for word in said)
    return Corpus(
        sources=tuple(Source(*key, documents=documents[key], characters=characters[key]) for key in sorted(documents)),
        kinds=kinds,
        notices=notices,
        english=english > 0.08 * words,
        question=_question(read_documents(cleaned / "val")),
    )


def _question(documents: Iterable[Document]) -> str:
    asked = (next((m["content"] for m in each.messages if m["role"] == "user"), "") for each in documents)
    short = (text for text in asked if 0 < len(text) <= LONGEST_QUESTION and text == line(text) and text.isascii())
    return next(short, "")
