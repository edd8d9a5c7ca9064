"""The road as a whole: how it is built, and one run from documents to a release through the command line."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_convert import NASTY, ids_of, logits_of, trained_logits
from test_export import files_below
from test_extract import text_pdf
from test_gather import write_files

from stages import ROAD

PROJECT = Path(__file__).parents[1]
WINGS = ("corpus", "tokens", "training", "release", "evaluation")
# What a wing may use of those before it: the forms of a document, of tokens and of the network, and the runtime.
SHARED = {
    "stages.corpus.documents", "stages.corpus.rewrite.compiler",
    "stages.tokens.encoding", "stages.tokens.chat", "stages.tokens.fim", "stages.tokens.sampling",
    "stages.tokens.words",
    "stages.training.model", "stages.training.networks.network", "stages.training.shape", "stages.training.huggingface",
    "stages.training.sample",
    "stages.release.runtime", "stages.release.modelfile", "stages.release.ollama",
}  # fmt: skip


def modules(package: str) -> dict[str, ast.Module]:
    found = {}
    for path in (PROJECT / package).rglob("*.py"):
        name = ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


@cache
def project() -> dict[str, ast.Module]:
    return modules("stages") | modules("pipeline")


def imports(name: str) -> set[str]:
    """The project's modules that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(project()[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return {module for module in found if module in project() and module.count(".")}


def test_the_road_runs_from_the_sources_to_what_is_known_of_the_release() -> None:
    assert [stage.name for stage in ROAD] == [
        "gather", "extract", "clean", "augment", "tokenizer", "tokenize", "pretrain", "finetune", "convert", "export",
        "evaluate", "report",
    ]  # fmt: skip


def test_every_need_is_an_earlier_stage_and_every_stage_is_needed_or_last() -> None:
    for index, stage in enumerate(ROAD):
        assert set(stage.needs) <= {earlier.name for earlier in ROAD[:index]}, stage.name
        assert len(set(stage.needs)) == len(stage.needs)
    assert {name for stage in ROAD for name in stage.needs} == {stage.name for stage in ROAD[:-1]}


def test_each_config_section_is_read_by_one_stage() -> None:
    sections = [name for stage in ROAD for name in stage.sections]
    assert len(set(sections)) == len(sections)


def test_a_stage_is_one_module_with_its_name_and_one_test_file() -> None:
    for stage in ROAD:
        assert stage.module.rpartition(".")[2] == stage.name and stage.version >= 1
        assert (PROJECT / "tests" / f"test_{stage.name}.py").exists(), stage.name
        assert (PROJECT / Path(*stage.module.split("."))).with_suffix(".py").exists()


def test_the_stages_come_in_the_order_of_the_wings() -> None:
    order = [WINGS.index(stage.module.split(".")[1]) for stage in ROAD]
    assert order == sorted(order)


def test_no_stage_imports_another() -> None:
    stages = {stage.module for stage in ROAD}
    for name in project():
        if name not in ("stages", "pipeline.cli"):
            assert not (imports(name) & stages) - {name}, name


def test_the_engine_knows_the_stages_only_by_its_command_line() -> None:
    for name, tree in modules("pipeline").items():
        imported = {
            word
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for word in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)])
        }
        uses = {word for word in imported if word.split(".")[0] == "stages"}
        assert not uses or name == "pipeline.cli", name


def test_wings_look_back_along_the_road_and_only_at_what_is_shared() -> None:
    for name in project():
        parts = name.split(".")
        if parts[0] != "stages" or len(parts) < 3:
            continue
        for other in imports(name):
            theirs = other.split(".")
            if theirs[0] == "stages" and len(theirs) > 2 and theirs[1] != parts[1]:
                assert WINGS.index(theirs[1]) < WINGS.index(parts[1]), f"{name} imports {other}"
                assert other in SHARED, f"{name} imports {other}"


def test_imports_go_in_no_circle() -> None:
    graph = {name: {other for other in imports(name) if not name.startswith(f"{other}.")} for name in project()}
    tuple(TopologicalSorter(graph).static_order())


def test_reading_the_road_loads_no_heavy_library() -> None:
    heavy = ("torch", "transformers", "pymupdf", "libcst", "sentencepiece", "gguf", "tokenizers", "safetensors", "rich")
    code = f"import sys, stages, pipeline.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout.strip() == "[]"


CONFIG = """\
name: tiny
seed: 5
gather:
  sources:
    - {folder: code, license: MIT}
    - {folder: docs, license: CC0-1.0, attribution: Ada Lovelace}
clean: {val_fraction: 0.2}
augment: {copies: 1, methods: [rename, pins, rephrase]}
tokenizer: {vocab_size: 500}
tokenize: {context_length: 128}
model: {d_model: 32, n_layers: 2, n_heads: 2, n_kv_heads: 1, d_ff: 64}
pretrain: {precision: fp32, batch_size: 4, max_steps: 8, warmup_steps: 2, learning_rate: 3.0e-3, eval_every: 4}
finetune: {precision: fp32, batch_size: 4, max_steps: 3, warmup_steps: 1, eval_every: 3}
export: {quant: [f16, q4_k_m]}
evaluate: {prompts: [Blink pin 15.], max_tokens: 8, tasks: ["pins/l*"]}
"""


