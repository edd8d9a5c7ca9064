"""Readers: each format against text written by hand, markdown-it's reading of the Markdown, and Python's own parser."""

from __future__ import annotations

import ast
import html as htmllib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from stages.corpus.readers import READERS, read_file
from stages.corpus.readers.fences import fenced
from stages.corpus.readers.html import read_html
from stages.corpus.readers.notebook import notebook_markdown, read_notebook
from stages.corpus.readers.pairs import read_pairs
from stages.corpus.readers.part import Part, Unreadable, names
from stages.corpus.readers.plain import read_markdown
from stages.corpus.readers.python import read_python
from stages.corpus.readers.rst import read_rst, rst_markdown
from stages.corpus.readers.stubs import module_name, read_stub

DOCS = Path(__file__).parents[1] / "corpus" / "docs"
MD = MarkdownIt("commonmark").enable("table")
CODE = 'def f(x):\n\n    """Tab:\t<b> & `tick` ```\n    """\n    return {"a": x}  # é\n'


def only(parts: Any) -> Part:
    (part,) = parts
    assert isinstance(part, Part)
    return part


def from_html(body: str | bytes) -> str:
    return only(read_html(body if isinstance(body, bytes) else body.encode())).text


def from_rst(text: str) -> str:
    return only(read_rst(text.encode())).text


def code_blocks(markdown: str) -> list[tuple[str, str]]:
    return [(token.info, token.content) for token in MD.parse(markdown) if token.type == "fence"]


# HTML


PAGE = """<!doctype html><html><head><meta charset="utf-8"><title>The &lt;title&gt;</title><style>p {}</style></head>
<body><nav><a href="/">Home</a></nav><header>Site name</header>
<main><header><h1>Pins<a class="headerlink" href="#pins">¶</a></h1></header>
<p>A <b>pin</b> is  an
<code>Pin</code>, see <a href="https://example.org">the page</a>;<br>next&nbsp;line &lt;x&gt; &eacute;.
<img src="x.png" alt="a picture"></p>
<ul><li>one<ul><li>inner <em>a</em></li><li>inner b</li></ul></li><li>two</ul>
<ol start="3"><li>three</li><li><p>four</p><p>more of four</p></li></ol>
<dl><dt>term</dt><dd>what it means</dd></dl>
<blockquote><p>Said so.</p></blockquote>
<table><tr><th>a</th><th>b</th></tr><tr><td rowspan="2">1</td><td>2|3</td></tr><tr><td>4</td></tr></table>
<p hidden>hidden</p><p style="display: none">hidden</p><form>Search <input></form><script>alert(1)</script>
<h2>After</h2>text without a paragraph
</main><aside>Elsewhere</aside><footer>Imprint</footer></body></html>"""


def test_an_html_page_becomes_the_markdown_that_a_person_would_write() -> None:
    assert (
        from_html(PAGE)
        == """\
# Pins

A **pin** is an `Pin`, see the page;
next line <x> é.

- one
  - inner *a*
  - inner b
- two

3. three

4. four

   more of four

- **term**: what it means

> Said so.

| a | b |
| --- | --- |
| 1 | 2\\|3 |
| 1 | 4 |

## After

text without a paragraph
"""
    )
    assert only(read_html(PAGE.encode())).meta == {"title": "The <title>"}


@pytest.mark.parametrize(
    ("markup", "info"),
    [
        ('<pre><code class="language-python">{}</code></pre>', "python"),
        ('<div class="highlight-python3 x"><div class="highlight"><pre><span></span>{}</pre></div></div>', "python"),
        ('<div class="language-py highlight"><pre><span></span><code>{}</code></pre></div>', "python"),
        ('<pre class="code python literal-block">{}</pre>', "python"),
        ('<div class="highlight highlight-source-shell"><pre>{}</pre></div>', "sh"),
        ("<pre>\n{}</pre>", "python"),
        ("<ul><li><p>so:</p><pre>{}</pre></li></ul>", "python"),
    ],
)  # fmt: skip
def test_code_keeps_its_exact_text_and_its_language(markup: str, info: str) -> None:
    markdown = from_html(markup.format(htmllib.escape(CODE)))
    assert code_blocks(markdown) == [(info, CODE)]


