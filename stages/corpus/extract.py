"""Turn every gathered file into documents; a file that cannot be read is left out, and the reason counted."""

from __future__ import annotations

import io
import json
import re
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.errors import StageError
from pipeline.hardware import usable_cores
from pipeline.shards import LimitExceeded, call_limited
from pipeline.stage import Context, Metrics, Section, Stage
from pipeline.store import write_atomic
from stages.corpus.documents import (
    Document,
    conversation_text,
    count_by_kind,
    document_id,
    from_json,
    to_json,
    write_documents,
)
from stages.corpus.pdf import PdfText, UnreadablePdf, read_pdf

KNOWN_ROLES = ("system", "user", "assistant")


class ExtractConfig(Section):
    timeout_seconds: Annotated[float, Field(gt=0)] = 120.0
    max_memory_mb: Annotated[int, Field(ge=256)] = 2048
    on_error: Literal["skip", "fail"] = "skip"


class Unreadable(Exception):
    """A file or a line that gives no document; the message is the reason, short enough to be counted."""


def run(context: Context) -> Metrics:
    config = context.section(ExtractConfig)
    gathered = context.inputs["gather"]
    entries = [json.loads(line) for line in json_lines((gathered / "files.jsonl").read_text(encoding="utf-8"))]
    finished = context.out / ".finished"
    finished.mkdir(exist_ok=True)

    def read(entry: dict[str, Any]) -> tuple[list[Document], list[str]]:
        saved = finished / f"{entry['sha256'][:32]}-{document_id(entry['source'], entry['path'])}.jsonl"
        is_pdf = entry["file"].lower().endswith(".pdf")
        if is_pdf and saved.exists():
            return [from_json(line) for line in json_lines(saved.read_text(encoding="utf-8"))], []
        documents, reasons = _read(gathered / entry["file"], entry, config)
        if is_pdf and not reasons:
            write_atomic(saved, "".join(to_json(document) + "\n" for document in documents).encode())
        return documents, reasons

    documents: list[Document] = []
    left_out: list[dict[str, str]] = []
    with context.progress(len(entries), "files") as bar, ThreadPoolExecutor(usable_cores()) as pool:
        for entry, (found, reasons) in zip(entries, pool.map(read, entries), strict=True):
            documents += found
            left_out += [{"source": entry["source"], "path": entry["path"], "reason": reason} for reason in reasons]
            bar.advance(note=entry["path"])
    for item in left_out:
        context.warn(f"left out {item['source']}/{item['path']}: {item['reason']}")
    if left_out and config.on_error == "fail":
        raise StageError(
            f"extract: {len(left_out)} inputs could not be read", hint="mend them, or set extract.on_error: skip"
        )
    if not documents:
        raise StageError(
            "extract: no usable document in any source", hint="add readable files to the folders in gather.sources"
        )

    write_documents(context.out, documents)
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in left_out)
    (context.out / "left_out.jsonl").write_text(lines, encoding="utf-8")
    kinds = count_by_kind(documents)
    context.say(", ".join(f"{count} {kind}" for kind, count in kinds.items()) + f"; {len(left_out)} left out")
    return {
        "documents": kinds,
        "characters": sum(len(document.text) for document in documents),
        "left_out": dict(sorted(Counter(item["reason"].partition(":")[0] for item in left_out).items())),
    }


def _read(path: Path, entry: dict[str, Any], config: ExtractConfig) -> tuple[list[Document], list[str]]:
    """The documents of one file, and the reasons for what was left out of it."""
    documents: list[Document] = []
    reasons: list[str] = []
    suffix = path.suffix.lower()

    def add(text: str, kind: Literal["code", "docs"], **meta: Any) -> None:
        if not text.strip():
            raise Unreadable("empty")
        if not _encodable(text):
            raise Unreadable("encoding: it has half a surrogate pair")
        documents.append(_document(entry, text, kind, meta))

    try:
        if suffix == ".pdf":
            pdf = _limited_pdf(path, config)
            add(pdf.markdown, "docs", title=pdf.title, pages=pdf.pages)
        elif suffix == ".py":
            add(_source_text(path), "code")
        elif suffix == ".ipynb":
            add(notebook_markdown(_text(path)), "docs")
        elif suffix == ".jsonl":
            for index, pair in enumerate(read_pairs(json_lines(_text(path)))):
                if isinstance(pair, Unreadable):
                    reasons.append(str(pair))
                else:
                    base = _document(entry, conversation_text(pair), "pair", {}, index)
                    documents.append(replace(base, messages=pair))
        else:
            add(_text(path), "docs")
    except Unreadable as error:
        reasons.append(str(error))
    return documents, reasons


