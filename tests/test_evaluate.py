"""Evaluation: the arithmetic against torch and by hand, and the figures of a release against transformers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_convert import CONTEXT, SYSTEM, TinyRelease, corpus, make_release, program
from test_export import exported
from test_gather import StageRun, run_stage

from stages.corpus.documents import write_documents
from stages.evaluation import evaluate
from stages.evaluation.evaluate import EvaluateConfig, answer, score, trained_logits, validation_windows
from stages.release.runtime import Runtime

SETTINGS: dict[str, Any] = {"tokens": 500, "prompts": ["Blink pin 1.", "Wave?"], "max_tokens": 12, "temperature": 0.7}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRelease:
    release = make_release(tmp_path_factory.mktemp("tiny") / "artifacts", steps=60)
    release.convert()
    exported(release, release.root / "export", quant=["f32", "q8_0"])
    return release


def evaluated(release: TinyRelease, out: Path, seed: int = 1337, **config: Any) -> StageRun:
    return run_stage(evaluate.STAGE, out, release.inputs, seed=seed, evaluate=SETTINGS | config)


@pytest.fixture(scope="module")
def run(tiny: TinyRelease) -> StageRun:
    return evaluated(tiny, tiny.root / "evaluate")


def test_even_odds_have_the_size_of_the_vocabulary_as_perplexity() -> None:
    steps: list[int] = []
    found = score(lambda ids: np.zeros((len(ids), 8), np.float32), [[1, 2, 3], [1, 7]], 9, lambda: steps.append(1))
    assert found == {"loss": round(math.log(8), 6), "perplexity": 8.0, "bits_per_byte": 1.0, "tokens": 3}
    assert len(steps) == 2


def test_the_loss_is_torch_s_cross_entropy_over_all_windows_together() -> None:
    import torch
    import torch.nn.functional as F

    rng = np.random.default_rng(0)
    windows = [[int(token) for token in rng.integers(0, 50, length)] for length in (2, 33, 10)]
    rows = {tuple(w): rng.normal(0, 300, (len(w) - 1, 50)).astype(np.float32) for w in windows}
    seen: list[Sequence[int]] = []

    def logits(ids: Sequence[int]) -> Any:
        seen.append(ids)
        return next(found for window, found in rows.items() if window[:-1] == tuple(ids))

    found = score(logits, windows, 100, lambda: None)
    assert [list(ids) for ids in seen] == [window[:-1] for window in windows]
    everything = torch.from_numpy(np.concatenate([rows[tuple(w)] for w in windows])).double()
    total = float(F.cross_entropy(everything, torch.tensor([t for w in windows for t in w[1:]]), reduction="sum"))
    assert found["tokens"] == 42
    assert found["loss"] == pytest.approx(total / 42, abs=1e-6)
    assert found["bits_per_byte"] == pytest.approx(total / math.log(2) / 100, abs=1e-4)


@pytest.mark.parametrize("length", [8, CONTEXT, 1000])
def test_windows_hold_every_token_of_whole_texts_once(tiny: TinyRelease, tmp_path: Path, length: int) -> None:
    documents = corpus(4)
    write_documents(tmp_path, documents)
    windows, size = validation_windows(tmp_path, tiny.encoding, 10**9, length)
    assert all(window[0] == 1 and 2 <= len(window) <= length + 1 for window in windows)
    rejoined = [token for window in windows for token in window[1:]]
    assert rejoined == [token for text in documents[:4] for token in [*tiny.encoding.encode(text.text), 2]]
    assert size == sum(len(text.text.encode()) for text in documents[:4])


def test_no_more_texts_are_taken_than_it_needs(tiny: TinyRelease, tmp_path: Path) -> None:
    write_documents(tmp_path, corpus(4))
    first = len(tiny.encoding.encode(program(0))) + 1
    for tokens, texts in ((1, 1), (first, 1), (first + 1, 2)):
        _, size = validation_windows(tmp_path, tiny.encoding, tokens, CONTEXT)
        assert size == sum(len(program(i).encode()) for i in range(texts))


def test_scores_are_those_of_transformers(tiny: TinyRelease, run: StageRun) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny.root / "convert", dtype=torch.float32).eval()
    windows, size = validation_windows(tiny.root / "clean/val", tiny.encoding, 500, CONTEXT)
    total = tokens = 0.0
    for window in windows:
        row = torch.tensor([window])
        with torch.no_grad():
            total += float(model(row[:, :-1], labels=None).logits[0].log_softmax(-1).gather(1, row[0, 1:, None]).sum())
        tokens += len(window) - 1
    scores = run.metrics["scores"]
    assert list(scores) == ["trained", "f32", "q8_0"]
    for name, tolerance in (("trained", 1e-4), ("f32", 1e-3), ("q8_0", 0.1)):
        assert scores[name]["loss"] == pytest.approx(-total / tokens, abs=tolerance)
        assert scores[name]["perplexity"] == pytest.approx(math.exp(-total / tokens), rel=2 * tolerance)
        assert scores[name]["bits_per_byte"] == pytest.approx(-total / math.log(2) / size, rel=2 * tolerance)
        assert scores[name]["tokens"] == tokens


def test_the_trained_weights_are_read_as_they_are(tiny: TinyRelease) -> None:
    from safetensors.numpy import load_file

    logits, length = trained_logits(tiny.root / "finetune")
    found = logits([1, 5, 9])
    weights = load_file(tiny.root / "finetune/model.safetensors")
    assert length == CONTEXT and found.shape == (3, len(weights["embedding.weight"])) and found.dtype == np.float32
    assert np.array_equal(logits([1, 5])[1], logits([1, 5])[1]) and np.allclose(logits([1, 5]), found[:2], atol=1e-4)


def test_the_smallest_file_answers_every_prompt(tiny: TinyRelease, run: StageRun) -> None:
    written = json.loads((run.out / "evaluation.json").read_text())
    assert run.metrics["answered_by"] == "q8_0" and written["scores"] == run.metrics["scores"]
    assert [each["prompt"] for each in written["answers"]] == SETTINGS["prompts"]
    with Runtime(tiny.root / "export/tiny-q8_0.gguf") as runtime:
        for each in written["answers"]:
            chat = [("system", SYSTEM), ("user", each["prompt"])]
            text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in chat)
            ids = runtime.tokenize(f"<bos>{text}<|im_start|>assistant\n", parse_special=True)
            told = runtime.generate(ids, max_tokens=12, temperature=0.7, top_k=40, seed=1337)
            assert each["answer"] == runtime.detokenize(list(told))
    assert any("Wave?" in line for line in run.said)


def test_evaluating_again_gives_the_same_and_another_seed_other_answers(
    tiny: TinyRelease, run: StageRun, tmp_path: Path
) -> None:
    again = evaluated(tiny, tmp_path / "again")
    assert (again.out / "evaluation.json").read_bytes() == (run.out / "evaluation.json").read_bytes()
    other = evaluated(tiny, tmp_path / "other", seed=3, temperature=2.0)
    assert (other.out / "evaluation.json").read_bytes() != (run.out / "evaluation.json").read_bytes()


def test_a_prompt_longer_than_the_context_gives_no_answer(tiny: TinyRelease) -> None:
    with Runtime(tiny.root / "export/tiny-q8_0.gguf") as runtime:
        messages = [{"role": "user", "content": "Blink pin 1. " * 50}]
        assert answer(runtime, tiny.encoding, messages, EvaluateConfig(), 0) == ""