def test_the_first_line_of_code_keeps_its_indentation_and_links_to_headings_go() -> None:
    markdown = from_html(
        '<h2>Title<a class="headerlink" href="#t">link</a></h2><pre class="language-c">  a\nb\n\n</pre>'
    )
    assert markdown == "## Title\n\n```c\n  a\nb\n```\n"


def test_line_numbers_of_sphinx_and_mkdocs_are_no_code() -> None:
    table = (
        '<table class="highlighttable"><tr><td class="linenos"><div class="linenodiv"><pre>1\n2\n3</pre></div></td>'
        '<td class="code"><div class="highlight"><pre><span></span>a = 1\n\nb = 2\n</pre></div></td></tr></table>'
    )
    inline = (
        '<div class="highlight-default notranslate"><div class="highlight"><pre><span class="linenos">1</span>a = 1\n'
        '<span class="linenos">2</span>\n<span class="linenos">3</span>b = 2\n</pre></div></div>'
    )
    anchors = '<pre id="__code_0"><code><a id="__codelineno-0-1" name="x" href="#x"></a>a = 1\n\nb = 2\n</code></pre>'
    for markup in (table, inline, anchors):
        assert code_blocks(from_html(markup)) == [("python", "a = 1\n\nb = 2\n")]


def test_sessions_are_kept_with_their_prompts() -> None:
    markdown = from_html("<div class='highlight-default'><pre>&gt;&gt;&gt; 1 + 1\n2\n</pre></div>")
    assert code_blocks(markdown) == [("pycon", ">>> 1 + 1\n2\n")]


def test_api_entries_of_sphinx_are_signatures_with_their_text() -> None:
    markdown = from_html(
        """
<dl class="py method"><dt class="sig sig-object py" id="machine.Pin.value">
<span class="sig-prename"><span class="pre">Pin.</span></span><span class="sig-name"><span class="pre">value</span>
</span><span class="sig-paren">(</span><em class="sig-param"><span class="n"><span class="pre">x</span></span>
<span class="o"><span class="pre">=</span></span><span class="pre">None</span></em><span class="sig-paren">)</span>
<a class="headerlink" href="#x">¶</a></dt><dd><p>Sets it.</p></dd></dl>""".replace("\n", "")
    )
    assert markdown == "```python\nPin.value(x=None)\n```\n\nSets it.\n"


def test_an_admonition_says_what_it_is() -> None:
    assert from_html('<div class="admonition note"><p class="admonition-title">Note</p><p>Beware.</p></div>') == (
        "**Note:** Beware.\n"
    )


@pytest.mark.parametrize(
    "data",
    [
        "<p>Grüße</p>".encode(),
        b"\xef\xbb\xbf" + "<p>Grüße</p>".encode(),
        "<p>Grüße</p>".encode("utf-16"),
        "<meta charset=iso-8859-1><p>Grüße</p>".encode("latin-1"),
        '<meta http-equiv="Content-Type" content="text/html; charset=windows-1252"><p>Grüße</p>'.encode("cp1252"),
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><body><p>Grüße</p></body></html>'
        .encode(),
        b"<p>Gr&uuml;&#xdf;e</p>",
    ],
)  # fmt: skip
def test_the_character_set_is_found(data: bytes) -> None:
    assert from_html(data) == "Grüße\n"


@pytest.mark.parametrize("tag", ["div", "b", "ul><li", "table><tr><td", "blockquote"])
def test_what_is_nested_beyond_reason_is_told(tag: str) -> None:
    with pytest.raises(Unreadable, match="nesting"):
        from_html(f"<{tag}>" * 100_000 + "x")


def test_html_knows_no_entities_that_grow() -> None:
    bomb = '<!DOCTYPE html [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><body><p>&b;&b;</p></body>'
    assert "ha" not in from_html(bomb)