def _document(
    entry: dict[str, Any], text: str, kind: Literal["code", "docs", "pair"], meta: dict[str, Any], index: int = 0
) -> Document:
    if entry["attribution"]:
        meta = {**meta, "attribution": entry["attribution"]}
    identity = document_id(entry["source"], entry["path"], index)
    return Document(identity, text, kind, entry["source"], entry["path"], entry["license"], meta)


def _limited_pdf(path: Path, config: ExtractConfig) -> PdfText:
    try:
        return call_limited(read_pdf, path, timeout_seconds=config.timeout_seconds, max_memory_mb=config.max_memory_mb)
    except UnreadablePdf as error:
        raise Unreadable(f"{error.reason}: {error}") from error
    except LimitExceeded as error:
        raise Unreadable(f"limit: {error}") from error
    except Exception as error:  # whatever a damaged file does to the reader, it costs this file only
        raise Unreadable(f"unreadable: {type(error).__name__}: {error}") from error


def json_lines(text: str) -> Iterable[str]:
    """The lines of JSON Lines. `splitlines` would also cut at U+2028 and its like, which JSON leaves as they are."""
    return io.StringIO(text, newline="\n")


def _encodable(text: str) -> bool:
    """Whether a text can be written as UTF-8: JSON's `\\ud800` alone cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(path: Path) -> str:
    """UTF-8 text, with or without a byte order mark; raises Unreadable for anything else."""
    data = path.read_bytes()
    if not data:
        raise Unreadable("empty")
    if b"\0" in data:
        raise Unreadable("binary: it has zero bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("encoding: not UTF-8") from None


def _source_text(path: Path) -> str:
    """A Python source in the encoding that it declares (PEP 263)."""
    data = path.read_bytes()
    if b"\0" in data:
        raise Unreadable("binary: it has zero bytes")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except (SyntaxError, UnicodeError, LookupError):
        raise Unreadable("encoding: not the encoding that the source declares") from None


def notebook_markdown(text: str) -> str:
    """A Jupyter notebook (nbformat 4) as Markdown: code cells fenced, outputs left away. Raises Unreadable."""
    try:
        notebook = json.loads(text)
        language = notebook.get("metadata", {}).get("language_info", {}).get("name", "python")
        cells = [(cell["cell_type"], "".join(cell["source"]).strip("\n")) for cell in notebook["cells"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Unreadable("notebook: not nbformat 4 JSON") from None
    parts = [_fenced(source, language) if kind == "code" else source for kind, source in cells if source]
    return "\n\n".join(parts) + "\n" if parts else ""


def _fenced(code: str, language: str) -> str:
    """The code in a fence that is longer than any in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code)), default=0))
    return f"{fence}{language}\n{code}\n{fence}"


def read_pairs(lines: Iterable[str]) -> Iterator[tuple[dict[str, str], ...] | Unreadable]:
    """The conversation of each line, or why it has none.

    A line is `{"messages": [{"role", "content"}, …]}`, or has `prompt` or `instruction` with `response` or `output`;
    the `input` that may come with an instruction ends the question.
    Roles alternate after an optional system message, and the assistant has the last word.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _conversation(json.loads(line))
        except json.JSONDecodeError as error:
            yield Unreadable(f"pair: line {number}: not JSON: {error.msg} at character {error.pos + 1}")
        except ValueError as error:
            yield Unreadable(f"pair: line {number}: {error}")
        except (KeyError, TypeError, AttributeError, RecursionError):
            yield Unreadable(f"pair: line {number}: not a conversation")


def _conversation(value: Any) -> tuple[dict[str, str], ...]:
    if "messages" not in value:
        prompt, answer = value.get("prompt", value.get("instruction")), value.get("response", value.get("output"))
        if prompt and value.get("input"):
            prompt = f"{prompt}\n\n{value['input']}"
        value = {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}
    messages = tuple({"role": message["role"], "content": message["content"]} for message in value["messages"])
    for message in messages:
        if message["role"] not in KNOWN_ROLES:
            raise ValueError(f"unknown role {message['role']!r}")
        if not isinstance(message["content"], str) or not message["content"].strip():
            raise ValueError("an empty message")
        if not _encodable(message["content"]):
            raise ValueError("half a surrogate pair")
    turns = messages[1:] if messages and messages[0]["role"] == "system" else messages
    if not turns or len(turns) % 2 or any(turn["role"] != KNOWN_ROLES[1 + i % 2] for i, turn in enumerate(turns)):
        raise ValueError("user and assistant have to take turns, the assistant last")
    return messages


STAGE = Stage(
    name="extract",
    version=1,
    module=__name__,
    run=run,
    sections={"extract": ExtractConfig},
    needs=("gather",),
    resumable=True,
)
