"""HTML pages as Markdown: what the page says, without what surrounds it on every page of its site."""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, lookup
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stages.corpus.readers.fences import fenced
from stages.corpus.readers.part import Part, Unreadable, names, refuse_binary, with_line_feeds
from stages.corpus.readers.tables import table_markdown

if TYPE_CHECKING:
    from lxml.html import HtmlElement

DROPPED = names(
    "aside audio button canvas datalist dialog embed footer form head iframe img input map nav noscript object option"
    " script select style svg template textarea title video"
)
DROPPED_ROLES = names("banner complementary contentinfo dialog navigation search")
DROPPED_CLASSES = names(
    "headerlink permalink anchor-link anchorjs-link copybtn toctree-wrapper sphinxsidebar related rst-footer-buttons"
    " breadcrumbs wy-breadcrumbs viewcode-link md-sidebar md-header md-footer md-source-file md-content__button"
    " system-message linenodiv linenos lineno lnt gutter line-numbers-rows blob-num visually-hidden sr-only"
)
BLOCKS = names(
    "address article blockquote body center dd details div dl dt fieldset figcaption figure footer h1 h2 h3 h4 h5 h6"
    " header hgroup hr legend li main menu ol p pre section summary table tbody td tfoot th thead tr ul"
)
CODE = names("code kbd samp tt")
MARKS = {"b": "**", "strong": "**", "i": "*", "em": "*", "cite": "*"}
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]+)", re.IGNORECASE)
_LANGUAGE = re.compile(r"(?:^|\s)(?:(?:highlight-source|highlight|language|lang)-|brush: ?)([\w+#.-]+)")
_NO_LANGUAGE = names("code literal-block highlight doctest-block doctest pre notranslate sourcecode")
_SPACES = re.compile(r"[ \t\n\r\f]+")
NOTHING = "\ue000"  # stands for text that is not there
_INVISIBLE = dict.fromkeys((0xAD, 0x200B, 0x2060, 0xFEFF, ord(NOTHING))) | {0xA0: " "}


def read_html(data: bytes) -> Iterator[Part]:
    """A page as Markdown; raises Unreadable for what is no text and for what is nested beyond reason.

    lxml parses (a browser's tolerance, in C); which of the page is content, and how code, tables and API signatures
    of Sphinx and MkDocs are written, is decided here.
    """
    root = _parsed(_decoded(data))
    title = " ".join((root.findtext(".//head/title") or "").split())
    text = html_markdown(_content(root))
    yield Part(text, "docs", {"title": title} if title else {})


def fragment_markdown(html: str) -> str:
    """The Markdown of a piece of HTML; raises Unreadable."""
    return html_markdown(_parsed(f"<html><body>{html}</body></html>"))


def html_markdown(root: HtmlElement) -> str:
    """The Markdown of all that is below an element."""
    try:
        text = "\n\n".join(_Writer(root).blocks(root))
    except RecursionError:
        raise Unreadable("nesting: its elements are nested too deeply") from None
    return text + "\n" if text else ""


def _decoded(data: bytes) -> str:
    """The text, by byte order mark, `<meta charset>` or else UTF-8, as browsers find it."""
    declared = _META_CHARSET.search(data[:4096])
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        refuse_binary(data)
        encoding = declared[1].decode("ascii") if declared and not data.startswith(BOM_UTF8) else "utf-8-sig"
    try:
        if lookup(encoding).name in ("iso8859-1", "ascii"):
            encoding = "cp1252"  # what the Web means by these names
        text = data.decode("utf-8-sig" if encoding.lower().startswith("utf-16") and declared else encoding)
    except (UnicodeError, LookupError):
        raise Unreadable("encoding: not the character set that the page declares, or UTF-8") from None
    return with_line_feeds(text)


def _parsed(text: str) -> HtmlElement:
    from lxml import etree, html

    parser = html.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True, no_network=True)
    try:
        root = html.document_fromstring(text.encode("utf-8", "replace"), parser=parser)
    except (etree.LxmlError, ValueError):
        raise Unreadable("empty") from None
    if any("depth" in entry.message for entry in parser.error_log.filter_from_errors()):
        raise Unreadable("nesting: its elements are nested too deeply")
    return root


def _content(root: HtmlElement) -> HtmlElement:
    """The element with the page's own text: `main`, a lone `article`, the body of a Sphinx page, or all."""
    for path in ("//main", "//*[@role='main']", "//article", "//div[@class='body']", "//div[@class='document']"):
        found = [element for element in root.xpath(path) if not _is_dropped(element)]
        if len(found) == 1 and len(found[0].text_content().strip()) >= 40:
            return found[0]
    return root