TAGS = st.sampled_from(
    sorted(names("p b i code pre ul ol li dl dt dd table tr td th h1 h3 div span br img main nav a"))
)
MARKUP = st.lists(st.one_of(TAGS.map("<{}>".format), TAGS.map("</{}>".format), st.text(max_size=4)), max_size=25)


@settings(max_examples=200, deadline=None)
@given(MARKUP.map("".join))
def test_any_tag_soup_gives_text_or_a_reason(markup: str) -> None:
    with suppress(Unreadable):
        assert isinstance(from_html(markup), str)


# reStructuredText


RST = """\
:orphan:

=====
Title
=====

.. _label:
.. currentmodule:: machine
.. comment: this is none of it

Some *text* with ``code``, :class:`machine.Pin`, :meth:`~machine.Pin.init`, :ref:`the section <label>`,
:py:func:`machine.freq`, a `link <https://example.org>`_ and |name|, but |undefined|.

.. |name| replace:: a replacement

Part
----

A block::

    if x:

        y()

.. code-block:: sh
   :linenos:

   $ ls -l

.. literalinclude:: secret.py

.. raw:: html

   <b>raw</b>

>>> 1 + 1
2

.. class:: Pin(id, mode=-1, *, value=None)

   Makes one.

   .. method:: value([x])

      The level.

      .. note:: Only here.

.. data:: Pin.IN
          Pin.OUT

   The modes.

.. versionadded:: 1.20
   New things.

.. toctree::

   other

- one

  - inner
- two

1. first
2. second

term
   What it means.

==  ==
a   b
==  ==
1   2
==  ==

+---+-----+
| c | d   |
+===+=====+
| 3 | x|y |
+---+-----+

.. list-table:: Costs
   :header-rows: 1

   * - e
     - f
   * - 5
     - ``6``

.. tabs::

   .. tab:: Linux

      Run it.
"""


def test_an_rst_page_becomes_the_markdown_that_a_person_would_write() -> None:
    assert (
        from_rst(RST)
        == """\
# Title

Some *text* with `code`, `machine.Pin`, `init()`, the section, `machine.freq()`, a link and a replacement, but .

## Part

A block:

```python
if x:

    y()
```

```sh
$ ls -l
```

```pycon
>>> 1 + 1
2
```

```python
class Pin(id, mode=-1, *, value=None)
```

Makes one.

```python
value([x])
```

The level.

**Note:** Only here.

```python
Pin.IN
Pin.OUT
```

The modes.

*New in version 1.20:* New things.

- one
  - inner
- two

1. first
2. second

- **term**: What it means.

| a | b |
| --- | --- |
| 1 | 2 |

| c | d |
| --- | --- |
| 3 | x\\|y |

Costs

| e | f |
| --- | --- |
| 5 | `6` |

**Linux**

Run it.
"""
    )


