"""Let people see what was extracted: documents beside their originals, lists of them, and what was left out and why."""

from __future__ import annotations

import json as jsonlib
import re
import sys
import webbrowser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import console, history
from pipeline.errors import UsageError
from pipeline.shards import LimitExceeded, call_limited
from pipeline.store import Artifact, Store
from stages.corpus.documents import Document, read_documents
from stages.corpus.sheet import MOST_CHARACTERS, Sheet

ROWS = 200
MOST_PAGES = 50
PAGES_AT_ONCE = 8
DPI = 90
LIMITS: Mapping[str, Any] = {"timeout_seconds": 60.0, "max_memory_mb": 2048, "preload": ("pymupdf",)}


def show(store: Store, wanted: str, *, pages: str = "", out: Path | None = None, open_: bool = False) -> None:
    """Write a page that shows a document beside its original; raises UsageError where none or several are meant."""
    artifacts = _newest_with_documents(store)
    found = _found(artifacts["extract"].path, wanted)
    first = found[0]
    original = _original(artifacts, first)
    path = out or Path(f"show-{_slug(Path(first.path).name)}.html")
    with path.open("w", encoding="utf-8", newline="\n") as file:
        sheet = Sheet(file, first, len(found))
        if original is None:
            note = "the gathered file is not in the store any more"
            sheet.beside(None, "".join(document.text for document in found), note)
        elif "page_starts" in first.meta:
            _write_pages(sheet, first, original, pages)
        else:
            text = original.read_bytes()[: 4 * MOST_CHARACTERS].decode("utf-8", "replace")
            sheet.beside(text, "\n\n".join(document.text for document in found))
        sheet.end()
    console.say(f"wrote {path}: {first.path}, {sum(len(document.text) for document in found):,} characters")
    if open_:
        webbrowser.open(path.resolve().as_uri())


def list_documents(store: Store, *, json: bool = False) -> None:
    """Every document: id, kind, source and path, characters."""
    documents = read_documents(_newest_with_documents(store)["extract"].path)
    if json:
        _write_json(
            {
                "id": document.id,
                "kind": document.kind,
                "source": document.source,
                "path": document.path,
                "license": document.license,
                "characters": len(document.text),
            }
            for document in documents
        )
        return
    rows: list[tuple[str, ...]] = []
    count = 0
    for document in documents:
        count += 1
        if len(rows) < ROWS:
            rows.append((document.id, document.kind, f"{document.source}/{document.path}", f"{len(document.text):,}"))
    console.table(("id", "kind", "source/path", "characters"), rows)
    if count > len(rows):
        console.say(f"and {count - len(rows):,} more: `pipeline show PART-OF-A-PATH` finds one, `--json` lists all")


def list_dropped(store: Store, *, reason: str = "", json: bool = False) -> None:
    """Everything that gather, extract and clean left out, and why; of one reason if asked."""
    artifacts = _newest_with_documents(store)
    dropped = (row for row in _dropped(artifacts) if row["reason"].startswith(reason))
    if json:
        _write_json(dropped)
        return
    counts: Counter[tuple[str, str]] = Counter()
    rows: list[tuple[str, ...]] = []
    for row in dropped:
        counts[row["stage"], row["reason"].partition(":")[0]] += row.get("count", 1)
        if len(rows) < ROWS:
            place = "/".join(filter(None, (row.get("source"), row.get("path"))))
            like = f" (like {row['of']})" if row.get("of") else ""
            rows.append((row["stage"], place or f"{row.get('count', 1)} files", row["reason"] + like))
    if not rows:
        console.say(f"nothing was left out{f' because of {reason!r}' if reason else ''}")
        return
    console.table(("stage", "what", "reason"), rows)
    console.say("")
    console.table(("stage", "reason", "count"), ((stage, word, f"{n:,}") for (stage, word), n in counts.most_common()))
    if len(rows) < counts.total():
        console.say("the first of them are shown; --json lists all, --reason R those of one reason")


def _newest_with_documents(store: Store) -> dict[str, Artifact]:
    """The artifacts of the newest run that got as far as documents; raises UsageError where there is none."""
    for record in reversed(store.runs()):
        artifacts = history.run_artifacts(store, record)
        if "extract" in artifacts:
            return artifacts
    config = history.newest_run(store)["config"]
    raise UsageError("no run has extracted documents yet", hint=f"pipeline run --config {config} --until extract")


def _found(folder: Path, wanted: str) -> list[Document]:
    """The documents of the one file that is meant: by id, by its path, or else by a part of its path."""
    exact: list[Document] = []
    partly: list[Document] = []
    names: set[str] = set()
    for document in read_documents(folder):
        name = f"{document.source}/{document.path}"
        if wanted == document.id:
            return [document]
        if wanted in (document.path, name):
            exact.append(document)
        elif wanted.lower() in name.lower() and not exact:
            names.add(name)
            if len(names) <= ROWS:
                partly.append(document)
    found = exact or partly
    if not found:
        raise UsageError(f"no document is called {wanted!r}", hint="pipeline show  lists them")
    places = {(document.source, document.path): document.id for document in reversed(found)}
    if len(places) > 1:
        shown = [f"  {id_}  {source}/{path}" for (source, path), id_ in sorted(places.items())[:20]]
        more = [f"  and {len(places) - 20} more"] if len(places) > 20 else []
        raise UsageError("\n".join([f"{wanted!r} may be one of", *shown, *more]), hint="give the id or the whole path")
    return found