def _is_dropped(element: HtmlElement) -> bool:
    classes = element.get("class", "").split()
    if element.tag in DROPPED or not isinstance(element.tag, str):
        return not (element.tag == "aside" and "admonition" in classes)
    if element.tag == "header":  # an article's header may hold its title
        return next(element.iter("h1", "h2"), None) is None or element.getparent().tag in ("body", "html")
    return (
        element.get("role") in DROPPED_ROLES
        or "hidden" in element.attrib
        or element.get("aria-hidden") == "true"
        or not DROPPED_CLASSES.isdisjoint(classes)
        or re.search(r"display\s*:\s*none|visibility\s*:\s*hidden", element.get("style", "")) is not None
    )


class _Writer:
    """Writes a tree as a list of Markdown blocks, each without empty lines around it."""

    def __init__(self, root: HtmlElement) -> None:
        self.with_blocks: set[HtmlElement] = set()
        for element in root.iter(*BLOCKS):
            above = element
            while above is not None and above not in self.with_blocks:
                self.with_blocks.add(above)
                above = above.getparent()

    def blocks(self, element: HtmlElement) -> list[str]:
        found: list[str] = []
        line: list[str] = [_collapsed(element.text)]

        def finish() -> None:
            text = _tidy("".join(line))
            if text:
                found.append(text)
            line.clear()

        for child in element:
            if not _is_dropped(child):
                if child in self.with_blocks:
                    finish()
                    found += self.block(child)
                else:
                    line.append(self.inline(child))
            line.append(_collapsed(child.tail))
        finish()
        return found

    def block(self, element: HtmlElement) -> list[str]:
        tag, classes = element.tag, element.get("class", "").split()
        if tag == "pre":
            code = _code(element)
            return [fenced(code, _language(element))] if code.strip() else []
        if tag in ("h1", "h2", "h3", "h4", "h5", "h6"):
            title = " ".join(" ".join(self.blocks(element)).split()).rstrip("¶🔗 ").replace("**", "")
            return [f"{'#' * int(tag[1])} {title}"] if title else []
        if tag in ("ul", "ol", "menu"):
            return self.listing(element)
        if tag == "dl":
            return self.definitions(element)
        if tag == "table":
            return self.table(element)
        if tag == "blockquote":
            inner = "\n\n".join(self.blocks(element))
            return ["\n".join(f"> {line}".rstrip() for line in inner.split("\n"))] if inner else []
        if tag == "hr":
            return []
        inner_blocks = self.blocks(element)
        if "admonition-title" in classes or tag == "summary":
            return [f"**{' '.join(inner_blocks).rstrip(':').strip('*')}:**"] if inner_blocks else []
        if "admonition" in classes and len(inner_blocks) > 1 and inner_blocks[1][0] not in "`|-":
            return [" ".join(inner_blocks[:2]), *inner_blocks[2:]]
        return inner_blocks

    def listing(self, element: HtmlElement) -> list[str]:
        start = element.get("start", "1")
        number = int(start) if element.tag == "ol" and re.fullmatch(r"\d{1,9}", start) else 1
        items = []
        for child in element:
            if child.tag == "li" and not _is_dropped(child):
                items.append(_item(f"{number}. " if element.tag == "ol" else "- ", self.blocks(child)))
                number += 1
            elif child.tag in ("ul", "ol"):  # not allowed in a list, and yet often there
                items.append(_item("  ", self.listing(child)))
        return _listed(items)

    def definitions(self, element: HtmlElement) -> list[str]:
        """A list of terms, or the API entries of Sphinx: the signature in a fence, and what it says as text."""
        found: list[str] = []
        terms: list[str] = []
        items: list[str] = []
        signatures: list[str] = []
        for child in _entries(element):
            if "sig" in child.get("class", "").split():
                signatures.append(_signature(child))
            elif child.tag == "dt":
                terms.append(_bold(self.blocks(child)))
            elif signatures:
                found += [*_listed(items), fenced("\n".join(signatures), "python"), *self.blocks(child)]
                signatures, items = [], []
            else:
                items.append(_defined(", ".join(filter(None, terms)), self.blocks(child)))
                terms = []
        if signatures:
            found.append(fenced("\n".join(signatures), "python"))
        items += [f"- {term}" for term in terms if term]
        return found + _listed([item for item in items if item])

    def table(self, element: HtmlElement) -> list[str]:
        rows = [row for row in element.iter("tr") if _table_of(row) is element and not _is_dropped(row)]
        layout = element.get("role") == "presentation" or any(True for _ in element.iter("pre"))
        layout = layout or sum(1 for _ in element.iter("table")) > 1
        if layout or all(len(row) < 2 for row in rows):
            return [block for row in rows for cell in row if not _is_dropped(cell) for block in self.blocks(cell)]
        caption = [block for child in element.findall("caption") for block in self.blocks(child)]
        cells = [
            [
                (" ".join(self.blocks(cell)), _span(cell, "colspan"), _span(cell, "rowspan"))
                for cell in row
                if cell.tag in ("td", "th")
            ]
            for row in rows
        ]
        return caption + table_markdown(cells)

    def inline(self, element: HtmlElement) -> str:
        tag = element.tag
        if tag == "br":
            return "\n"
        if tag in CODE or (tag == "span" and "literal" in element.get("class", "").split()):
            return _code_span(_tidy(_collapsed(element.text_content())))
        text = _collapsed(element.text)
        for child in element:
            text += ("" if _is_dropped(child) else self.inline(child)) + _collapsed(child.tail)
        mark = MARKS.get(tag)
        if tag == "q":
            return f"“{text}”"
        if not mark or not text.strip() or mark in text or "`" in text:
            return text
        inner = text.strip()
        before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        return f"{before}{mark}{inner}{mark}{after}"