def test_the_page_that_ships_comes_through_with_its_code_exact() -> None:
    source = next(DOCS.glob("16_*.rst")).read_text(encoding="utf-8")
    markdown = rst_markdown(source)
    blocks = []
    for match in re.finditer(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", source, re.MULTILINE):
        lines = [line.removeprefix("    ") for line in match[1].strip("\n").split("\n")]
        blocks.append(("python", "\n".join(lines) + "\n"))
    assert len(blocks) > 3 and code_blocks(markdown) == blocks
    for _, code in blocks:
        ast.parse(code)
    prose = "".join(token.content for token in MD.parse(markdown) if token.type == "inline")
    assert not re.search(r"::|\.\. |:\w+:`", prose)
    titles = re.findall(r"^(.+)\n[=-]{4,}$", source, re.MULTILINE)
    assert re.findall(r"^#+ (.*)", "\n".join(line for line in markdown.split("\n")), re.MULTILINE)[0] == titles[0]
    assert [t for t in titles if not re.search(rf"^#+ {re.escape(t)}$", markdown, re.MULTILINE)] == []


@pytest.mark.parametrize("adornments", ["=-~", "#*^", "~=-"])
def test_titles_are_ranked_by_their_order(adornments: str) -> None:
    text = "\n".join(f"T{level}\n{mark * 4}\n\ntext\n" for level, mark in enumerate(adornments, 1))
    assert re.findall(r"^(#+) T(\d)", from_rst(text), re.MULTILINE) == [("#" * n, str(n)) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("source", "markdown"),
    [
        (".. hint-of-ours::\n   Directly below.\n\n   More.\n", "Directly below.\n\nMore.\n"),
        (".. hint-of-ours:: On the line.\n\n   More.\n", "On the line.\n\nMore.\n"),
        (".. only:: html\n", ""),
        (".. code-block::\n   :linenos:\n\n   x = 1\n", "```python\nx = 1\n```\n"),
        (".. code-block:: c\n   :caption: So\n   :linenos:\n\n     int x;\n   y\n", "```c\n  int x;\ny\n```\n"),
        (".. code-block:: python\n   x = 1\n", "```python\nx = 1\n```\n"),
        (".. tabs::\n   .. tab:: Linux\n\n      Run it.\n", "**Linux**\n\nRun it.\n"),
        (".. function:: f(a, \\\n         b)\n   g(x)\n   :x:\n\n   It.\n", "```python\nf(a, b)\ng(x)\n```\n\nIt.\n"),
        (".. versionadded:: 1.20 New.\n", "*New in version 1.20:* New.\n"),
        (".. seealso:: That.\n", "*See also:* That.\n"),
        (".. deprecated:: 2\n", "*Deprecated since 2:*\n"),
        (".. autoclass:: a.B\n   :members:\n\n   It.\n", "It.\n"),
    ],
)  # fmt: skip
def test_a_directive_is_told_from_its_argument_options_and_content(source: str, markdown: str) -> None:
    assert from_rst(source) == markdown


def test_the_language_of_literal_blocks_can_be_set_for_a_page() -> None:
    assert code_blocks(from_rst(".. highlight:: c\n\nSo::\n\n    int x;\n")) == [("c", "int x;\n")]


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab .:`*|_-=\n\\<>[]#", max_size=60))
@example("a\n=\n\nb\n-\n\nc\n~\n\nd\n=\n")
@example(".. x::\n")
@example(".. |a| image:: b\n\n|a|\n")
def test_any_rst_gives_text_or_a_reason(text: str) -> None:
    with suppress(Unreadable):
        assert isinstance(rst_markdown(text), str)


# Python


MIT = """\
# MIT License
#
# Copyright (c) 2024 Ada Lovelace
#
# Permission is hereby granted, free of charge, to any person obtaining a copy of this software, to deal in the Software
# without restriction, including without limitation the rights to use, copy, modify and sell copies.
#
# THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND.
"""
BSD = """\
Redistribution and use in source and binary forms, with or without modification, are permitted provided that:

1. Redistributions of source code must retain the above copyright notice.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS "AS IS".
"""


@pytest.mark.parametrize(
    ("header", "left", "licence"),
    [
        ("# SPDX-License-Identifier: Apache-2.0 OR MIT\n", "", "Apache-2.0 OR MIT"),
        ("# SPDX-FileCopyrightText: 2021 Ada\n#\n# SPDX-License-Identifier: MIT\n", "", "MIT"),
        (
            "#!/usr/bin/env python3\n# Copyright 2020 Ada\n# Released under the MIT License\n",
            "#!/usr/bin/env python3\n",
            "MIT",
        ),
        (MIT, "", "MIT"),
        (f"# A driver for the BME280.\n#\n{MIT}", "# A driver for the BME280.\n", "MIT"),
        ("# Licensed under the Apache License, Version 2.0 (the License)\n", "", "Apache-2.0"),
        (f'"""\nCopyright (c) 2019 Ada\n\n{BSD}"""\n', "", "BSD-2-Clause"),
        (f'"""Blinks.\n\nCopyright (c) 2019 Ada\n\n{BSD}"""\n', '"""Blinks."""\n', "BSD-2-Clause"),
        ("# Blinks the LED.\n", "# Blinks the LED.\n", None),
        ('"""Blinks the LED."""\n', '"""Blinks the LED."""\n', None),
    ],
)
def test_a_licence_header_becomes_the_licence_and_its_notice(header: str, left: str, licence: str | None) -> None:
    body = "import machine\n\n# Copyright is no matter here.\nled = machine.Pin(2)\n"
    part = only(read_python(f"{header}\n{body}".encode()))
    assert part.license == licence
    assert part.text.split() == (left + body).split()
    words = re.sub(r"[#\"]", " ", header).split()
    kept = re.sub(r"[#\"]", " ", part.text + part.meta.get("notice", "")).split()
    assert sorted(set(words) - set(kept)) == []
    assert ast.dump(ast.parse(part.text)).endswith(ast.dump(ast.parse(body)).removeprefix("Module(body=["))


def test_a_source_is_read_in_the_encoding_that_it_declares() -> None:
    assert only(read_python("# -*- coding: latin-1 -*-\nx = 'ä'\r\n".encode("latin-1"))).text.endswith("x = 'ä'\n")
    for data in (b"x = '\xff'\n", b"# coding: nonsense\n", b"# coding: undefined\n", b"# coding: hex\n"):
        with pytest.raises(Unreadable, match="encoding"):
            only(read_python(data))


# Stubs


STUB = '''
"""
Functions related to the hardware.

---
Module: 'machine' on micropython-v1.29
"""
from __future__ import annotations
from typing import Any, Final, overload
from _typeshed import Incomplete

HARD_RESET: Final[int] = 2
"""Reset causes."""
SOFT_RESET: Final[int] = 5
"""Reset causes."""
_private: int = 3

@overload
def freq() -> int:
    """Gets or sets the frequency in hertz, see :meth:`Pin.value`."""
@overload
def freq(hz: int, /) -> None:
    """Gets or sets the frequency in hertz, see :meth:`Pin.value`."""
def nothing(*args, **kwargs) -> Incomplete: ...
async def wait(ms: int = 0, *, hard=False) -> None: ...

class Pin(Base):
    """A pin.

    Usage::

        p = Pin(2)
        p.value(1)
    """
    IN: Final[int] = 1
    def value(self, x: int | None = None) -> int:
        """The level.""" '''


def test_a_stub_is_read_as_documentation() -> None:
    part = only(read_stub(STUB.encode(), "micropython_esp32_stubs/machine.pyi"))
    assert (
        part.text
        == """\
# machine

Functions related to the hardware.

```python
HARD_RESET: Final[int] = 2
SOFT_RESET: Final[int] = 5
```

Reset causes.

```python
def freq() -> int: ...
def freq(hz: int, /) -> None: ...
```

Gets or sets the frequency in hertz, see `Pin.value()`.

```python
async def wait(ms: int = 0, *, hard=False) -> None: ...
```

## class machine.Pin

A subclass of `Base`.

A pin.

Usage:

```python
p = Pin(2)
p.value(1)
```

```python
IN: Final[int] = 1
def value(self, x: int | None = None) -> int: ...
```

The level.
"""
    )
    for _, code in code_blocks(part.text):
        ast.parse(code)


def test_a_large_class_is_a_page_of_its_own() -> None:
    source = 'class Big:\n    """Big."""\n' + "".join(
        f'    def method{n}(self, a: int) -> int:\n        """Says {n} things about a pin."""\n' for n in range(20)
    )
    first, *others = (read_stub(b'"""Small module."""\n' + source.encode(), "m.pyi"),)
    texts = [part.text for part in first]
    assert not others and texts[0] == "# m\n\nSmall module.\n" and texts[1].startswith("# class m.Big\n\nBig.\n")


@pytest.mark.parametrize(
    ("path", "name"),
    [("machine.pyi", "machine"), ("micropython_rp2_stubs/umqtt/simple.pyi", "umqtt.simple"),
     ("stdlib/asyncio/__init__.pyi", "asyncio"), ("src/stubs-1.2/os.pyi", "os"), ("__init__.pyi", "__init__")],
)  # fmt: skip
def test_a_stub_documents_the_module_that_is_imported(path: str, name: str) -> None:
    assert module_name(path) == name


def test_private_packages_and_what_is_no_python_are_left_out() -> None:
    with pytest.raises(Unreadable, match="private"):
        list(read_stub(b"x: int\n", "_typeshed/__init__.pyi"))
    for bad in (b"def f(:\n", b"x = " + b"(" * 10_000):
        with pytest.raises(Unreadable, match="stub"):
            list(read_stub(bad, "m.pyi"))


# Markdown, notebooks, pairs


def test_markdown_loses_front_matter_and_comments_and_nothing_else() -> None:
    source = (
        "---\ntitle: x\n---\n\nimport Tabs from '@theme/Tabs'\n\n# T\n\na <!-- c --> b\n<!-- one\ntwo --> \n"
        "!!! note\n    Text\n\n`<!-- shown -->`\n\n```html\n<!-- shown -->\nimport x from 'y'\n```\n---\n"
    )
    assert only(read_markdown(source.encode())).text == (
        "# T\n\na  b\n!!! note\n    Text\n\n`<!-- shown -->`\n\n```html\n<!-- shown -->\nimport x from 'y'\n```\n---\n"
    )


@given(st.text(alphabet="ab`~ \n#-x", max_size=80))
def test_markdown_without_comments_is_kept_as_it_is(text: str) -> None:
    kept = only(read_markdown(text.encode())).text if text else ""
    assert kept == text.lstrip("\n") or text.startswith("---")


def notebook(*cells: Mapping[str, Any], **metadata: Any) -> str:
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)})