def _original(artifacts: Mapping[str, Artifact], document: Document) -> Path | None:
    """The gathered file of a document, if it is still there."""
    if "gather" not in artifacts:
        return None
    folder = artifacts["gather"].path
    with (folder / "files.jsonl").open(encoding="utf-8", newline="\n") as file:
        for line in file:
            entry = jsonlib.loads(line)
            if (entry["source"], entry["path"]) == (document.source, document.path):
                path: Path = folder / entry["file"]
                return path if path.is_file() else None
    return None


def _write_pages(sheet: Sheet, document: Document, original: Path, pages: str) -> None:
    starts = [*document.meta["page_starts"], len(document.text)]
    count = len(starts) - 1
    numbers = _page_numbers(pages, count)
    if len(numbers) < count:
        sheet.note(f"pages {numbers[0]} to {numbers[-1]} of {count}; --pages shows others")
    for at in range(0, len(numbers), PAGES_AT_ONCE):
        chunk = numbers[at : at + PAGES_AT_ONCE]
        for number, picture in zip(chunk, _pictures(original, chunk), strict=True):
            sheet.page(number, picture, document.text[starts[number - 1] : starts[number]])


def _page_numbers(asked: str, count: int) -> Sequence[int]:
    """`3-8`, `5` or nothing, for the first pages; raises UsageError."""
    match = re.fullmatch(r"\s*(\d+)\s*(?:[-–]\s*(\d*)\s*)?", asked)
    if asked and (match is None or int(match[1]) > count or int(match[1]) < 1):
        raise UsageError(f"--pages {asked}: the document has pages 1 to {count}", hint="--pages 3-8")
    if match is None:
        return range(1, min(count, MOST_PAGES) + 1)
    first = int(match[1])
    last = int(match[2] or count) if match[2] is not None else first
    if last < first:
        raise UsageError(f"--pages {asked}: the last page is before the first", hint="--pages 3-8")
    return range(first, min(last, count) + 1)


def _pictures(path: Path, numbers: Sequence[int]) -> Sequence[bytes | str]:
    """PNG pictures of pages, or why there are none: a hostile PDF may not be drawn within the limits."""
    try:
        return call_limited(draw_pages, (path, tuple(numbers)), **LIMITS)
    except LimitExceeded as error:
        return [f"this page could not be drawn: {error}"] * len(numbers)
    except Exception as error:
        return [f"this page could not be drawn: {type(error).__name__}: {error}"] * len(numbers)


def draw_pages(request: tuple[Path, tuple[int, ...]]) -> list[bytes | str]:
    """PNG pictures of pages, counted from 1; runs in a process of its own."""
    import pymupdf

    path, numbers = request
    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    found: list[bytes | str] = []
    with pymupdf.open(path, filetype="pdf") as document:
        if document.needs_pass:
            document.authenticate("")
        for number in numbers:
            try:
                page = document[number - 1]
                scale = min(DPI / 72, 1600 / max(page.rect.width, page.rect.height, 1))
                found.append(page.get_pixmap(matrix=pymupdf.Matrix(scale, scale), alpha=False).tobytes("png"))
            except Exception as error:  # MuPDF raises many kinds; the other pages can be drawn all the same
                found.append(f"this page could not be drawn: {error}")
    return found


def _dropped(artifacts: Mapping[str, Artifact]) -> Iterator[dict[str, Any]]:
    for stage in ("gather", "extract", "clean"):
        if stage not in artifacts:
            continue
        lists = [artifacts[stage].path / name for name in ("left_out.jsonl", "dropped.jsonl")]
        present = [path for path in lists if path.is_file()]
        for path in present:
            with path.open(encoding="utf-8", newline="\n") as file:
                for line in file:
                    yield {"stage": stage, **jsonlib.loads(line)}
        skipped = artifacts[stage].manifest.get("metrics", {}).get("skipped", {})
        if not present and isinstance(skipped, dict):
            for name, count in skipped.items():
                yield {"stage": stage, "reason": f"not a kind of file that is read: {name}", "count": count}


def _write_json(rows: Iterator[Mapping[str, Any]]) -> None:
    """A JSON list on stdout, written as it is read."""
    separator = "["
    for row in rows:
        sys.stdout.write(f"{separator}\n {jsonlib.dumps(row, ensure_ascii=False)}")
        separator = ","
    sys.stdout.write("\n]\n" if separator == "," else "[]\n")


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "document"
