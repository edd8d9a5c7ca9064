"""Collect the files of all declared sources, each with its licence, into one place."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from pipeline.errors import UsageError
from pipeline.hardware import cache_folder
from pipeline.stage import Context, Metrics, Section, Stage
from pipeline.store import canonical
from stages.corpus.sources import archives, download, folders, packages, repositories
from stages.corpus.sources.cache import Cache, Unavailable
from stages.corpus.sources.declared import AnySource, FolderSource, GitSource, PackageSource
from stages.corpus.sources.members import Limits, Member, Selection, file_reader, is_licence
from stages.corpus.sources.taking import SUFFIXES, Taken, Taker, usable


class GatherConfig(Section):
    sources: Annotated[tuple[AnySource, ...], Field(min_length=1)]
    max_file_mb: Annotated[float, Field(gt=0)] = 100.0
    max_source_mb: Annotated[float, Field(gt=0)] = 2000.0
    max_files: Annotated[int, Field(ge=1)] = 100_000
    max_ratio: Annotated[float, Field(gt=1)] = 100.0

    @property
    def limits(self) -> Limits:
        return Limits(int(self.max_file_mb * 1e6), int(self.max_source_mb * 1e6), self.max_files, self.max_ratio)


@dataclass(frozen=True)
class Opened:
    """A source that is at hand: its members, what it says of its author, and the checksum of its bytes."""

    members: Iterator[Member]
    count: int = 0
    author: str = ""
    sha256: str = ""
    hidden: tuple[str, ...] = ()


def run(context: Context) -> Metrics:
    """Raises Unavailable (a StageError) for a source that cannot be had, unless it is optional."""
    config = context.section(GatherConfig)
    total, counted = Taken(), 0
    licences: Counter[str] = Counter()
    checksums: dict[str, str] = {}
    without: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    with (
        _lines(context.out / "files.jsonl") as write_file,
        _lines(context.out / "sources.jsonl") as write_source,
        _lines(context.out / "left_out.jsonl") as write_left_out,
    ):
        for index, source in enumerate(config.sources):
            try:
                opened = _open(source, config.limits, context)
            except Unavailable as error:
                if isinstance(source, FolderSource) or not source.optional:
                    raise Unavailable(f"{error}; the cache {cache_folder()} has no copy", error.hint) from error
                without[source.name] = str(error)
                context.warn(f"left out {error} (it is optional)")
                continue
            taken = _take(source, opened, f"{index:03d}", config.limits, context)
            attribution = source.attribution or taken.copyright or opened.author
            about = {"source": source.name, "license": source.license, "attribution": attribution}
            for path, sha256 in taken.files:
                how = {"lines": True} if source.lines else {}
                write_file({"file": f"files/{index:03d}/{path}", **about, "path": path, "sha256": sha256, **how})
            for path, reason in taken.left_out:
                write_left_out({"source": source.name, "path": path, "reason": reason})
            kept = [f"licenses/{index:03d}/{path}" for path in taken.licences]
            write_source({**about, "sha256": opened.sha256, **taken.row(), "license_files": kept})
            rows.append({**about, **taken.row()})
            if not taken.files:
                context.warn(f"{source.name} has no usable file")
            counted += len(taken.files)
            licences[source.license] += len(taken.files)
            total.bytes += taken.bytes
            total.skipped += taken.skipped
            total.refused += taken.refused
            if opened.sha256:
                checksums[source.name] = opened.sha256
    if not counted:
        places = (folders.root(s, context.base) if isinstance(s, FolderSource) else s.name for s in config.sources)
        raise UsageError(
            f"no usable file in {', '.join(map(str, places))}; usable are {' '.join(SUFFIXES)}",
            hint="point gather.sources at a folder with such files",
        )
    context.say(f"{counted} files from {len(config.sources) - len(without)} sources")
    return {
        **total.row(),
        "files": counted,
        "licenses": dict(sorted((+licences).items())),
        "checksums": checksums,
        "without": without,
        "sources": rows,
    }


def _open(source: AnySource, limits: Limits, context: Context) -> Opened:
    """Bring a source here, from the cache where it is in it."""
    cache = Cache(cache_folder())
    if isinstance(source, FolderSource):
        found = list(folders.files(source, context.base))
        return Opened(folders.members(found), len(found))
    if isinstance(source, GitSource):
        chosen = Selection(source.include, source.exclude)
        repository = repositories.fetch(
            cache, source, context.base, lambda path: is_licence(path) or (usable(path) and chosen(path)),
            limits=limits, progress=context.progress,
        )  # fmt: skip
        return Opened(repository.members(), len(repository.entries))
    if isinstance(source, PackageSource):
        wheel, name = packages.fetch(cache, source, max_bytes=limits.total_bytes, progress=context.progress)
        inside = archives.members(wheel, name, limits)
        return Opened(inside, author=packages.author(wheel), sha256=wheel.name, hidden=("*.dist-info/*", "*.data/*"))
    file = download.fetch(cache, source.url, source.sha256, max_bytes=limits.total_bytes, progress=context.progress)
    if archives.is_archive(source.file):
        return Opened(archives.members(file, source.file, limits), sha256=source.sha256)
    return Opened(iter([Member(source.file, file.stat().st_size, file_reader(file))]), 1, sha256=source.sha256)


def _take(source: AnySource, opened: Opened, number: str, limits: Limits, context: Context) -> Taken:
    """Write a source's files to `files/<number>/` and the licences of what is not a local folder to `licenses/`."""
    with context.progress(opened.count, "files") as bar:
        take = Taker(
            name=source.name,
            wanted=Selection(source.include, (*source.exclude, *opened.hidden)),
            limits=limits,
            files=context.out / "files" / number,
            licences=None if isinstance(source, FolderSource) else context.out / "licenses" / number,
            warn=context.warn,
            advance=bar.advance,
        )
        return take(opened.members)


@contextmanager
def _lines(path: Path) -> Iterator[Callable[[Mapping[str, Any]], object]]:
    """A JSON Lines file to write to."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yield lambda value: file.write(json.dumps(value, ensure_ascii=False) + "\n")


def fingerprint(sections: Mapping[str, Section], base: Path) -> Any:
    """Path, size and time of change of every file in local folders: like make, without reading them.

    What is fetched is said by its pin in the config, and nothing is asked of the network or the cache.
    """
    config = sections["gather"]
    assert isinstance(config, GatherConfig)
    found = []
    for source in config.sources:
        if isinstance(source, FolderSource):
            stats = ((name, path.stat()) for name, path in folders.files(source, base))
            found.append([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats])
    return hashlib.sha256(canonical(found)).hexdigest()


STAGE = Stage(
    name="gather",
    version=2,
    module=__name__,
    run=run,
    sections={"gather": GatherConfig},
    fingerprint=fingerprint,
)
