"""The model card: what it tells, that a stranger's text stays text, and that what it says to run does run."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from test_convert import SYSTEM, make_release
from test_markdown import HOSTILE

from stages.release.card import SAME_TEXT, facts_of, hub_card, model_card, sentences
from stages.release.facts import Corpus, Facts, Source
from stages.release.markdown import line

PARSER = MarkdownIt("commonmark").enable("table")
MODEL = {"architecture": "llama", "qk_norm": False, "d_model": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2}
SHAPE: dict[str, Any] = {"model": {**MODEL, "d_ff": 96, "init_from": ""}, "vocab_size": 4200, "context_length": 128}
MANIFESTS: dict[str, Any] = {
    "gather": {"metrics": {"without": {"pypi:x==1": "no network"}}},
    "clean": {
        "metrics": {
            "train": {"code": 90, "pair": 9}, "val": {"code": 8}, "dropped": {"near-duplicate": 3},
            "masked": {"wifi name": 2}, "similarity": {"highest": 0.161},
        }
    },
    "augment": {"metrics": {"variants": 40, "methods": {"rename": 30, "fim": 10}}},
    "tokenizer": {"material": {"config": {"tokenizer": {"kind": "byte_level"}}}},
    "pretrain": {
        "metrics": {
            "steps": 1200, "tokens": 1228800, "val_loss": 3.524323, "perplexity": 33.9308, "bits_per_byte": 1.4759,
            "tokens_per_second": 1757.0, "parameters": 1_300_000, "precision": "bf16-mixed", "epochs": 3.25,
            "unigram_loss": 6.7995,
        },
        "material": {"config": {"pretrain": {"optimizer": "muon", "schedule": "wsd", "learning_rate": 0.005}}},
        "device": {"processor": "AMD EPYC", "cores": "2", "gpu": "none"}, "seed": 1337, "seconds": 736.2,
        "git": "0598797eefb5", "packages": {"torch": "2.13.0"},
    },
    "finetune": {
        "metrics": {
            "steps": 140, "tokens": 253184, "val_loss": 2.99, "perplexity": 19.9, "tokens_per_second": 40.0,
            "precision": "bf16-mixed", "epochs": 2,
        },
        "material": {"config": {"finetune": {"optimizer": "adamw", "schedule": "cosine", "learning_rate": 6e-4}}},
        "device": {"gpu": "NVIDIA RTX 3060 (12 GiB)"}, "seed": 1337, "seconds": 40, "git": None,
    },
}  # fmt: skip
FILES: dict[str, Any] = {
    "f16": {"file": "tiny-f16.gguf", "bytes": 2_600_000, "perplexity": 31.67, "bits_per_byte": 1.4484},
    "q4_k_m": {
        "file": "tiny-q4_k_m.gguf", "bytes": 812_500, "bits_per_weight": 4.8, "kl": 0.0123, "kl_99": 0.2,
        "top1": 0.9712, "perplexity": 31.79, "bits_per_byte": 1.4499,
        "fallbacks": {"a": "Q5_0", "b": "Q5_0", "c": "Q8_0"},
    },
}  # fmt: skip
CORPUS = Corpus(
    (Source("corpus/code", "CC0-1.0", "", 96, 1234567), Source("pairs", "CC-BY-4.0", "Ada Lovelace", 3, 4)),
    {"code": 90, "pair": 9}, notices=True, english=True, question="How do I blink an LED?",
)  # fmt: skip
FACTS = Facts("tiny", SHAPE, "Be brief.", CORPUS, FILES, "tiny-q4_k_m.gguf", MANIFESTS)


def body(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def rows(card: str) -> list[list[str]]:
    """The cells of every table's rows, as text, read by a Markdown parser."""
    tokens = PARSER.parse(body(card))
    found: list[list[str]] = []
    for token, after in pairwise(tokens):
        if token.type == "tr_open":
            found.append([])
        elif token.type in ("td_open", "th_open"):
            found[-1].append("".join(part.content for part in after.children or ()))
    return found


def blocks(card: str, language: str) -> list[str]:
    return [token.content for token in PARSER.parse(body(card)) if token.type == "fence" and token.info == language]


