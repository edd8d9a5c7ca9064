"""What is known of a release, gathered from documents and from the manifests of everything that led to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages.corpus.documents import Document, write_documents
from stages.release.facts import Corpus, Facts, Source, lineage, read_corpus


def document(name: str, text: str, kind: Any = "docs", license: str = "MIT", asked: str = "", **meta: str) -> Document:
    messages = ({"role": "user", "content": asked}, {"role": "assistant", "content": "so"}) if asked else ()
    return Document(name, text, kind, "a", name, license, meta, messages)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "gather").mkdir()
    (tmp_path / "gather/sources.jsonl").write_text(json.dumps({"source": "a", "license_files": []}) + "\n")
    write_documents(tmp_path / "clean/val", [document("v", "x", "pair", asked="long " * 50)])
    return tmp_path / "gather", tmp_path / "clean"


def test_each_source_is_counted_by_licence_and_by_who_has_to_be_named(folders: tuple[Path, Path]) -> None:
    gathered, cleaned = folders
    given = [
        document("1", "12345"), document("2", "é€", "code"),
        document("3", "123", license="CC-BY-4.0", attribution="Ada"),
        document("4", "1", "pair", asked="?"),
    ]  # fmt: skip
    write_documents(cleaned / "train", given)
    assert read_corpus(gathered, cleaned) == Corpus(
        sources=(Source("a", "CC-BY-4.0", "Ada", 1, 3), Source("a", "MIT", "", 3, 8)),
        kinds={"docs": 2, "code": 1, "pair": 1}, notices=False, english=False, question="",
    )  # fmt: skip
    assert Source("a", "CC-BY-4.0", "Ada", 1).terms == "CC-BY-4.0, Ada" and Source("a", "MIT", "", 1).terms == "MIT"


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("The loop reads the sensor and waits for as long as it is told to.", True),
        ("Die Schleife liest den Sensor und wartet so lange, wie man es ihr in der Zeile sagt.", False),
        ("La boucle lit le capteur et attend le temps qui lui est dit dans la ligne du programme.", False),
    ],
)
def test_english_is_recognised(folders: tuple[Path, Path], text: str, english: bool) -> None:
    write_documents(
        folders[1] / "train", [document("1", text), document("2", "for x in it: as with is to of\n", "code")]
    )
    assert read_corpus(*folders).english == english


def test_notices_are_seen_in_documents_and_in_sources(folders: tuple[Path, Path]) -> None:
    gathered, cleaned = folders
    write_documents(cleaned / "train", [document("1", "x", notice="# by Ada")])
    assert read_corpus(gathered, cleaned).notices
    write_documents(cleaned / "train", [document("1", "x")])
    assert not read_corpus(gathered, cleaned).notices
    (gathered / "sources.jsonl").write_text(json.dumps({"source": "a", "license_files": ["licenses/0/LICENSE"]}) + "\n")
    assert read_corpus(gathered, cleaned).notices


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (["two\nlines", "é", "x" * 91, "Why?", "How?"], "Why?"),
        ([" blanks ", "\u202e"], ""),
        (["$(rm -rf ~)"], "$(rm -rf ~)"),
    ],
)
def test_a_question_that_fits_on_a_line_is_found(folders: tuple[Path, Path], asked: list[str], shown: str) -> None:
    write_documents(folders[1] / "train", [])
    write_documents(folders[1] / "val", [document("0", "x"), *(document(a, "x", "pair", asked=a) for a in asked)])
    assert read_corpus(*folders).question == shown


def test_manifests_are_followed_back_as_far_as_they_are_stored(tmp_path: Path) -> None:
    made = {"export": ["convert"], "convert": ["finetune", "clean"], "finetune": ["pretrain"], "pretrain": ["gone"]}
    for stage, needed in (made | {"clean": []}).items():
        folder = tmp_path / stage / "v0001-aa"
        folder.mkdir(parents=True)
        inputs = {name: {"artifact": f"{name}/v0001-aa", "digest": "d"} for name in needed}
        (folder / "manifest.json").write_text(json.dumps({"inputs": inputs, "metrics": {"of": stage}}))
    broken = tmp_path / "tokenizer/v0001-aa"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{")
    found = lineage({"convert": tmp_path / "convert/v0001-aa", "tokenizer": broken, "none": tmp_path / "none"})
    assert {stage: manifest["metrics"]["of"] for stage, manifest in found.items()} == {
        stage: stage for stage in ("convert", "finetune", "clean", "pretrain")
    }


def test_what_is_not_known_is_empty() -> None:
    shape = {"model": {"architecture": "llama", "qk_norm": True, "init_from": ""}}
    facts = Facts("tiny", shape, "", Corpus((), {"pair": 1}, False, False, ""), {}, "x")
    assert (facts.family, facts.parameters, facts.start, facts.answers) == ("qwen3", 0, "", True)
    assert facts.metrics("pretrain") == facts.config("pretrain") == {}
    manifests: dict[str, Any] = {
        "finetune": {"metrics": {"steps": 0}},
        "pretrain": {"metrics": {"parameters": 7}, "material": {"config": {"model": {"a": 1}, "pretrain": {"b": 2}}}},
    }
    facts = Facts("tiny", shape, "", facts.corpus, {}, "x", manifests)
    assert (facts.answers, facts.parameters) == (False, 7)
    assert (facts.config("pretrain"), facts.config("pretrain", "model")) == ({"b": 2}, {"a": 1})
