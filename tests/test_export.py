"""The release: what is in it, what proves it, and that `exports/` holds a whole one or the one before."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from test_convert import (
    CONTEXT,
    NASTY,
    NOTICE,
    SYSTEM,
    TinyRelease,
    corpus,
    edit_weights,
    logits_of,
    make_release,
    program,
    some_ids,
    trained_logits,
)
from test_gather import StageRun, run_stage
from test_modelfile import commands

from pipeline.errors import StageError
from stages.corpus.documents import write_documents
from stages.evaluation import evaluate
from stages.release import export
from stages.release.export import ExportConfig, combined_license
from stages.release.facts import Source
from stages.release.mixes import QUANTS
from stages.release.runtime import Runtime
from stages.tokens import tokenizer
from stages.training.shape import ModelConfig


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRelease:
    release = make_release(tmp_path_factory.mktemp("tiny") / "artifacts", steps=60)
    release.convert()
    return release


def exported(release: TinyRelease, out: Path, **config: Any) -> StageRun:
    return run_stage(export.STAGE, out, release.inputs, name="tiny", export=config)


@pytest.fixture(scope="module")
def release(tiny: TinyRelease) -> StageRun:
    return exported(tiny, tiny.root / "export", quant=["f16", "q8_0", "q4_k_m"], num_predict=99, temperature=0.5)


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def gguf_fields(path: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    return {name: field.contents() for name, field in GGUFReader(path).fields.items()}


def test_the_release_holds_every_file_and_its_checksum(release: StageRun) -> None:
    files = files_below(release.out)
    sums = files.pop("SHA256SUMS").decode()
    assert {name: digest for digest, name in (line.split("  ") for line in sums.splitlines())} == {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items()
    }
    assert {name for name in files if "/" not in name} == {
        "tiny-f16.gguf", "tiny-q8_0.gguf", "tiny-q4_k_m.gguf", "Modelfile", "README.md", "LICENSE",
        "NOTICES.txt", "proof.json", "imatrix.gguf",
    }  # fmt: skip
    assert NOTICE in files["NOTICES.txt"].decode()
    assert {name.partition("/")[2] for name in files if "/" in name} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.model", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja",
    }  # fmt: skip


def test_the_modelfile_names_the_best_small_file_and_the_system_message_of_finetuning(release: StageRun) -> None:
    told = commands((release.out / "Modelfile").read_text())
    values = dict(told)
    assert values["FROM"] == "./tiny-q4_k_m.gguf" and release.metrics["modelfile"] == "tiny-q4_k_m.gguf"
    assert (values["num_ctx"], values["num_predict"], values["temperature"]) == (str(CONTEXT), str(CONTEXT), "0.5")
    assert values["SYSTEM"] == SYSTEM
    assert values["LICENSE"] == (release.out / "LICENSE").read_text() == "Trained on:\n- code: MIT; 11 documents\n"
    assert "| `code` | MIT |  | 11 |" in (release.out / "README.md").read_text()


def test_each_gguf_says_what_it_is_and_where_its_data_come_from(release: StageRun) -> None:
    for quant in ("f16", "q8_0", "q4_k_m"):
        fields = gguf_fields(release.out / f"tiny-{quant}.gguf")
        assert fields["general.name"] == "tiny" and fields["general.license"] == "MIT"
        assert fields["general.file_type"] == QUANTS[quant].file_type
        assert (fields["general.dataset.0.name"], fields["general.dataset.0.description"]) == ("code", "MIT")


def test_llama_cpp_computes_what_transformers_computes(tiny: TinyRelease, release: StageRun) -> None:
    ids = some_ids(CONTEXT)
    theirs = logits_of(release.out / "huggingface", ids)
    with Runtime(release.out / "tiny-f16.gguf") as runtime:
        ours = runtime.logits(ids)
        for text in NASTY:
            assert runtime.tokenize(text) == tiny.encoding.encode(text)
        chat = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "\n  Blink it,\n\ttwice. "}]
        rendered = "<bos>" + "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in chat)
        prompt = runtime.tokenize(rendered + "<|im_start|>assistant\n", parse_special=True)
        assert prompt == tiny.encoding.encode_chat(chat, prompt=True)[0]
    assert np.abs(ours - theirs).max() < 0.01 * np.abs(theirs).max()
    assert (ours.argmax(1) == theirs.argmax(1)).mean() >= 0.98
    assert release.metrics["proof"]["top1_agreement_f16"] >= 1 - 2 / CONTEXT  # float16 may turn a near tie
    documents = [*corpus(12)[10:12], corpus(12)[13]]
    wanted = sum(len(tiny.encoding.encode(document.text)) for document in documents)
    assert release.metrics["proof"]["tokens_compared"] == wanted


WIDE: dict[str, dict[str, Any]] = {
    "llama": {"d_model": 256, "d_ff": 512},
    "qwen3": {"d_model": 256, "d_ff": 512, "qk_norm": True},
    "gpt2": {"architecture": "gpt2", "d_model": 256, "d_ff": 512},
}
NAMES = {"llama": "Llama", "qwen3": "Qwen3", "gpt2": "GPT-2"}


@pytest.mark.parametrize("kind", ["sentencepiece", "byte_level", "gpt2"])
@pytest.mark.parametrize("architecture", WIDE)
def test_every_architecture_goes_all_the_way_with_every_tokenizer(tmp_path: Path, architecture: str, kind: str) -> None:
    """Trained, in transformers, and as GGUF in llama.cpp: the same ids and logits; Q4_K_M is near and needs no more."""
    made = make_release(tmp_path / "artifacts", steps=20, kind=kind, **WIDE[architecture])
    made.convert()
    run = exported(made, made.root / "export", quant=["f16", "q4_k_m"])
    encoding, folder = made.encoding, run.out
    assert [line.split(" on ")[0] for line in run.warned] == ["the files were compared"]  # so little text
    assert run.metrics["files"]["q4_k_m"]["fallbacks"] == {}
    assert gguf_fields(folder / "tiny-q4_k_m.gguf")["general.architecture"] == architecture
    ids = [encoding.bos_id, *encoding.encode(program(11))][:CONTEXT]
    theirs = logits_of(folder / "huggingface", ids)
    assert np.abs(trained_logits(made.root / "finetune", ids) - theirs).max() < 1e-4
    chat = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "\n  Blink it,\n\ttwice. "}]
    rendered = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in chat) + "<|im_start|>assistant\n"
    for quant, tolerance in (("f16", 0.01), ("q4_k_m", 0.5)):
        with Runtime(folder / f"tiny-{quant}.gguf", threads=1) as runtime:
            assert np.abs(runtime.logits(ids) - theirs).max() < tolerance * np.abs(theirs).max()
            prompt = runtime.tokenize(rendered, add_special=True, parse_special=True)
            assert prompt == encoding.encode_chat(chat, prompt=True)[0]
            ends = {token for token in range(runtime.vocab_size) if runtime.is_end_of_generation(token)}
            assert ends == encoding.stops
            for text in NASTY:
                assert runtime.tokenize(text) == encoding.encode(text)
                assert runtime.tokenize(text, add_special=True) == [encoding.bos_id, *encoding.encode(text)]
    settings = {"prompts": ["Blink pin 1."], "max_tokens": 8, "temperature": 0.0, "tasks": ["pins/l*"]}
    metrics = run_stage(evaluate.STAGE, made.root / "evaluate", made.inputs, evaluate=settings).metrics
    scores = {each["name"]: each["validation"] for each in metrics["models"]}
    trained = run.metrics["proof"]["trained"]
    assert trained["loss_f16"] == pytest.approx(trained["loss"], abs=5e-3)
    assert scores["q4_k_m"]["loss"] == pytest.approx(scores["f16"]["loss"], abs=0.3)
    told = commands((folder / "Modelfile").read_text())
    assert [value for name, value in told if name == "stop"][-1] == ("<|endoftext|>" if kind == "gpt2" else "<eos>")
    assert f"| architecture | {NAMES[architecture]} |" in (folder / "README.md").read_text()


@pytest.mark.parametrize("finetuned", [False, True])
def test_a_model_that_was_not_finetuned_gets_texts_in_ollama_and_in_its_card(
    tiny: TinyRelease, tmp_path: Path, finetuned: bool
) -> None:
    copy = tiny.copy(tmp_path / "copy")
    if not finetuned:
        (copy.root / "finetune/manifest.json").write_text(json.dumps({"metrics": {"steps": 0}}))
    run = exported(copy, tmp_path / "out", quant=["q8_0"])
    told, card = dict(commands((run.out / "Modelfile").read_text())), (run.out / "README.md").read_text()
    assert (told["TEMPLATE"] != "{{ .Prompt }}") == ("SYSTEM" in told) == finetuned
    assert ("answers questions" in card) == ("llama-cli" in card) == finetuned


def test_tensors_that_fall_back_are_told(release: StageRun) -> None:
    files = release.metrics["files"]
    assert files["f16"]["fallbacks"] == files["q8_0"]["fallbacks"] == {}
    assert files["q4_k_m"]["fallbacks"]["blk.0.attn_q.weight"] == "Q5_0"  # rows of 64 hold no block of 256
    assert any("tiny-q4_k_m.gguf" in line and "×256" in line for line in release.warned)
    assert files["q8_0"]["bytes"] == (release.out / "tiny-q8_0.gguf").stat().st_size


def test_a_release_without_f16_leaves_none_behind(tiny: TinyRelease, tmp_path: Path) -> None:
    run = exported(tiny, tmp_path / "out", quant=["q8_0", "f32"])
    assert {path.name for path in run.out.glob("*.gguf")} == {"tiny-q8_0.gguf", "tiny-f32.gguf"}
    assert "f16.gguf" not in (run.out / "SHA256SUMS").read_text()
    assert dict(commands((run.out / "Modelfile").read_text()))["FROM"] == "./tiny-q8_0.gguf"
    ids = some_ids(CONTEXT)
    with Runtime(run.out / "tiny-f32.gguf") as runtime:
        ours = runtime.logits(ids)
    theirs = logits_of(tiny.root / "convert", ids)
    assert np.abs(ours - theirs).max() < 1e-3 and np.array_equal(ours.argmax(1), theirs.argmax(1))


def test_quantisations_are_known_by_name_whatever_their_case() -> None:
    config = ExportConfig.model_validate_json('{"quant": ["Q4_K_M", "q8_0", "q4_k_m"]}')
    assert config.quant == ("q4_k_m", "q8_0")
    with pytest.raises(ValidationError) as caught:
        ExportConfig.model_validate_json('{"quant": ["q4_k_m", "q3_x", "int8"]}')
    assert "unknown quantisation q3_x, int8; known: f32, f16, bf16, q8_0" in str(caught.value)
    with pytest.raises(ValidationError):
        ExportConfig.model_validate_json('{"quant": []}')


def test_a_matrix_in_the_wrong_place_stops_the_release(tiny: TinyRelease, tmp_path: Path) -> None:
    copy = tiny.copy(tmp_path / "copy")
    for layer in range(2):
        name = f"model.layers.{layer}.self_attn.k_proj.weight"
        edit_weights(copy.root / "convert", name, [*range(16, 32), *range(16)])
    with pytest.raises(StageError, match=r"agrees with the trained model on \d+\.\d% of tokens only"):
        exported(copy, tmp_path / "out", quant=["f16"])


def test_a_tokenizer_that_splits_otherwise_stops_the_release(tiny: TinyRelease, tmp_path: Path) -> None:
    copy = tiny.copy(tmp_path / "copy")
    other = tokenizer.train((program(i).replace("led", "relay").replace("time", "clock") for i in range(12)), 420)
    (copy.root / "convert/tokenizer.model").write_bytes(other)
    with pytest.raises(StageError, match="other token ids for 'from machine"):
        exported(copy, tmp_path / "out", quant=["f16"])


def test_a_file_that_would_not_start_texts_as_training_did_stops_the_release(tmp_path: Path) -> None:
    made = make_release(tmp_path / "artifacts", kind="byte_level", architecture="gpt2")
    made.convert()
    path = made.root / "convert/tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"add_bos_token": False}))
    with pytest.raises(StageError, match=r"'from machine.* the one start of text"):
        exported(made, tmp_path / "out", quant=["f16"])


def test_every_licence_of_the_data_is_in_the_release(tiny: TinyRelease, tmp_path: Path) -> None:
    copy = tiny.copy(tmp_path / "copy")
    named = [document for document in corpus(3, "b", "MIT OR Apache-2.0") if document.kind == "code"]
    named = [type(d)(**{**vars(d), "meta": {"attribution": "Ada Lovelace"}}) for d in named]
    write_documents(copy.root / "clean/train", [*corpus(10, "a", "CC0-1.0"), *named])
    run = exported(copy, tmp_path / "out", quant=["f16"])
    fields = gguf_fields(run.out / "tiny-f16.gguf")
    assert fields["general.license"] == "CC0-1.0 AND (MIT OR Apache-2.0)"
    assert fields["general.dataset.1.description"] == "MIT OR Apache-2.0, Ada Lovelace"
    wanted = "- b: MIT OR Apache-2.0, Ada Lovelace; 3 documents\n"
    assert wanted in (run.out / "LICENSE").read_text() and wanted in (run.out / "Modelfile").read_text()
    assert "| `b` | MIT OR Apache-2.0 | Ada Lovelace | 3 |" in (run.out / "README.md").read_text()
    assert combined_license([Source("b", "MIT OR Apache-2.0", "", 1)]) == "MIT OR Apache-2.0"


def test_the_metrics_can_be_kept_in_a_manifest(release: StageRun) -> None:
    assert json.loads(json.dumps(release.metrics)) == release.metrics


def test_a_release_fits_a_size_and_is_calibrated_on_other_text_than_it_is_proven_on(
    tiny: TinyRelease, release: StageRun, tmp_path: Path
) -> None:
    wanted = release.metrics["files"]["q8_0"]["bytes"]
    run = exported(
        tiny, tmp_path / "out", quant=["q8_0"], fit=[f"{wanted / 1000}kB"], imatrix_tokens=64, proof_tokens=64
    )
    entry = run.metrics["files"][f"fit-{wanted / 1000}kb"]
    assert entry["bytes"] <= wanted and entry["kl"] < 0.1 and entry["imatrix"]
    assert dict(commands((run.out / "Modelfile").read_text()))["FROM"] == f"./{entry['file']}"
    assert run.metrics["proof"]["text"]["apart_from_calibration"] in ("documents", "windows")
    assert f"`{entry['file']}`" in (run.out / "README.md").read_text()


@pytest.mark.parametrize(("fit", "told"), [("1KB", "no mix fits into"), ("30bpw", "more than the F16 file takes")])
def test_a_size_that_cannot_be_is_refused_before_anything_is_measured(
    tiny: TinyRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: str, told: str
) -> None:
    monkeypatch.setattr(export, "measured_importance", lambda *_: pytest.fail("measured"))
    with pytest.raises(StageError, match=f"^export: .*{told}") as caught:
        exported(tiny, tmp_path / "out", fit=[fit])
    assert str(caught.value.hint).startswith("pipeline export --")


def test_an_importance_matrix_can_be_given_and_its_content_counts(tiny: TinyRelease, release: StageRun) -> None:
    section = {"export": ExportConfig(imatrix="export/imatrix.gguf")}
    told = export.fingerprint(section, tiny.root)
    assert told == hashlib.sha256((release.out / "imatrix.gguf").read_bytes()).hexdigest()
    assert export.fingerprint({"export": ExportConfig()}, tiny.root) is None
    run = run_stage(
        export.STAGE, tiny.root / "given", tiny.inputs, name="tiny", base=tiny.root,
        export={"quant": ["q4_k_m"], "imatrix": "export/imatrix.gguf"},
    )  # fmt: skip
    assert not (run.out / "imatrix.gguf").exists() and run.metrics["files"]["q4_k_m"]["imatrix"]
    with pytest.raises(StageError, match="there is no importance matrix") as caught:
        run_stage(export.STAGE, tiny.root / "no", tiny.inputs, base=tiny.root, export={"imatrix": "gone.gguf"})
    assert "auto" in str(caught.value.hint)


def test_plan_names_widths_that_fall_back_and_the_nearest_that_does_not() -> None:
    def told(shape: dict[str, Any], **config: Any) -> list[str]:
        return export.estimate({"model": ModelConfig.model_validate(shape), "export": ExportConfig(**config)})

    assert told({"d_model": 512, "n_heads": 8, "d_ff": 1536}) == []
    found = told({"d_model": 384, "n_heads": 6, "n_kv_heads": 2, "d_ff": 1024}, quant=("f16", "q8_0", "q4_k_m"))
    widths = "d_model 384 (nearest that fits: 512), n_heads x head_dim 384 (nearest that fits: 512)"
    assert found == [f"warning: rows of {widths} cannot have the types of q4_k_m; their matrices become larger"]
    assert told({"d_model": 384, "n_heads": 6, "n_kv_heads": 2, "d_ff": 1024}, quant=("f16", "q8_0")) == []
    assert told({"init_from": "some/model"}, quant=("q4_k_m",)) == []


@pytest.mark.parametrize("stated", [{"quant": [], "fit": []}, {"fit": ["12 apples"]}, {"imatrix": ""}])
def test_what_cannot_be_exported_is_refused_before_anything_runs(stated: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ExportConfig.model_validate_json(json.dumps(stated))
