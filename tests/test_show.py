"""Showing: the page beside its text, offline and escaped; lists; what was left out and why."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pymupdf
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import UsageError
from pipeline.store import Store
from stages.corpus import show as viewer
from stages.corpus.documents import Document, document_id, write_documents
from stages.corpus.sheet import Sheet

EVIL = "<script>alert(1)</script><img src=http://example.org/x.png onerror=x>"


class Page(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def book(pages: int) -> bytes:
    with pymupdf.open() as document:
        for number in range(1, pages + 1):
            document.new_page().insert_text((72, 72), f"This is page {number}.")
        data: bytes = document.tobytes()
        return data


def document(path: str, text: str, index: int = 0, source: str = "in", **meta: Any) -> Document:
    return Document(document_id(source, path, index), text, "docs", source, path, "MIT", meta)


def artifact(store: Store, stage: str, files: Mapping[str, bytes], metrics: Mapping[str, Any] | None = None) -> str:
    folder = store.begin(stage, "k" * 16, resume=False)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return store.commit(stage, "deadbeef" * 8, {"metrics": metrics or {}}).name


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A run with a PDF of 60 pages, pages of Markdown, and things that were left out."""
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "artifacts")
    monkeypatch.setattr(Store, "partial", lambda self, stage, key: self.root / stage / ".partial")
    texts = [f"# Part {number} {EVIL}\n\n" if number != 3 else "" for number in range(1, 61)]
    starts = [sum(map(len, texts[:index])) for index in range(60)]
    documents = [
        document("book.pdf", "".join(texts), title="The <Book>", pages=60, code_blocks=0, page_starts=starts),
        document("a/pins.md", f"# Pins\n\n{EVIL}\n\n```python\nif x:\n    y('`')\n```\n"),
        document("b/pins.md", "# Other\n"),
        document("m.pyi", "# m\n"),
        document("m.pyi", "# class m.C\n", 1),
    ]
    originals = {
        "book.pdf": book(60),
        "a/pins.md": EVIL.encode() + b"\xff",
        "b/pins.md": b"# Other\n",
        "m.pyi": b"x: int\n",
    }
    entries = [{"file": f"files/{path}", "source": "in", "path": path} for path in originals]
    lines = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
    gathered = {f"files/{path}": data for path, data in originals.items()} | {"files.jsonl": lines}
    write_documents(tmp_path / "written", documents)
    shards = {path.name: path.read_bytes() for path in (tmp_path / "written").iterdir()}
    left_out = [{"source": "in", "path": "nul.py", "reason": "binary: it has zero bytes"},
                {"source": "in", "path": "x.pdf", "reason": "damaged: no page"}]  # fmt: skip
    dropped = [
        {"id": documents[2].id, "source": "in", "path": "b/pins.md", "reason": "too short"},
        {"id": "0" * 16, "source": "in", "path": "c.md", "reason": "duplicate", "of": documents[1].id},
    ]
    shards["left_out.jsonl"] = "".join(json.dumps(item) + "\n" for item in left_out).encode()
    names = {
        "gather": artifact(store, "gather", gathered, {"skipped": {".png": 3}}),
        "extract": artifact(store, "extract", shards),
        "clean": artifact(store, "clean", {"dropped.jsonl": "".join(json.dumps(d) + "\n" for d in dropped).encode()}),
    }
    stages = {stage: {"action": "run", "artifact": name} for stage, name in names.items()}
    store.write_run({"run": 1, "command": "run", "config": "c.yaml", "stages": stages})
    store.write_run({"run": 2, "command": "run", "config": "c.yaml", "stages": {}})
    return store


def sections(source: str) -> list[str]:
    return re.findall(r"<section>.*?</section>", source, re.DOTALL)


def test_each_page_of_a_pdf_stands_beside_its_text(store: Store, tmp_path: Path) -> None:
    viewer.show(store, "book.pdf", pages="2-4")
    source = (tmp_path / "show-book.pdf.html").read_text(encoding="utf-8")
    shown = sections(source)
    assert len(shown) == 3
    for number, section in zip((2, 3, 4), shown, strict=True):
        picture = Page(section).tags
        data = dict(next(attributes for tag, attributes in picture if tag == "img"))["src"] or ""
        png = base64.b64decode(data.removeprefix("data:image/png;base64,"))
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        with pymupdf.open(stream=png, filetype="png") as drawn:
            assert 500 < drawn[0].rect.width < 1600 or drawn[0].rect.width > 400
        assert (f"Part {number} " in Page(section).text) is (number != 3)
    assert "no text begins here" in shown[1]
    assert "pages 2 to 4 of 60" in Page(source).text and "The <Book>" in Page(source).text


