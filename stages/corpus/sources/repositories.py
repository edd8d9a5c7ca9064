"""Fetch and read one commit of a git repository, without a work tree: no hook, filter, link or submodule can act."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.errors import StageError
from pipeline.stage import ProgressBar
from stages.corpus.sources import child
from stages.corpus.sources.cache import Cache, Unavailable
from stages.corpus.sources.declared import GitSource
from stages.corpus.sources.download import Progress
from stages.corpus.sources.members import CHUNK, MAX_DEPTH, Limits, Member, nothing

BATCH = 4000
_TREE_BYTES, _COMMIT_BYTES = 32 * 2**20, 2**20
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
_SETTINGS = {
    "core.hooksPath": os.devnull, "core.fsmonitor": "false", "gc.auto": "0", "maintenance.auto": "false",
    "protocol.allow": "never", "protocol.https.allow": "always", "protocol.http.allow": "always",
    "protocol.ssh.allow": "always", "protocol.git.allow": "always", "protocol.file.allow": "always",
    "protocol.ext.allow": "never", "protocol.version": "2", "fetch.fsckObjects": "true",
    "fetch.recurseSubmodules": "false", "fetch.negotiationAlgorithm": "noop",
    "http.lowSpeedLimit": "1000", "http.lowSpeedTime": "60",
}  # fmt: skip
_FIXED = {
    "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": "", "GCM_INTERACTIVE": "never", "LC_ALL": "C",
    "GIT_NO_REPLACE_OBJECTS": "1",
}  # fmt: skip
_FETCH = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", "--filter=blob:none")


class Damaged(StageError):
    """An object of a repository that is missing or is not what its id says."""


@dataclass(frozen=True)
class Entry:
    """A path of a commit, with the mode and the object id that its tree gives."""

    path: str
    mode: str
    oid: str

    @property
    def refused(self) -> str:
        """Why it has no content; empty for a file."""
        return {"120000": "link", "160000": "submodule"}.get(self.mode, "")


@dataclass(frozen=True)
class Repository:
    """A bare repository in the cache that holds one commit and those of its files whose sizes are given, by id."""

    path: Path
    entries: Sequence[Entry]
    sizes: Mapping[str, int]

    def members(self) -> Iterator[Member]:
        """The files of the commit, each to be read before the next is asked for."""
        with _objects(self.path) as objects:
            for entry in self.entries:
                held = entry.oid in self.sizes and not entry.refused
                chunks = objects.reader(entry.oid) if held else nothing
                yield Member(entry.path, self.sizes.get(entry.oid, 0), chunks, entry.refused)


def fetch(
    cache: Cache, source: GitSource, base: Path, wanted: Callable[[str], bool], *, limits: Limits, progress: Progress
) -> Repository:
    """The declared commit with at least the content of the wanted paths, from the cache or its origin.

    Only the commit without its history is fetched, and where the server can leave out files (partial clone), only the
    wanted ones. Every object is checked against its id, from the commit down; a damaged repository is fetched anew.
    Raises Unavailable where it cannot be had, StageError above the limits.
    """
    with cache.lock(f"git {source.commit}"):
        place = cache.root / "git" / source.commit
        git = _Git(source, _origin(source.git, base), limits)
        for last in (False, True):
            if not place.is_dir():
                with cache.workspace(f"git {source.commit}") as folder, progress(0, "MB") as bar:
                    bar.advance(0, note=source.git)
                    made = folder / "repository"
                    git("init", "--quiet", "--bare", "--template=", str(made), folder=folder, bar=bar)
                    git(*_FETCH, "--depth=1", "origin", source.commit, at=made, folder=folder, bar=bar)
                    cache.adopt(made, place)
            try:
                (place / "config").write_text(_CONFIG)  # forgets the origin, so that reading never fetches
                entries = _entries(place, source.commit, limits)
                oids = {entry.oid for entry in entries if wanted(entry.path) and not entry.refused}
                sizes = _complete(git, place, oids, progress)
                _check(place, sorted(oids))
                return Repository(place, entries, sizes)
            except Damaged:
                shutil.rmtree(place)
                if last:
                    raise
    raise AssertionError("unreachable")


def _complete(git: _Git, place: Path, oids: set[str], progress: Progress) -> Mapping[str, int]:
    """The sizes of objects, fetching those that are missing some thousands at a time: a kill costs one batch."""
    sizes = _sizes(place, oids)
    missing = sorted(oids - sizes.keys())
    if not missing:
        return sizes
    for lock in place.rglob("*.lock"):  # of a git that was killed: we alone work here
        lock.unlink(missing_ok=True)
    with progress(0, "MB") as bar:
        for start in range(0, len(missing), BATCH):
            bar.advance(0, note=f"{git.source.git}: {len(missing):,} files")
            given = "".join(f"{oid}\n" for oid in missing[start : start + BATCH]).encode()
            git(*_FETCH, "--stdin", "origin", at=place, folder=place, bar=bar, given=given)
            (place / "config").write_text(_CONFIG)
    sizes = _sizes(place, oids)
    if left := oids - sizes.keys():
        raise Damaged(f"{git.source.name}: {len(left)} files are missing")
    return sizes


@dataclass(frozen=True)
class _Git:
    """Runs git for a source with settings under which it asks nothing, runs nothing and writes a bounded amount."""

    source: GitSource
    origin: str
    limits: Limits

    def __call__(
        self, *arguments: str, folder: Path, bar: ProgressBar, at: Path | None = None, given: bytes = b""
    ) -> None:
        settings = {**_SETTINGS, "remote.origin.url": self.origin}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = ["git", *options, *(["--git-dir", str(at)] if at else []), *arguments]
        size = self.limits.total_bytes
        try:
            child.run(command, folder, env=_environment(), max_bytes=size, bar=bar, given=given)
        except child.Failed as error:
            lines = str(error).splitlines()
            told = next(
                (line for start in ("fatal: ", "error: ") for line in lines if line.startswith(start)), lines[-1]
            )
            raise Unavailable(f"{self.source.name}: {told.strip()}") from error


def _origin(given: str, base: Path) -> str:
    """What git is told to fetch from: URLs and host:path as they are, folders from the project's folder on."""
    if "://" in given or re.match(r"([\w.-]+@)?[\w.-]{2,}:", given):
        return given
    return str((base / Path(given).expanduser()).resolve())


