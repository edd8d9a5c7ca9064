"""Evaluation: the figures of a release against transformers, and what the file of its Modelfile answers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from test_convert import CONTEXT, SYSTEM, TinyRelease, corpus, make_release
from test_export import exported
from test_gather import StageRun, run_stage

from stages.evaluation import evaluate
from stages.evaluation.evaluate import EvaluateConfig, answer
from stages.release.runtime import Runtime

SETTINGS: dict[str, Any] = {"prompts": ["Blink pin 1.", "Wave?"], "max_tokens": 12, "temperature": 0.7}


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


def test_scores_are_those_of_the_proof_and_near_transformers(tiny: TinyRelease, run: StageRun) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny.root / "convert", dtype=torch.float32).eval()
    total = tokens = size = 0.0
    for document in sorted(corpus(12)[10:12], key=lambda each: each.id)[:1]:  # the other is there to calibrate with
        ids = [*tiny.encoding.encode(document.text), 2]
        size += len(document.text.encode())
        for at in range(0, len(ids), CONTEXT):
            row = torch.tensor([[1, *ids[at : at + CONTEXT]]])
            with torch.no_grad():
                rows = model(row[:, :-1], labels=None).logits[0].log_softmax(-1)
            total += float(rows.gather(1, row[0, 1:, None]).sum())
            tokens += len(row[0]) - 1
    scores = run.metrics["scores"]
    proof = json.loads((tiny.root / "export/proof.json").read_text())
    assert scores == proof["files"] and list(scores) == ["f32", "q8_0"]
    for name, tolerance in (("f32", 3e-3), ("q8_0", 0.1)):
        assert scores[name]["loss"] == pytest.approx(-total / tokens, abs=tolerance)
        assert scores[name]["perplexity"] == pytest.approx(math.exp(-total / tokens), rel=2 * tolerance)
        assert scores[name]["bits_per_byte"] == pytest.approx(-total / math.log(2) / size, rel=2 * tolerance)
        assert scores[name]["tokens"] == tokens
        told = f"perplexity {scores[name]['perplexity']:.3f}"
        assert any(line.startswith(f"{name} ") and told in line for line in run.said)


def test_the_file_that_the_modelfile_takes_answers_every_prompt(tiny: TinyRelease, run: StageRun) -> None:
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
