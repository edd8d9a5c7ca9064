"""Cleaning: one form for the same text, each text once, and a split that no version of a text can leak across."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_gather import StageRun, run_stage

from pipeline.errors import StageError
from pipeline.shards import map_ordered
from stages.corpus import clean
from stages.corpus.clean import normalise
from stages.corpus.documents import (
    Document,
    Kind,
    conversation_text,
    document_id,
    read_documents,
    write_documents,
)

BLANKS = st.sampled_from(" \t\n\r\x0c\x00\x85\u2028\ufeff'#")
TEXT = st.text(st.one_of(BLANKS, st.characters(codec="utf-8")), max_size=60)
LETTERS = "bcdfghklmnprstvz"


NAMES = ["ada", "anna", "ana", "bo", "grace", "hanna", "joanna", "li", "maria", "marian", "o", "zoé"]


def words(rng: random.Random, count: int) -> list[str]:
    return ["".join(rng.choice(LETTERS) + rng.choice("aeiou") for _ in range(3)) for _ in range(count)]


def program(name: object, lines: int = 12) -> str:
    """A program that shares nothing with any other."""
    rng = random.Random(str(name))
    return "".join("{} = {}({}, {})\n".format(*words(rng, 4)) for _ in range(lines))


def page(name: object) -> str:
    rng = random.Random(f"page {name}")
    return "".join(" ".join(words(rng, 9)).capitalize() + ".\n" for _ in range(8))


def document(path: str, text: str = "", kind: Kind = "code", source: str = "s", license: str = "MIT") -> Document:
    text = text or (page(path) if kind == "docs" else program(path))
    return Document(document_id(source, path), text, kind, source, path, license)


def pair(path: str, *contents: str) -> Document:
    contents = contents or (" ".join(words(random.Random(path), 9)), page(f"answer {path}").strip())
    roles = ("user", "assistant")
    messages = tuple({"role": roles[i % 2], "content": content} for i, content in enumerate(contents))
    return replace(document(path, "x", "pair"), text=conversation_text(messages), messages=messages)


def cleaned(tmp_path: Path, documents: Sequence[Document], *, seed: int = 1337, **config: Any) -> StageRun:
    write_documents(tmp_path / "extract", documents)
    config = {"decontaminate": [], **config}
    return run_stage(clean.STAGE, tmp_path / "out", {"extract": tmp_path / "extract"}, seed=seed, clean=config)


def sides(run: StageRun) -> tuple[list[Document], list[Document]]:
    return list(read_documents(run.out / "train")), list(read_documents(run.out / "val"))


def reasons(run: StageRun) -> dict[str, str]:
    return {line["path"]: line["reason"] for line in run.lines("dropped.jsonl")}


OTHERS = [document(f"other{number}.py") for number in range(4)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\n", "a\nb\nc\n"),
        ("a  \n\tb\t\n", "a\n\tb\n"),
        ("\n\na\n\n\n\n\n\nb\n\n\n", "a\n\n\nb\n"),
        ("a\n\n\nb", "a\n\n\nb\n"),
        ("\ufeffa\x00\x07\x7f\x0cb", "ab\n"),
        ("    indented\n", "    indented\n"),
        ("e\u0301\u212b", "e\u0301\u212b\n"),
    ],
)
def test_normal_forms_of_code_by_hand(text: str, expected: str) -> None:
    assert normalise(text, code=True) == expected


def test_prose_is_composed_and_code_is_not() -> None:
    assert normalise("cafe\u0301 \u212b", code=False) == "café \u00c5\n"
    assert normalise("cafe\u0301", code=True) == "cafe\u0301\n"


@given(TEXT, st.booleans())
def test_normalising_twice_is_normalising_once(text: str, code: bool) -> None:
    once = normalise(text, code=code)
    assert normalise(once, code=code) == once
    assert once.endswith("\n") and "\n\n\n\n" not in once and "\r" not in once
    assert all(line == line.rstrip(" \t") for line in once.split("\n"))
    assert not [c for c in once if unicodedata.category(c) == "Cc" and c not in "\t\n" and c < "\x80"]


@given(TEXT)
def test_normalising_takes_no_visible_character_from_code(text: str) -> None:
    visible = [c for c in text if unicodedata.category(c) not in ("Cc", "Zs", "Cf")]
    assert [c for c in normalise(text, code=True) if unicodedata.category(c) not in ("Cc", "Zs", "Cf")] == visible


def test_a_document_that_was_a_line_has_no_line_end(tmp_path: Path) -> None:
    names = [replace(document(str(number), name, "docs"), meta={"line": 1}) for number, name in enumerate(NAMES)]
    run = cleaned(tmp_path, names, min_chars=1, near_duplicate_threshold=1.0)
    train, val = sides(run)
    assert sorted(each.text for each in train + val) == sorted(NAMES) and val


def test_each_drop_has_its_reason_and_every_document_is_counted(tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text(json.dumps({"id": "t/1", "prompt": "", "solution": program("exam")}))
    documents = [
        document("a.py", program("a")), document("b.py", program("a").replace("\n", "\r\n")),
        document("c.py", "x\n"), document("d.md", program("a"), "docs"), document("e.py", program("a") + "more = 1\n"),
        document("f.py", license="GPL-3.0-only"), document("g.py", license="who knows?"),
        document("h.py", "def broken(:\n" + program("h")), document("i.py", "start = 1\n" + program("exam")),
        pair("p", "Question " * 5, page("p")), pair("q", "Question " * 5 + " ", page("p") + "\n"), *OTHERS,
    ]  # fmt: skip
    run = cleaned(tmp_path, documents, decontaminate=[str(tmp_path / "tasks.jsonl")])
    train, val = sides(run)
    assert {found.path for found in train + val} == {"a.py", "p", *(other.path for other in OTHERS)}
    assert reasons(run) == {
        "b.py": "duplicate", "c.py": "too short", "d.md": "duplicate", "e.py": "near-duplicate",
        "f.py": "licence: GPL-3.0-only", "g.py": reasons(run)["g.py"], "h.py": reasons(run)["h.py"],
        "i.py": "evaluation task: t/1", "q": "duplicate",
    }  # fmt: skip
    assert reasons(run)["g.py"].startswith("licence: ") and reasons(run)["h.py"].startswith("not Python: ")
    assert {line["of"] for line in run.lines("dropped.jsonl") if line["path"] in "b.py d.md e.py"} == {documents[0].id}
    assert run.metrics["dropped"] == {
        "duplicate": 3, "evaluation task": 1, "licence": 2, "near-duplicate": 1, "not Python": 1, "too short": 1,
    }  # fmt: skip
    counts = [sum(run.metrics[side].values()) for side in ("train", "val", "dropped")]
    assert counts == [len(train), len(val), 9] and sum(counts) == len(documents)
    characters = run.metrics["characters"]
    assert sum(characters["train"].values()) == sum(len(found.text) for found in train)
    assert any(re.match(rf" *{len(documents)} documents, ", line) for line in run.said)
    assert any("1 − near-duplicate" in line for line in run.said)
    assert run.metrics["read"] == {"documents": 15, "characters": sum(len(given.text) for given in documents)}


def test_the_way_of_documents_is_told_for_each_source_and_licence(tmp_path: Path) -> None:
    documents = [
        document("a.py", source="one"), document("b.py", source="one"), document("c.md", kind="docs", source="one"),
        document("d.py", source="one", license="ISC"), document("e.py", "x\n", source="one", license="ISC"),
        document("f.py", program("a.py"), source="two"), document("g.py", program("a.py") + "x = 1\n", source="two"),
        document("h.py", license="GPL-3.0-only", source="two"), document("i.py", source="two"), *OTHERS,
    ]  # fmt: skip
    documents[1] = replace(documents[1], text=documents[1].text.replace("\n", "\r\n"))
    run = cleaned(tmp_path, documents)
    train, val = sides(run)
    found = {(row["source"], row["license"]): row for row in run.metrics["sources"]}
    assert list(found) == [("one", "ISC"), ("one", "MIT"), ("s", "MIT"), ("two", "GPL-3.0-only"), ("two", "MIT")]
    for (source, license), row in found.items():
        for side, written in (("train", train), ("val", val)):
            mine = [each for each in written if (each.source, each.license) == (source, license)]
            kinds = {each.kind for each in mine}
            assert row[side] == {kind: sum(each.kind == kind for each in mine) for kind in kinds}
            sizes = {kind: sum(len(each.text) for each in mine if each.kind == kind) for kind in kinds}
            assert row["characters"][side] == sizes
    assert [row["dropped"] for row in found.values()] == [
        {"too short": 1}, {}, {}, {"licence": 1}, {"duplicate": 1, "near-duplicate": 1},
    ]  # fmt: skip
    size = len(program("a.py"))
    assert found["two", "MIT"]["characters"]["dropped"] == {"duplicate": size, "near-duplicate": size + 6}
    for side in ("dropped", "train", "val"):
        rows = [row[side] for row in found.values()]
        assert sum(sum(row.values()) for row in rows) == sum(run.metrics[side].values())
    counted = sum(sum(of.values()) for of in run.metrics["characters"].values())
    assert run.metrics["read"]["characters"] - counted == 12  # line ends of b.py


def test_only_the_licences_of_the_list_are_let_in(tmp_path: Path) -> None:
    documents = [document("a.py", license="GPL-3.0-only"), document("b.py", license="MIT OR GPL-3.0-only"), *OTHERS]
    assert reasons(cleaned(tmp_path / "1", documents)) == {"a.py": "licence: GPL-3.0-only"}
    other_way = reasons(cleaned(tmp_path / "2", documents, licenses=["GPL-3.0-only"]))
    assert other_way == {other.path: "licence: MIT" for other in OTHERS}


def test_a_name_of_its_own_is_for_who_declares_a_source_not_for_a_file(tmp_path: Path) -> None:
    own = [document(f"{n}.py", program(n), license="LicenseRef-mine") for n in range(4)]
    stated = replace(document("x.py", program("x"), license="LicenseRef-Commercial"), meta={"license_stated": True})
    assert reasons(cleaned(tmp_path, [*own, stated])) == {"x.py": "licence: LicenseRef-Commercial"}


def test_a_secret_is_masked_told_and_never_written(tmp_path: Path) -> None:
    secret = "hunter2-" + "correct"
    text = program("wifi") + f'wlan.connect("home-{secret}", "{secret}")\n'
    asked = pair("p", "Why does this fail?", f'```python\nPASSWORD = "{secret}"\n```\n' + page("p"))
    run = cleaned(tmp_path, [document("a.py", text), asked, *OTHERS])
    train, val = sides(run)
    found = {each.path: each for each in train + val}
    assert set(found) >= {"a.py", "p"} and 'wlan.connect("' in found["a.py"].text
    assert found["p"].text == conversation_text(found["p"].messages)
    assert [(line["path"], sum(line["masked"].values())) for line in run.lines("masked.jsonl")] == [
        ("a.py", 1),
        ("p", 1),
    ]
    assert sum(run.metrics["masked"].values()) == 2
    written = [path.read_text() for path in run.out.rglob("*") if path.suffix == ".jsonl"]
    assert not any(secret in text for text in [*written, *run.said])
    dropping = cleaned(tmp_path / "drop", [document("a.py", text), *OTHERS], secrets="drop")
    assert reasons(dropping)["a.py"].startswith("secret: ")
    keeping = cleaned(tmp_path / "keep", [document("a.py", text), *OTHERS], secrets="keep")
    assert any(secret in each.text for side in sides(keeping) for each in side)


def test_the_cleaned_text_of_a_conversation_is_that_of_its_messages(tmp_path: Path) -> None:
    given = pair("p", "  How?\r\n  ", "```python\nif x:\n\ty()  \n```\n\n")
    run = cleaned(tmp_path, [given, *OTHERS], min_chars=1)
    (found,) = [found for side in sides(run) for found in side if found.path == "p"]
    assert [message["content"] for message in found.messages] == ["  How?", "```python\nif x:\n\ty()\n```"]
    assert found.text == "  How?\n```python\nif x:\n\ty()\n```"
    assert [message["role"] for message in found.messages] == ["user", "assistant"]


def test_too_few_documents_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    given = ([], [document("a.py")], [document("a.py"), document("a.py")])
    for number, documents in enumerate(given):
        with pytest.raises(StageError, match="at least 2 are needed") as caught:
            cleaned(tmp_path / str(number), documents)
        assert caught.value.hint and "min_chars" in caught.value.hint


def test_versions_of_one_text_alone_cannot_be_split(tmp_path: Path) -> None:
    versions = [document(f"{number}.py", program("a") + program(number, 4)) for number in range(5)]
    with pytest.raises(StageError, match="5 usable documents are versions of one text"):
        cleaned(tmp_path, versions)


def test_pages_with_a_long_footer_in_common_can_be_split(tmp_path: Path) -> None:
    rng = random.Random(1)
    footer = " ".join(words(rng, 70))
    pages = [document(f"{n}.md", " ".join(words(rng, 80)) + "\n\n" + footer, "docs") for n in range(40)]
    train, val = sides(cleaned(tmp_path, pages))
    assert len(train) + len(val) == 40 and 1 <= len(val) <= 8


def changed(text: str, share: float, seed: int) -> str:
    """The text with about a share of its lines replaced."""
    rng = random.Random(seed)
    lines = text.splitlines(keepends=True)
    for place in rng.sample(range(len(lines)), round(share * len(lines))):
        lines[place] = program(f"{seed} {place}", 1)
    return "".join(lines)


def test_of_near_duplicates_the_first_source_stays_whatever_its_kind(tmp_path: Path) -> None:
    base = program("base", 60)
    documents = [
        document("first.py", base), document("page.md", "# Title\n" + base, "docs"),
        document("second.py", changed(base, 0.03, 1)), document("far.py", changed(base, 0.12, 2)), *OTHERS,
    ]  # fmt: skip
    run = cleaned(tmp_path, documents)
    assert reasons(run) == {"page.md": "near-duplicate", "second.py": "near-duplicate"}
    lines = run.lines("dropped.jsonl")
    assert all(line["of"] == documents[0].id and 0.8 <= line["similarity"] < 1 for line in lines)
    assert reasons(cleaned(tmp_path / "all", documents, near_duplicate_threshold=1.0)) == {}
    low = reasons(cleaned(tmp_path / "low", documents, near_duplicate_threshold=0.5))
    assert set(low) == {"page.md", "second.py", "far.py"}


def test_a_conversation_about_a_program_stays_beside_it_but_on_its_side(tmp_path: Path) -> None:
    documents = [document(f"{number}.py", program(number, 30)) for number in range(40)]
    documents += [pair(f"p{number}", "Write it.", program(number, 30).strip()) for number in range(40)]
    run = cleaned(tmp_path, documents, val_fraction=0.2)
    assert reasons(run) == {}
    train, val = sides(run)
    held_back = {found.path.lstrip("p").removesuffix(".py") for found in val}
    assert len(val) >= 8 and not held_back & {found.path.lstrip("p").removesuffix(".py") for found in train}


def test_another_question_keeps_a_conversation_and_the_same_one_does_not(tmp_path: Path) -> None:
    answer = program("answer", 80).strip()
    asked = ["How can the LED on my board blink twice a second?", "Please write me a program for a lamp that flashes."]
    documents = [
        pair("p", asked[0], answer), pair("q", asked[1], answer), pair("r", asked[0], answer + "\nx = 1"), *OTHERS,
    ]  # fmt: skip
    run = cleaned(tmp_path, documents)
    assert reasons(run) == {"r": "near-duplicate"}
    (side,) = [side for side in sides(run) if "p" in {found.path for found in side}]
    assert {"p", "q"} <= {found.path for found in side}


def test_a_program_inside_a_page_or_a_conversation_is_on_its_side(tmp_path: Path) -> None:
    pages = [
        document(f"{number}.md", f"{page(number)}\n```python\n{program(number)}```\n{page(-number)}", "docs")
        for number in range(30)
    ]
    programs = [document(f"{number}.py", program(number)) for number in range(30)]
    train, val = sides(cleaned(tmp_path, [*programs, *pages], val_fraction=0.2))
    held_back = {Path(found.path).stem for found in val}
    assert held_back and not held_back & {Path(found.path).stem for found in train}


def runs_of_three(found: Document) -> set[tuple[str, ...]]:
    """Other shingles than the program's own, which have five words and see no punctuation."""
    own = found.text.split()
    return {tuple(own[i : i + 3]) for i in range(len(own) - 2)}


