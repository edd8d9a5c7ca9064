"""Extraction: every kind of good file comes through, and every kind of bad one is left out, with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pymupdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_gather import StageRun, gathered, run_stage, write_files

from pipeline import shards
from pipeline.errors import StageError
from stages.corpus import extract
from stages.corpus.documents import Document, read_documents
from stages.corpus.extract import Unreadable, notebook_markdown, read_pairs

GOOD = {"good.py": "import machine\n\nled = machine.Pin(15)\n"}
PAIR = {"messages": [{"role": "user", "content": "Blink."}, {"role": "assistant", "content": "```python\nx\n```"}]}


def pdf(edit: Callable[[Any], None], **save: Any) -> bytes:
    """A PDF of one page that `edit` fills."""
    with pymupdf.open() as document:
        edit(document.new_page())
        data: bytes = document.tobytes(**save)
        return data


def text_pdf(**save: Any) -> bytes:
    def write(page: Any) -> None:
        page.insert_text((72, 72), "Pins", fontsize=24, fontname="hebo")
        page.insert_text((72, 110), "A pin is an input or an output, and a program says which.", fontname="helv")
        page.insert_text((72, 140), ["from machine import Pin", "led = Pin(15, Pin.OUT)", "led.on()"], fontname="cour")

    return pdf(write, **save)


def scanned_pdf() -> bytes:
    picture = pymupdf.Pixmap(pymupdf.csRGB, pymupdf.IRect(0, 0, 60, 80))
    picture.clear_with(220)
    return pdf(lambda page: page.insert_image(page.rect, pixmap=picture))


def notebook(*cells: Mapping[str, Any], **metadata: Any) -> str:
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)})


def extracted(tmp_path: Path, files: Mapping[str, str | bytes], **config: Any) -> StageRun:
    folder = write_files(tmp_path / "in", files)
    inputs = {"gather": gathered(tmp_path / "gathered", {"folder": str(folder), "license": "MIT"}).out}
    return run_stage(extract.STAGE, tmp_path / "out", inputs, extract=config)


def by_path(run: StageRun) -> dict[str, Document]:
    return {document.path: document for document in read_documents(run.out)}


def reasons(run: StageRun) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in run.lines("left_out.jsonl"):
        found.setdefault(line["path"], []).append(line["reason"])
    return found


def test_every_kind_of_file_becomes_documents(tmp_path: Path) -> None:
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "source": ["# ADC\n", "\n", "Reads a voltage.\n"]},
        {"cell_type": "code", "source": "x = 1\nprint(x)", "outputs": [{"text": "NOT THIS"}]},
    ]
    run = extracted(tmp_path, {
        **GOOD, "a.md": "# Title\n", "b.rst": "Title\n=====\n", "c.txt": "Text, ä.\n",
        "n.ipynb": notebook(*cells, language_info={"name": "python"}), "p.jsonl": json.dumps(PAIR),
        "book.pdf": text_pdf(),
    })  # fmt: skip
    documents = by_path(run)
    assert run.metrics["documents"] == {"code": 1, "docs": 5, "pair": 1} and run.metrics["left_out"] == {}
    assert documents["good.py"].text == GOOD["good.py"] and documents["good.py"].kind == "code"
    assert documents["c.txt"].text == "Text, ä.\n"
    assert documents["n.ipynb"].text == "# ADC\n\nReads a voltage.\n\n```python\nx = 1\nprint(x)\n```\n"
    assert documents["p.jsonl"].messages == tuple(PAIR["messages"])
    assert documents["p.jsonl"].text == "Blink.\n```python\nx\n```"
    book = documents["book.pdf"]
    assert "# Pins\n" in book.text
    assert "```python\nfrom machine import Pin\nled = Pin(15, Pin.OUT)\nled.on()\n```\n" in book.text
    assert book.meta["title"] == "Pins" and book.meta["pages"] == 1
    assert {document.license for document in documents.values()} == {"MIT"}
    assert len({document.id for document in documents.values()}) == 7


def test_licence_and_attribution_stay_with_each_document(tmp_path: Path) -> None:
    sources = []
    for name in ("one", "two"):
        write_files(tmp_path / name, {"a.py": f"{name} = 1\n", "p.jsonl": json.dumps(PAIR)})
        sources.append({"folder": name, "license": f"L-{name}", "attribution": "Ada" if name == "two" else ""})
    inputs = {"gather": gathered(tmp_path / "gathered", *sources, base=tmp_path).out}
    found = list(read_documents(run_stage(extract.STAGE, tmp_path / "out", inputs).out))
    assert [(d.source, d.path, d.license, d.meta.get("attribution")) for d in found] == [
        ("one", "a.py", "L-one", None), ("one", "p.jsonl", "L-one", None),
        ("two", "a.py", "L-two", "Ada"), ("two", "p.jsonl", "L-two", "Ada"),
    ]  # fmt: skip


def test_bad_pdfs_are_left_out_beside_good_files_and_counted_by_reason(tmp_path: Path) -> None:
    whole = text_pdf()
    run = extracted(tmp_path, {
        **GOOD, "good.pdf": whole,
        "locked.pdf": text_pdf(encryption=pymupdf.PDF_ENCRYPT_AES_256, owner_pw="owner", user_pw="user"),
        "zero.pdf": b"", "blank.pdf": pdf(lambda page: None), "cut.pdf": whole[: len(whole) // 3],
        "other.pdf": b"This is no PDF at all.", "scan.pdf": scanned_pdf(),
    })  # fmt: skip
    assert set(by_path(run)) == {"good.py", "good.pdf"}
    found = {path: reason.partition(": ") for path, (reason,) in reasons(run).items()}
    assert {path: reason[0] for path, reason in found.items()} == {
        "locked.pdf": "encrypted", "zero.pdf": "empty", "blank.pdf": "empty", "cut.pdf": "damaged",
        "other.pdf": "damaged", "scan.pdf": "scanned",
    }  # fmt: skip
    assert "password" in found["locked.pdf"][2] and "OCR" in found["scan.pdf"][2]
    assert run.metrics["left_out"] == {"damaged": 2, "empty": 2, "encrypted": 1, "scanned": 1}
    assert len(run.warned) == 6 and all("left out" in line for line in run.warned)


def test_a_pdf_over_its_limits_is_left_out(tmp_path: Path) -> None:
    run = extracted(tmp_path, {**GOOD, "slow.pdf": text_pdf()}, timeout_seconds=0.01)
    assert set(by_path(run)) == {"good.py"} and reasons(run) == {"slow.pdf": ["limit: took longer than 0.01 s"]}


def _crash(path: Path) -> None:
    raise IndexError(f"an error of ours with {path.name}")


def test_an_error_of_the_pdf_reader_costs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "read_pdf", _crash)
    run = extracted(tmp_path, {**GOOD, "odd.pdf": text_pdf()})
    assert set(by_path(run)) == {"good.py"}
    assert reasons(run) == {"odd.pdf": ["unreadable: IndexError: an error of ours with odd.pdf"]}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.py", b"\x7fELF\x00\x01", "binary"),
        ("a.py", b"x = '\xff'\n", "encoding"),
        ("a.py", b"# coding: nonsense\n", "encoding"),
        ("a.py", b"# coding: undefined\n", "encoding"),
        ("a.py", b"# coding: hex\n", "encoding"),
        ("a.py", b"", "empty"),
        ("a.py", b"  \n\n", "empty"),
        ("a.md", b"", "empty"),
        ("a.md", "ä".encode("latin-1"), "encoding"),
        ("a.txt", "text".encode("utf-16"), "binary"),
        ("a.ipynb", b"", "empty"),
        ("a.ipynb", b"{", "notebook"),
        ("a.ipynb", b"[1]", "notebook"),
        ("a.ipynb", b'{"metadata": {}, "worksheets": []}', "notebook"),
        ("a.ipynb", b'{"cells": [{"cell_type": "code", "source": [1]}]}', "notebook"),
        ("a.ipynb", b'{"cells": ' + b"[" * 100_000, "notebook"),
        ("a.ipynb", notebook().encode(), "empty"),
        ("a.ipynb", notebook({"cell_type": "markdown", "source": "\ud800"}).encode(), "encoding"),
    ],
)
def test_bad_text_files_are_left_out(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    run = extracted(tmp_path, {**GOOD, name: content})
    assert set(by_path(run)) == {"good.py"}
    assert [found.partition(":")[0] for found in reasons(run)[name]] == [reason]
    assert run.metrics["left_out"] == {reason: 1}


def test_bad_pair_lines_are_named_by_number_and_good_ones_kept(tmp_path: Path) -> None:
    lines = [
        json.dumps(PAIR), "", "{not json", json.dumps({"input": "a", "output": "b"}), "[]", '"messages"', "null",
        json.dumps({"messages": [{"role": "user", "content": "a"}]}),
        json.dumps({"messages": [{"role": "robot", "content": "a"}, {"role": "assistant", "content": "b"}]}),
        json.dumps({"messages": [{"role": "user"}, {"role": "assistant", "content": "b"}]}),
        json.dumps({"messages": [{"role": "user", "content": " "}, {"role": "assistant", "content": "b"}]}),
        json.dumps({"prompt": "\ud800", "response": "b"}),
        "[" * 100_000,
        json.dumps({"prompt": "Ask", "response": "Answer"}),
    ]  # fmt: skip
    run = extracted(tmp_path, {"p.jsonl": "\r\n".join(lines)})
    documents = list(read_documents(run.out))
    assert [document.text for document in documents] == ["Blink.\n```python\nx\n```", "Ask\nAnswer"]
    assert len({document.id for document in documents}) == 2
    found = [reason.split(": ", 2) for reason in reasons(run)["p.jsonl"]]
    assert [(kind, place) for kind, place, _ in found] == [("pair", f"line {number}") for number in range(3, 14)]
    told = [message for _, _, message in found]
    assert told[0].startswith("not JSON") and "unknown role 'robot'" in told[6] and "empty message" in told[8]
    assert set(told[1:5]) == {"an empty message", "not a conversation"}
    assert run.metrics["left_out"] == {"pair": 11}


def test_a_line_separator_of_unicode_does_not_end_a_pair() -> None:
    text = "a\u2028b\x85c"
    (pair,) = read_pairs([json.dumps({"prompt": text, "response": "b"}, ensure_ascii=False)])
    assert not isinstance(pair, Unreadable) and pair[0]["content"] == text


def test_line_separators_of_unicode_survive_extraction(tmp_path: Path) -> None:
    pair = {"prompt": "a\u2028b\x85c", "response": "d\x0be"}
    run = extracted(tmp_path, {"p.jsonl": json.dumps(pair, ensure_ascii=False) + "\n", "a\u2028.md": "x\u2028y\n"})
    assert {d.path: d.text for d in read_documents(run.out)} == {
        "p.jsonl": "a\u2028b\x85c\nd\x0be",
        "a\u2028.md": "x\u2028y\n",
    }


@pytest.mark.parametrize(
    "given",
    [
        {"instruction": "Ask", "output": "Answer"},
        {"instruction": "Ask", "response": "Answer", "input": ""},
        {"prompt": "Ask", "response": "Answer", "topic": "gpio"},
        {"messages": [{"role": "user", "content": "Ask", "x": 1}, {"role": "assistant", "content": "Answer"}]},
    ],
)
def test_the_usual_spellings_of_a_pair_are_understood(given: dict[str, Any]) -> None:
    assert list(read_pairs([json.dumps(given)])) == [
        ({"role": "user", "content": "Ask"}, {"role": "assistant", "content": "Answer"})
    ]


def test_the_input_of_an_instruction_is_part_of_the_question() -> None:
    (pair,) = read_pairs([json.dumps({"instruction": "Mend this:", "input": "x = ", "output": "x = 1"})])
    assert not isinstance(pair, Unreadable) and pair[0]["content"] == "Mend this:\n\nx = "


ROLES = st.lists(st.sampled_from(["system", "user", "assistant"]), max_size=6)


@given(ROLES)
def test_turns_alternate_after_an_optional_system_message(roles: list[str]) -> None:
    (found,) = read_pairs([json.dumps({"messages": [{"role": role, "content": "x"} for role in roles]})])
    letters = "".join(role[0] for role in roles).removeprefix("s")
    good = bool(letters) and letters == "ua" * (len(letters) // 2)
    assert isinstance(found, Unreadable) is not good


KEYS = ("messages", "role", "content", "prompt", "response", "cells", "metadata", "cell_type", "source")
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300)
@given(JSON)
def test_any_json_gives_a_conversation_or_a_reason(value: Any) -> None:
    (found,) = read_pairs([json.dumps(value)])
    assert isinstance(found, tuple | Unreadable)
    with suppress(Unreadable):
        assert isinstance(notebook_markdown(json.dumps(value)), str)


def test_a_code_cell_with_a_fence_in_it_gets_a_longer_fence() -> None:
    source = 'HELP = """\n```\nx\n```\n"""'
    found = notebook_markdown(notebook({"cell_type": "code", "source": source}))
    assert found == f"````python\n{source}\n````\n"


def test_a_declared_encoding_is_followed(tmp_path: Path) -> None:
    run = extracted(tmp_path, {
        "latin.py": "# -*- coding: latin-1 -*-\nx = 'ä'\n".encode("latin-1"), "bom.py": b"\xef\xbb\xbfx = 1\n",
        "bom.md": b"\xef\xbb\xbf# T\n",
    })  # fmt: skip
    texts = {path: document.text for path, document in by_path(run).items()}
    assert texts == {"latin.py": "# -*- coding: latin-1 -*-\nx = 'ä'\n", "bom.py": "x = 1\n", "bom.md": "# T\n"}


def test_nothing_readable_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no usable document") as caught:
        extracted(tmp_path, {"a.py": b"\0", "b.pdf": b"", "c.ipynb": "{", "d.jsonl": "?\n"})
    assert caught.value.hint


def test_on_error_fail_stops_after_naming_every_bad_file(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="2 inputs could not be read"):
        extracted(tmp_path, {**GOOD, "a.py": b"\0", "b.pdf": b""}, on_error="fail")
    assert extracted(tmp_path / "again", GOOD, on_error="fail").metrics["left_out"] == {}


def _interrupt(path: Path) -> str:
    raise KeyboardInterrupt


def test_an_interrupted_extraction_does_not_read_its_pdfs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[str, str | bytes] = {"a.pdf": text_pdf(), "b.pdf": scanned_pdf(), "z.py": GOOD["good.py"]}
    once = extracted(tmp_path / "once", files)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(extract, "_source_text", _interrupt)
        extracted(tmp_path, files)

    read: list[str] = []
    limited = shards.call_limited

    def watched(function: Any, path: Path, **limits: Any) -> Any:
        read.append(path.name)
        return limited(function, path, **limits)

    monkeypatch.setattr(extract, "call_limited", watched)
    again = run_stage(extract.STAGE, tmp_path / "out", {"gather": tmp_path / "gathered"})
    assert read == ["b.pdf"]
    assert {path.name for path in again.out.iterdir()} == {path.name for path in once.out.iterdir()}
    assert [(d.path, d.text) for d in read_documents(again.out)] == [(d.path, d.text) for d in read_documents(once.out)]
