"""The head of a model card, read by PyYAML and by the Hub's own client."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import ModelCard

from stages.release.frontmatter import front_matter, hub_datasets, hub_model, license_fields, model_index


@pytest.mark.parametrize(
    ("licenses", "base", "wanted"),
    [
        (["MIT", "MIT"], "", {"license": "mit"}),
        (["CC-BY-4.0"], "", {"license": "cc-by-4.0"}),
        (["GPL-3.0-or-later"], "", {"license": "gpl-3.0"}),
        (["MIT"], "user/model", "mit-and-base-model"),
        (["0BSD"], "", "0bsd"),
        (["MIT", "CC0-1.0"], "", "cc0-1.0-and-mit"),
        (["CC0-1.0", "MIT", "MIT AND Apache-2.0"], "", "apache-2.0-and-cc0-1.0-and-mit"),
        (["MIT OR Apache-2.0"], "", "mit-or-apache-2.0"),
        (["LicenseRef-Mine"], "", "licenseref-mine"),
        ([f"LicenseRef-{number}" for number in range(40)], "", "several"),
        ([": {\n---"], "", "several"),
        ([], "", "several"),
    ],
)
def test_the_licence_is_one_that_the_hub_knows(licenses: list[str], base: str, wanted: Any) -> None:
    if isinstance(wanted, str):
        wanted = {"license": "other", "license_name": wanted, "license_link": "LICENSE"}
    assert license_fields(licenses, base) == wanted


@pytest.mark.parametrize(
    ("start", "folder", "wanted"),
    [
        ("Qwen/Qwen3-0.6B-Base", False, "Qwen/Qwen3-0.6B-Base"), ("user/model@v1", False, "user/model"),
        ("gpt2", False, "gpt2"), ("weights/mine", True, ""), ("../mine", False, ""), ("/tmp/mine", False, ""),
        ("~/mine", False, ""), ("a: b\n---", False, ""), ("", False, ""),
    ],
)  # fmt: skip
def test_a_base_model_is_told_where_it_is_on_the_hub(start: str, folder: bool, wanted: str) -> None:
    assert hub_model(start, folder) == wanted


def test_only_sources_from_the_hub_are_its_data_sets() -> None:
    given = [
        "corpus/code", "pypi:x==1", "url:https://example.org/datasets/a/b", "git:https://huggingface.co/datasets/u/d@1",
        "url:https://huggingface.co/datasets/u/stories/resolve/main/x.jsonl", "url:https://huggingface.co/u/model/x",
    ]  # fmt: skip
    assert hub_datasets(given) == ["u/d", "u/stories"]


def test_the_hub_reads_the_results() -> None:
    metrics = [("perplexity", "perplexity (a.gguf)", 31.5), ("bits_per_byte", "bits per byte (a.gguf)", 1.25)]
    front = front_matter({"license": "mit", "base_model": "", "model-index": model_index("tiny", "held back", metrics)})
    data = ModelCard(f"{front}\n\n# tiny\n", ignore_metadata_errors=False).data
    assert data.license == "mit" and data.model_name == "tiny" and "base_model" not in data.to_dict()
    assert data.eval_results is not None
    assert [(r.metric_type, r.metric_name, r.metric_value) for r in data.eval_results] == metrics
    assert {(r.task_type, r.dataset_name) for r in data.eval_results} == {("text-generation", "held back")}
    assert model_index("tiny", "held back", []) == []


@pytest.mark.parametrize(
    "text", ["a\n---\nb", "---", "x: y", "'", '"', "- a", "no", "1e3", "é\u2028", "#", "{{", "@", "!x"]
)
def test_no_text_breaks_out_of_it(text: str) -> None:
    front = front_matter({"license": "mit", "tags": [text], "name": text, "none": ""})
    card = ModelCard(f"{front}\n\n# tiny\n")
    assert card.data.tags == [text] and card.text.strip() == "# tiny"
