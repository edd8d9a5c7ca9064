"""The report: one page that needs nothing else, the same for the same manifests, whatever stands in these."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lxml import html

from pipeline.errors import UsageError
from pipeline.stage import Context
from stages.evaluation import report
from stages.evaluation.page import render
from stages.evaluation.report import STAGE, manifests_of, metric_lines, write_report
from stages.evaluation.task import LEVELS

KNOWN = {
    "html", "head", "meta", "title", "style", "body", "nav", "main", "header", "footer", "section", "p", "ul",
    "li", "a", "h1", "h2", "h3", "h4", "dl", "div", "dt", "dd", "span", "table", "thead", "tbody", "tr", "th", "td",
    "details", "summary", "pre", "blockquote", "figure", "figcaption", "svg", "path", "circle", "line", "rect", "text",
}  # fmt: skip
VOID = {"meta", "circle", "line", "path", "rect", "br", "img", "link", "input", "hr"}
INPUTS = {
    "gather": (), "extract": ("gather",), "clean": ("extract",), "augment": ("clean",), "tokenizer": ("clean",),
    "tokenize": ("augment", "clean", "tokenizer"), "pretrain": ("tokenize",), "finetune": ("pretrain", "tokenize"),
    "convert": ("finetune", "tokenizer"), "export": ("convert", "gather"), "evaluate": ("export", "tokenize"),
}  # fmt: skip
HOSTILE = {
    "script": "<script>alert(1)</script>",
    "closing": "</pre></style></title><img src=x onerror=alert(1)>]]>",
    "control": "a\x00\x1b[31m\x7f\x85b",
    "bidi": "left \u202eright\u2066",
    "surrogate": "half \ud800 a letter",
    "template": "{{ 7 * 7 }}{% raw %}",
    "quotes": '" onmouseover="alert(1)" \'',
}


def rate(value: float, width: float = 0.02) -> dict[str, float]:
    return {"value": value, "low": round(value - width, 4), "high": round(value + width, 4)}


def scored(name: str, compiles: float, solved: float | None, **others: Any) -> dict[str, Any]:
    levels = {
        level: {"tasks": 3, "compile_rate": rate(compiles), "pass": None if solved is None else {"1": rate(solved)}}
        for level in ("1", "2")
    }
    return {
        "name": name, "kind": "gguf", "source": f"/x/{name}.gguf", "bytes": 2_851_232, "tokens_per_second": 812.3,
        "validation": {"loss": 3.79, "perplexity": 44.44, "bits_per_byte": 1.5077, "tokens": 8222, "bytes": 29851},
        "asked": 60, "ended": rate(0.97), "compile_rate": rate(compiles), "levels": levels,
        "unknown_api": {**rate(0.043), "uses": 2310, "names": [["machine.Pin.blink", 12], ["time.wait", 9]]},
        "pass": None if solved is None else {"1": rate(solved), "10": rate(2 * solved)},
        "outcomes": {"passed": 5, "wrong": 40, "does not compile": 15},
        "verbatim": {"longest": 61, "text": "led.toggle()", "share": 0.004, "windows": 5123}, **others,
    }  # fmt: skip


def run_manifests() -> dict[str, Any]:
    """A run as its manifests tell it, with everything that a report shows."""
    steps = [10, 20, 30, 40]
    metrics: dict[str, Any] = {
        "gather": {
            "files": 372, "bytes": 2447916, "skipped": {".png": 12}, "refused": {"too large": 1}, "without": {},
            "licenses": {"CC0-1.0": 300, "MIT": 72},
            "sources": [
                {"source": "corpus/code", "license": "CC0-1.0", "files": 300, "bytes": 2_000_000},
                {"source": "pypi:stubs==1", "license": "MIT", "files": 72, "bytes": 447_916},
            ],
        },
        "extract": {
            "documents": {"code": 160, "pair": 633}, "characters": 1646156, "left_out": {"empty": 33, "damaged": 2},
            "formats": {".py": {"files": 164, "documents": 164, "characters": 584438}},
        },
        "clean": {
            "dropped": {"near-duplicate": 41}, "train": {"code": 154, "pair": 595}, "val": {"code": 10, "pair": 38},
            "masked": {"wifi name": 1}, "similarity": {"highest": 0.161, "val": 48, "train": 749},
            "characters": {
                "dropped": {"near-duplicate": 91_231}, "train": {"code": 900_000, "pair": 600_000},
                "val": {"code": 34_282, "pair": 20_643},
            },
        },
        "augment": {"originals": 749, "variants": 812, "methods": {"rename": 400, "pins": 412}},
        "tokenizer": {
            "vocab_size": 4096, "bytes_per_token": 3.4502,
            "pieces": {"longest": [" import micropython", "\n\n"], "bytes_per_token": {"code": 3.31, "docs": 3.62}},
        },
        "tokenize": {
            "vocab_size": 4096, "context_length": 256, "train": {"documents": 341, "tokens": 378_456, "bytes": 1297367},
            "train_pairs": {"conversations": 615, "tokens": 85_803, "too_long": 23},
            "val": {"documents": 24, "tokens": 24_055, "bytes": 82_869}, "longer_than_context": {"code": 147},
            "val_pairs": {"conversations": 40, "tokens": 5_316, "too_long": 3},
            "pieces": {"learnt": 3800, "unused": 211, "unused_share": 0.0555},
            "lengths": {"edges": [0, 16, 32, 64], "code": [1, 2, 3], "docs": [0, 0, 1], "pair": [5, 4, 3]},
            "composition": [
                {"kind": "code", "source": "corpus/code", "license": "CC0-1.0", "documents": 154, "tokens": 300_000},
                {"kind": "pair", "source": "pypi:stubs==1", "license": "MIT", "documents": 595, "tokens": 164_259},
            ],
        },
        "export": {
            "files": {
                "q4_k_m": {"file": "tiny-q4_k_m.gguf", "bytes": 2_851_232, "bits_per_weight": 5.256, "kl": 0.005025,
                           "kl_99": 0.02126, "top1": 0.9477, "perplexity": 44.4397, "bits_per_byte": 1.5077,
                           "tokens": 8222},
                "f16": {"file": "tiny-f16.gguf", "bytes": 8_491_712, "bits_per_weight": 16.009, "kl": 0.0, "kl_99": 0.0,
                        "top1": 1.0, "perplexity": 44.4003, "bits_per_byte": 1.5073, "tokens": 8222},
            },
            "proof": {"top1_agreement_f16": 1.0, "chat": {"answers": 4, "ended": 4}}, "modelfile": "tiny-q4_k_m.gguf",
        },
        "evaluate": {
            "executed": True, "why_not": "", "tasks": 138, "samples": 10, "temperature": 0.2, "answered_by": "q4_k_m",
            "answers": [{"prompt": "Blink the LED.", "text": "led.on()", "ended": True}],
            "models": [scored("q4_k_m", 0.641, 0.083), scored("f16", 0.66, 0.089)],
            "examples": [
                {"task": "blink", "level": 1, "model": "q4_k_m", "passed": True, "prompt": "Blink.", "text": "a"},
                {"task": "scan", "level": 2, "passed": False, "reason": "no pin", "prompt": "S.", "text": "b"},
            ],
        },
    }  # fmt: skip
    for stage, low in (("pretrain", 3.524), ("finetune", 2.957)):
        metrics[stage] = {
            "steps": 40, "tokens": 40960, "best_step": 40, "val_loss": low, "perplexity": 33.93, "epochs": 3.25,
            "tokens_per_second": 5037.6, "peak_memory": 590249984, "parameters": 4196608, "precision": "bf16-mixed",
            "rollbacks": 0, "mfu": 0.356, "unigram_loss": 6.8, "bits_per_byte": 1.4759, "device": "cpu",
            "pace": [[step, 5000.0 + step, 580_000_000] for step in steps],
            "curve": {
                "step": steps, "tokens": [step * 1024 for step in steps], "loss": [7.5, 5.25, 4.0, 3.5],
                "learning_rate": [0.005, 0.003, 0.002, 0.0], "grad_norm": [9.0, 2.0, 1.0, 0.9],
            },
            "validation": [[20, 5.0], [30, 3.6], [40, low]],
            "samples": [[step, "import machine", f"led = {step}"] for step in steps],
        }  # fmt: skip
    config: dict[str, Any] = {
        "clean": {"val_fraction": 0.06}, "tokenizer": {"kind": "sentencepiece"}, "evaluate": {"max_tokens": 160},
        "pretrain": {"max_steps": 1200, "learning_rate": 0.005}, "finetune": {"max_steps": 140},
        "gather": {"sources": [{"folder": "corpus/code", "license": "CC0-1.0"}]},
    }  # fmt: skip
    found: dict[str, Any] = {}
    for place, (stage, needed) in enumerate(INPUTS.items()):
        key = f"{place:x}" * 64
        sections = {stage: config[stage]} if stage in config else {}
        if stage == "pretrain":
            sections["model"] = {"architecture": "llama", "dropout": 0.1, "init_from": ""}
        found[stage] = {
            "material": {"stage": stage, "version": 1, "config": sections, "seed": 1337, "name": "tiny"},
            "inputs": {name: {"artifact": found[name]["artifact"], "digest": found[name]["digest"]} for name in needed},
            "origins": {f"{name}.{key}": "configs/tiny.yaml:7" for name, keys in sections.items() for key in keys},
            "profile": "cpu", "seed": 1337, "metrics": metrics.get(stage, {}), "started": "2026-11-21T14:18:14+0000",
            "seconds": 2.5, "device": {"processor": "AMD EPYC", "cores": "2", "gpu": "none"}, "git": "d2d354e637e0",
            "packages": {"torch": "2.13.0+cpu", "numpy": "2.4.6", "gguf": "0.19"}, "stage": stage, "key": key,
            "digest": key[::-1],
            "artifact": f"{stage}/v0001-{key[:8]}", "files": {"model.bin": {"sha256": "0" * 64, "size": 1000}},
        }  # fmt: skip
    return found


class Strict(HTMLParser):
    """Raises AssertionError for a page whose tags are not nested; collects tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page_of(manifests: Any, **options: Any) -> str:
    return render.page(manifests, **options)


