"""Texts of others in Markdown, read back by a Markdown parser: they come out as text, and nothing else comes out."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from stages.release.markdown import block, code, line, plain, table

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HOSTILE = (
    "a | b", "`code`", "``", "<b>bold</b>", "<!-- gone", "&amp;", "[a](http://b)", "![a](b)", "*a* _b_ __c__", "~~a~~",
    "\\|", "\\", "a\\", "a\n---\nb", "# head", "\u202egnp.exe", "a\x00b", "\ud800", "$$x$$", "| a |\n|---|", "</td>",
    "- a", "1. a", "    a", "`a|b`", "&#124;", "http://a.b", "```\n", "<script>alert(1)</script>", "\t", "",
)  # fmt: skip


def text_of(rendered: str) -> str:
    return html.unescape(re.sub(r"</?code>", "", rendered))


@pytest.mark.parametrize("way", [plain, code])
@given(text=st.one_of(st.sampled_from(HOSTILE), st.text(alphabet="`|\\<>&*_[]()!#~-+.:$ ab1\n\r\t\u2028é")))
def test_a_text_in_a_cell_stays_that_text(way: Callable[[str], str], text: str) -> None:
    made = table(("name", "n"), [(way(text), "1"), ("last", "2")], numbers=1)
    rendered = PARSER.render(made)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", rendered)
    assert [text_of(cell) for cell in cells] == [line(text), "1", "last", "2"]
    assert set(re.findall(r"<(\w+)", "".join(cells))) <= ({"code"} if way is code else set())


@pytest.mark.parametrize("text", ["- a", "1. a", "12) a", "+ a", "---", "===", "# a", "> a", "* a", "_ _ _", "| a |"])
def test_a_text_that_starts_a_paragraph_starts_nothing_else(text: str) -> None:
    assert html.unescape(PARSER.render(plain(text))) == f"<p>{text}</p>\n"


@given(text=st.text())
def test_a_line_is_one_line_that_can_be_written(text: str) -> None:
    shown = line(text)
    assert shown.isprintable() and "  " not in shown and shown == shown.strip()
    shown.encode()
    if text.isprintable() and text == " ".join(text.split()):
        assert shown == text


@given(text=st.text(alphabet="`a\n~", min_size=1))
def test_fences_in_a_block_do_not_end_it(text: str) -> None:
    rendered = PARSER.render(block(text, "sh") + "\n\nafter")
    match = re.fullmatch(r'<pre><code class="language-sh">(.*)</code></pre>\n<p>after</p>\n', rendered, re.DOTALL)
    assert match and match[1].strip("\n") == text.strip()
