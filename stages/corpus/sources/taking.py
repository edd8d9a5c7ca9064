"""Write the wanted members of one source below a folder, counting what is left out and why."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import StageError
from stages.corpus.sources.members import (
    Limits,
    Member,
    Names,
    Selection,
    Unreadable,
    copyright_line,
    is_hidden,
    is_licence,
    name_problem,
    spelled,
)

SUFFIXES = (".py", ".md", ".rst", ".txt", ".ipynb", ".pdf", ".jsonl", ".html", ".htm", ".pyi")
_LICENCE_BYTES = 2**20


def usable(path: str) -> bool:
    """Whether documents can be read from a file of this name."""
    return PurePosixPath(path).suffix.lower() in SUFFIXES


@dataclass
class Taken:
    """What was taken of a source: path and sha256 of each file, paths of licence files; and what was not, and why."""

    files: list[tuple[str, str]] = field(default_factory=list)
    licences: list[str] = field(default_factory=list)
    bytes: int = 0
    copyright: str = ""
    skipped: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def refuse(self, path: str, reason: str) -> None:
        """Count a member that cannot be taken."""
        self.refused[reason] += 1
        self.left_out.append((path, reason))

    def skip(self, path: str) -> None:
        """Count a member of no use."""
        suffix = PurePosixPath(path).suffix.lower()
        self.skipped[suffix or PurePosixPath(path).name] += 1
        self.left_out.append((path, f"unknown format: {suffix}" if suffix else "unknown format"))

    def row(self) -> dict[str, Any]:
        """The counts as plain JSON values."""
        return {
            "files": len(self.files),
            "bytes": self.bytes,
            "skipped": dict(sorted(self.skipped.items())),
            "refused": dict(sorted(self.refused.items())),
        }


@dataclass(frozen=True)
class Taker:
    """Takes the members of a source into `files`, and where it is not a local folder its licences into `licences`."""

    name: str
    wanted: Selection
    limits: Limits
    files: Path
    licences: Path | None
    warn: Callable[[str], None]
    advance: Callable[[], None]

    def __call__(self, members: Iterable[Member]) -> Taken:
        """Write the members that are usable; raises StageError above the number of files or bytes."""
        taken = Taken()
        names = Names()
        for member in members:
            self.advance()
            path = spelled(member.path)
            problem = name_problem(member.path) if self.licences else None
            if problem:
                taken.refuse(path, problem)
            elif is_hidden(path):
                continue
            elif self.licences and is_licence(path) and not member.refused and member.size <= _LICENCE_BYTES:
                self._write(member, path, self.licences, names, taken)
            elif self.wanted(path):
                self._take(member, path, names, taken)
        self._drop_other_licences(taken)
        return taken

    def _take(self, member: Member, path: str, names: Names, taken: Taken) -> None:
        if member.refused:
            taken.refuse(path, member.refused)
        elif not usable(path):
            taken.skip(path)
        elif member.size > self.limits.file_bytes:
            self._refuse(path, "too large", f"{member.size / 1e6:,.0f} MB; gather.max_file_mb is lower", taken)
        else:
            self._write(member, path, self.files, names, taken)

    def _write(self, member: Member, path: str, folder: Path, names: Names, taken: Taken) -> None:
        if self.licences and not names.take(path):
            self._refuse(path, "name meets another", "it differs only in case from another one", taken)
            return
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        size = 0
        try:
            with target.open("wb") as file:
                for chunk in member.chunks():
                    size += len(chunk)
                    digest.update(chunk)
                    file.write(chunk)
        except Unreadable as error:
            target.unlink()
            self._refuse(path, str(error), str(error), taken)
            return
        if folder == self.licences:
            taken.licences.append(path)
            return
        taken.files.append((path, digest.hexdigest()))
        taken.bytes += size
        if self.licences and (taken.bytes > self.limits.total_bytes or len(taken.files) > self.limits.files):
            raise StageError(
                f"{self.name} is larger than gather.max_source_mb or gather.max_files",
                hint="raise them if that is right, or choose with `include:` and `exclude:`",
            )

    def _refuse(self, path: str, reason: str, told: str, taken: Taken) -> None:
        taken.refuse(path, reason)
        self.warn(f"left out {self.name}/{path}: {told}")

    def _drop_other_licences(self, taken: Taken) -> None:
        """Keep the licences that lie above or beside a file that was taken, and those of a package's own metadata."""
        if self.licences is None:
            return
        above = {parent.as_posix() for path, _ in taken.files for parent in PurePosixPath(path).parents}
        for path in sorted(taken.licences, key=lambda path: (path.count("/"), path)):
            parents = [parent.as_posix() for parent in PurePosixPath(path).parents]
            if parents[0] in above or any(parent.endswith(".dist-info") for parent in parents):
                text = (self.licences / path).read_text(encoding="utf-8", errors="replace")
                taken.copyright = taken.copyright or copyright_line(text)
            else:
                (self.licences / path).unlink()
                taken.licences.remove(path)
        taken.licences.sort()