def checked(page: str) -> Strict:
    """A page that is well-formed, whole in itself, small, and free of what cannot be seen."""
    found = Strict(page)
    assert found.tags <= KNOWN
    for tag, name, value in found.attributes:
        assert not name.startswith("on") and name not in ("src", "srcset", "action", "data", "background"), (tag, name)
        assert name != "href" or value.startswith("#"), value
        assert "url(" not in value and "javascript:" not in value
    style = html.fromstring(page).findtext(".//style")
    assert style and "url(" not in style and "@import" not in style
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert len(page.encode()) < 1_000_000
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]", page
    )
    anchors = {value for _, name, value in found.attributes if name == "id"}
    assert {value[1:] for _, name, value in found.attributes if name == "href"} <= anchors
    return found


def cells(page: str, anchor: str) -> list[list[str]]:
    """The rows of all tables in a section, as an independent parser sees them."""
    rows = html.fromstring(page).xpath(f"//section[@id='{anchor}']//tr")
    return [[" ".join(cell.text_content().split()) for cell in row.xpath("./th|./td")] for row in rows]


def test_the_page_is_whole_in_itself_and_well_formed() -> None:
    checked(page_of(run_manifests(), against=run_manifests(), notes="a note"))


def test_every_section_is_there_and_in_the_contents() -> None:
    page = html.fromstring(page_of(run_manifests(), against=run_manifests()))
    wanted = [
        "comparison", "files", "models", "tasks", "examples", "answers", "training", "samples", "corpus", "tokenizer",
        "lineage", "configuration", "machine",
    ]  # fmt: skip
    assert page.xpath("//section/@id") == wanted
    assert page.xpath("//nav//a/@href") == ["#verdict", *(f"#{anchor}" for anchor in wanted)]