def test_the_front_matter_is_what_the_hub_reads() -> None:
    data = ModelCard(model_card(FACTS)).data
    assert (data.license, data.license_name, data.license_link) == ("other", "cc-by-4.0-and-cc0-1.0", "LICENSE")
    assert (data.library_name, data.pipeline_tag, data.language) == ("transformers", "text-generation", ["en", "code"])
    assert data.tags == ["gguf", "llama.cpp", "ollama", "llama", "code"] and data.base_model is None
    assert data.eval_results is not None
    results = [(each.metric_type, each.metric_name, each.metric_value) for each in data.eval_results]
    assert ("perplexity", "perplexity (tiny-q4_k_m.gguf)", 31.79) in results and len(results) == 4


def test_every_source_and_every_file_has_a_row() -> None:
    told = rows(model_card(FACTS))
    assert ["corpus/code", "CC0-1.0", "", "96", "1,234,567"] in told
    assert ["pairs", "CC-BY-4.0", "Ada Lovelace", "3", "4"] in told
    assert ["tiny-f16.gguf", "F16", "2.6 MB", "16.00", "", "", "", "31.670", "1.4484"] in told
    wanted = ["tiny-q4_k_m.gguf", "Q4_K_M", "812.5 kB", "4.80", "0.0123", "0.2", "97.12%", "31.790", "1.4499"]
    assert wanted in told
    assert "another type than asked for: 2 × `Q5_0`, 1 × `Q8_0`." in model_card(FACTS)


def test_how_a_file_was_rounded_is_told() -> None:
    files = {**FILES, "fit-1mb": {"file": "tiny-fit-1mb.gguf", "bytes": 1000, "types": {"Q6_K": 2, "Q4_K": 12}}}
    files["q4_k_m"] = {**files["q4_k_m"], "imatrix": True}
    card = model_card(replace(FACTS, files=files))
    assert "In `tiny-q4_k_m.gguf` values were rounded with an importance matrix" in card
    assert "In `tiny-fit-1mb.gguf` the type of every matrix was chosen by what rounding it costs: 12 × `Q4_K`" in card
    assert "importance" not in model_card(FACTS) and "was chosen by" not in model_card(FACTS)


def test_how_it_was_made_is_told_from_the_manifests() -> None:
    card = model_card(FACTS)
    told = {row[0]: row[1:] for row in rows(card)}
    assert told["steps"] == ["1,200", "140"] and told["tokens"] == ["1,228,800 (3.25 epochs)", "253,184 (2 epochs)"]
    assert told["loss on what was held back"][0] == "3.524 nats per token (perplexity 33.93), 1.476 bits per byte"
    assert told["optimizer"] == ["muon, wsd, 0.005", "adamw, cosine, 0.0006"]
    assert told["machine"] == ["AMD EPYC, 2 cores", "NVIDIA RTX 3060 (12 GiB)"]
    assert told["time"] == ["12 min 16 s", "1 h 45 min"]  # 736 s; of a resumed run, tokens by tokens a second
    assert told["code"] == ["0598797eefb5, torch 2.13.0", "no commit, torch ?"]
    assert told["vocabulary"] == ["4,200 pieces, byte-level BPE"] and told["architecture"] == ["Llama"]
    for sentence in (
        "of 1.3 M weights that goes on with texts and answers questions. It was trained from nothing",
        "Of 110 documents 3 were left out (3 near-duplicate); 8 were held back",
        "by more than 0.161", "Masked: 2 wifi name.", "40 variants were made (30 rename, 10 fim).",
        "Not at hand when it was made, and so not in it: `pypi:x==1`.", "it is in `NOTICES.txt`",
        "has a loss of 6.800", "pins and voltages against the datasheet", "at most 128 tokens", "no medical",
        "under CC-BY-4.0, CC0-1.0.",
    ):  # fmt: skip
        assert sentence in card


def test_what_is_not_known_is_left_out() -> None:
    corpus = Corpus((Source("texts", "MIT", "", 1, 2),), {"docs": 1}, notices=False, english=False, question="")
    files = {"f16": {"file": "tiny-f16.gguf", "bytes": 1000}}
    card = model_card(Facts("tiny", SHAPE, "", corpus, files, "tiny-f16.gguf"))
    assert ModelCard(card).data.to_dict() == {
        "license": "mit", "library_name": "transformers", "pipeline_tag": "text-generation",
        "tags": ["gguf", "llama.cpp", "ollama", "llama"],
    }  # fmt: skip
    assert ["tiny-f16.gguf", "F16", "1.0 kB"] in rows(card)
    for word in ("KL", "## Training", "## What was proven", "NOTICES", "datasheet", "English", "fill", "-sys", "None"):
        assert word not in body(card)


