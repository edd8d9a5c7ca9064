"""One HTML page that shows a document beside its original: offline, without scripts, light or dark."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from typing import TextIO

from stages.corpus.documents import Document

MOST_CHARACTERS = 1_000_000

STYLE = """
:root { color-scheme: light dark; --ground: #f6f5f2; --paper: #fff; --ink: #1d1f23; --quiet: #6a6f78; --line: #dcd9d2;
  --code: #f3f1ec; --dot: #c3bfb6; --accent: #8a4b12 }
@media (prefers-color-scheme: dark) { :root { --ground: #16181c; --paper: #1e2126; --ink: #e4e5e8; --quiet: #979da8;
  --line: #343941; --code: #171a1e; --dot: #4a515c; --accent: #e5a663 } img { filter: brightness(.88) } }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.55 system-ui, sans-serif }
header { padding: 1.6rem 2rem 1.2rem; border-bottom: 1px solid var(--line) }
header h1 { margin: 0 0 .5rem; font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere }
dl { display: flex; flex-wrap: wrap; gap: .3rem 1.8rem; margin: 0; color: var(--quiet); font-size: .87rem }
dl div { display: flex; gap: .4rem }
dt::after { content: ":" }
dd { margin: 0; color: var(--ink); overflow-wrap: anywhere }
main { padding: 0 2rem 3rem }
.note { margin: 1.2rem 0 0; color: var(--accent) }
section { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 1.6rem; padding-top: 1.8rem }
section > h2 { grid-column: 1 / -1; margin: 0 0 -.8rem; color: var(--quiet); font-size: .87rem; font-weight: 600 }
.original img { position: sticky; top: 1rem; display: block; width: 100%; height: auto; border: 1px solid var(--line) }
.original pre, .text { margin: 0; padding: 1.3rem 1.5rem; border: 1px solid var(--line); background: var(--paper) }
.original pre { border: 1px solid var(--line); white-space: pre-wrap; overflow-wrap: anywhere }
.text > :first-child { margin-top: 0 } .text > :last-child { margin-bottom: 0 }
.text p { margin: .8rem 0; white-space: pre-wrap; overflow-wrap: anywhere }
.text h3 { margin: 1.5rem 0 .6rem; line-height: 1.3 }
.text h3 span { margin-right: .35em; color: var(--dot); font-weight: 400 }
.l1 { font-size: 1.45rem } .l2 { font-size: 1.22rem } .l3 { font-size: 1.08rem } .l4, .l5, .l6 { font-size: 1rem }
figure { margin: 1rem 0; border: 1px solid var(--line); border-left: 3px solid var(--accent); background: var(--code) }
figcaption { padding: .25rem .8rem; border-bottom: 1px solid var(--line); color: var(--quiet); font-size: .78rem }
pre { font: 13px/1.5 ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace; tab-size: 8 }
figure pre { margin: 0; padding: .7rem .8rem; overflow-x: auto }
code { font: .9em ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace }
code { background: var(--code) }
table { margin: 1rem 0; border-collapse: collapse; font-size: .93em }
td { padding: .25rem .7rem; border: 1px solid var(--line) }
tr:first-child td { background: var(--code); font-weight: 600 }
.in { background: radial-gradient(circle, var(--dot) 1px, transparent 1.4px) 0 50% / 1ch 1em repeat-x }
.empty { color: var(--quiet); font-style: italic }
@media (max-width: 60rem) { section { grid-template-columns: minmax(0, 1fr) } header, main { padding-inline: 1rem }
  .original img { position: static } }
"""


class Sheet:
    """Writes the page piece by piece, so that a long book is never held in memory."""

    def __init__(self, file: TextIO, document: Document, count: int = 1) -> None:
        self.file = file
        title = str(document.meta.get("title") or document.path)
        facts = {
            "source": document.source,
            "path": document.path,
            "licence": document.license,
            "kind": document.kind,
            "id": document.id,
            "documents in the file": count if count > 1 else None,
            "pages": document.meta.get("pages"),
            "code blocks": document.meta.get("code_blocks"),
            "attribution": document.meta.get("attribution"),
        }
        shown = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in facts.items()
                        if value is not None)  # fmt: skip
        self.file.write(
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta http-equiv="Content-Security-Policy"'
            " content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>\n"
            f"<header><h1>{_text(title)}</h1><dl>{shown}</dl></header><main>\n"
        )

    def note(self, text: str) -> None:
        self.file.write(f'<p class="note">{_text(text)}</p>\n')

    def page(self, number: int, picture: bytes | str, markdown: str) -> None:
        """A page's picture (PNG), or why there is none, beside the Markdown of what begins on it."""
        if isinstance(picture, bytes):
            data = base64.b64encode(picture).decode("ascii")
            shown = f'<img alt="page {number}" src="data:image/png;base64,{data}">'
        else:
            shown = f'<p class="note">{_text(picture)}</p>'
        self._section(f"page {number}", shown, markdown)

    def beside(self, original: str | None, markdown: str, note: str = "") -> None:
        """A file's own text beside what was extracted from it."""
        if note:
            self.note(note)
        shown = f"<pre>{_text((original or '')[:MOST_CHARACTERS])}</pre>" if original is not None else ""
        if max(len(original or ""), len(markdown)) > MOST_CHARACTERS:
            self.note(f"only the first {MOST_CHARACTERS:,} characters are shown")
        self._section("the file · its text", shown, markdown[:MOST_CHARACTERS])

    def end(self) -> None:
        self.file.write("</main></body></html>\n")

    def _section(self, title: str, original: str, markdown: str) -> None:
        text = "".join(_blocks(markdown)) or '<p class="empty">no text begins here</p>'
        self.file.write(
            f'<section><h2>{_text(title)}</h2><div class="original">{original}</div>\n<div class="text">{text}</div>'
            "</section>\n"
        )


def _text(value: object) -> str:
    return html.escape(str(value))


def _blocks(markdown: str) -> Iterator[str]:
    """Headings, paragraphs and fenced code as HTML; everything in them is shown as it stands."""
    lines = iter(markdown.split("\n"))
    paragraph: list[str] = []
    for line in lines:
        fence = re.match(r"( *)(`{3,}|~{3,})([^`]*)$", line)
        heading = re.match(r"(#{1,6}) +(.*)", line)
        if (fence or heading or not line.strip()) and paragraph:
            yield _paragraph(paragraph)
            paragraph = []
        if fence:
            code = []
            for inner in lines:
                if inner.strip() == fence[2]:
                    break
                code.append(inner.removeprefix(fence[1]))
            shown = "\n".join(_with_visible_indent(inner) for inner in code)
            language = _text(fence[3].strip() or "no language")
            yield f"<figure><figcaption>{language}</figcaption><pre>{shown}</pre></figure>"
        elif heading:
            level = len(heading[1])
            yield f'<h3 class="l{level}"><span>{heading[1]}</span>{_inline(heading[2])}</h3>'
        elif line.strip():
            paragraph.append(line)
    if paragraph:
        yield _paragraph(paragraph)


def _paragraph(lines: list[str]) -> str:
    if len(lines) < 2 or not all(line.startswith("| ") and line.endswith(" |") for line in lines):
        return f"<p>{_inline(chr(10).join(lines))}</p>"
    rows = [re.split(r" (?<!\\)\| ", line[2:-2]) for line in lines if not re.fullmatch(r"[| :-]+", line)]
    cells = ["".join(f"<td>{_inline(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _inline(text: str) -> str:
    """The text with its code spans told apart."""
    return re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", r"<code>\g<0></code>", _text(text), flags=re.DOTALL)


def _with_visible_indent(line: str) -> str:
    rest = line.lstrip(" ")
    indent = line[: len(line) - len(rest)]
    return f'<span class="in">{indent}</span>{_text(rest)}' if indent else _text(rest)