def make_corpus(folder: Path) -> None:
    """A little of the corpus that ships, one file of every kind."""
    shipped = PROJECT / "corpus"
    code = {path.name: path.read_bytes() for path in sorted(shipped.glob("code/*.py"))[:9]}
    pages = {name: (shipped / "docs" / name).read_bytes() for name in ("03_pwm.md", "04_adc.ipynb", "06_spi.md")}
    pairs = "".join(path.read_text(encoding="utf-8") for path in sorted(shipped.glob("pairs/*.jsonl"))[:2])
    write_files(folder / "code", {**code, "sub/broken.py": b"\x00"})
    write_files(folder / "docs", {**pages, "book.pdf": text_pdf(), "pairs.jsonl": pairs, "locked.pdf": b"%PDF-1.7\n"})
    (folder / "tiny.yaml").write_text(CONFIG)


@dataclass
class Project:
    """A folder with a config in which `pipeline` commands run, in this process."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def pipeline(self, *arguments: str, code: int = 0) -> str:
        """Run a command, check its exit code, and return what it told people."""
        from pipeline import cli

        self.monkeypatch.setattr(sys, "argv", ["pipeline", *arguments])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
            raise SystemExit(0)
        told = self.capsys.readouterr()
        assert int(ended.value.code or 0) == code, told.err
        self.printed = told.out
        return told.err

    def ran(self, *arguments: str) -> list[str]:
        """The stages that a command did not reuse."""
        self.pipeline(*arguments)
        newest = max((self.folder / "artifacts/runs").glob("*.json"))
        record = json.loads(newest.read_bytes())
        assert record["outcome"] == "ok"
        return [name for name, entry in record["stages"].items() if entry["action"] != "reuse"]

    def artifact(self, stage: str) -> Path:
        return max((self.folder / "artifacts" / stage).glob("v*"))

    def manifest(self, stage: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.artifact(stage) / "manifest.json").read_bytes())
        return found


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Project]:
    make_corpus(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin")
    yield Project(tmp_path, monkeypatch, capsys)


NAMES = [stage.name for stage in ROAD]
RUN = ("run", "--config", "tiny.yaml")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Matrices as small as these only wait for each other on several."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_the_whole_road(tiny: Project, one_thread: None) -> None:
    assert tiny.ran(*RUN) == NAMES
    check_the_corpus(tiny)
    check_the_release(tiny)
    check_what_is_reused(tiny)
    check_the_export_command(tiny)
    assert "tiny" in tiny.pipeline("log") + tiny.printed
    tiny.pipeline("verify")
    tiny.pipeline("sample", "import machine", "--max-tokens", "5")
    assert tiny.printed.startswith("import machine")
    check_the_evaluation(tiny)


def check_the_evaluation(tiny: Project) -> None:
    page = (tiny.artifact("report") / "report.html").read_bytes()
    told = tiny.pipeline("report", "--out", "page")
    assert told == "page/report.html\n" and (tiny.folder / "page/report.html").read_bytes() == page
    release = max((tiny.folder / "exports/tiny").glob("*.gguf"))
    told = tiny.pipeline("evaluate", "finetune", str(release), "--config", "tiny.yaml", "--save", "answers.jsonl")
    assert "compile" in told and len((tiny.folder / "answers.jsonl").read_text().splitlines()) == 2 * 2
    for command in (["evaluate", "--list"], ["chat", "--help"]):
        tiny.pipeline(*command)
        assert tiny.printed


def check_the_corpus(tiny: Project) -> None:
    extracted, cleaned = tiny.manifest("extract")["metrics"], tiny.manifest("clean")["metrics"]
    assert extracted["documents"]["code"] == 9 and extracted["documents"]["docs"] == 4
    assert extracted["left_out"] == {"binary": 1, "damaged": 1}
    assert cleaned["val"]["code"] >= 1 and cleaned["train"]["docs"] >= 1
    assert tiny.manifest("augment")["metrics"]["variants"] >= 5
    assert tiny.manifest("tokenizer")["metrics"]["vocab_size"] == 500
    assert {"train.bin", "val.bin", "train.idx"} <= set(tiny.manifest("tokenize")["files"])


def check_the_release(tiny: Project) -> None:
    """Against transformers, SentencePiece and llama.cpp, on text that the model has never seen."""
    import torch
    from sentencepiece import SentencePieceProcessor
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from stages.release.runtime import Runtime

    exports = tiny.folder / "exports/tiny"
    assert {path.name for path in exports.iterdir()} == {
        "tiny-f16.gguf", "tiny-q4_k_m.gguf", "Modelfile", "README.md", "LICENSE", "SHA256SUMS", "huggingface",
        "imatrix.gguf", "proof.json",
    }  # fmt: skip
    told = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=exports, capture_output=True, check=False)
    assert told.returncode == 0, told.stdout
    assert "- docs: CC0-1.0, Ada Lovelace" in (exports / "LICENSE").read_text()

    assert type(AutoModelForCausalLM.from_pretrained(exports / "huggingface")).__name__ == "LlamaForCausalLM"
    tokenizer = AutoTokenizer.from_pretrained(exports / "huggingface")
    pieces = SentencePieceProcessor(model_file=str(exports / "huggingface/tokenizer.model"))
    held_out = [path.read_text(encoding="utf-8") for path in sorted((PROJECT / "corpus/code").glob("*.py"))[-20:]]
    with Runtime(exports / "tiny-f16.gguf") as runtime:
        for text in [*held_out, *NASTY]:
            ids = pieces.encode(text)
            assert ids_of(tokenizer, text) == ids and runtime.tokenize(text) == ids
        window = [1, *pieces.encode(held_out[0])][:128]
        answers = torch.from_numpy(runtime.logits(window))
    ours, theirs = trained_logits(tiny.artifact("finetune"), window), logits_of(exports / "huggingface", window)
    assert np.abs(ours - theirs).max() <= 1e-4
    assert np.abs(answers.numpy() - theirs).max() <= 0.01 * np.abs(theirs).max()

    scores = {each["name"]: each["validation"] for each in tiny.manifest("evaluate")["metrics"]["models"]}
    trained = tiny.manifest("export")["metrics"]["proof"]["trained"]
    assert trained["loss_f16"] == pytest.approx(trained["loss"], abs=1e-3)
    assert scores["q4_k_m"]["loss"] == pytest.approx(scores["f16"]["loss"], abs=0.1)
    assert scores["f16"]["loss"] < np.log(500)


def check_what_is_reused(tiny: Project) -> None:
    config = tiny.folder / "tiny.yaml"
    released = files_below(tiny.folder / "exports/tiny")
    assert tiny.ran(*RUN) == []
    assert files_below(tiny.folder / "exports/tiny") == released

    lines = CONFIG.splitlines()
    config.write_text("# another word\n" + "\n".join([*lines[:2], *lines[:6:-1], *lines[2:7]]) + "   # the end\n")
    assert tiny.ran(*RUN) == []

    program = next((tiny.folder / "code").glob("*.py"))
    os.utime(program, (1, 1))
    assert tiny.ran(*RUN) == ["gather"]
    program.write_bytes(program.read_bytes().replace(b"\n", b"\r\n"))
    assert tiny.ran(*RUN) == ["gather", "extract", "clean", "export"]

    after = NAMES[NAMES.index("pretrain") :]
    assert tiny.ran(*RUN, "--set", "pretrain.max_steps=6") == after
    assert tiny.ran(*RUN) == []
    assert tiny.ran(*RUN, "--set", "evaluate.max_tokens=4") == ["evaluate", "report"]
    assert tiny.ran(*RUN, "--set", "evaluate.max_tokens=4", "--set", "report.notes=mine") == ["report"]
    assert "reuse" in tiny.pipeline("plan", "--config", "tiny.yaml") + tiny.printed


def check_the_export_command(tiny: Project) -> None:
    assert tiny.ran("export", "--quant", "q8_0", "--config", "tiny.yaml") == ["export"]
    exports = tiny.folder / "exports/tiny"
    assert [path.name for path in exports.glob("*.gguf")] == ["tiny-q8_0.gguf"]
    assert "FROM ./tiny-q8_0.gguf\n" in (exports / "Modelfile").read_text()
    before = files_below(exports)
    told = tiny.pipeline("export", "--create", "--host", "127.0.0.1:9", "--config", "tiny.yaml", code=1)
    assert (
        "error: Ollama does not answer at http://127.0.0.1:9 (" in told and "hint: start it with: ollama serve" in told
    )
    told = tiny.pipeline("export", "--quant", "q4_k_m,int3", "--config", "tiny.yaml", code=2)
    assert "unknown quantisation int3; known: f32, f16, bf16, q8_0, q6_k, q5_k_m, q5_k_s" in told
    next((tiny.folder / "code").glob("*.py")).touch()
    told = tiny.pipeline("export", "--quant", "q4_k_m", "--config", "tiny.yaml", code=1)
    assert told.endswith(
        "error: the weights are not up to date: gather source files changed\n"
        "hint: pipeline run --config tiny.yaml  (with --from convert --until export: the weights as they are)\n"
    )
    assert files_below(exports) == before


@pytest.mark.parametrize(
    ("empty", "message", "code"),
    [
        (True, "no usable file in", 2),
        (False, "no usable document in any source", 1),
    ],
    ids=["nothing there", "nothing readable"],
)
def test_a_folder_without_documents_ends_with_advice(tiny: Project, empty: bool, message: str, code: int) -> None:
    for name in ("code", "docs"):
        shutil.rmtree(tiny.folder / name)
        write_files(tiny.folder / name, {"a.png": "x"} if empty else {"a.py": b"\0", "b.pdf": b""})
    told = tiny.pipeline(*RUN, code=code)
    assert message in told and "hint:" in told
    assert not [path for path in (tiny.folder / "artifacts").rglob("v0*") if path.parent.name != "gather"]