def test_a_rate_is_shown_with_its_interval_or_without_where_it_has_none() -> None:
    told = run_manifests()
    page = " ".join(checked(page_of(told)).text)
    assert "4.3 % (2.3 to 6.3 %) of 2,310 uses of the modules" in page
    told["evaluate"]["metrics"]["models"][0]["unknown_api"] = {"value": 0.05, "uses": 40, "names": [["Pin.blink", 2]]}
    other = run_manifests()
    other["evaluate"]["metrics"]["models"][0]["unknown_api"] = {"value": 0.1, "uses": 40, "names": []}
    page = page_of(told, against=other)
    assert "5.0 % of 40 uses of the modules" in " ".join(checked(page).text)
    assert ["names that the API does not have", "5.0 %", "10.0 %", "−5.0 points"] in cells(page, "comparison")
    assert ["Pin.blink", "2"] in cells(page, "tasks")


def test_the_speed_of_models_is_marked_only_among_those_of_one_kind() -> None:
    told = run_manifests()
    told["evaluate"]["metrics"]["models"][1] |= {"tokens_per_second": 900.5}

    def best() -> list[str]:
        return list(html.fromstring(page_of(told)).xpath("//section[@id='models']//td[contains(@class,'best')]/text()"))

    assert cells(page_of(told), "models")[0][-1] == "tokens a second, many at once"
    assert "900.5" in best()
    told["evaluate"]["metrics"]["models"][1] |= {"kind": "ollama"}
    assert "900.5" not in best() and "66.0 %" in best()


