"""Versioned artifacts on disk: keyed, checksummed, committed in one rename, and locked against a second run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError, UsageError

MANIFEST = "manifest.json"
_VERSION = re.compile(r"v(\d{4,})-([0-9a-f]{8})")


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync(path.parent)


def fsync(path: Path) -> None:
    """Bring a file, or which names a folder has, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder for syncing
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(files: Mapping[str, Mapping[str, Any]]) -> str:
    """SHA-256 over the (path, sha256, size) of the files of an artifact, sorted by path."""
    return hashlib.sha256(
        canonical([[name, files[name]["sha256"], files[name]["size"]] for name in sorted(files)])
    ).hexdigest()


@dataclass(frozen=True)
class Artifact:
    """One committed version of a stage's output."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def stage(self) -> str:
        return self.path.parent.name

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def label(self) -> str:
        """`stage/v0007-3fa9c1d2`, as commands print and accept it."""
        return f"{self.stage}/{self.name}"

    @property
    def digest(self) -> str:
        return str(self.manifest["digest"])

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(int(entry["size"]) for entry in self.manifest["files"].values())

    def problems(self) -> list[str]:
        """What is missing or changed against the manifest's checksums; empty where all is well."""
        found = []
        if _digest(self.manifest["files"]) != self.digest:
            found.append(f"{MANIFEST} does not match its own digest")
        for name, entry in self.manifest["files"].items():
            path = self.path / name
            if not path.is_file():
                found.append(f"{name} is missing")
            elif path.stat().st_size != entry["size"]:
                found.append(f"{name} has {path.stat().st_size} bytes, not {entry['size']}")
            elif sha256_file(path) != entry["sha256"]:
                found.append(f"{name} does not match its checksum")
        return found


def _read_manifest(folder: Path) -> Mapping[str, Any] | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and {"key", "digest", "files"} <= manifest.keys() else None