@pytest.mark.parametrize(
    ("model", "start", "base"),
    [
        ({"init_from": "Qwen/Qwen3-0.6B-Base@main", "qk_norm": True}, None, "Qwen/Qwen3-0.6B-Base"),
        ({"init_from": "weights/mine", "architecture": "gpt2"}, [["config.json", 1, 2]], None),
    ],
)
def test_what_training_started_from_is_told(model: dict[str, Any], start: Any, base: str | None) -> None:
    manifests = {**MANIFESTS, "pretrain": {**MANIFESTS["pretrain"], "material": {"sources": start}}}
    facts = replace(FACTS, shape={**SHAPE, "model": {**SHAPE["model"], **model}}, manifests=manifests)
    card = model_card(facts)
    data = ModelCard(card).data
    assert data.base_model == base and (data.license_name or "").endswith("-and-base-model")
    assert f"trained from `{model['init_from']}`, whose own terms go with it" in card
    assert f"| architecture | {'Qwen3' if model.get('qk_norm') else 'GPT-2'} |" in card


@pytest.mark.parametrize("text", HOSTILE)
def test_a_strangers_text_stays_text(text: str) -> None:
    source = Source(text, text, text, 5, 6)
    corpus = replace(CORPUS, sources=(source,), question=text or "?")
    manifests = {**MANIFESTS, "gather": {"metrics": {"without": {text: ""}}}}
    facts = replace(FACTS, corpus=corpus, system=text, manifests=manifests)
    card = model_card(facts)
    assert ModelCard(card).data.license is not None
    shown = PARSER.render(body(card))
    allowed = {"h1", "h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "pre", "ul", "li"}
    assert set(re.findall(r"<(\w+)", shown)) == allowed
    assert [line(text)] * 3 + ["5", "6"] in rows(card)
    assert shown.count("<h2>") == model_card(FACTS).count("\n## ")
    for program in blocks(card, "python"):
        compile(program, "card", "exec")
    for commands in blocks(card, "sh"):
        for command in commands.splitlines():
            assert shlex.split(command)[0] in ("ollama", "llama-cli", "llama-server", "curl")


def test_gaps_can_be_filled_where_it_was_trained() -> None:
    assert "suffix" not in model_card(FACTS) and "/infill" not in model_card(FACTS)
    card = model_card(replace(FACTS, fim=True))
    asked = [shlex.split(commands)[3] for commands in blocks(card, "sh") if commands.startswith("curl")]
    ollama, server = map(json.loads, asked)
    assert ollama.keys() == {"model", "prompt", "suffix", "stream"} and ollama["model"] == "tiny"
    assert server.keys() == {"input_prefix", "input_suffix", "n_predict"}
    assert server["input_prefix"].endswith("return ") and ollama["suffix"] == server["input_suffix"]
    assert "fill-in-the-middle" in ModelCard(card).data.tags and "fills gaps in programs" in card


def test_differences_to_the_converter_are_those_of_the_architecture_and_apart_from_what_was_proven() -> None:
    card = model_card(replace(FACTS, proven=["Ids are equal."], notes=["Of *two* passes."]))
    assert "\n\nOf \\*two\\* passes.\n\n" in card
    proven, written = card.split("## What was proven")[1].split("## How the files are written")
    assert "- Ids are equal.\n" in proven and "bit for bit" not in proven
    assert "not for this release" in written and "- add\\_sep\\_token is false\n" in written
    assert "rope.dimension" not in written and "vocab\\_size" not in written
    for model, told, untold in (
        ({"qk_norm": True}, "rope.dimension", "scores"), ({"architecture": "gpt2"}, "scores", "rope.dimension"),
    ):  # fmt: skip
        card = model_card(replace(FACTS, shape={**SHAPE, "model": {**SHAPE["model"], **model}}))
        assert told in card and untold not in card and "## What was proven" not in card


def test_what_the_proof_found_is_said_in_sentences() -> None:
    chat = {"conversations": 97, "stops": ["<eos>", "<|im_end|>"], "answers": 1204, "ended": 3}
    nasty = {"nasty_strings": 1266, "nasty_tokens_compared": 9021}
    proof = {"tokens_compared": 84590, **nasty, "top1_agreement_f16": 0.99938, "chat": chat}
    ids, weights, templates, ends = sentences(proof | {"max_logit_difference_f16": 0.011})
    assert "84,590 ids of the documents held back, and 9,021 of 1,266 strings made to tell tokenizers apart, are" in ids
    assert "99.94% of places; no logit differs by more than 0.011." in weights
    assert templates.endswith("An answer ends at `<eos>` or `<|im_end|>`.")
    assert "where 1,204 answers" in ends and ends.endswith("likeliest token 3 times.")
    assert sentences({"chat": chat | {"stop_tested": True}})[-1].endswith("llama.cpp was asked to go on, and stopped.")
    assert sentences({}) == sentences({"chat": {"conversations": 0, "stops": []}}) == []


def test_the_commands_name_the_files_of_this_release() -> None:
    ollama, llama = blocks(model_card(FACTS), "sh")
    assert ollama == "ollama create tiny -f Modelfile\nollama run tiny\n"
    command, server = map(shlex.split, llama.splitlines())
    assert command[:3] == ["llama-cli", "-m", "tiny-q4_k_m.gguf"]
    assert command[-4:] == ["-sys", "Be brief.", "-p", "How do I blink an LED?"]
    assert server == ["llama-server", "-m", "tiny-q4_k_m.gguf", "-c", "128"]


@pytest.mark.parametrize("kind", ["pair", "docs"])
def test_the_program_for_transformers_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """Executed as it stands in the card, beside a real release, for a model that answers and for one that does not."""
    made = make_release(tmp_path, steps=2)
    made.convert()
    (tmp_path / "convert").rename(tmp_path / "huggingface")
    proof = {"tokens_compared": 123, "top1_agreement_f16": 0.99, "max_logit_difference_f16": 0.01}
    if kind == "docs":
        (tmp_path / "finetune/manifest.json").write_text(json.dumps({"metrics": {"steps": 0}}))
    card = model_card(facts_of(made.inputs, "tiny", FILES, proof, "tiny-f16.gguf"))
    (program,) = blocks(card, "python")
    assert (SYSTEM in program) == (kind == "pair") == ("Blink pin 1." in program and "apply_chat_template" in program)
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "README.md", "exec"), {})
    assert capsys.readouterr().out
    assert ["code", "MIT", "", "11"] in [
        row[:4] for row in rows(card)
    ] and "Token ids: 123 ids of the documents held back are" in card
    assert "`NOTICES.txt`" in card and "fill-in-the-middle" not in card