def test_levels_have_the_names_of_the_suite() -> None:
    told = run_manifests()
    told["evaluate"]["metrics"]["models"][0]["levels"]["99"] = {"tasks": 1, "compile_rate": rate(0.5), "pass": None}
    text = " ".join(checked(page_of(told)).text)
    assert f"2 · {LEVELS[2]} (3 tasks)" in text and "level 99 (1 task)" in text


def test_the_loss_of_the_weights_that_were_kept_is_not_called_the_lowest_where_it_is_not() -> None:
    told = run_manifests()
    said = "Lowest validation loss 2.957, at step 40"
    assert said in " ".join(checked(page_of(told)).text)
    told["finetune"]["material"]["config"]["finetune"]["keep"] = "last"
    told["finetune"]["metrics"] |= {"validation": [[20, 2.5], [30, 2.7], [40, 2.957]]}
    text = " ".join(checked(page_of(told)).text)
    kept = "Validation loss of the weights that were kept 2.957, at step 40"
    assert f"{kept} (the lowest was 2.500, at step 20); perplexity" in text and said not in text
    told["finetune"]["metrics"]["validation"][-1][1] = 2.4
    assert f"{kept}; perplexity" in " ".join(checked(page_of(told)).text)


def test_the_figures_are_those_of_the_manifests() -> None:
    page = page_of(run_manifests())
    assert cells(page, "files")[1:3] == [
        ["f16", "8.5 MB", "16.01", "0", "0", "100 %", "44.40", "1.507", "66.0 %", "8.9 %", "812.3"],
        ["→ q4_k_m", "2.9 MB", "5.26", "0.00502", "0.0213", "94.8 %", "44.44", "1.508", "64.1 %", "8.3 %", "812.3"],
    ]
    assert cells(page, "models")[1] == [
        "q4_k_m", "gguf", "2.9 MB", "1.508", "44.44", "64.1 %", "8.3 %", "16.6 %", "97.0 %", "4.3 %", "0.4 %", "812.3",
    ]  # fmt: skip
    assert ["10", "7.500", "", "10,240", "0.005", "9.000"] in cells(page, "training")
    assert ["40", "3.500", "3.524", "40,960", "0", "0.900"] in cells(page, "training")
    corpus = [row[:2] for row in cells(page, "corpus")]
    for row in (
        ["found", "385"], ["− kind not read: .png", "−12"], ["gathered", "372"], ["− empty", "−33"],
        ["with text", "337"], ["extracted", "1,646,156"], ["− near-duplicate (41)", "−91,231"],
        ["for training (749)", "1,500,000"], ["text to train on (341)", "378,456"],
        ["corpus/code", "64.6 %"], ["MIT", "35.4 %"], ["0 to 16", "1"],
    ):  # fmt: skip
        assert row in corpus, row
    assert ["machine.Pin.blink", "12"] in cells(page, "tasks")
    assert ["pretrain.max_steps", "1200", "configs/tiny.yaml:7"] in cells(page, "configuration")
    assert ["torch", "2.13.0+cpu"] in cells(page, "machine")
    assert cells(page, "lineage")[-1] == [
        "evaluate/v0001-aaaaaaaa", "aaaaaaaaaaaa", "2026-11-21 14:18:14", "tokenize, export", "2.5 s", "1.0 kB",
    ]  # fmt: skip
    text = " ".join(checked(page).text)
    for said in ("4.20 M", "464 k", "28 s", "211 pieces (5.5 %) never occur", "5,038 tokens per second (35.6 %"):
        assert said in text, said