def test_the_page_is_offline_without_scripts_and_escapes_what_it_shows(store: Store, tmp_path: Path) -> None:
    for wanted in ("book.pdf", "a/pins.md"):
        viewer.show(store, wanted, pages="1" if wanted == "book.pdf" else "", out=tmp_path / "x.html")
        source = (tmp_path / "x.html").read_text(encoding="utf-8")
        page = Page(source)
        assert EVIL in page.text
        assert not {"script", "iframe", "link", "object", "a"} & {tag for tag, _ in page.tags}
        for tag, attributes in page.tags:
            assert not any(name.startswith("on") for name in attributes)
            assert "src" not in attributes or str(attributes["src"]).startswith("data:image/png;base64,"), tag
        policy = [a.get("content") for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
        assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
        assert "url(" not in source and "@import" not in source and "prefers-color-scheme: dark" in source


def test_any_file_stands_beside_its_text_with_the_indentation_visible(store: Store, tmp_path: Path) -> None:
    viewer.show(store, "a/pins.md", out=tmp_path / "x.html")
    source = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert '<span class="in">    </span>y(&#x27;`&#x27;)' in source
    assert "<figcaption>python</figcaption>" in source
    original = re.search(r'<div class="original"><pre>(.*?)</pre>', source, re.DOTALL)
    assert original and Page(original[1]).text == EVIL + "\ufffd"


def test_the_first_pages_of_a_long_book_are_shown_and_others_on_demand(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "x.html"
    viewer.show(store, "book.pdf", out=out)
    assert len(sections(out.read_text())) == 50
    for pages, count in (("55-", 6), ("60", 1), ("59 - 70", 2)):
        viewer.show(store, "book.pdf", pages=pages, out=out)
        assert len(sections(out.read_text())) == count
    for pages in ("0", "61", "x", "5-3", "-3"):
        with pytest.raises(UsageError, match="--pages"):
            viewer.show(store, "book.pdf", pages=pages, out=out)


def test_a_page_that_cannot_be_drawn_says_so_beside_its_text(store: Store, tmp_path: Path) -> None:
    path = next(store.root.glob("gather/v*/files/book.pdf"))
    path.write_bytes(b"no PDF any more")
    viewer.show(store, "book.pdf", pages="1", out=tmp_path / "x.html")
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert "could not be drawn" in page.text and "Part 1" in page.text
    path.unlink()
    viewer.show(store, "book.pdf", out=tmp_path / "x.html")
    assert "not in the store any more" in (tmp_path / "x.html").read_text(encoding="utf-8")


def test_a_document_is_found_by_id_path_or_a_part_of_it(store: Store, tmp_path: Path) -> None:
    for wanted in (document_id("in", "b/pins.md"), "b/pins.md", "in/b/pins.md", "B/PIN"):
        viewer.show(store, wanted, out=tmp_path / "x.html")
        assert "Other" in (tmp_path / "x.html").read_text()
    viewer.show(store, "m.pyi", out=tmp_path / "x.html")
    assert "class m.C" in (tmp_path / "x.html").read_text()
    with pytest.raises(UsageError, match="may be one of") as caught:
        viewer.show(store, "pins")
    assert caught.value.exit_code == 2
    for path in ("a/pins.md", "b/pins.md"):
        assert f"{document_id('in', path)}  in/{path}" in str(caught.value)
    with pytest.raises(UsageError, match="no document is called 'nope'"):
        viewer.show(store, "nope")


def test_documents_are_listed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    viewer.list_documents(store, json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [(row["path"], row["kind"], row["characters"]) for row in rows][3:] == [
        ("m.pyi", "docs", 4),
        ("m.pyi", "docs", 12),
    ]
    assert rows[1]["id"] == document_id("in", "a/pins.md")
    viewer.list_documents(store)
    assert "in/a/pins.md" in capsys.readouterr().err


def test_what_was_left_out_is_listed_with_its_reason(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    viewer.list_dropped(store, json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [(row["stage"], row.get("path"), row["reason"].partition(":")[0]) for row in rows] == [
        ("gather", None, "not a kind of file that is read"), ("extract", "nul.py", "binary"),
        ("extract", "x.pdf", "damaged"), ("clean", "b/pins.md", "too short"), ("clean", "c.md", "duplicate"),
    ]  # fmt: skip
    viewer.list_dropped(store, reason="dupl")
    told = capsys.readouterr().err
    assert "c.md" in told and document_id("in", "a/pins.md") in told and "nul.py" not in told
    viewer.list_dropped(store, reason="nothing like it", json=True)
    assert json.loads(capsys.readouterr().out) == []
    viewer.list_dropped(store, reason="nothing like it")
    assert "nothing was left out" in capsys.readouterr().err


def test_before_any_run_the_next_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        viewer.list_documents(Store(tmp_path / "none"))
    assert caught.value.hint


def test_a_sheet_shows_tables_and_code_spans() -> None:
    file = StringIO()
    Sheet(file, document("x.md", "")).beside("", "A `code <b>` span\n\n| a | b |\n| --- | --- |\n| 1 | 2\\|3 |\n")
    assert "<code>`code &lt;b&gt;`</code>" in file.getvalue()
    assert "<tr><td>1</td><td>2\\|3</td></tr>" in file.getvalue()


def test_the_command_lists_finds_and_tells_what_was_left_out(store: Store, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        told = CliRunner().invoke(app, ["show", *arguments])
        assert told.exit_code == 0, told.output
        return told.stdout

    assert len(json.loads(run("--json"))) == 5
    assert [row["path"] for row in json.loads(run("--reason", "damaged", "--json"))] == ["x.pdf"]
    assert len(json.loads(run("--dropped", "--json"))) == 5
    run("book", "--pages", "2", "--out", "b.html")
    assert len(sections((tmp_path / "b.html").read_text(encoding="utf-8"))) == 1
