"""Extraction: every kind of good file comes through, and every kind of bad one is left out, with a reason."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pymupdf
import pytest

from pipeline.errors import StageError
from pipeline.shards import map_ordered
from pipeline.stage import Context, Metrics
from stages.corpus import extract
from stages.corpus.documents import Document, document_id, read_documents
from stages.corpus.extract import ExtractConfig, Texts

GOOD = {"good.py": "import machine\n\nled = machine.Pin(15)\n"}
PAIR = {"messages": [{"role": "user", "content": "Blink."}, {"role": "assistant", "content": "```python\nx\n```"}]}


@dataclass
class Extraction:
    """What the stage left behind."""

    out: Path
    metrics: Metrics = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def documents(self) -> dict[str, Document]:
        return {document.path: document for document in read_documents(self.out)}

    def reasons(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in (self.out / "left_out.jsonl").read_text(encoding="utf-8").split("\n"):
            if line:
                item = json.loads(line)
                found.setdefault(item["path"], []).append(item["reason"])
        return found


class _Bar:
    def advance(self, amount: float = 1, note: str | None = None) -> None:
        pass


@contextmanager
def _progress(total: float, unit: str) -> Iterator[_Bar]:
    yield _Bar()


def gathered(folder: Path, files: Mapping[str, str | bytes], **entry: Any) -> Path:
    """What gather would have left of the files."""
    lines = []
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        path = folder / "files" / "000" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        known = {"file": f"files/000/{name}", "source": "in", "path": name, "license": "MIT", "attribution": "",
                 "sha256": hashlib.sha256(data).hexdigest()}  # fmt: skip
        lines.append(json.dumps(known | entry, ensure_ascii=False) + "\n")
    with (folder / "files.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(lines)
    return folder


def run_extract(folder: Path, out: Path, *, workers: int = 1, **config: Any) -> Extraction:
    out.mkdir(parents=True, exist_ok=True)
    done = Extraction(out)
    context = Context(
        sections={"extract": ExtractConfig(**config)}, inputs={"gather": folder}, out=out, seed=1, base=Path(),
        name="tiny", map=partial(map_ordered, workers=workers), say=done.said.append, warn=done.said.append,
        progress=_progress, deferred_interrupts=lambda: pytest.fail("not used"),
    )  # fmt: skip
    done.metrics.update(extract.run(context))
    return done


def extracted(tmp_path: Path, files: Mapping[str, str | bytes], **config: Any) -> Extraction:
    return run_extract(gathered(tmp_path / "gathered", files), tmp_path / "out", **config)


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


def notebook(*cells: Mapping[str, Any]) -> str:
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)})


def test_every_kind_of_file_becomes_documents(tmp_path: Path) -> None:
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "source": ["# ADC\n", "\n", "Reads a voltage.\n"]},
        {"cell_type": "code", "source": "x = 1\nprint(x)", "outputs": [{"text": "NOT THIS"}]},
    ]
    run = extracted(tmp_path, {
        **GOOD, "a.md": "# Title\n", "b.rst": "Title\n=====\n", "c.txt": "Text, ä.\n", "d.html": "<h1>Title</h1>",
        "e.HTM": "<p>Text</p>", "m.pyi": '"""A module."""\ndef f() -> int: ...\n', "n.ipynb": notebook(*cells),
        "p.jsonl": json.dumps(PAIR), "book.pdf": text_pdf(),
    })  # fmt: skip
    documents = run.documents()
    assert run.metrics["documents"] == {"code": 1, "docs": 8, "pair": 1} and run.metrics["left_out"] == {}
    texts = {path: document.text for path, document in documents.items()}
    book = texts.pop("book.pdf")
    assert texts == {
        **GOOD, "a.md": "# Title\n", "b.rst": "# Title\n", "c.txt": "Text, ä.\n", "d.html": "# Title\n",
        "e.HTM": "Text\n", "m.pyi": "# m\n\nA module.\n\n```python\ndef f() -> int: ...\n```\n",
        "n.ipynb": "# ADC\n\nReads a voltage.\n\n```python\nx = 1\nprint(x)\n```\n",
        "p.jsonl": "Blink.\n```python\nx\n```",
    }  # fmt: skip
    assert documents["p.jsonl"].messages == tuple(PAIR["messages"]) and documents["p.jsonl"].kind == "pair"
    assert documents["good.py"].kind == "code"
    assert "# Pins\n" in book
    assert "```python\nfrom machine import Pin\nled = Pin(15, Pin.OUT)\nled.on()\n```\n" in book
    meta = documents["book.pdf"].meta
    assert (meta["title"], meta["pages"], meta["code_blocks"], meta["page_starts"]) == ("Pins", 1, 1, [0])
    assert {document.license for document in documents.values()} == {"MIT"}
    assert {document.id for document in documents.values()} == {document_id("in", path) for path in documents}


def test_what_was_read_is_told_by_format(tmp_path: Path) -> None:
    run = extracted(tmp_path, {**GOOD, "b.py": "b = 1\n", "zero.md": b"", "nul.md": b"\0", "book.pdf": text_pdf()})
    formats = run.metrics["formats"]
    assert {name: (row["files"], row["documents"], row["pages"]) for name, row in formats.items()} == {
        ".md": (2, 0, 0), ".pdf": (1, 1, 1), ".py": (2, 2, 0),
    }  # fmt: skip
    assert formats[".py"]["characters"] == len(GOOD["good.py"]) + len("b = 1\n")
    assert run.metrics["characters"] == sum(len(document.text) for document in run.documents().values())
    table, (book,), left_out = run.said[:4], run.said[4:5], run.said[5:]
    assert [line.split()[0] for line in table] == ["files", ".md", ".pdf", ".py"]
    assert len({len(line) for line in table}) == 1
    assert book.startswith("book.pdf: 1 pages, 1 code blocks, ")
    assert "left out 2" in left_out[0] and "--dropped" in left_out[0]
    assert sorted(line.split() for line in left_out[1:]) == [["1", "binary:", "nul.md"], ["1", "empty:", "zero.md"]]


def test_licence_and_attribution_stay_with_each_document(tmp_path: Path) -> None:
    folder = gathered(tmp_path / "g", {"a.py": "a = 1\n", "p.jsonl": json.dumps(PAIR)}, license="L-one")
    spdx = "# SPDX-License-Identifier: Apache-2.0\nb = 1\n"
    gathered(folder, {"b.py": "b = 1\n", "c.py": spdx}, license="L-two", attribution="Ada", source="two")
    found = list(read_documents(run_extract(folder, tmp_path / "out").out))
    assert [(d.source, d.path, d.license, d.meta.get("attribution")) for d in found] == [
        ("in", "a.py", "L-one", None), ("in", "p.jsonl", "L-one", None),
        ("two", "b.py", "L-two", "Ada"), ("two", "c.py", "Apache-2.0", "Ada"),
    ]  # fmt: skip
    assert found[3].text == "b = 1\n" and found[3].meta["notice"] == "SPDX-License-Identifier: Apache-2.0"


def test_bad_pdfs_are_left_out_beside_good_files_and_counted_by_reason(tmp_path: Path) -> None:
    whole = text_pdf()
    run = extracted(tmp_path, {
        **GOOD, "good.pdf": whole,
        "locked.pdf": text_pdf(encryption=pymupdf.PDF_ENCRYPT_AES_256, owner_pw="owner", user_pw="user"),
        "zero.pdf": b"", "blank.pdf": pdf(lambda page: None), "cut.pdf": whole[: len(whole) // 3],
        "other.pdf": b"This is no PDF at all.", "scan.pdf": scanned_pdf(),
    })  # fmt: skip
    assert set(run.documents()) == {"good.py", "good.pdf"}
    found = {path: reason.partition(": ") for path, (reason,) in run.reasons().items()}
    assert {path: reason[0] for path, reason in found.items()} == {
        "locked.pdf": "encrypted", "zero.pdf": "empty", "blank.pdf": "empty", "cut.pdf": "damaged",
        "other.pdf": "damaged", "scan.pdf": "scanned",
    }  # fmt: skip
    assert "password" in found["locked.pdf"][2] and "OCR" in found["scan.pdf"][2]
    assert run.metrics["left_out"] == {"damaged": 2, "empty": 2, "encrypted": 1, "scanned": 1}
    examples = run.metrics["left_out_examples"]
    assert {word: sorted(paths) for word, paths in examples.items()} == {
        "damaged": ["cut.pdf", "other.pdf"], "empty": ["blank.pdf", "zero.pdf"], "encrypted": ["locked.pdf"],
        "scanned": ["scan.pdf"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.py", b"\x7fELF\x00\x01", "binary"),
        ("a.py", b"x = '\xff'\n", "encoding"),
        ("a.py", b"  \n\n", "empty"),
        ("a.pyi", b"def (", "stub"),
        ("a.md", "ä".encode("latin-1"), "encoding"),
        ("a.md", b"---\ntitle: x\n---\n<!-- nothing -->\n", "empty"),
        ("a.txt", "text".encode("utf-16"), "binary"),
        ("a.rst", b".. nothing\n", "empty"),
        ("a.rst", b"- " * 5000 + b"x", "nesting"),
        ("a.html", b"<div>" * 100_000, "nesting"),
        ("a.html", b"<nav>only</nav>", "empty"),
        ("a.ipynb", b"{", "notebook"),
        ("a.ipynb", b'{"cells": [{"cell_type": "code", "source": [1]}]}', "notebook"),
        ("a.ipynb", b'{"cells": ' + b"[" * 100_000, "notebook"),
        ("a.ipynb", notebook({"cell_type": "markdown", "source": "\ud800"}).encode(), "encoding"),
        ("a.ipynb", notebook({"cell_type": "markdown", "source": "\0"}).encode(), "binary"),
        ("a.jsonl", b"[" * 100_000, "pair"),
    ],
)
def test_bad_files_are_left_out(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    run = extracted(tmp_path, {**GOOD, name: content})
    assert set(run.documents()) == {"good.py"}
    assert [found.partition(":")[0] for found in run.reasons()[name]] == [reason]
    assert run.metrics["left_out"] == {reason: 1}


def test_a_file_over_its_limits_is_left_out_and_the_rest_goes_through(tmp_path: Path) -> None:
    slow = "*a " * 200_000  # docutils takes minutes to find that none of them ends
    folder = gathered(tmp_path / "g", {"slow.rst": slow, **GOOD, "sparse.txt": "", "gone.md": "", "link.md": ""})
    files = folder / "files" / "000"
    os.truncate(files / "sparse.txt", 10**9)
    (files / "gone.md").unlink()
    (files / "link.md").unlink()
    (files / "link.md").symlink_to(files / "good.py")
    began = time.monotonic()
    run = run_extract(folder, tmp_path / "out", timeout_seconds=4)
    assert time.monotonic() - began < 40
    assert set(run.documents()) == {"good.py"}
    assert run.reasons() == {
        "slow.rst": ["limit: took longer than 4 s"], "gone.md": ["no file"], "link.md": ["no file"],
        "sparse.txt": ["size: 1,000 MB, and extract.max_file_mb is 256"],
    }  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="the limit holds on Linux")
def test_a_file_that_needs_too_much_memory_is_left_out(tmp_path: Path) -> None:
    cells = "[" + "[]," * 6_000_000 + "[]]"
    run = extracted(tmp_path, {"big.ipynb": f'{{"cells": {cells}}}', **GOOD}, max_memory_mb=600)
    assert set(run.documents()) == {"good.py"}
    assert run.reasons()["big.ipynb"][0].startswith("limit: needed more than 600 MB")


READ = extract.read_texts


def crash_or_read(file: tuple[Path, Any]) -> Texts:
    if file[0].suffix == ".md":
        raise IndexError(f"an error of ours with {file[0].name}")
    if file[0].suffix == ".txt":
        os.kill(os.getpid(), signal.SIGSEGV)
    return READ(file)


def test_an_error_of_a_reader_costs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "read_texts", crash_or_read)
    run = extracted(tmp_path, {**GOOD, "odd.md": "x", "dead.txt": "x"})
    assert set(run.documents()) == {"good.py"}
    assert run.reasons() == {
        "odd.md": ["unreadable: IndexError: an error of ours with odd.md"],
        "dead.txt": ["limit: its process died (exit -11; limit 2048 MB)"],
    }


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
    found = [reason.split(": ", 2) for reason in run.reasons()["p.jsonl"]]
    assert [(kind, place) for kind, place, _ in found] == [("pair", f"line {number}") for number in range(3, 14)]
    told = [message for _, _, message in found]
    assert told[0].startswith("not JSON") and "unknown role 'robot'" in told[6] and "empty message" in told[8]
    assert set(told[1:5]) == {"an empty message", "not a conversation"}
    assert run.metrics["left_out"] == {"pair": 11}


def test_line_separators_of_unicode_survive_extraction(tmp_path: Path) -> None:
    pair = {"prompt": "a\u2028b\x85c", "response": "d\x0be"}
    run = extracted(tmp_path, {"p.jsonl": json.dumps(pair, ensure_ascii=False) + "\n", "a\u2028.md": "x\u2028y\n"})
    assert {d.path: d.text for d in read_documents(run.out)} == {
        "p.jsonl": "a\u2028b\x85c\nd\x0be",
        "a\u2028.md": "x\u2028y\n",
    }


def test_nothing_readable_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no usable document") as caught:
        extracted(tmp_path, {"a.py": b"\0", "b.pdf": b"", "c.ipynb": "{", "d.jsonl": "?\n"})
    assert caught.value.hint


def test_on_error_fail_stops_after_naming_every_bad_file(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="2 inputs could not be read"):
        extracted(tmp_path, {**GOOD, "a.py": b"\0", "b.pdf": b""}, on_error="fail")
    assert extracted(tmp_path / "again", GOOD, on_error="fail").metrics["left_out"] == {}


# Kills


def mixed(count: int) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {}
    for number in range(count):
        files[f"{number:04d}.py"] = f"# program {number}\nx = {number}\n" * 20
        files[f"{number:04d}.md"] = f"# Page {number}\n\nText.\n" if number % 7 else b"\0"
        if number % 10 == 0:
            files[f"{number:04d}.rst"] = f"Title {number}\n========\n\nText::\n\n    code()\n"
            files[f"{number:04d}.html"] = f"<h1>Title {number}</h1><p>Text <code>x</code></p>"
    files["zz.pdf"] = text_pdf()
    return files


def written(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith(".")}


def start(folder: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    call = f"run_extract(Path({str(folder)!r}), Path({str(out)!r}), workers={workers})"
    code = f"from pathlib import Path\nfrom test_extract import run_extract\nif __name__ == '__main__': {call}\n"
    path = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, start_new_session=True)


def group(leader: int) -> list[int]:
    """The processes of a session, and those of sessions that were begun below it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = (int(fields[1]), int(fields[3]))
    return [pid for pid, (_, session) in parents.items() if session == leader]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_kills_at_any_moment_and_any_number_of_workers_give_the_same_bytes(tmp_path: Path) -> None:
    folder = gathered(tmp_path / "g", mixed(50))
    whole = written(run_extract(folder, tmp_path / "whole", workers=1).out)
    assert set(whole) == {"documents-00000.jsonl", "left_out.jsonl"} and len(whole["left_out.jsonl"]) > 500
    out = tmp_path / "killed"
    grown = []
    for workers in (2, 1, 2):
        running = start(folder, out, workers)
        journal = out / ".journal"
        before = journal.stat().st_size if journal.exists() else 0
        waited = time.monotonic() + 60
        while time.monotonic() < waited and running.poll() is None:
            if journal.exists() and journal.stat().st_size > before:
                break
            time.sleep(0.005)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        grown.append(journal.stat().st_size)
        deadline = time.monotonic() + 20
        while group(running.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert group(running.pid) == []  # nothing goes on without its parent
    assert grown == sorted(grown) and grown[0] < grown[-1]
    resumed = run_extract(folder, out, workers=2)
    assert any(line.startswith("going on after") for line in resumed.said)
    assert written(out) == whole


def test_a_resumed_run_reads_no_finished_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, str | bytes] = {"a.pdf": text_pdf(), "b.pdf": scanned_pdf(), "z.py": GOOD["good.py"]}
    once = extracted(tmp_path / "once", files)
    read: list[str] = []
    limited = extract._limited

    def until_z(folder: Path, entry: dict[str, Any], config: ExtractConfig) -> Texts:
        read.append(entry["path"])
        if entry["path"] == "z.py" and len(read) == 3:
            raise KeyboardInterrupt
        return limited(folder, entry, config)

    monkeypatch.setattr(extract, "_limited", until_z)
    with pytest.raises(KeyboardInterrupt):
        extracted(tmp_path, files)
    again = run_extract(tmp_path / "gathered", tmp_path / "out")
    assert read == ["a.pdf", "b.pdf", "z.py", "z.py"]
    assert written(again.out) == written(once.out)
    assert {**again.metrics, "formats": 0} == {**once.metrics, "formats": 0}