def test_a_notebook_is_its_prose_and_its_code() -> None:
    found = notebook_markdown(
        notebook(
            {"cell_type": "markdown", "source": ["# ADC\n", "\n", "Reads a voltage.\n"]},
            {"cell_type": "raw", "source": "raw"},
            {"cell_type": "code", "source": "%pip install x\nx = 1", "outputs": [{"text": "NOT THIS" * 10**6}]},
            {"cell_type": "code", "source": []},
            language_info={"name": "python"},
        )
    )
    assert found == "# ADC\n\nReads a voltage.\n\n```python\n%pip install x\nx = 1\n```\n"


def test_a_notebook_of_format_3_is_read() -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": "Title"},
        {"cell_type": "code", "language": "python", "input": ["x = 1\n", "y = 2"], "outputs": []},
    ]
    text = json.dumps({"nbformat": 3, "metadata": {}, "worksheets": [{"cells": cells}]})
    assert notebook_markdown(text) == "## Title\n\n```python\nx = 1\ny = 2\n```\n"


def test_a_code_cell_with_a_fence_in_it_gets_a_longer_fence() -> None:
    source = 'HELP = """\n```\nx\n```\n"""'
    found = notebook_markdown(notebook({"cell_type": "code", "source": source}))
    assert found == f"````python\n{source}\n````\n"