def test_two_runs_stand_side_by_side_with_the_better_figure_marked() -> None:
    here, there = run_manifests(), run_manifests()
    there["pretrain"]["material"]["config"]["pretrain"]["learning_rate"] = 0.001
    there["pretrain"]["metrics"]["val_loss"] = 4.0
    there["evaluate"]["metrics"]["models"][0]["compile_rate"] = rate(0.58)
    there["evaluate"]["metrics"]["models"][0]["ended"] = rate(0.96)
    page = page_of(here, against=there)
    rows = cells(page, "comparison")
    assert ["validation loss, pretraining", "3.524", "4.000", "−11.9 %"] in rows
    assert ["answers that compile", "64.1 %", "58.0 %", "+6.1 points"] in rows
    assert ["answers that end by themselves", "97.0 %", "96.0 %", "+1.0 points, may be chance"] in rows
    assert ["pretrain.learning_rate", "0.005", "0.001"] in rows
    best = html.fromstring(page).xpath("//section[@id='comparison']//td[contains(@class, 'best')]/text()")
    assert best == ["64.1 %", "97.0 %", "3.524"]
    assert page.count("the other run") and 'class="line c1 dashed"' in page


def test_the_same_manifests_give_the_same_bytes_in_whatever_order_their_keys_come(tmp_path: Path) -> None:
    def shuffled(value: Any, chance: random.Random) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            chance.shuffle(keys)
            return {key: shuffled(value[key], chance) for key in keys}
        return [shuffled(each, chance) for each in value] if isinstance(value, list) else value

    one, two = tmp_path / "one", tmp_path / "two"
    write_report(run_manifests(), one, against=run_manifests(), notes="n")
    for seed in range(3):
        chance = random.Random(seed)
        other = shuffled(run_manifests(), chance)
        write_report(other, two, against=shuffled(run_manifests(), chance), notes="n")
        for name in ("report.html", "metrics.jsonl"):
            assert (one / name).read_bytes() == (two / name).read_bytes()


def every_text(value: Any, text: str) -> Any:
    """The same with every text in it, and every key that is not a name of ours, replaced."""
    if isinstance(value, dict):
        return {key: every_text(each, text) for key, each in value.items()}
    if isinstance(value, list):
        return [every_text(each, text) for each in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize("name", HOSTILE)
def test_texts_of_strangers_stay_texts(name: str) -> None:
    told = every_text(run_manifests(), HOSTILE[name])
    told["clean"]["metrics"]["characters"]["dropped"] = {HOSTILE[name]: 5}
    told["export"]["metrics"]["files"] = {HOSTILE[name]: told["export"]["metrics"]["files"]["f16"]}
    told["gather"]["metrics"]["without"] = {HOSTILE[name]: HOSTILE[name]}
    page = checked(page_of(told, against=told, notes=HOSTILE[name]))
    if name in ("script", "closing", "quotes", "template"):
        assert "".join(page.text).count(HOSTILE[name]) > 20


def test_what_cannot_be_seen_is_written_as_its_number() -> None:
    told = run_manifests()
    told["evaluate"]["metrics"]["answers"][0]["text"] = "a\x00b\u202ec\ud800d<script>"
    page = page_of(told)
    assert "a⟨U+0000⟩b⟨U+202E⟩c⟨U+D800⟩d&lt;script&gt;" in page


def test_long_texts_and_names_are_cut_and_the_page_stays_small() -> None:
    told = run_manifests()
    metrics = told["evaluate"]["metrics"]
    metrics["answers"] = [{"prompt": "p" * 100_000, "text": "é" * 10_000_000, "ended": False}] * 50
    metrics["examples"] = [{**metrics["examples"][0], "text": "<&>" * 5000, "task": "t" * 9999}] * 200
    metrics["models"] = [scored("m" * 5000, 0.5, 0.1, source="s" * 9999)] * 300
    metrics["models"][0]["unknown_api"]["names"] = [["n" * 999, 1]] * 9999
    told["export"]["metrics"]["files"] = {
        f"q{n}_{'x' * 500}": {"bytes": n, "kl": 0.1 * n, "bits_per_weight": n} for n in range(500)
    }
    told["pretrain"]["metrics"]["samples"] = [[step, "p" * 9999, "<" * 9999] for step in range(5000)]
    told["pretrain"]["metrics"]["pace"] = [[step, 1.0 * step, 1e9] for step in range(50_000)]
    told["pretrain"]["material"]["config"] = {"pretrain": {f"key_{n}": "&" * 9999 for n in range(3000)}}
    told["gather"]["metrics"]["skipped"] = {f".{'<' * 400}{n}": n for n in range(5000)}
    told["clean"]["metrics"]["characters"]["dropped"] = {f"{'>' * 400}{n}": n for n in range(5000)}
    told["evaluate"]["packages"] = {f"{'p' * 300}{n}": "v" * 300 for n in range(5000)}
    page = page_of(told, against=run_manifests(), notes="n" * 1_000_000)
    checked(page)
    assert "9,996,000 more characters" in page


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, 10**400, -1, 1e300, "12", [], {}, True, 0])
def test_odd_numbers_break_nothing(value: Any) -> None:
    def replaced(each: Any) -> Any:
        if isinstance(each, dict):
            return {key: replaced(inner) if key not in ("seed", "config") else inner for key, inner in each.items()}
        if isinstance(each, list):
            return [replaced(inner) for inner in each]
        return value if isinstance(each, int | float) and not isinstance(each, bool) else each

    told = replaced(run_manifests())
    page = page_of(told, against=run_manifests())
    checked(page)
    assert not re.search(r"[\"> -](nan|inf)[\"< %]", page)
    assert page_of(run_manifests(), against=told)
    assert all(json.loads(json.dumps(line, allow_nan=False)) for line in metric_lines(told))