def highest_similarity(some: Sequence[Document], others: Sequence[Document]) -> float:
    sets = [[runs_of_three(found) for found in side] for side in (some, others)]
    return max(len(a & b) / len(a | b) for a in sets[0] for b in sets[1] if a is not b)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_held_back_is_like_anything_in_training(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    documents = [document(f"0-{number}.py", program((seed, number), rng.randint(8, 40))) for number in range(40)]
    for generation in range(1, 80):
        of = rng.choice(documents)
        text = changed(of.text, rng.choice([0.05, 0.1, 0.2, 0.3, 0.4]), generation)
        documents.append(document(f"{generation}.py", text, source=rng.choice("st")))
    run = cleaned(tmp_path, documents, val_fraction=0.15, seed=seed)
    train, val = sides(run)
    assert len(val) >= 5 and len(run.lines("dropped.jsonl")) >= 5
    assert highest_similarity(val, train) < 0.6 and run.metrics["similarity"]["highest"] < 0.4
    assert run.metrics["similarity"]["val"] == len(val) and run.metrics["similarity"]["train"] == len(train)
    kept = [*train, *val]
    assert max(highest_similarity([found], [other for other in kept if other != found]) for found in kept[:20]) < 0.9


def test_a_leaking_split_is_refused_and_the_documents_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = program("base", 60)
    documents = [document("a.py", base), document("b.py", changed(base, 0.08, 1)), *OTHERS]

    def careless(*arguments: Any) -> np.ndarray[Any, Any]:
        return np.arange(len(documents)) == 1

    monkeypatch.setattr(clean, "hold_back", careless)
    monkeypatch.setattr(clean, "without_near_duplicates", lambda context, config, kept, record: all_of(kept))
    with pytest.raises(StageError, match=r"leaks into training: s/b\.py .* and s/a\.py .* are 0\.[78]\d similar"):
        cleaned(tmp_path, documents)


def all_of(kept: Any) -> tuple[None, np.ndarray[Any, Any]]:
    return None, np.ones(len(kept.finish()), np.bool_)


def corpus(count: int) -> list[Document]:
    documents = [document(f"{number}.py", program(number, 30)) for number in range(count)]
    documents += [document(f"{number}.md", page(number), "docs") for number in range(count // 2)]
    documents += [pair(f"p{number}") for number in range(count // 2)]
    documents += [document(f"v{number}.py", changed(program(number, 30), 0.1, number)) for number in range(count // 4)]
    random.Random(0).shuffle(documents)
    return documents


def tree(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*.jsonl") if not path.relative_to(folder).parts[0].startswith("."))
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_the_stage_is_deterministic_and_follows_the_seed(tmp_path: Path) -> None:
    documents = corpus(60)
    runs = [cleaned(tmp_path / str(i), documents, seed=seed) for i, seed in enumerate((1, 1, 2))]
    trees = [tree(run.out) for run in runs]
    assert trees[0] == trees[1] != trees[2]
    assert set(trees[0]) == {
        "dropped.jsonl", "masked.jsonl", "train/documents-00000.jsonl", "val/documents-00000.jsonl",
    }  # fmt: skip
    train, val = sides(runs[0])
    assert sum(runs[0].metrics["train"].values()) == len(train) and sum(runs[0].metrics["val"].values()) == len(val)


def test_two_workers_give_the_bytes_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.corpus.documents.CHUNK_BYTES", 20_000)
    monkeypatch.setattr("stages.corpus.near.leak.CHUNK", 20_000)
    monkeypatch.setattr("stages.corpus.near.overlap.AT_ONCE", 2_000)
    monkeypatch.setattr(clean, "PAIRS_AT_ONCE", 10)
    trees = []
    for workers in (1, 2):
        monkeypatch.setattr("test_gather.map_ordered", partial(map_ordered, workers=workers))
        trees.append(tree(cleaned(tmp_path / str(workers), corpus(120)).out))
    assert trees[0] == trees[1]


RUN = """
import sys
from pathlib import Path
from test_clean import cleaned, corpus
cleaned(Path(sys.argv[1]), corpus(400))
"""


@pytest.mark.parametrize("delay", [0.02, 0.15, 0.4])
def test_a_killed_run_leaves_nothing_that_changes_the_next(tmp_path: Path, delay: float) -> None:
    whole = tree(cleaned(tmp_path / "whole", corpus(400)).out)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    process = subprocess.Popen([sys.executable, "-c", RUN, tmp_path / "killed"], env=environment)
    while not (tmp_path / "killed/out/dropped.jsonl").exists():
        time.sleep(0.002)
        assert process.poll() is None
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert tree(cleaned(tmp_path / "killed", corpus(400)).out) == whole


def test_the_held_out_tasks_are_part_of_what_makes_the_artifact(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text('{"id": "a", "prompt": "Blink.", "solution": ""}\n')
    sections = {"clean": clean.CleanConfig(decontaminate=("tasks.jsonl",))}
    before = clean.fingerprint(sections, tmp_path)
    assert before == [["tasks.jsonl", hashlib.sha256(tasks.read_bytes()).hexdigest()]]
    tasks.write_text('{"id": "a", "prompt": "Blink twice.", "solution": ""}\n')
    assert clean.fingerprint(sections, tmp_path) != before
    assert clean.fingerprint({"clean": clean.CleanConfig()}, tmp_path)