@given(st.text(alphabet="ab`\n ", max_size=40), st.sampled_from(["python", "c", "text"]))
def test_a_fence_holds_whatever_is_in_it(code: str, language: str) -> None:
    ((_, content),) = code_blocks(fenced(code, language))
    assert content.rstrip("\n") == code.rstrip("\n")


def test_a_line_separator_of_unicode_does_not_end_a_pair() -> None:
    text = "a\u2028b\x85c"
    (pair,) = read_pairs([json.dumps({"prompt": text, "response": "b"}, ensure_ascii=False)])
    assert not isinstance(pair, Unreadable) and pair[0]["content"] == text


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


KEYS = ("messages", "role", "content", "prompt", "response", "cells", "metadata", "cell_type", "source", "worksheets")
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200)
@given(JSON)
def test_any_json_gives_a_conversation_or_a_reason(value: Any) -> None:
    (found,) = read_pairs([json.dumps(value)])
    assert isinstance(found, tuple | Unreadable)
    with suppress(Unreadable):
        assert isinstance(notebook_markdown(json.dumps(value)), str)


# All of them


@pytest.mark.parametrize("reader", [*READERS.values(), lambda data: read_stub(data, "m.pyi"), read_notebook])
@pytest.mark.parametrize("data", [b"", b"\0", b"text\0", b"\xff\xfe", b"\xed\xa0\x80", "ä".encode("latin-1")])
def test_no_text_at_all_has_a_reason(reader: Callable[[bytes], Any], data: bytes) -> None:
    with pytest.raises(Unreadable, match=r"empty|binary|encoding|notebook"):
        for part in reader(data):
            if isinstance(part, Unreadable) or not part.text.strip():
                raise part if isinstance(part, Unreadable) else Unreadable("empty")