class Store:
    """The folder `artifacts/`: `<stage>/v<count>-<key head>/`, each with a manifest, and `runs/`, a record per run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs_folder = root / "runs"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store against other processes; raises UsageError naming the holder. Ends with the process."""
        from filelock import FileLock, Timeout

        self.root.mkdir(parents=True, exist_ok=True)
        holder = self.root / ".lock.json"
        try:
            with FileLock(self.root / ".lock", timeout=0.2):  # `holder` may have it for a moment
                me = {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "command": " ".join(sys.argv),
                    "since": time.time(),
                }
                with suppress(OSError):  # on a full disk the lock holds all the same
                    write_atomic(holder, canonical(me))
                try:
                    yield
                finally:
                    holder.unlink(missing_ok=True)
        except Timeout:
            raise UsageError(
                f"{self.root.resolve()} is in use by {self._told()}",
                hint="wait for it to end, or work in another folder with its own artifacts/",
            ) from None

    def holder(self) -> str | None:
        """Who holds the lock, in words; None where nobody does, whatever a killed process left behind."""
        from filelock import FileLock, Timeout

        if not (self.root / ".lock").exists():
            return None
        try:
            with FileLock(self.root / ".lock", timeout=0):
                return None
        except Timeout:
            return self._told()
        except OSError:
            return None

    def _told(self) -> str:
        try:
            told = json.loads((self.root / ".lock.json").read_bytes())
            since = time.strftime("%H:%M:%S", time.localtime(told["since"]))
            return f"process {told['pid']} on {told['host']} since {since}: {told['command']}"
        except (OSError, ValueError, KeyError):
            return "another process"

    def _folders(self, stage: str) -> list[Path]:
        folder = self.root / stage
        paths = folder.iterdir() if folder.is_dir() else ()
        counted = [(int(match[1]), path) for path in paths if (match := _VERSION.fullmatch(path.name))]
        return [path for _, path in sorted(counted)]

    def versions(self, stage: str) -> list[Artifact]:
        """All committed artifacts of a stage, oldest first. Folders without a readable manifest are passed over."""
        return [Artifact(path, told) for path in self._folders(stage) if (told := _read_manifest(path))]

    def unreadable(self) -> list[Path]:
        """Folders of artifacts whose manifest is gone or damaged."""
        return [path for stage in self.stages() for path in self._folders(stage) if _read_manifest(path) is None]

    def stages(self) -> list[str]:
        """Names of the stages that have a folder in the store."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if path.is_dir() and path != self.runs_folder)

    def newest(self, stage: str) -> Artifact | None:
        return next(reversed(self.versions(stage)), None)

    def with_key(self, stage: str, key: str) -> list[Artifact]:
        """Artifacts made for a key, newest first."""
        return [artifact for artifact in reversed(self.versions(stage)) if artifact.manifest["key"] == key]

    def by_label(self, label: str) -> Artifact:
        """The artifact for `stage/v0007-3fa9c1d2`, `stage/v0007` or `stage` (the newest); raises UsageError."""
        stage, _, version = label.partition("/")
        for artifact in reversed(self.versions(stage)):
            if artifact.name.startswith(version) and (
                len(version) < 6 or version in (artifact.name, artifact.name[:5])
            ):
                return artifact
        raise UsageError(f"no artifact `{label}` in {self.root}", hint="pipeline status")

    def partial(self, stage: str, key: str) -> Path:
        """Where the output for a key is written before it is committed."""
        return self.root / stage / f".partial-{key[:16]}"

    def partials(self, stage: str = "*") -> list[Path]:
        """Unfinished output, of one stage or of all."""
        return sorted(self.root.glob(f"{stage}/.partial-*"))

    def begin(self, stage: str, key: str, *, resume: bool) -> Path:
        """The folder to write into: emptied, unless an interrupted try is to be resumed."""
        folder = self.partial(stage, key)
        if folder.exists() and not resume:
            self.remove(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def commit(self, stage: str, key: str, manifest: Mapping[str, Any]) -> Artifact:
        """Make the partial folder of a key a whole artifact: sync everything, manifest last, then one rename.

        What lies at its top under a name with a leading dot is scratch, such as checkpoints: it stays for another try
        until all else is safe, and is no part of the artifact.
        """
        folder = self.partial(stage, key)
        files: dict[str, dict[str, Any]] = {}
        for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*")):
            if path.is_file() and name != MANIFEST and not name.startswith("."):
                files[name] = {"sha256": sha256_file(path), "size": path.stat().st_size}
                fsync(path)
        for path in [*(p for p in folder.rglob("*") if p.is_dir()), folder]:
            fsync(path)
        whole = {**manifest, "stage": stage, "key": key, "digest": _digest(files), "files": files}
        write_atomic(folder / MANIFEST, json.dumps(whole, indent=1, ensure_ascii=False).encode())
        newest = next(reversed(self._folders(stage)), None)
        count = int(newest.name[1:].partition("-")[0]) + 1 if newest else 1
        final = folder.parent / f"v{count:04d}-{key[:8]}"
        for scratch in folder.glob(".*"):
            shutil.rmtree(scratch) if scratch.is_dir() else scratch.unlink()
        folder.rename(final)
        fsync(final.parent)
        return Artifact(final, whole)

    def verify(self) -> list[str]:
        """Every problem of every artifact, each line naming it."""
        unreadable = [f"{path.parent.name}/{path.name}: {MANIFEST} cannot be read" for path in self.unreadable()]
        return unreadable + [
            f"{artifact.label}: {problem}"
            for s in self.stages()
            for artifact in self.versions(s)
            for problem in artifact.problems()
        ]

    def remove(self, path: Path) -> None:
        """Delete an artifact or partial folder: renamed out of sight first, so that no half artifact is visible."""
        if path.resolve().parent.parent != self.root.resolve():
            raise IntegrityError(f"{path} is not in the store {self.root}")
        grave = path.with_name(f".removed-{path.name}")
        if grave.exists():  # of a deletion that was cut off
            shutil.rmtree(grave)
        path.rename(grave)
        shutil.rmtree(grave)

    def runs(self) -> list[dict[str, Any]]:
        """The records of all runs, oldest first."""
        records = []
        for path in sorted(self.runs_folder.glob("*.json")) if self.runs_folder.is_dir() else ():
            try:
                records.append(json.loads(path.read_bytes()))
            except (OSError, ValueError):
                continue
        return records

    def write_run(self, record: Mapping[str, Any]) -> None:
        """Save a run's record under its number; call again as it grows."""
        self.runs_folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.runs_folder / f"{record['run']:06d}.json", json.dumps(record, indent=1).encode())
