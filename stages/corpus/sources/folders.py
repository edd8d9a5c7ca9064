"""The files of a local folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.errors import UsageError
from stages.corpus.sources.declared import FolderSource
from stages.corpus.sources.members import Member, Selection, file_reader, is_hidden, spelled


def root(source: FolderSource, base: Path) -> Path:
    """The folder itself; a relative one starts at `base`."""
    return (base / Path(source.folder).expanduser()).resolve()


def files(source: FolderSource, base: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of the wanted files in sorted order, without hidden ones and links that lead out of the folder."""
    folder = root(source, base)
    if not folder.is_dir():
        raise UsageError(
            f"gather.sources: the folder {folder} does not exist",
            hint="mend `folder:`; a relative one starts at the folder of the config (or its parent, in configs/)",
        )
    wanted = Selection(source.include, source.exclude)
    for path in sorted(folder.rglob("*")):
        name = spelled(path.relative_to(folder).as_posix())
        if not is_hidden(name) and wanted(name) and path.is_file() and path.resolve().is_relative_to(folder):
            yield name, path


def members(found: Iterable[tuple[str, Path]]) -> Iterator[Member]:
    """Those files as members."""
    for name, path in found:
        yield Member(name, path.stat().st_size, file_reader(path))