def _entries(element: HtmlElement) -> Iterator[HtmlElement]:
    """The terms and definitions of a list, which may be grouped by `div`."""
    for child in element:
        if _is_dropped(child):
            continue
        if child.tag == "div":
            yield from _entries(child)
        elif child.tag in ("dt", "dd"):
            yield child


def _table_of(row: HtmlElement) -> HtmlElement | None:
    return next(row.iterancestors("table"), None)


def _span(cell: HtmlElement, name: str) -> int:
    value = cell.get(name, "1")
    return min(max(int(value), 1), 50) if re.fullmatch(r"\d{1,6}", value) else 1


def _item(marker: str, blocks: list[str]) -> str:
    """A list item; its further blocks are indented to its text. A nested list follows without an empty line."""
    text = ""
    for block in blocks:
        tight = re.match(r"(?:- |\d+\. )", block) and "\n\n" not in block
        text += block if not text else ("\n" if tight else "\n\n") + block
    indent = " " * len(marker)
    lines = text.split("\n")
    return "\n".join([marker + lines[0], *(f"{indent}{line}" if line else "" for line in lines[1:])]).rstrip()


def _listed(items: list[str]) -> list[str]:
    loose = any("\n\n" in item for item in items)
    return [("\n\n" if loose else "\n").join(items)] if items else []


def _defined(term: str, blocks: list[str]) -> str:
    if not term:
        return _item("- ", blocks) if blocks else ""
    if blocks and blocks[0][0] not in "`|-#>" and not re.match(r"\d+\. ", blocks[0]):
        return _item("- ", [f"{term}: {blocks[0]}", *blocks[1:]])
    return _item("- ", [f"{term}:" if blocks else term, *blocks])


def _bold(blocks: list[str]) -> str:
    text = " ".join(" ".join(blocks).split()).rstrip(":")
    return f"**{text}**" if text and not re.search(r"[`*]", text) else text


def _signature(element: HtmlElement) -> str:
    text = "".join(_visible(element)).translate(_INVISIBLE)
    return " ".join(text.split()).rstrip("¶ ").replace("[source]", "").strip()


def _code(element: HtmlElement) -> str:
    """The exact text of a `pre`, without line numbers and buttons."""
    text = "".join(_visible(element)).translate(_INVISIBLE)
    return text.removeprefix("\n").rstrip().lstrip("\n")


def _visible(element: HtmlElement) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        if child.tag == "br":
            yield "\n"
        elif not _is_dropped(child):
            yield from _visible(child)
        yield child.tail or ""


def _language(element: HtmlElement) -> str | None:
    """The language that a `pre` is marked with, on itself, inside or around it."""
    inner = [child for child in element if child.tag == "code"][:1]
    around = [above for above, _ in zip(element.iterancestors("div", "figure", "table"), range(3), strict=False)]
    for place in (*inner, element, *around):
        name = place.get("data-lang") or place.get("data-language")
        found = _LANGUAGE.search(place.get("class", ""))
        if name or found:
            return name or (found[1] if found else None)
    classes = element.get("class", "").split()
    if "code" in classes or "doctest" in classes:  # docutils
        return next((name for name in classes if name not in _NO_LANGUAGE), None)
    return None


def _collapsed(text: str | None) -> str:
    return _SPACES.sub(" ", text.translate(_INVISIBLE)) if text else ""


def _tidy(text: str) -> str:
    """Without spaces at the ends of its lines, and without two in a row."""
    return re.sub(r" {2,}", " ", re.sub(r" *\n *", "\n", text)).strip()


def _code_span(text: str) -> str:
    if not text:
        return ""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    ticks = "`" * (longest + 1)
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"
