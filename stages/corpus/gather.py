"""Collect the files of all declared sources, each with its licence, into one place."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import Field

from pipeline.errors import UsageError
from pipeline.stage import Context, Metrics, Section, Stage
from pipeline.store import canonical, sha256_file

SUFFIXES = (".py", ".md", ".rst", ".txt", ".ipynb", ".pdf", ".jsonl")


class FolderSource(Section):
    """A local folder. `license` is an SPDX expression; patterns match paths relative to the folder."""

    folder: Annotated[str, Field(min_length=1)]
    license: Annotated[str, Field(min_length=1)]
    attribution: str = ""
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()


class GatherConfig(Section):
    sources: Annotated[tuple[FolderSource, ...], Field(min_length=1)]


def run(context: Context) -> Metrics:
    sources = context.section(GatherConfig).sources
    listed = [(source, list(_files(source, context.base))) for source in sources]
    found = sum(len(files) for _, files in listed)
    skipped: Counter[str] = Counter()
    entries = []
    with context.progress(found, "files") as bar:
        for index, (source, files) in enumerate(listed):
            root = _root(source, context.base)
            for path in files:
                bar.advance()
                relative = _name(path, root)
                suffix = PurePosixPath(relative).suffix.lower()
                if suffix not in SUFFIXES:
                    skipped[suffix or PurePosixPath(relative).name] += 1
                    continue
                target = context.out / "files" / f"{index:03d}" / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    shutil.copyfile(path, target)
                except PermissionError as error:
                    skipped["unreadable"] += 1
                    context.warn(f"left out {source.folder}/{relative}: {error.strerror}")
                    continue
                entries.append(
                    {
                        "file": target.relative_to(context.out).as_posix(),
                        "source": source.folder,
                        "path": relative,
                        "license": source.license,
                        "attribution": source.attribution,
                        "sha256": sha256_file(target),
                    }
                )
    if not entries:
        folders = ", ".join(str(_root(source, context.base)) for source in sources)
        raise UsageError(
            f"no usable file in {folders}; usable are {' '.join(SUFFIXES)}",
            hint="point gather.sources at a folder with such files",
        )
    lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    (context.out / "files.jsonl").write_text(lines, encoding="utf-8")
    context.say(f"{len(entries)} files from {len(sources)} sources")
    return {
        "files": len(entries),
        "skipped": dict(sorted(skipped.items())),
        "licenses": dict(sorted(Counter(str(entry["license"]) for entry in entries).items())),
    }


def fingerprint(sections: Mapping[str, Section], base: Path) -> Any:
    """Path, size and time of change of every source file: like make, without reading them."""
    config = sections["gather"]
    assert isinstance(config, GatherConfig)
    found = []
    for source in config.sources:
        root = _root(source, base)
        stats = ((_name(path, root), path.stat()) for path in _files(source, base))
        found.append([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats])
    return hashlib.sha256(canonical(found)).hexdigest()


def _root(source: FolderSource, base: Path) -> Path:
    return (base / Path(source.folder).expanduser()).resolve()


def _name(path: Path, root: Path) -> str:
    """The path below the folder; bytes that are not UTF-8 are spelled `\\xe9`, as no manifest can hold them."""
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


def _files(source: FolderSource, base: Path) -> Iterator[Path]:
    """Regular files below the folder in sorted order, without hidden ones and without links that lead out of it."""
    root = _root(source, base)
    if not root.is_dir():
        raise UsageError(
            f"gather.sources: the folder {root} does not exist",
            hint="mend `folder:`; a relative one starts at the folder of the config (or its parent, in configs/)",
        )
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if any(part.startswith(".") or part == "__pycache__" for part in relative.parts):
            continue
        name = _name(path, root)
        wanted = any(fnmatch.fnmatch(name, pattern) for pattern in source.include)
        if not wanted or any(fnmatch.fnmatch(name, pattern) for pattern in source.exclude):
            continue
        if path.is_file() and path.resolve().is_relative_to(root):
            yield path


STAGE = Stage(
    name="gather",
    version=1,
    module=__name__,
    run=run,
    sections={"gather": GatherConfig},
    fingerprint=fingerprint,
)