@pytest.mark.parametrize("gone", [*INPUTS, "metrics", "training", "all but pretrain", "all but gather", "all"])
def test_what_is_missing_is_left_out(gone: str) -> None:
    told: dict[str, Any] = run_manifests()
    if gone == "metrics":
        told = {stage: {**manifest, "metrics": {}} for stage, manifest in told.items()}
    elif gone == "training":
        told = {stage: manifest for stage, manifest in told.items() if stage not in ("pretrain", "finetune")}
    elif gone.startswith("all but"):
        told = {gone.split()[-1]: told[gone.split()[-1]]}
    elif gone == "all":
        told = {"evaluate": {}}
    else:
        del told[gone]
    checked(page_of(told))
    checked(page_of(run_manifests(), against=told))


def test_an_older_run_is_told_how_to_get_the_rest() -> None:
    told = run_manifests()
    for stage in ("pretrain", "finetune"):
        for key in ("curve", "validation", "samples"):
            del told[stage]["metrics"][key]
    files = told["export"]["metrics"]["files"]
    told["evaluate"]["metrics"] = {"scores": files, "answered_by": "q4_k_m"}
    text = " ".join(checked(page_of(told)).text)
    for command in ("--force pretrain", "--from evaluate", "--set pretrain.sample_prompts="):
        assert f"pipeline run {command}" in text or command in text
    assert "--config configs/tiny.yaml --profile cpu" in text


def test_programs_that_were_not_run_say_why() -> None:
    told = run_manifests()
    told["evaluate"]["metrics"] |= {
        "executed": False, "why_not": "Node is missing", "models": [scored("q4_k_m", 0.7, None)],
        "examples": [{"task": "blink", "passed": None, "compiled": True, "text": "x", "prompt": "p", "reason": ""}],
    }  # fmt: skip
    text = " ".join(checked(page_of(told)).text)
    assert "Programs were compiled, not run: Node is missing" in text and "evaluate.execute=true" in text
    assert "Compiled" in text and "Did not compile" not in text


LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5)
KEYS = st.sampled_from(["value", "low", "1", "step", "x"])
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