def test_on_the_hub_the_card_names_its_repository() -> None:
    card = hub_card(model_card(FACTS), "ada/tiny")
    (program,) = blocks(card, "python")
    assert 'folder = "ada/tiny"\n' in program and "huggingface" not in program
    assert "`huggingface/`" not in card and "`hf download ada/tiny --local-dir .`" in card
    assert card.split("\n# ")[0] == model_card(FACTS).split("\n# ")[0]
    assert blocks(card, "sh")[:2] == ["ollama run hf.co/ada/tiny\n", blocks(model_card(FACTS), "sh")[0]]
    plain = hub_card(model_card(replace(FACTS, corpus=replace(CORPUS, kinds={"code": 1}))), "ada/tiny")
    assert "hf.co" not in plain and "hf download" in plain  # the chat template of the file is not for such a model


def test_files_that_were_calibrated_on_the_text_that_measured_them_say_so(tmp_path: Path) -> None:
    made = make_release(tmp_path, steps=0)
    weighed = {"q4_k_m": {**FILES["q4_k_m"], "imatrix": True}}
    for files, apart, told in ((weighed, "nothing", True), (weighed, "documents", False), (FILES, "nothing", False)):
        facts = facts_of(made.inputs, "tiny", files, {"text": {"apart_from_calibration": apart}}, "x.gguf")
        assert (SAME_TEXT in model_card(facts)) == told
