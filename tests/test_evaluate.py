"""Evaluation: what the files of a release write, against transformers and the runtime itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from test_convert import CONTEXT, SYSTEM, TinyRelease, corpus, make_release
from test_export import exported
from test_gather import StageRun, run_stage

from pipeline.errors import PipelineError, UsageError
from stages.evaluation import evaluate, node
from stages.evaluation.evaluate import files_of
from stages.evaluation.questions import EvaluateConfig, selected, validation_texts
from stages.evaluation.tasks import SUITE
from stages.release.runtime import Runtime
from stages.tokens.sampling import Sampling

SETTINGS: dict[str, Any] = {
    "prompts": ["Blink pin 1.", "Wave?"], "max_tokens": 12, "temperature": 0.7, "tasks": ["python/[bc]*"],
    "validation_chars": 1,
}  # fmt: skip


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


def test_how_likely_validation_text_is_agrees_with_transformers(tiny: TinyRelease, run: StageRun) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny.root / "convert", dtype=torch.float32).eval()
    total = tokens = 0.0
    document = min(corpus(12)[10:12], key=lambda each: each.id)
    ids = [*tiny.encoding.encode(document.text), 2]
    for at in range(0, len(ids), CONTEXT):
        row = torch.tensor([[1, *ids[at : at + CONTEXT]]])
        with torch.no_grad():
            rows = model(row[:, :-1], labels=None).logits[0].log_softmax(-1)
        total += float(rows.gather(1, row[0, 1:, None]).sum())
        tokens += len(row[0]) - 1
    models = {each["name"]: each["validation"] for each in run.metrics["models"]}
    assert list(models) == ["f32", "q8_0"]
    for name, tolerance in (("f32", 3e-3), ("q8_0", 0.1)):
        assert models[name]["loss"] == pytest.approx(-total / tokens, abs=tolerance)
        assert models[name]["perplexity"] == pytest.approx(math.exp(-total / tokens), rel=2 * tolerance)
        size = len(document.text.encode())
        assert models[name]["bits_per_byte"] == pytest.approx(-total / math.log(2) / size, rel=2 * tolerance)
        assert (models[name]["tokens"], models[name]["bytes"]) == (tokens, size)


def chat_ids(runtime: Runtime, prompt: str) -> list[int]:
    chat = [("system", SYSTEM), ("user", prompt)]
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in chat)
    return runtime.tokenize(f"<bos>{text}<|im_start|>assistant\n", parse_special=True)


def test_the_file_that_the_modelfile_takes_answers_every_prompt(tiny: TinyRelease, run: StageRun) -> None:
    assert run.metrics["answered_by"] == "q8_0"
    assert [each["prompt"] for each in run.metrics["answers"]] == SETTINGS["prompts"]
    with Runtime(tiny.root / "export/tiny-q8_0.gguf", as_served=True) as runtime:
        for each in run.metrics["answers"]:
            told = runtime.generate(
                chat_ids(runtime, each["prompt"]), max_tokens=12, sampling=Sampling(0.7, 40), seed=1337
            )
            assert each["text"] == runtime.detokenize(list(told))
    assert any("Wave?" in line for line in run.said)


def test_every_file_answers_every_task_and_each_answer_is_kept(tiny: TinyRelease, run: StageRun) -> None:
    tasks = [task for task in SUITE if task.id.startswith(("python/b", "python/c"))]
    assert len(tasks) >= 2 and run.metrics["tasks"] == len(tasks)
    assert run.metrics["levels"] == {"1": len(tasks)}
    lines = [json.loads(line) for line in (run.out / "answers.jsonl").read_text().splitlines()]
    told = [(each["model"], each["task"]) for each in lines if "task" in each]
    assert told == [(name, task.id) for name in ("f32", "q8_0") for task in tasks]
    for record in run.metrics["models"]:
        assert record["asked"] == len(tasks) and record["pass"] is None
        assert sum(record["outcomes"].values()) == len(tasks)
        mine = [each for each in lines if each["model"] == record["name"] and "task" in each]
        assert record["compile_rate"]["value"] == pytest.approx(sum(each["compiled"] for each in mine) / len(mine))
        assert record["ended"]["value"] == pytest.approx(sum(each["ended"] for each in mine) / len(mine), abs=1e-4)
    assert not run.metrics["executed"] and run.metrics["why_not"] == "evaluate.execute is false"


def test_evaluating_again_gives_the_same_and_another_seed_other_answers(
    tiny: TinyRelease, run: StageRun, tmp_path: Path
) -> None:
    names = ("answers.jsonl", "scores.jsonl")
    again = evaluated(tiny, tmp_path / "again")
    assert [(again.out / name).read_bytes() for name in names] == [(run.out / name).read_bytes() for name in names]
    other = evaluated(tiny, tmp_path / "other", seed=3, temperature=2.0)
    assert (other.out / names[0]).read_bytes() != (run.out / names[0]).read_bytes()


def test_without_node_programs_are_compiled_only_and_people_are_told(
    tiny: TinyRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.shutil, "which", lambda name: None)
    run = evaluated(tiny, tmp_path / "out", execute=True)
    assert not run.metrics["executed"] and "node" in run.metrics["why_not"]
    assert run.metrics["without"] == ["running programs"] and run.metrics["samples"] == 1
    assert all(record["pass"] is None and "compile_rate" in record for record in run.metrics["models"])


def test_programs_run_where_the_config_asks_for_it(tiny: TinyRelease, tmp_path: Path) -> None:
    try:
        node.find_interpreter()
    except PipelineError as missing:
        pytest.skip(str(missing))
    run = evaluated(tiny, tmp_path / "out", execute=True, files=["q8_0"])
    assert run.metrics["executed"] and run.metrics["samples"] == 10 and not run.metrics["without"]
    (record,) = run.metrics["models"]
    assert record["name"] == "q8_0" and set(record["pass"]) == {"1", "10"}
    assert record["pass"]["1"]["value"] <= record["pass"]["10"]["value"]


def test_another_model_is_scored_beside_the_release(tiny: TinyRelease, tmp_path: Path) -> None:
    other = tiny.root / "export/tiny-f32.gguf"
    run = evaluated(tiny, tmp_path / "out", files=["q8_0"], models=[str(other)])
    mine, theirs = run.metrics["models"]
    assert mine["name"] == "q8_0" and theirs["source"] == str(other)
    assert theirs["validation"]["loss"] == pytest.approx(mine["validation"]["loss"], abs=0.1)


def test_a_model_that_cannot_be_had_is_told_and_the_release_is_scored(tiny: TinyRelease, tmp_path: Path) -> None:
    run = evaluated(tiny, tmp_path / "out", files=["q8_0"], models=["nowhere.gguf"])
    assert [each["name"] for each in run.metrics["models"]] == ["q8_0"]
    assert run.metrics["without"] == ["nowhere.gguf"] and "nowhere.gguf" in run.warned[0]


def test_another_model_is_a_source_whose_change_is_seen(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    file = tmp_path / "models/other.gguf"
    file.write_bytes(b"GGUF")
    sections = {"evaluate": EvaluateConfig(models=("models/other.gguf", "ollama:x", "models"))}
    before = evaluate.fingerprint(sections, tmp_path)
    assert [name for name, *_ in before] == ["other.gguf", "other.gguf"]
    file.write_bytes(b"GGUF2")
    assert evaluate.fingerprint(sections, tmp_path) != before
    assert evaluate.fingerprint({"evaluate": EvaluateConfig(models=("ollama:x",))}, tmp_path) is None
    assert evaluate.located("models/other.gguf", tmp_path) == str(file)
    assert evaluate.located("finetune/v0001", tmp_path) == "finetune/v0001"


def test_files_that_the_release_does_not_have_are_named(tiny: TinyRelease) -> None:
    files, taken = files_of(tiny.root / "export", ["f32"])
    assert list(files) == ["f32", "q8_0"] and taken == "q8_0", "the file that answers is always there"
    with pytest.raises(UsageError, match="no `q4_0`; it has f32, q8_0"):
        files_of(tiny.root / "export", ["q4_0"])


def test_tasks_are_selected_by_patterns_and_a_pattern_for_none_is_refused() -> None:
    assert selected(["*"]) == list(SUITE)
    assert {task.level for task in selected(["pins/*"])} == {2}
    assert selected([]) == []
    with pytest.raises(ValidationError, match="no task is named `pin/x`"):
        EvaluateConfig(tasks=("pin/x",))


def test_validation_texts_are_whole_documents_in_the_order_of_their_ids(tiny: TinyRelease) -> None:
    documents = sorted(corpus(12)[10:12], key=lambda each: each.id)
    folder = tiny.inputs["clean"] / "val"
    assert validation_texts(folder, 0) == []
    assert validation_texts(folder, 1) == [documents[0].text]
    assert validation_texts(folder, len(documents[0].text) + 1) == [each.text for each in documents]