def test_a_file_of_another_name_is_plain_text(tmp_path: Path) -> None:
    (tmp_path / "notes.text").write_bytes(b"a\r\nb\r")
    assert [part.text for part in read_file(tmp_path / "notes.text", "notes.text") if isinstance(part, Part)] == [
        "a\nb\n"
    ]


def test_each_line_is_a_text_where_a_source_says_so(tmp_path: Path) -> None:
    for name in ("names.txt", "NAMES.TXT", "names.md"):
        (tmp_path / name).write_bytes("\ufeffAda\r\n\n  Grace Hopper \n\t\nZoé".encode())
    for name in ("names.txt", "NAMES.TXT"):
        parts = [part for part in read_file(tmp_path / name, name, lines=True) if isinstance(part, Part)]
        assert [(part.text, part.meta) for part in parts] == [
            ("Ada", {"line": 1}), ("Grace Hopper", {"line": 3}), ("Zoé", {"line": 5}),
        ]  # fmt: skip
    assert len(list(read_file(tmp_path / "names.md", "names.md", lines=True))) == 1
    assert len(list(read_file(tmp_path / "names.txt", "names.txt"))) == 1


@pytest.mark.parametrize(
    ("source", "license"),
    [
        ('"""A driver."""\n# SPDX-License-Identifier: GPL-3.0-only\nx = 1\n', "GPL-3.0-only"),
        ("# License: GPL-3.0\nx = 1\n", "GPL-3.0-or-later"),
        ("# licensed under the GNU GPL version 3\nx = 1\n", "GPL-3.0-or-later"),
        ("# Licensed under LGPLv3\nx = 1\n", "LGPL-2.1-or-later"),
        ("# License: CC BY-NC-SA 4.0\nx = 1\n", "CC-BY-NC-4.0"),
        ("# licensed under the MIT license\nx = 1\n", "MIT"),
        ("# reads a sensor\nx = 1\n", None),
    ],
)
def test_a_program_that_states_its_licence_is_believed(tmp_path: Path, source: str, license: str | None) -> None:
    (tmp_path / "a.py").write_text(source)
    (part,) = read_file(tmp_path / "a.py", "a.py")
    assert isinstance(part, Part) and part.license == license


def test_one_bad_line_costs_only_itself(tmp_path: Path) -> None:
    good = '{"prompt": "Blink", "response": "led.on()"}\n'
    (tmp_path / "a.jsonl").write_text(good.replace("Blink", "a\\u0000b") + good)
    bad, kept = read_file(tmp_path / "a.jsonl", "a.jsonl")
    assert isinstance(bad, Unreadable) and isinstance(kept, Part)


@pytest.mark.parametrize(("name", "comment"), [("a.md", "<!-- {} -->"), ("a.rst", ".. {}"), ("a.html", "<!-- {} -->")])
def test_a_page_that_states_its_licence_is_believed(tmp_path: Path, name: str, comment: str) -> None:
    (tmp_path / name).write_text(
        comment.format("SPDX-License-Identifier: GPL-3.0-only") + "\n\nSome words of a page.\n"
    )
    (part,) = read_file(tmp_path / name, name)
    assert isinstance(part, Part) and part.license == "GPL-3.0-only" and "SPDX" not in part.text
