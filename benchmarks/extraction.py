"""Reading PDFs: ours beside PyMuPDF, pdfplumber and pymupdf4llm, on the same books in the same run, alternating.

    python benchmarks/extraction.py FOLDER [--repeat 3]

FOLDER holds PDFs. Where `<name>.json` with known truth lies beside one, the share of its code blocks that come out byte
for byte is told too: `{"items": [{"type": "code", "status": "ok", "text": …}, …]}`. Peers that are not installed
(`pip install pdfplumber pymupdf4llm`) are left out and named.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median

Reader = Callable[[Path], str]
FENCE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)


def ours(path: Path) -> str:
    from stages.corpus.pdf import read_pdf

    return read_pdf(path).markdown


def pymupdf_text(path: Path) -> str:
    import pymupdf

    with pymupdf.open(path) as document:
        return "\n".join(str(page.get_text("text")) for page in document)


def pdfplumber(path: Path) -> str:
    with import_module("pdfplumber").open(path) as document:
        return "\n".join(page.extract_text() or "" for page in document.pages)


def pymupdf4llm(path: Path) -> str:
    return str(import_module("pymupdf4llm").to_markdown(str(path), show_progress=False))


READERS: dict[str, Reader] = {
    "ours": ours,
    "PyMuPDF get_text": pymupdf_text,
    "pdfplumber": pdfplumber,
    "pymupdf4llm": pymupdf4llm,
}


def exact_blocks(markdown: str, truth: Path) -> tuple[int, int]:
    """How many of the code blocks that the PDF still holds whole are there byte for byte, and how many there are."""
    found = Counter(plain(match[2]) for match in FENCE.finditer(markdown))
    items = json.loads(truth.read_text(encoding="utf-8"))["items"]
    blocks = [plain(item["text"]) for item in items if item["type"] == "code" and item["status"] == "ok"]
    return sum((found & Counter(blocks)).values()), len(blocks)


def plain(code: str) -> str:
    return textwrap.dedent("\n".join(line.rstrip() for line in code.expandtabs(4).strip("\n").split("\n")))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--repeat", type=int, default=3)
    given = arguments.parse_args()
    import pymupdf

    books = sorted(given.folder.glob("*.pdf"))
    pages = 0
    for book in books:
        with pymupdf.open(book) as document:
            pages += document.page_count
    seconds: dict[str, list[float]] = {}
    exact: Counter[str] = Counter()
    of = 0
    for turn in range(given.repeat):
        for name, reader in READERS.items():
            try:
                begun = time.process_time()
                texts = [reader(book) for book in books]
                seconds.setdefault(name, []).append(time.process_time() - begun)
            except ImportError:
                print(f"{name}: not installed")
                continue
            for book, text in zip(books, texts, strict=True):
                if turn == 0 and book.with_suffix(".json").is_file():
                    right, blocks = exact_blocks(text, book.with_suffix(".json"))
                    exact[name] += right
                    of += blocks if name == "ours" else 0
    own = median(seconds["ours"])
    print(f"\n{len(books)} books, {pages} pages, {platform.processor() or platform.machine()}, one process, CPU time\n")
    print("| reader | pages/s | speed against ours | exact code blocks |\n|---|---|---|---|")
    for name, times in seconds.items():
        middle = median(times)
        share = f"{100 * exact[name] / of:.1f} %" if of else "–"
        print(f"| {name} | {pages / middle:.1f} | {own / middle:.2f} | {share} |")


if __name__ == "__main__":
    main()