PLACES = [path for path in places(run_manifests()) if len(path) > 1]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example([(("evaluate", "metrics", "models", 0, "name"), [])])
@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=4))
def test_whatever_stands_in_the_manifests_the_page_is_well_formed(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    told: Any = copy.deepcopy(run_manifests())
    for path, value in changes:
        at = told
        try:
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = value
        except (KeyError, TypeError, IndexError):
            continue
    checked(page_of(told, against=run_manifests()))
    for line in metric_lines(told):
        json.dumps(line, allow_nan=False)


# -- from artifacts ----------------------------------------------------------------------------------------------------


def write_artifacts(root: Path, manifests: dict[str, Any]) -> Path:
    for manifest in manifests.values():
        folder = root / manifest["artifact"]
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return root / str(manifests["evaluate"]["artifact"])


def test_the_manifests_of_a_run_are_found_from_its_last_artifact(tmp_path: Path) -> None:
    told = run_manifests()
    assert manifests_of(write_artifacts(tmp_path, told)) == told


def test_of_two_artifacts_of_a_stage_the_nearer_is_taken(tmp_path: Path) -> None:
    told = run_manifests()
    last = write_artifacts(tmp_path, told)
    again = {**told["gather"], "artifact": "gather/v0002-00000000", "seconds": 99.0}
    write_artifacts(tmp_path, {"evaluate": again})
    told["export"]["inputs"]["gather"]["artifact"] = "gather/v0002-00000000"
    (tmp_path / told["export"]["artifact"] / "manifest.json").write_text(json.dumps(told["export"]))
    assert manifests_of(last)["gather"]["seconds"] == 99.0


def test_artifacts_that_are_gone_damaged_or_elsewhere_are_left_out(tmp_path: Path) -> None:
    told, root = run_manifests(), tmp_path / "artifacts"
    last = write_artifacts(root, told)
    write_artifacts(tmp_path, {"evaluate": {**told["gather"], "artifact": "secret/v0001-00000000"}})
    (root / told["extract"]["artifact"] / "manifest.json").write_text("{")
    told["tokenize"]["inputs"]["secret"] = {"artifact": "../secret/v0001-00000000"}
    (root / told["tokenize"]["artifact"] / "manifest.json").write_text(json.dumps(told["tokenize"]))
    assert sorted(manifests_of(last)) == sorted(set(INPUTS) - {"extract"})
    with pytest.raises(UsageError, match="no manifest"):
        manifests_of(root / "evaluate" / "v0009-00000000")


def test_the_numbers_lie_beside_the_page_line_by_line(tmp_path: Path) -> None:
    page = write_report(run_manifests(), tmp_path / "new" / "folder")
    assert page == tmp_path / "new" / "folder" / "report.html"
    lines = [json.loads(line) for line in (page.parent / "metrics.jsonl").read_text().splitlines()]
    assert [(line["stage"], line.get("step")) for line in lines[:4]] == [
        ("pretrain", step) for step in (10, 20, 30, 40)
    ]
    assert lines[1] == {
        "stage": "pretrain", "step": 20, "tokens": 20480, "loss": 5.25, "learning_rate": 0.003, "grad_norm": 2,
        "validation_loss": 5, "tokens_per_second": 5020, "memory": 580_000_000,
    }  # fmt: skip
    assert [line["model"] for line in lines if line["stage"] == "evaluate"] == ["q4_k_m", "f16"]
    assert lines[-2]["compile_rate.value"] == 0.641 and lines[-2]["pass.1.value"] == 0.083


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot be written"):
        write_report(run_manifests(), tmp_path / "file")
    with pytest.raises(UsageError, match="nothing to report"):
        write_report({}, tmp_path)


def test_the_stage_writes_the_report_and_tells_its_verdict(tmp_path: Path) -> None:
    said: list[str] = []

    @contextmanager
    def nothing(*_: Any) -> Iterator[Any]:
        yield None

    out = tmp_path / "out"
    out.mkdir()
    context = Context(
        sections={"report": report.ReportConfig(notes="a <b> note")}, out=out, seed=1, base=tmp_path, name="tiny",
        inputs={"evaluate": write_artifacts(tmp_path / "artifacts", run_manifests())}, map=map,  # type: ignore[arg-type]
        say=said.append, warn=said.append, progress=nothing, deferred_interrupts=nothing,
    )  # fmt: skip
    metrics = STAGE.run(context)
    page = (out / "report.html").read_text()
    assert metrics["page"] == "report.html" and metrics["bytes"] == len(page.encode())
    assert {each["grade"] for each in metrics["verdict"]} >= {"bad", "good"} and json.dumps(metrics)
    assert "a &lt;b&gt; note" in page and said[0].startswith("It solves 8.3 % of the tasks")
    assert sorted(path.name for path in out.iterdir()) == ["metrics.jsonl", "report.html"]
