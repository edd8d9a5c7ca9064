"""Python sources, their licence header taken out of the text and understood."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator

from stages.corpus.readers.part import Part, Unreadable, refuse_binary, with_line_feeds

SPDX = re.compile(r"SPDX-License-Identifier:\s*([A-Za-z0-9.+() -]*[A-Za-z0-9.+)])", re.IGNORECASE)
_LICENCES = (
    (r"Permission is hereby granted, free of charge.*without restriction", "MIT"),
    (r"\bMIT[ -]licen[sc]e|licen[sc]e:? +MIT\b", "MIT"),
    (r"Licensed under the Apache License, Version 2\.0|\bApache[ -]2\.0\b", "Apache-2.0"),
    (r"Redistribution and use in source and binary forms.*Neither the name|\bBSD[ -]3", "BSD-3-Clause"),
    (r"Redistribution and use in source and binary forms|\bBSD[ -]2", "BSD-2-Clause"),
    (r"Permission to use, copy, modify, and/or distribute this software for any purpose", "ISC"),
    (r"Lesser General Public License.*version 3", "LGPL-3.0-or-later"),
    (r"Lesser General Public License.*version 2\.1", "LGPL-2.1-or-later"),
    (r"Affero General Public License.*version 3", "AGPL-3.0-or-later"),
    (r"\bLGPL|Lesser General Public", "LGPL-2.1-or-later"),
    (r"(?:GNU General Public License|\bGPL).*version 3|\bGPL[ -]?v?3", "GPL-3.0-or-later"),
    (r"\bGPL\b|\bGPLv2|GNU General Public License", "GPL-2.0-or-later"),
    (r"\bCC[ -]BY[ -]NC|NonCommercial", "CC-BY-NC-4.0"),
    (r"Mozilla Public License,? v(?:\.|ersion) ?2\.0", "MPL-2.0"),
    (r"free and unencumbered software released into the public domain", "Unlicense"),
    (r"\bCC0[ -]1\.0\b|CC0 1\.0 Universal", "CC0-1.0"),
)
_LEGAL_PARAGRAPH = re.compile(
    r"Permission (?:is hereby granted|to use, copy)|(?:The )?above copyright notice|THE SOFTWARE IS PROVIDED"
    r"|Redistributions? (?:and use|of source|in binary)|Neither the name|THIS SOFTWARE IS PROVIDED"
    r"|Licensed under the Apache|may not use this file except|may obtain a copy of the License|Unless required by"
    r"|This (?:program|library|file|software) is (?:free software|distributed in the hope)|should have received a copy"
    r"|Source Code Form is subject to|If a copy of the MPL|free and unencumbered|apache\.org/licenses",
    re.IGNORECASE,
)
_LEGAL_LINE = re.compile(
    r"SPDX-|\bcopyright\b|\(c\) *(?:19|20)\d\d|©|all rights reserved|\blicen[sc]ed? |\blicen[sc]es?\W*$"
    r"|\bMIT\W*licen[sc]e|part of the MicroPython project|^\W*licen[sc]e\b",
    re.IGNORECASE,
)
_COMMENTS = re.compile(r"(?:[ \t]*#[^\n]*(?:\n|\Z)|[ \t]*\n)*")
_DOCSTRING = re.compile(r'[rRuU]?("""|\'\'\')(.*?)\1[ \t]*(?:\n|\Z)', re.DOTALL)
_KEPT_COMMENT = re.compile(r"#!|#.*coding[:=]")


def read_python(data: bytes) -> Iterator[Part]:
    """A source in the encoding that it declares (PEP 263), without its licence header.

    What a licence demands is that its notice travels with the program: it is kept in `meta["notice"]`. In the text it
    would teach a model nothing but to recite licences. Raises Unreadable.
    """
    source = source_text(data)
    text, notice = without_notice(source)
    meta = {"notice": notice} if notice else {}
    yield Part(text, "code", meta, license=spdx_licence(source) or stated_licence(notice))


def source_text(data: bytes) -> str:
    """The text of a Python source; raises Unreadable."""
    refuse_binary(data)
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return with_line_feeds(data.decode(encoding))
    except (SyntaxError, UnicodeError, LookupError):
        raise Unreadable("encoding: not the encoding that the source declares") from None


def stated_licence(notice: str) -> str | None:
    """The SPDX expression for the licence that a notice states, by its identifier or else by its sentences."""
    text = " ".join(notice.split())
    by_sentence = (name for pattern, name in _LICENCES if re.search(pattern, text, re.IGNORECASE))
    return spdx_licence(notice) or next(by_sentence, None)


def spdx_licence(text: str) -> str | None:
    """The expression after the first SPDX-License-Identifier in a text (SPDX specification 2.3, annex E)."""
    found = SPDX.search(text)
    return found[1].strip() if found else None


def without_notice(source: str) -> tuple[str, str]:
    """The source without the copyright and licence lines at its top, and these lines without comment marks."""
    comments = _COMMENTS.match(source)
    assert comments is not None
    head, rest = comments[0], source[comments.end() :]
    kept, notice = _parted(head.split("\n"), "#")
    docstring = _DOCSTRING.match(rest)
    if docstring:
        words, legal = _parted(docstring[2].split("\n"), "")
        if legal:
            notice += legal
            body = "\n".join(words).strip()
            rest = rest[docstring.end() :]
            if body:
                rest = f"{docstring[1]}{body}{docstring[1]}\n{rest}"
    if not notice:
        return source, ""
    top = re.sub(r"\n{3,}", "\n\n", "\n".join(kept))
    text = (top if top.strip() else "") + rest
    return text.lstrip("\n"), "\n".join(notice).strip()


def _parted(lines: list[str], mark: str) -> tuple[list[str], list[str]]:
    """The lines to keep and the legal ones. A paragraph with a licence's own sentences is legal as a whole."""
    kept: list[str] = []
    legal: list[str] = []
    paragraph: list[str] = []

    def finish() -> None:
        text = " ".join(line.strip(" \t#*") for line in paragraph)
        whole = bool(_LEGAL_PARAGRAPH.search(text))
        for line in paragraph:
            keeps = bool(mark) and bool(_KEPT_COMMENT.match(line))
            taken = not keeps and (whole or bool(_LEGAL_LINE.search(line.strip())))
            (legal if taken else kept).append(line.strip().removeprefix("#").strip() if taken else line)
        if any(_LEGAL_LINE.search(line) or whole for line in paragraph):
            legal.append("")
        paragraph.clear()

    for line in lines:
        if line.strip(" \t#*=-"):
            paragraph.append(line)
        else:
            finish()
            kept.append(line)
    finish()
    if not any(legal):
        return lines, []
    return _without_idle_marks(kept) if mark else kept, legal


def _without_idle_marks(lines: list[str]) -> list[str]:
    """Without the comment lines of marks alone that framed what was taken out: one stays between two paragraphs."""
    kept: list[str] = []
    for line in lines:
        idle = bool(line.strip()) and not line.strip(" \t#*=-")
        while kept and kept[-1].strip() and not kept[-1].strip(" \t#*=-") and (idle or not line.strip()):
            kept.pop()
        if not (idle and (not kept or not kept[-1].strip())):
            kept.append(line)
    return kept
