"""The files that a source offers, and which names among them are safe to write anywhere."""

from __future__ import annotations

import fnmatch
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

CHUNK = 2**18
MAX_PART_BYTES, MAX_NAME_BYTES, MAX_DEPTH = 255, 800, 60
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\.|$)", re.IGNORECASE)
_LICENCE = re.compile(r"((un)?licen[cs]es?|copying|notices?)(?![a-z])", re.IGNORECASE)
_COPYRIGHT = re.compile(r"[ \t#*]*(copyright\b[^\[\]\n]*(?:\(c\)|©|\d{4})[^\[\]\n]*)$", re.IGNORECASE | re.MULTILINE)


class Unreadable(Exception):
    """A member whose content cannot be had; the message is the reason, short enough to be counted."""


@dataclass(frozen=True)
class Member:
    """A file of a source: its path there, its size in bytes, and its content, which can be read once.

    `refused` says why its content is not for reading: it is a link, a device, encrypted, …
    """

    path: str
    size: int
    chunks: Callable[[], Iterator[bytes]]
    refused: str = ""


def nothing() -> Iterator[bytes]:
    """The content of what has none."""
    return iter(())


def file_reader(path: Path) -> Callable[[], Iterator[bytes]]:
    """The content of a local file, in pieces."""

    def chunks() -> Iterator[bytes]:
        try:
            file = path.open("rb")
        except PermissionError as error:
            raise Unreadable("unreadable") from error
        with file:
            while chunk := file.read(CHUNK):
                yield chunk

    return chunks


@dataclass(frozen=True)
class Limits:
    """What a source may hold: bytes of one file, bytes and number of all, and bytes per byte of its archive."""

    file_bytes: int
    total_bytes: int
    files: int
    ratio: float


@dataclass(frozen=True)
class Selection:
    """Which paths of a source are wanted."""

    include: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()

    def __call__(self, path: str) -> bool:
        """Whether a path fits the patterns and is not hidden."""
        if is_hidden(path):
            return False
        return any(fnmatch.fnmatch(path, pattern) for pattern in self.include) and not any(
            fnmatch.fnmatch(path, pattern) for pattern in self.exclude
        )


def is_hidden(path: str) -> bool:
    """Whether a part of the path starts with a dot, or is a folder of compiled modules."""
    return any(part.startswith(".") or part == "__pycache__" for part in path.split("/"))


def is_licence(path: str) -> bool:
    """Whether a file states a licence or a notice by its name, as in LICENSE, COPYING.txt or NOTICE.md."""
    name = PurePosixPath(path)
    return bool(_LICENCE.match(name.name)) and name.suffix.lower() not in (".py", ".pyi", ".ipynb", ".pdf", ".jsonl")


def copyright_line(text: str) -> str:
    """The first line of a licence that says whose the work is; empty where none does."""
    found = _COPYRIGHT.search(text)
    return " ".join(found[1].split())[:200] if found else ""


def spelled(path: str) -> str:
    """A path in which bytes that are not UTF-8 are spelled `\\xe9`, as no manifest can hold them."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def tidy(path: str) -> str:
    """An archive's name for a file without `./` and doubled slashes."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def name_problem(path: str) -> str | None:
    """Why a path may not be written below a folder, on any system, or None.

    Refused are paths that lead elsewhere, names that Windows reserves, cannot spell or gives another meaning, and names
    that are too long.
    """
    if re.match(r"[/\\]|[A-Za-z]:", path) or ".." in re.split(r"[/\\]", path):
        return "leads out of the source"
    if re.search(r"[\x00-\x1f\x7f]", path):
        return "control character in its name"
    parts = path.split("/")
    if not path or not all(parts) or "." in parts or re.search(r'[\\:*?"<>|]', path):
        return "name not allowed everywhere"
    if any(_RESERVED.match(part) or part[-1] in " ." for part in parts):
        return "name not allowed everywhere"
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    if max(sizes) > MAX_PART_BYTES or sum(sizes) + len(parts) > MAX_NAME_BYTES or len(parts) > MAX_DEPTH:
        return "name too long"
    return None


class Names:
    """The names taken so far in one folder, as a system without case sees them."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def take(self, path: str) -> bool:
        """Note a path; False where it would meet another one."""
        folded = unicodedata.normalize("NFC", path).casefold()
        above = [folded[: match.start()] for match in re.finditer("/", folded)]
        if folded in self._files or folded in self._folders or any(folder in self._files for folder in above):
            return False
        self._files.add(folded)
        self._folders.update(above)
        return True
