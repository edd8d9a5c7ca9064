"""What was fetched, kept outside of the artifacts: found by content, checked on each use, shared by all processes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import StageError, UsageError
from pipeline.store import canonical, sha256_file, write_atomic


class Unavailable(StageError):
    """A source that can be had neither from its origin nor from the cache."""


@dataclass(frozen=True)
class Cache:
    """A folder with `blobs/<sha256>`, `records/` (which blob a name stands for), `git/<commit>`, and work in progress.

    Everything appears under its final name in one rename and after it was synced. A name is worked on by one process
    at a time, under a lock that ends with the process.
    """

    root: Path

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold a name against other processes; waits for them, and clears away workspaces that killed ones left."""
        from filelock import FileLock

        folder = self.root / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the cache {self.root} cannot be written: {error.strerror}", hint="set PIPELINE_CACHE to a folder"
            ) from error
        with FileLock(folder / f"{_slug(key)}.lock"):
            for old in (self.root / "partial").glob(f"{_slug(key)}.work-*"):
                shutil.rmtree(old, ignore_errors=True)
            yield

    def partial(self, key: str) -> Path:
        """Where the content for a name is collected; it is still there after a kill."""
        folder = self.root / "partial"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / _slug(key)

    @contextmanager
    def workspace(self, key: str) -> Iterator[Path]:
        """An empty folder beside the cached things, for who holds the name's lock."""
        folder = self.root / "partial"
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f"{_slug(key)}.work-", dir=folder))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def blob(self, sha256: str) -> Path | None:
        """The cached file with a checksum; one that was damaged is removed and not found."""
        path = self.root / "blobs" / sha256
        if not path.is_file():
            return None
        if sha256_file(path) == sha256:
            return path
        path.unlink()
        return None

    def keep(self, file: Path) -> tuple[Path, str]:
        """Move a complete file into the cache; returns its place and checksum."""
        with file.open("rb+") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
            os.fsync(opened.fileno())
        path = self.root / "blobs" / sha256
        self.adopt(file, path)
        return path, sha256

    def adopt(self, made: Path, final: Path) -> None:
        """Give a file or folder its final name in the cache."""
        final.parent.mkdir(parents=True, exist_ok=True)
        made.replace(final)
        if os.name != "nt":
            descriptor = os.open(final.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def record(self, key: str) -> dict[str, Any]:
        """What was noted of a name; empty where nothing was, or it cannot be read."""
        with suppress(OSError, ValueError):
            noted = json.loads((self.root / "records" / f"{_slug(key)}.json").read_bytes())
            return noted if isinstance(noted, dict) else {}
        return {}

    def note(self, key: str, value: dict[str, Any]) -> None:
        """Note something of a name."""
        path = self.root / "records" / f"{_slug(key)}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, canonical(value))


def _slug(key: str) -> str:
    """A name for a file: readable, and different for different keys."""
    readable = re.sub(r"[^A-Za-z0-9._=-]+", "-", key)[:60].strip(".-")
    return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