def _environment() -> dict[str, str]:
    """The user's environment without what would point git to another repository, and without questions."""
    kept = {name: value for name, value in os.environ.items() if not re.match(r"GIT_(?!SSL|SSH|PROXY|CONFIG)", name)}
    return {"GIT_SSH_COMMAND": "ssh -oBatchMode=yes", **kept, **_FIXED}


def _entries(place: Path, commit: str, limits: Limits) -> list[Entry]:
    """All paths of a commit, sorted, read from its trees; raises Damaged where one is not what its id says."""
    entries = []
    with _objects(place) as objects:
        head = re.match(rb"tree ([0-9a-f]{40})\n", objects.whole(commit, "commit", _COMMIT_BYTES))
        if head is None:
            raise Damaged(f"{commit} names no tree")
        waiting = [("", head[1].decode(), 0)]
        while waiting:
            folder, oid, depth = waiting.pop()
            for mode, name, child_oid in _tree(objects.whole(oid, "tree", _TREE_BYTES)):
                path = f"{folder}{name}"
                if mode == "40000" and depth < MAX_DEPTH:
                    waiting.append((f"{path}/", child_oid, depth + 1))
                elif mode != "40000":
                    entries.append(Entry(path, mode, child_oid))
            if len(entries) + len(waiting) > limits.files:
                raise StageError(
                    f"commit {commit} has more than {limits.files:,} files",
                    hint="raise gather.max_files if that is right",
                )
    return sorted(entries, key=lambda entry: entry.path)


def _tree(content: bytes) -> Iterator[tuple[str, str, str]]:
    """Mode, name and object id of the entries of a tree: `<mode> <name>\\0<20 bytes>` each (git-mktree's reverse)."""
    at = 0
    while at < len(content):
        space, end = content.find(b" ", at), content.find(b"\0", at)
        if not at < space < end <= len(content) - 21:
            raise Damaged("a tree that cannot be read")
        yield (
            content[at:space].decode("ascii"),
            os.fsdecode(content[space + 1 : end]),
            content[end + 1 : end + 21].hex(),
        )
        at = end + 21


def _sizes(place: Path, oids: Iterable[str]) -> dict[str, int]:
    """The sizes of those objects that are there."""
    given = "".join(f"{oid}\n" for oid in sorted(oids)).encode()
    command = ["git", "--git-dir", str(place), "cat-file", "--batch-check=%(objectname) %(objectsize)"]
    answers = subprocess.run(command, input=given, capture_output=True, env=_environment()).stdout.decode().splitlines()
    return {oid: int(size) for oid, size in (line.split() for line in answers) if size.isdigit()}


def _check(place: Path, oids: Sequence[str]) -> None:
    with _objects(place) as objects:
        for oid in oids:
            for _ in objects.reader(oid)():
                pass


class _Objects:
    """Reads objects by id through one `git cat-file --batch`, and checks each against its id."""

    def __init__(self, asked: IO[bytes], answers: IO[bytes]) -> None:
        self.asked, self.answers = asked, answers

    def _ask(self, oid: str, expected: str) -> int:
        """The size of an object, whose content and a line end follow."""
        try:
            self.asked.write(f"{oid}\n".encode())
            self.asked.flush()
        except OSError as error:
            raise Damaged(f"git cannot read {oid}") from error
        fields = self.answers.readline().split()
        if len(fields) != 3 or fields[1].decode() != expected:
            raise Damaged(f"the {expected} {oid} is missing")
        return int(fields[2])

    def reader(self, oid: str) -> Callable[[], Iterator[bytes]]:
        """The content of a file in pieces; reading to its end raises Damaged where it is not what its id says."""

        def chunks() -> Iterator[bytes]:
            left = self._ask(oid, "blob")
            digest = hashlib.sha1(f"blob {left}\0".encode(), usedforsecurity=False)
            while left:
                chunk = self.answers.read(min(CHUNK, left))
                if not chunk:
                    raise Damaged(f"{oid} cannot be read to its end")
                left -= len(chunk)
                digest.update(chunk)
                yield chunk
            self.answers.read(1)
            if digest.hexdigest() != oid:
                raise Damaged(f"{oid} is not what its id says")

        return chunks

    def whole(self, oid: str, expected: str, max_bytes: int) -> bytes:
        """A commit or a tree."""
        size = self._ask(oid, expected)
        if size > max_bytes:
            raise StageError(f"the {expected} {oid} has {size:,} bytes")
        content = self.answers.read(size + 1)[:size]
        if hashlib.sha1(f"{expected} {size}\0".encode() + content, usedforsecurity=False).hexdigest() != oid:
            raise Damaged(f"the {expected} {oid} is not what its id says")
        return content


@contextmanager
def _objects(place: Path) -> Iterator[_Objects]:
    command = ["git", "--git-dir", str(place), "cat-file", "--batch"]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=_environment()
        ) as reader,
    ):
        assert reader.stdin and reader.stdout
        try:
            yield _Objects(reader.stdin, reader.stdout)
        finally:
            reader.kill()
